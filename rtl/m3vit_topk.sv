// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Exact top-k by insertion: one candidate per cycle into a sorted list, largest first. An equal logit ranks behind, so
/// with candidates in ascending order ties go to the lower expert. Golden: sim/golden/moe.py top_k.
module m3vit_topk
  import m3vit_pkg::*;
#(
    parameter int unsigned MaxTopK = 4
) (
    input  logic                     clk_i,
    input  logic                     set_i,        ///< replace the list by list_i
    input  candidate_t [MaxTopK-1:0] list_i,
    input  logic                     insert_i,
    input  candidate_t               candidate_i,
    output candidate_t [MaxTopK-1:0] list_o
);
  candidate_t [MaxTopK-1:0] list_q;
  logic [MaxTopK-1:0] ahead;  // the candidate ranks before entry i
  always_comb
    for (int i = 0; i < int'(MaxTopK); i++)
      ahead[i] = !list_q[i].valid || candidate_i.logit > list_q[i].logit;

  always_ff @(posedge clk_i) begin
    if (set_i) list_q <= list_i;
    else if (insert_i)
      for (int i = 0; i < int'(MaxTopK); i++)
        if (ahead[i]) list_q[i] <= i > 0 && ahead[i-1] ? list_q[i-1] : candidate_i;
  end
  assign list_o = list_q;
endmodule
