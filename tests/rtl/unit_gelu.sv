// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_gelu with the signals of its bench; valid passes only when the table is complete, as in m3vit_moe. Test only.
module unit_gelu
  import m3vit_pkg::*;
#(
    localparam int unsigned Lanes = 8
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic in_valid, in_ready;
  word_t in_data;
  logic new_table, complete;
  logic valid, out_valid;
  logic [Lanes*16-1:0] value;
  logic [Lanes*8-1:0] out_value;
  /* verilator public_off */
  m3vit_gelu #(
      .Lanes(Lanes)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .table_i      (in_data),
      .table_valid_i(in_valid),
      .table_ready_o(in_ready),
      .new_table_i  (new_table),
      .ready_o      (complete),
      .valid_i      (valid && complete),
      .value_i      (value),
      .valid_o      (out_valid),
      .value_o      (out_value)
  );
endmodule
