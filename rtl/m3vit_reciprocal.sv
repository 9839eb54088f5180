// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Reciprocal of a positive integer: mantissa * 2^-exponent close to 1 / total. One per cycle, latency 17 cycles.
/// Golden: sim/golden/attention.py reciprocal.
/// The total is shifted up until its highest bit is set; then the quotient's highest bit is one, and restoring division
/// gives the others. For a power of two the rest stays as large as the divisor and all bits are ones, as they should be.
module m3vit_reciprocal
  import m3vit_pkg::*;
#(
    parameter  int unsigned Width = 18,                ///< bits of a total
    localparam int unsigned Latency = MultiplierBits + 1
) (
    input  logic                      clk_i,
    input  logic [         Width-1:0] total_i,
    output logic [MultiplierBits-1:0] mantissa_o,
    output logic [               5:0] exponent_o
);
  localparam int unsigned Steps = MultiplierBits - 1;
  typedef logic [Width:0] rest_t;
  typedef struct packed {
    rest_t rest;
    logic [Width-1:0] divisor;
    logic [MultiplierBits-1:0] quotient;
  } stage_t;

  function automatic logic [5:0] bits_of(logic [Width-1:0] x);
    automatic logic [5:0] bits = '0;
    for (int i = 0; i < int'(Width); i++) if (x[i]) bits = 6'(i + 1);
    return bits;
  endfunction

  function automatic stage_t step(stage_t s);
    automatic rest_t twice = s.rest << 1;
    automatic logic fits = twice >= rest_t'(s.divisor);
    return '{
        rest: fits ? twice - rest_t'(s.divisor) : twice,
        divisor: s.divisor,
        quotient: {s.quotient[MultiplierBits-2:0], fits}
    };
  endfunction

  logic [5:0] bits_q, bits_qq;
  logic [Width-1:0] total_q;
  stage_t start, stage_q[Steps+1];
  assign start.divisor = total_q << (6'(Width) - bits_q);
  assign start.rest = rest_t'(-start.divisor);  // 2^Width - divisor
  assign start.quotient = MultiplierBits'(1);
  always_ff @(posedge clk_i) begin
    total_q <= total_i;
    bits_q <= bits_of(total_i);
    bits_qq <= bits_q;
    stage_q[0] <= start;
    for (int unsigned i = 1; i <= Steps; i++) stage_q[i] <= step(stage_q[i-1]);
  end
  assign mantissa_o = stage_q[Steps].quotient;

  logic [5:0] bits;
  m3vit_delay #(
      .Stages(Latency - 2),
      .data_t(logic [5:0])
  ) u_bits (
      .clk_i,
      .data_i(bits_qq),
      .data_o(bits)
  );
  assign exponent_o = bits + 6'(MultiplierBits - 1);
endmodule
