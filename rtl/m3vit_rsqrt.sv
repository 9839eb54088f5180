// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Reciprocal square root: mantissa * 2^-(21 + exponent) close to 1 / sqrt(variance); zero is treated as one.
/// One per cycle, latency four cycles. Golden: sim/golden/norm.py rsqrt.
/// The variance is shifted up by pairs of bits until one of the two highest is set; the highest twelve are the index.
module m3vit_rsqrt
  import m3vit_pkg::*;
#(
    parameter int unsigned Width = 48  ///< bits of a variance, even
) (
    input  logic                             clk_i,
    input  logic        [         Width-1:0] variance_i,
    output logic        [MultiplierBits-1:0] mantissa_o,
    output logic signed [               5:0] exponent_o
);
  localparam int unsigned IndexBits = 12;
  localparam int unsigned Pairs = Width / 2;
  localparam int unsigned PairW = $clog2(Pairs);
  localparam int signed Highest = (int'(Width) - int'(IndexBits)) / 2;  // exponent without a shift
  typedef logic [PairW-1:0] pairs_t;

  /// Pairs of zeros above the highest one.
  function automatic pairs_t zero_pairs(logic [Width-1:0] x);
    automatic pairs_t pairs = '0;
    for (int i = 0; i < int'(Pairs); i++) if (|x[2*i+:2]) pairs = pairs_t'(int'(Pairs) - 1 - i);
    return pairs;
  endfunction

  logic [Width-1:0] variance, variance_q, shifted;
  pairs_t pairs_q, pairs_qq;
  logic [IndexBits-1:0] index_q;
  logic [MultiplierBits-1:0] mantissa;
  logic signed [5:0] exponent_q;
  assign variance = variance_i | Width'(variance_i == '0);
  assign shifted = variance_q << {pairs_q, 1'b0};

  always_ff @(posedge clk_i) begin
    variance_q <= variance;
    pairs_q <= zero_pairs(variance);
    index_q <= shifted[Width-1-:IndexBits];
    pairs_qq <= pairs_q;
    exponent_q <= 6'(Highest) - 6'(pairs_qq);
    mantissa_o <= mantissa;
    exponent_o <= exponent_q;
  end
  m3vit_rsqrt_table u_table (
      .clk_i,
      .index_i   (index_q),
      .mantissa_o(mantissa)
  );
endmodule
