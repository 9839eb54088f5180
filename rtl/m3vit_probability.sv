// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// One attention probability: 2^(score - row maximum) in units of 1/256, at most 255. Latency two cycles.
/// Golden: sim/golden/attention.py probabilities.
module m3vit_probability
  import m3vit_pkg::*;
(
    input  logic         clk_i,
    input  logic         valid_i,    ///< only saves toggling
    input  value_t       score_i,
    input  value_t       maximum_i,
    output logic   [7:0] value_o
);
  localparam int unsigned MantissaBits = 15;
  localparam int unsigned ProbabilityBits = 8;
  localparam logic [3:0] LastOctave = 4'd10;  // below, everything rounds to zero

  logic signed [16:0] below;
  logic [8:0] octaves;
  logic [15:0] mantissa_q;
  logic [3:0] octaves_q;
  logic valid_q;
  logic [16:0] rounded;
  assign below   = 17'(score_i) - 17'(maximum_i);
  assign octaves = 9'(-(below >>> LogitFractionBits));
  // floor(x / 2^s + 1/2) with s = 7 + octaves
  assign rounded = (17'(mantissa_q >> (octaves_q + 4'(MantissaBits - ProbabilityBits - 1))) + 17'd1) >> 1;

  always_ff @(posedge clk_i) begin
    valid_q <= valid_i;
    if (valid_i) begin
      mantissa_q <= Exp2Mantissa[below[LogitFractionBits-1:0]];
      octaves_q  <= octaves > 9'(LastOctave) ? LastOctave : octaves[3:0];
    end
    if (valid_q) value_o <= octaves_q == LastOctave ? '0 : rounded > 17'd255 ? 8'd255 : rounded[7:0];
  end
endmodule
