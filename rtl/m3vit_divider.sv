// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Pipelined restoring division of a gate: floor(numerator * 2^15 / denominator) for numerator <= denominator.
/// One division per cycle, latency 16 cycles. Golden: sim/golden/moe.py gates (the quotient).
module m3vit_divider
  import m3vit_pkg::*;
#(
    localparam int unsigned Latency = GateFractionBits + 1
) (
    input  logic     clk_i,
    input  exp_t     numerator_i,
    input  exp_sum_t denominator_i,
    output gate_t    quotient_o
);
  typedef logic [$bits(exp_sum_t):0] rest_t;
  typedef struct packed {
    rest_t rest;
    exp_sum_t denominator;
    gate_t quotient;
  } stage_t;

  function automatic stage_t step(stage_t s);
    automatic logic fits = s.rest >= rest_t'(s.denominator);
    automatic rest_t rest = fits ? s.rest - rest_t'(s.denominator) : s.rest;
    return '{rest: rest << 1, denominator: s.denominator, quotient: {s.quotient[14:0], fits}};
  endfunction

  stage_t stage_q[Latency];
  always_ff @(posedge clk_i) begin
    stage_q[0] <= step('{rest: rest_t'(numerator_i), denominator: denominator_i, quotient: '0});
    for (int unsigned i = 1; i < Latency; i++) stage_q[i] <= step(stage_q[i-1]);
  end
  assign quotient_o = stage_q[Latency-1].quotient;
endmodule
