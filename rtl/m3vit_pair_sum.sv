// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Ends the cascades of the MAC array: splits the packed sums of two lanes and adds those of each group of 32 inputs and
/// of all groups. Latency two cycles, one row per cycle.
module m3vit_pair_sum #(
    parameter int unsigned Groups = 2,    ///< groups of inputs
    parameter int unsigned Cascades = 4,  ///< of a group
    parameter int unsigned Pairs = 4      ///< pairs of lanes
) (
    input  logic               clk_i,
    input  logic               valid_i,
    input  longint             sum_i[Groups*Cascades][Pairs],
    output logic signed [20:0] group_o[Groups][2*Pairs],
    output logic signed [20:0] total_o[2*Pairs]
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
            sum[g][2*p] += 32'(signed'(packed_sum[17:0]));
            // A negative low field has borrowed one from the high field.
            sum[g][2*p+1] += 32'(signed'(packed_sum[35:18])) + 32'(packed_sum[17]);
          end
        end
      sum_q <= sum;
    end
    if (valid_q)
      for (int l = 0; l < int'(2 * Pairs); l++) begin
        total = 0;
        for (int g = 0; g < int'(Groups); g++) begin
          group_o[g][l] <= 21'(sum_q[g][l]);
          total += sum_q[g][l];
        end
        total_o[l] <= 21'(total);
      end
  end
endmodule
