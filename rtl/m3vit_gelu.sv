// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// GELU by table: Lanes look-ups per cycle, one table copy per lane. The table comes as words of the weight stream, which
/// wait in a queue while eight bytes per cycle go to the copies. Latency one cycle. Golden: sim/golden/linear.py gelu.
module m3vit_gelu
  import m3vit_pkg::*;
#(
    parameter  int unsigned Lanes = 8,
    parameter  int unsigned Groups = 2,
    localparam int unsigned Inputs = UnitBytes * Groups
) (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    input  logic   [8*Inputs-1:0]     table_i,         ///< table words, entry 0 first
    input  logic                      table_valid_i,
    output logic                      table_ready_o,
    output logic                      table_loaded_o,  ///< the last table that has begun is complete; valid_i only then
    input  logic                      valid_i,
    input  value_t [Lanes-1:0]        value_i,         ///< pre-activations, GeluIndexBits wide
    output logic                      valid_o,
    output logic   [Lanes-1:0][7:0]   value_o          ///< int8
);
  localparam int unsigned Entries = 1 << GeluIndexBits;
  localparam int unsigned AddrW = GeluIndexBits - 3;
  localparam int unsigned Steps = Inputs / 8;
  localparam int unsigned StepW = $clog2(Steps);

  logic [8*Inputs-1:0] word_q, next_word;
  logic [StepW-1:0] step_q;
  logic busy_q, next_valid, next_take, write, last_entry;
  logic [AddrW-1:0] write_addr_q;

  m3vit_fifo #(
      .Depth ((Entries + Inputs - 1) / Inputs),
      .data_t(logic [8*Inputs-1:0])
  ) u_words (
      .clk_i,
      .rst_ni,
      .data_i (table_i),
      .valid_i(table_valid_i),
      .ready_o(table_ready_o),
      .data_o (next_word),
      .valid_o(next_valid),
      .ready_i(next_take)
  );
  assign last_entry = &write_addr_q;  // the rest of its word is padding
  assign next_take = !busy_q || step_q == StepW'(Steps - 1) || last_entry;
  assign write = busy_q;
  always_ff @(posedge clk_i) begin
    if (busy_q) word_q <= word_q >> 64;
    if (next_valid && next_take) word_q <= next_word;
    if (!rst_ni) begin
      busy_q <= 1'b0;
      step_q <= '0;
      write_addr_q <= '0;
      table_loaded_o <= 1'b0;
    end else begin
      if (next_take) busy_q <= next_valid;
      if (table_valid_i && table_ready_o) table_loaded_o <= 1'b0;
      if (busy_q) begin
        step_q <= next_take ? '0 : step_q + 1'b1;
        write_addr_q <= write_addr_q + 1'b1;
        if (last_entry) table_loaded_o <= 1'b1;
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
        .Style("block")
    ) u_table (
        .clk_i,
        .write_i     (write),
        .write_addr_i(write_addr_q),
        .write_data_i(word_q[63:0]),
        .read_i      (valid_i),
        .read_addr_i (index[GeluIndexBits-1:3]),
        .read_data_o (row)
    );
    assign value_o[l] = row[byte_q];
  end
endmodule
