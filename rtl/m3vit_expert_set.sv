// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The experts that the tokens routed so far use: one bit for each expert a layer may have.
module m3vit_expert_set
  import m3vit_pkg::*;
#(
    parameter int unsigned MaxTopK = 4
) (
    input  logic                     clk_i,
    input  logic                     rst_ni,
    input  logic                     clear_i,
    input  logic                     insert_i,
    input  candidate_t [MaxTopK-1:0] list_i,    ///< with insert_i: a token's experts
    input  logic       [        4:0] top_k_i,
    input  expert_t                  expert_i,
    output logic                     used_o     ///< of expert_i, in the same cycle
);
  logic [MaxExperts-1:0] used_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) used_q <= '0;
    else if (insert_i)
      for (int i = 0; i < int'(MaxTopK); i++)
        if (5'(i) < top_k_i && list_i[i].valid) used_q[list_i[i].expert] <= 1'b1;
  end
  assign used_o = used_q[expert_i];
endmodule
