// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Pipelined reciprocal of a positive sum of n bits: min(2^(n+15) / sum, 65535), and n. One per cycle, latency Latency
/// cycles. Golden: sim/golden/attention.py reciprocal.
module m3vit_reciprocal #(
    parameter  int unsigned SumBits = 19,
    localparam int unsigned Steps = 17,
    localparam int unsigned Latency = Steps + 1
) (
    input  logic               clk_i,
    input  logic [SumBits-1:0] sum_i,
    output logic [       15:0] mantissa_o,
    output logic [        4:0] bits_o
);
  typedef struct packed {
    logic [SumBits:0] rest;
    logic [SumBits-1:0] sum;
    logic [Steps-1:0] quotient;
    logic [4:0] bits;
  } stage_t;

  function automatic stage_t step(stage_t s);
    automatic logic fits = s.rest >= (SumBits + 1)'(s.sum);
    automatic logic [SumBits:0] rest = fits ? s.rest - (SumBits + 1)'(s.sum) : s.rest;
    return '{rest: rest << 1, sum: s.sum, quotient: {s.quotient[Steps-2:0], fits}, bits: s.bits};
  endfunction

  stage_t stage_q[Latency];
  always_ff @(posedge clk_i) begin
    automatic logic [4:0] bits = 5'd1;
    for (int b = 0; b < int'(SumBits); b++) if (sum_i[b]) bits = 5'(b + 1);
    stage_q[0] <= '{rest: (SumBits + 1)'(1) << (bits - 5'd1), sum: sum_i, quotient: '0, bits: bits};
    for (int unsigned i = 1; i < Latency; i++) stage_q[i] <= step(stage_q[i-1]);
  end
  assign mantissa_o = stage_q[Latency-1].quotient[Steps-1] ? '1 : stage_q[Latency-1].quotient[15:0];
  assign bits_o = stage_q[Latency-1].bits;
endmodule
