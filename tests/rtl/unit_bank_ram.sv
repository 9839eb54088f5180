// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// m3vit_bank_ram with the signals of its bench. Test only.
module unit_bank_ram #(
    parameter int unsigned Banks = 4,
    parameter int unsigned Depth = 4,
    parameter int unsigned ReadGranules = 4,
    parameter int unsigned WriteGranules = 3,
    localparam int unsigned GranuleBits = 16
) (
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  logic [WriteGranules-1:0] write;
  logic [$clog2(Banks * Depth)-1:0] write_addr, read_addr;
  logic [WriteGranules*GranuleBits-1:0] write_data;
  logic read;
  logic [ReadGranules*GranuleBits-1:0] read_data;
  /* verilator public_off */
  m3vit_bank_ram #(
      .GranuleBits  (GranuleBits),
      .Banks        (Banks),
      .Depth        (Depth),
      .ReadGranules (ReadGranules),
      .WriteGranules(WriteGranules)
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
