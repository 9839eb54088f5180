// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Probability of one key: 2^(score - maximum) in units of 2^-8, at most 255. Latency three cycles, one value per cycle.
/// Golden: sim/golden/attention.py probabilities.
/// A mantissa is 9 bits here, because rounding to a unit after a shift by one or more never looks at the others.
/// For distance = maximum - score - 1 the octave of the result is distance >> 8 below the first.
module m3vit_probability
  import m3vit_pkg::*;
(
    input  logic         clk_i,
    input  logic         valid_i,         ///< only saves toggling
    input  logic         exists_i,        ///< one cycle after the score: there is such a key
    input  value_t       score_i,
    input  value_t       max_i,           ///< of the row
    output logic   [7:0] act_o,           ///< probability - 128 as int8; 0 for a key that does not exist
    output logic   [7:0] probability_o    ///< 0 for a key that does not exist
);
  localparam int unsigned MantissaBits = 9;

  logic [1:0] valid_q, exists_q;
  logic signed [16:0] distance_q;  // -1 for the maximum itself
  logic top_q;
  logic [3:0] octave_q;
  logic [MantissaBits-1:0] mantissa_q, shifted;
  assign shifted = mantissa_q >> octave_q;

  always_ff @(posedge clk_i) begin
    valid_q  <= {valid_q[0], valid_i};
    exists_q <= {exists_q[0], exists_i};
    if (valid_i) distance_q <= 17'(max_i) + ~17'(score_i);
    if (valid_q[0]) begin
      top_q <= distance_q[16];
      octave_q <= |distance_q[15:12] ? '1 : distance_q[11:8];
      mantissa_q <= {1'b1, Exp2Mantissa[~distance_q[7:0]][14-:MantissaBits-1]};
    end
    if (valid_q[1])
      act_o <= !exists_q[0] ? '0 : top_q ? 8'h7F : 8'((shifted + MantissaBits'(1)) >> 1) ^ 8'h80;
  end
  assign probability_o = exists_q[1] ? act_o ^ 8'h80 : '0;
endmodule
