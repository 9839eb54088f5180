// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// First-in first-out queue in registers or LUT RAM, data visible at the output one cycle after the push.
/// Full throughput at any depth. Does not pass data through when empty.
module m3vit_fifo #(
    parameter int unsigned Depth = 4,  ///< entries, at least 1
    parameter type data_t = logic [7:0]
) (
    input  logic  clk_i,
    input  logic  rst_ni,
    input  data_t data_i,
    input  logic  valid_i,
    output logic  ready_o,
    output data_t data_o,
    output logic  valid_o,
    input  logic  ready_i
);
  localparam int unsigned IndexW = Depth > 1 ? $clog2(Depth) : 1;
  typedef logic [IndexW-1:0] index_t;

  data_t mem_q[Depth];
  index_t head_q, tail_q;
  logic [$clog2(Depth+1)-1:0] count_q;
  logic push, pop;

  assign ready_o = count_q != $bits(count_q)'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = mem_q[head_q];
  assign push    = valid_i && ready_o;
  assign pop     = valid_o && ready_i;

  function automatic index_t next(index_t index);
    return index == index_t'(Depth - 1) ? '0 : index + 1'b1;
  endfunction

  always_ff @(posedge clk_i) begin
    if (push) mem_q[tail_q] <= data_i;
    if (!rst_ni) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) tail_q <= next(tail_q);
      if (pop) head_q <= next(head_q);
      count_q <= count_q + $bits(count_q)'(push) - $bits(count_q)'(pop);
    end
  end
endmodule
