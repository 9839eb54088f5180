// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// GELU by table: Lanes look-ups per cycle, one table copy per lane. The table is loaded from 16 DRAM words, eight
/// bytes per cycle. Latency one cycle. Golden: sim/golden/linear.py gelu.
module m3vit_gelu
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8
) (
    input  logic                          clk_i,
    input  logic                          rst_ni,
    input  word_t                         table_i,        ///< table words, entry 0 first
    input  logic                          table_valid_i,
    output logic                          table_ready_o,
    input  logic                          valid_i,
    input  value_t [Lanes-1:0]            value_i,        ///< pre-activations, GeluIndexBits wide
    output logic                          valid_o,
    output logic   [Lanes-1:0][7:0]       value_o         ///< int8
);
  localparam int unsigned Entries = 1 << GeluIndexBits;
  localparam int unsigned AddrW = GeluIndexBits - 3;

  word_t word_q;
  logic [2:0] step_q;
  logic busy_q;
  logic [AddrW-1:0] write_addr_q;

  assign table_ready_o = !busy_q;
  always_ff @(posedge clk_i) begin
    if (busy_q) word_q <= word_q >> 64;
    if (table_valid_i && table_ready_o) word_q <= table_i;
    if (!rst_ni) begin
      busy_q <= 1'b0;
      step_q <= '0;
      write_addr_q <= '0;
    end else begin
      if (table_valid_i && table_ready_o) busy_q <= 1'b1;
      if (busy_q) begin
        step_q <= step_q + 1'b1;
        write_addr_q <= write_addr_q + 1'b1;
        if (step_q == 3'd7) busy_q <= 1'b0;
      end
    end
    valid_o <= valid_i && rst_ni;
  end

  for (genvar l = 0; l < int'(Lanes); l++) begin : gen_lane
    logic [GeluIndexBits-1:0] index;
    logic [2:0] byte_q;
    logic [7:0][7:0] row;
    assign index = {~value_i[l][GeluIndexBits-1], value_i[l][GeluIndexBits-2:0]};  // plus 2^(bits-1)
    always_ff @(posedge clk_i) byte_q <= index[2:0];
    m3vit_ram #(
        .Width(64),
        .Depth(Entries / 8),
        .Style("distributed")
    ) u_table (
        .clk_i,
        .write_i     (busy_q),
        .write_addr_i(write_addr_q),
        .write_data_i(word_q[63:0]),
        .read_i      (valid_i),
        .read_addr_i (index[GeluIndexBits-1:3]),
        .read_data_o (row)
    );
    assign value_o[l] = row[byte_q];
  end
endmodule
