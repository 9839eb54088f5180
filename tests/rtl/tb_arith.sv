// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The arithmetic units side by side, `Copies` of each, so that long sweeps take few cycles. Test only.
module tb_arith
  import m3vit_pkg::*;
#(
    parameter int unsigned Copies = 16,
    parameter int unsigned MaxTopK = 5
) (
    input  logic                      clk_i,
    input  logic                      requant_valid_i,
    input  logic [Copies*AccBits-1:0] requant_acc_i,
    input  logic [     Copies*16-1:0] requant_multiplier_i,
    input  logic [      Copies*6-1:0] requant_shift_i,
    input  logic                      requant_narrow_i,
    output logic [     Copies*16-1:0] requant_value_o,
    input  logic [     Copies*16-1:0] exp2_logit_i,
    output logic [     Copies*47-1:0] exp2_value_o,
    input  logic [     Copies*47-1:0] divider_numerator_i,
    input  logic [     Copies*58-1:0] divider_denominator_i,
    output logic [     Copies*16-1:0] divider_quotient_o,
    input  logic                      topk_set_i,
    input  logic [    MaxTopK*27-1:0] topk_list_i,
    input  logic                      topk_insert_i,
    input  logic [              26:0] topk_candidate_i,
    output logic [    MaxTopK*27-1:0] topk_list_o
);
  for (genvar i = 0; i < int'(Copies); i++) begin : gen_copy
    m3vit_requant u_requant (
        .clk_i,
        .valid_i     (requant_valid_i),
        .acc_i       (requant_acc_i[AccBits*i+:AccBits]),
        .multiplier_i(requant_multiplier_i[16*i+:16]),
        .shift_i     (requant_shift_i[6*i+:6]),
        .narrow_i    (requant_narrow_i),
        .value_o     (requant_value_o[16*i+:16])
    );
    m3vit_exp2 u_exp2 (
        .clk_i,
        .logit_i(exp2_logit_i[16*i+:16]),
        .exp_o  (exp2_value_o[47*i+:47])
    );
    m3vit_divider u_divider (
        .clk_i,
        .numerator_i  (divider_numerator_i[47*i+:47]),
        .denominator_i(divider_denominator_i[58*i+:58]),
        .quotient_o   (divider_quotient_o[16*i+:16])
    );
  end

  m3vit_topk #(
      .MaxTopK(MaxTopK)
  ) u_topk (
      .clk_i,
      .set_i      (topk_set_i),
      .list_i     (topk_list_i),
      .insert_i   (topk_insert_i),
      .candidate_i(topk_candidate_i),
      .list_o     (topk_list_o)
  );
endmodule
