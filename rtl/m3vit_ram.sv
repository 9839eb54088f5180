// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Simple dual-port RAM: one write port, one read port with a latency of one cycle.
/// A read of the address written in the same cycle returns the old word.
module m3vit_ram #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 64,
    parameter Style = "block",  ///< ram_style of the synthesiser: block, ultra, distributed
    localparam int unsigned AddrW = Depth > 1 ? $clog2(Depth) : 1
) (
    input  logic             clk_i,
    input  logic             write_i,
    input  logic [AddrW-1:0] write_addr_i,
    input  logic [Width-1:0] write_data_i,
    input  logic             read_i,        ///< read enable; read_data_o holds otherwise
    input  logic [AddrW-1:0] read_addr_i,
    output logic [Width-1:0] read_data_o
);
  (* ram_style = Style *) logic [Width-1:0] mem_q[Depth];

  always_ff @(posedge clk_i) begin
    if (write_i) mem_q[write_addr_i] <= write_data_i;
    if (read_i) read_data_o <= mem_q[read_addr_i];
  end
endmodule
