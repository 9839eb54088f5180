// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Ends the cascades of the MAC array: splits the packed sums of two lanes and adds those of each group of 32 inputs and
/// of all groups. Latency two cycles, one row per cycle.
/// A field of 18 bits holds -8 * 128 * 127 .. 8 * 128 * 128 (keys and values may be -128): all of its range but 2^17, which
/// takes the place of -2^17, a sum that cannot be.
module m3vit_pair_sum
  import m3vit_pkg::*;
#(
    parameter int unsigned Groups = 2,    ///< groups of inputs
    parameter int unsigned Cascades = 4,  ///< of a group
    parameter int unsigned Pairs = 4      ///< pairs of lanes
) (
    input  logic               clk_i,
    input  logic               valid_i,
    input  longint             sum_i[Groups*Cascades][Pairs],
    output sum_t   group_o[Groups][2*Pairs],
    output sum_t   total_o[2*Pairs]
);
  int sum_q[Groups][2*Pairs];
  logic valid_q;

  always_ff @(posedge clk_i) begin
    automatic int sum[Groups][2*Pairs];
    automatic int total;
    valid_q <= valid_i;
    if (valid_i) begin
      for (int g = 0; g < int'(Groups); g++)
        for (int p = 0; p < int'(Pairs); p++) begin
          sum[g][2*p]   = 0;
          sum[g][2*p+1] = 0;
          for (int c = 0; c < int'(Cascades); c++) begin
            automatic longint packed_sum = sum_i[g*int'(Cascades)+c][p];
            automatic logic negative = packed_sum[17] && packed_sum[16:0] != '0;
            sum[g][2*p] += 32'(signed'({negative, packed_sum[17:0]}));
            // A negative low field has borrowed one from the high field.
            sum[g][2*p+1] += 32'(signed'(packed_sum[36:18])) + 32'(negative);
          end
        end
      sum_q <= sum;
    end
    if (valid_q)
      for (int l = 0; l < int'(2 * Pairs); l++) begin
        total = 0;
        for (int g = 0; g < int'(Groups); g++) begin
          group_o[g][l] <= sum_t'(sum_q[g][l]);
          total += sum_q[g][l];
        end
        total_o[l] <= sum_t'(total);
      end
  end
endmodule
