// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_gelu with the signals of its bench; valid passes only when the table is complete, as in the engine. Test only.
module unit_gelu
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned Groups = 2
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic in_valid, in_ready, loaded;
  logic [8*UnitBytes*Groups-1:0] in_data;
  logic valid, out_valid;
  logic [Lanes*16-1:0] value;
  logic [Lanes*8-1:0] out_value;
  /* verilator public_off */
  m3vit_gelu #(
      .Lanes (Lanes),
      .Groups(Groups)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .table_i       (in_data),
      .table_valid_i (in_valid),
      .table_ready_o (in_ready),
      .table_loaded_o(loaded),
      .valid_i       (valid && loaded),
      .value_i       (value),
      .valid_o       (out_valid),
      .value_o       (out_value)
  );
endmodule
