// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// One input channel of the MAC array: `Lanes` int8 weights times one int8 activation per cycle.
/// Two lanes share a DSP48E2: the pre-adder forms w1 * 2^18 + w0 and the cascade adds up to eight columns, whose sums
/// m3vit_pair_sum can tell apart. Weights are double-buffered: `load` fills the shadow register of one
/// lane, `fill` those of all lanes, while `swap` moves them into the multiplier together with the first row that uses
/// them. Latency: sum_o follows x_i after two cycles. Golden: sim/golden/linear.py accumulate (one term).
/// Sums and pairs have the width of machine words, which makes simulation ten times faster; the bits above 36 and 26 are
/// never used or copies of the sign, and synthesis drops them.
module m3vit_mac_column #(
    parameter int unsigned Lanes = 8,  ///< output channels, even
    localparam int unsigned Pairs = Lanes / 2
) (
    input  logic                            clk_i,
    input  logic                            valid_i,
    input  logic signed [              7:0] x_i,           ///< activation
    input  logic                            swap_i,        ///< x_i is the first to use the shadow weights
    input  logic                            load_i,        ///< write weight_i into the shadow of lane_i
    input  logic        [$clog2(Lanes)-1:0] lane_i,
    input  logic signed [              7:0] weight_i,
    input  logic                            fill_i,        ///< write weights_i into the shadows of all lanes
    input  logic        [   Lanes-1:0][7:0] weights_i,
    input  longint                          sum_i[Pairs],  ///< packed sums of the previous column
    output longint                          sum_o[Pairs]
);
  logic signed [7:0] shadow_q[Lanes];
  int pair_q[Pairs];  // AD register of the DSP
  logic signed [7:0] x_q;  // B register
  logic valid_q;

  always_ff @(posedge clk_i) begin
    automatic int pair[Pairs];
    automatic longint sum[Pairs];  // P register
    if (load_i) shadow_q[lane_i] <= weight_i;
    if (fill_i) for (int l = 0; l < int'(Lanes); l++) shadow_q[l] <= weights_i[l];
    if (valid_i) x_q <= x_i;
    valid_q <= valid_i;
    if (swap_i) begin
      for (int p = 0; p < int'(Pairs); p++) pair[p] = (32'(shadow_q[2*p+1]) <<< 18) + 32'(shadow_q[2*p]);
      pair_q <= pair;
    end
    if (valid_q) begin
      for (int p = 0; p < int'(Pairs); p++) sum[p] = sum_i[p] + 64'(pair_q[p]) * 64'(x_q);
      sum_o <= sum;
    end
  end
endmodule
