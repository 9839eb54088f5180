// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Ends the cascades of the MAC array: splits the packed sums of two lanes and adds those of all groups.
/// Latency two cycles, one row per cycle.
module m3vit_pair_sum #(
    parameter int unsigned Groups = 8,  ///< cascades, even
    parameter int unsigned Pairs = 4    ///< pairs of lanes
) (
    input  logic               clk_i,
    input  logic               valid_i,
    input  longint             sum_i[Groups][Pairs],
    output logic signed [20:0] partial_o[2*Pairs]
);
  int low_q[2][Pairs], high_q[2][Pairs];
  logic valid_q;

  always_ff @(posedge clk_i) begin
    automatic int low[2][Pairs];
    automatic int high[2][Pairs];
    valid_q <= valid_i;
    if (valid_i) begin
      for (int h = 0; h < 2; h++)
        for (int p = 0; p < int'(Pairs); p++) begin
          low[h][p]  = 0;
          high[h][p] = 0;
          for (int g = h * int'(Groups) / 2; g < (h + 1) * int'(Groups) / 2; g++) begin
            low[h][p] += 32'(signed'(sum_i[g][p][17:0]));
            // A negative low field has borrowed one from the high field.
            high[h][p] += 32'(signed'(sum_i[g][p][35:18])) + 32'(sum_i[g][p][17]);
          end
        end
      low_q  <= low;
      high_q <= high;
    end
    if (valid_q)
      for (int p = 0; p < int'(Pairs); p++) begin
        partial_o[2*p]   <= 21'(low_q[0][p] + low_q[1][p]);
        partial_o[2*p+1] <= 21'(high_q[0][p] + high_q[1][p]);
      end
  end
endmodule
