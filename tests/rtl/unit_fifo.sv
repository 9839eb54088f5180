// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_fifo with the signals of its bench. Test only.
module unit_fifo #(
    parameter int unsigned Depth = 4
) (
    input logic clk_i,
    input logic rst_ni
);
  /* verilator public_flat_rw_on */
  logic in_valid, in_ready, out_valid, out_ready;
  logic [31:0] in_data, out_data;
  /* verilator public_off */
  m3vit_fifo #(
      .Depth (Depth),
      .data_t(logic [31:0])
  ) u_dut (
      .clk_i,
      .rst_ni,
      .data_i (in_data),
      .valid_i(in_valid),
      .ready_o(in_ready),
      .data_o (out_data),
      .valid_o(out_valid),
      .ready_i(out_ready)
  );
endmodule
