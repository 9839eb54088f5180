// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_ram with the signals of its bench. Test only.
module unit_ram #(
    parameter int unsigned Depth = 4100,
    parameter Style = "ultra"
) (
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  logic write, read;
  logic [$clog2(Depth)-1:0] write_addr, read_addr;
  logic [15:0] write_data, read_data;
  /* verilator public_off */
  m3vit_ram #(
      .Width(16),
      .Depth(Depth),
      .Style(Style)
  ) u_dut (
      .clk_i,
      .write_i     (write),
      .write_addr_i(write_addr),
      .write_data_i(write_data),
      .read_i      (read),
      .read_addr_i (read_addr),
      .read_data_o (read_data)
  );
endmodule
