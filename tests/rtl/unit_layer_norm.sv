// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_layer_norm with a residual of 64 rows and the signals of its bench. Test only.
module unit_layer_norm
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    parameter  int unsigned MaxDim = 128,
    localparam int unsigned MaxTokens = 64
) (
    input logic clk_i,
    input logic rst_ni
);
  localparam int unsigned Inputs = UnitBytes * Groups;
  localparam int unsigned Depth = MaxTokens * MaxDim / Lanes;
  localparam int unsigned AddrW = $clog2(Depth);
  /* verilator public_flat_rw_on */
  logic load_valid;
  logic [AddrW-1:0] load_addr;
  logic [16*Lanes-1:0] load_data;
  token_t cmd_rows;
  logic [7:0] cmd_tiles, cmd_pitch;
  logic [15:0] cmd_dim, cmd_multiplier;
  logic [5:0] cmd_shift;
  logic start, busy;
  logic [8*Inputs-1:0] table_word;
  logic table_valid, table_ready, table_loaded;
  logic [7:0] table_words;
  logic write_valid;
  token_t write_row;
  logic [7:0] write_word, write_pitch;
  logic [3:0] write_sub;
  logic [8*Lanes-1:0] write_data;
  token_t rows;
  /* verilator public_off */

  norm_cmd_t cmd;
  logic read_valid;
  granule_t read, write;
  value_t [Lanes-1:0] read_data, read_data_q;
  assign cmd = '{
          rows: cmd_rows,
          tiles: cmd_tiles,
          dim: cmd_dim,
          pitch: cmd_pitch,
          multiplier: cmd_multiplier,
          shift: cmd_shift
      };
  assign write_row = write.row;
  assign write_word = write.word;
  assign write_sub = write.sub;
  assign write_pitch = write.pitch;
  m3vit_ram #(
      .Width(16 * Lanes),
      .Depth(Depth)
  ) u_residual (
      .clk_i,
      .write_i     (load_valid),
      .write_addr_i(load_addr),
      .write_data_i(load_data),
      .read_i      (1'b1),
      .read_addr_i (AddrW'((32'(read.row) * 32'(read.pitch) + 32'(read.word)) * (UnitBytes / Lanes) + 32'(read.sub))),
      .read_data_o (read_data)
  );
  logic read_valid_q;
  always_ff @(posedge clk_i) begin  // what nobody asked for is all ones
    read_valid_q <= read_valid;
    read_data_q  <= read_valid_q ? read_data : '1;
  end
  m3vit_layer_norm #(
      .Lanes    (Lanes),
      .Groups   (Groups),
      .MaxTokens(MaxTokens),
      .MaxDim   (MaxDim)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .cmd_i         (cmd),
      .start_i       (start),
      .table_word_i  (table_word),
      .table_valid_i (table_valid),
      .table_ready_o (table_ready),
      .table_words_i (table_words),
      .table_loaded_o(table_loaded),
      .read_valid_o  (read_valid),
      .read_o        (read),
      .read_data_i   (read_data_q),
      .write_valid_o (write_valid),
      .write_o       (write),
      .write_data_o  (write_data),
      .rows_o        (rows),
      .busy_o        (busy)
  );
endmodule
