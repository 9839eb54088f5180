// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Simple dual-port RAM: one write port, one read port with a latency of one cycle.
/// A read of the address written in the same cycle returns the old word. An ultra RAM that is a little deeper than whole
/// rows of 4,096 words (the class token!) keeps the rest in LUT RAM instead of one more row.
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
  localparam int unsigned UltraRows = 4096;
  localparam int unsigned Rest = Depth % UltraRows;

  if (Style == "ultra" && Depth > UltraRows && Rest != 0 && Rest <= 64) begin : gen_split
    localparam int unsigned Main = Depth - Rest;
    localparam int unsigned MainW = $clog2(Main);
    localparam int unsigned RestW = Rest > 1 ? $clog2(Rest) : 1;
    logic [Width-1:0] main_data, rest_data;
    logic write_rest, read_rest, from_rest_q;
    assign write_rest = write_addr_i >= AddrW'(Main);
    assign read_rest  = read_addr_i >= AddrW'(Main);
    m3vit_ram #(
        .Width(Width),
        .Depth(Main),
        .Style("ultra")
    ) u_main (
        .clk_i,
        .write_i     (write_i && !write_rest),
        .write_addr_i(MainW'(write_addr_i)),
        .write_data_i,
        .read_i      (read_i && !read_rest),
        .read_addr_i (MainW'(read_addr_i)),
        .read_data_o (main_data)
    );
    m3vit_ram #(
        .Width(Width),
        .Depth(Rest),
        .Style("distributed")
    ) u_rest (
        .clk_i,
        .write_i     (write_i && write_rest),
        .write_addr_i(RestW'(write_addr_i - AddrW'(Main))),
        .write_data_i,
        .read_i      (read_i && read_rest),
        .read_addr_i (RestW'(read_addr_i - AddrW'(Main))),
        .read_data_o (rest_data)
    );
    always_ff @(posedge clk_i) if (read_i) from_rest_q <= read_rest;
    assign read_data_o = from_rest_q ? rest_data : main_data;
  end else begin : gen_whole
    (* ram_style = Style *) logic [Width-1:0] mem_q[Depth];

    always_ff @(posedge clk_i) begin
      if (write_i) mem_q[write_addr_i] <= write_data_i;
      if (read_i) read_data_o <= mem_q[read_addr_i];
    end
  end
endmodule
