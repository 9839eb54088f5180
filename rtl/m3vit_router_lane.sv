// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Routes one token at a time: takes a row of logits, one expert per cycle, updates the token's top-k list and the sum
/// of its exponentials. With renormalise and the last logits of the token, the sum is over the chosen experts.
/// The time from start_i to valid_o depends on the settings only, not on the data.
module m3vit_router_lane
  import m3vit_pkg::*;
#(
    parameter int unsigned Lanes = 8,
    parameter int unsigned MaxTopK = 4
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic                       start_i,        ///< only when idle_o
    input  token_t                     token_i,
    input  value_t       [  Lanes-1:0] logits_i,
    input  expert_t                    expert_i,       ///< expert of logits_i[0]
    input  logic         [        7:0] count_i,        ///< valid logits, at least 1
    input  candidate_t   [MaxTopK-1:0] list_i,         ///< state after the earlier logits of the token
    input  exp_sum_t                   sum_i,
    input  logic                       renormalise_i,  ///< with the last logits: sum over the chosen experts
    input  logic         [        4:0] top_k_i,
    output logic                       idle_o,
    output logic                       valid_o,        ///< new state, one cycle
    output token_t                     token_o,
    output candidate_t   [MaxTopK-1:0] list_o,
    output exp_sum_t                   sum_o
);
  typedef enum logic [2:0] {
    Idle,
    Insert,
    Drain,
    Again,
    DrainAgain,
    Write
  } state_e;

  state_e state_q, state_d;
  logic [7:0] left_q, left_d;
  value_t [Lanes-1:0] logits_q;
  expert_t expert_q;
  token_t token_q;
  exp_sum_t sum_q;
  logic [1:0] adding_q;
  logic again_q;  // renormalise
  logic [4:0] slot_q;
  value_t exp_in;
  exp_t exp_out;
  logic feed;

  assign idle_o  = state_q == Idle;
  assign valid_o = state_q == Write;
  assign token_o = token_q;
  assign sum_o   = sum_q;
  assign feed    = state_q == Insert || state_q == Again;

  always_comb begin
    exp_in = logits_q[0];
    for (int i = 0; i < int'(MaxTopK); i++)
      if (state_q == Again && slot_q == 5'(i)) exp_in = list_o[i].logit;
  end

  always_comb begin
    state_d = state_q;
    left_d  = left_q - 1'b1;
    unique case (state_q)
      Idle: begin
        left_d = count_i;
        if (start_i) state_d = Insert;
      end
      Insert:
      if (left_q == 8'd1) begin
        state_d = Drain;
        left_d  = 8'd3;
      end
      Drain:
      if (left_q == 8'd1) begin
        state_d = again_q ? Again : Write;
        left_d  = 8'(top_k_i);
      end
      Again:
      if (left_q == 8'd1) begin
        state_d = DrainAgain;
        left_d  = 8'd3;
      end
      DrainAgain: if (left_q == 8'd1) state_d = Write;
      Write: state_d = Idle;
      default: state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    left_q <= left_d;
    adding_q <= {adding_q[0], feed};
    slot_q <= state_q == Again ? slot_q + 1'b1 : '0;
    if (idle_o && start_i) begin
      logits_q <= logits_i;
      expert_q <= expert_i;
      token_q  <= token_i;
      sum_q    <= sum_i;
      again_q  <= renormalise_i;
    end else begin
      if (state_q == Insert) begin
        logits_q <= logits_q >> 16;
        expert_q <= expert_q + 1'b1;
      end
      if (adding_q[1]) sum_q <= sum_q + exp_sum_t'(exp_out);
      if (state_q == Drain && state_d == Again) sum_q <= '0;
    end
    if (!rst_ni) state_q <= Idle;
    else state_q <= state_d;
  end

  m3vit_exp2 u_exp2 (
      .clk_i,
      .logit_i(exp_in),
      .exp_o  (exp_out)
  );
  m3vit_topk #(
      .MaxTopK(MaxTopK)
  ) u_topk (
      .clk_i,
      .set_i      (idle_o && start_i),
      .list_i,
      .insert_i   (state_q == Insert),
      .candidate_i('{valid: 1'b1, expert: expert_q, logit: logits_q[0]}),
      .list_o
  );
endmodule
