// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_ram_fifo with the signals of its bench. Test only.
module unit_ram_fifo #(
    parameter int unsigned Depth = 4
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic in_valid, in_ready, out_valid, out_ready;
  logic [31:0] in_data, out_data;
  logic [2:0] level;
  /* verilator public_off */
  m3vit_ram_fifo #(
      .Width(32),
      .Depth(Depth)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .data_i (in_data),
      .valid_i(in_valid),
      .ready_o(in_ready),
      .data_o (out_data),
      .valid_o(out_valid),
      .ready_i(out_ready),
      .level_o(level)
  );
endmodule
