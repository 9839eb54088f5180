// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The arithmetic units, `Copies` of each side by side, so that long sweeps take few cycles. Test only.
module unit_arith
  import m3vit_pkg::*;
#(
    parameter int unsigned Copies = 16,
    parameter int unsigned MaxTopK = 5
) (
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  logic requant_valid;
  logic [4:0] requant_bits;
  logic [Copies*AccBits-1:0] requant_acc;
  logic [Copies*MultiplierBits-1:0] requant_multiplier;
  logic [Copies*6-1:0] requant_shift;
  logic [Copies*16-1:0] requant_value;
  logic [Copies*16-1:0] exp2_logit;
  logic [Copies*$bits(exp_t)-1:0] exp2_value;
  logic [Copies*$bits(exp_t)-1:0] divider_numerator;
  logic [Copies*$bits(exp_sum_t)-1:0] divider_denominator;
  logic [Copies*$bits(gate_t)-1:0] divider_quotient;
  logic topk_set, topk_insert;
  logic [$bits(candidate_t)-1:0] topk_candidate;
  logic [MaxTopK*$bits(candidate_t)-1:0] topk_start, topk_list;
  /* verilator public_off */

  for (genvar i = 0; i < int'(Copies); i++) begin : gen_copy
    m3vit_requant u_requant (
        .clk_i,
        .valid_i     (requant_valid),
        .acc_i       (requant_acc[AccBits*i+:AccBits]),
        .multiplier_i(requant_multiplier[MultiplierBits*i+:MultiplierBits]),
        .shift_i     (requant_shift[6*i+:6]),
        .bits_i      (requant_bits),
        .value_o     (requant_value[16*i+:16])
    );
    m3vit_exp2 u_exp2 (
        .clk_i,
        .logit_i(exp2_logit[16*i+:16]),
        .exp_o  (exp2_value[$bits(exp_t)*i+:$bits(exp_t)])
    );
    m3vit_divider u_divider (
        .clk_i,
        .numerator_i  (divider_numerator[$bits(exp_t)*i+:$bits(exp_t)]),
        .denominator_i(divider_denominator[$bits(exp_sum_t)*i+:$bits(exp_sum_t)]),
        .quotient_o   (divider_quotient[$bits(gate_t)*i+:$bits(gate_t)])
    );
  end

  m3vit_topk #(
      .MaxTopK(MaxTopK)
  ) u_topk (
      .clk_i,
      .set_i      (topk_set),
      .list_i     (topk_start),
      .insert_i   (topk_insert),
      .candidate_i(topk_candidate),
      .list_o     (topk_list)
  );
endmodule
