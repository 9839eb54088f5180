// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_patches with the signals of its bench. Test only.
module unit_patches
  import m3vit_pkg::*;
#(
    parameter int unsigned Groups = 2,
    localparam int unsigned AddrW = 8,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic start, in_valid, in_ready, write, complete;
  logic [7:0] row_pieces, patch_rows, pitch;
  logic [15:0] columns;
  words_t words;
  word_t in_data;
  logic [AddrW-1:0] write_addr;
  logic [8*Inputs-1:0] write_data;
  logic [Inputs/8-1:0] write_pieces;
  /* verilator public_off */
  m3vit_patches #(
      .Groups(Groups),
      .AddrW (AddrW)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .start_i       (start),
      .row_pieces_i  (row_pieces),
      .patch_rows_i  (patch_rows),
      .columns_i     (columns),
      .pitch_i       (pitch),
      .words_i       (words),
      .word_i        (in_data),
      .valid_i       (in_valid),
      .ready_o       (in_ready),
      .write_valid_o (write),
      .write_addr_o  (write_addr),
      .write_data_o  (write_data),
      .write_pieces_o(write_pieces),
      .done_o        (complete)
  );
endmodule
