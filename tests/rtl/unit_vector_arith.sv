// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// The arithmetic of attention and LayerNorm, `Copies` of each side by side, so that long sweeps take few cycles.
/// Test only.
module unit_vector_arith
  import m3vit_pkg::*;
#(
    parameter int unsigned Copies = 16,
    parameter int unsigned TotalW = 18,
    parameter int unsigned VarianceW = 48
) (
    input logic clk_i
);
  /* verilator public_flat_rw_on */
  logic [Copies*16-1:0] probability_score, probability_max;
  logic [Copies-1:0] probability_exists;
  logic [Copies*8-1:0] probability_act, probability_value;
  logic [Copies*TotalW-1:0] reciprocal_total;
  logic [Copies*16-1:0] reciprocal_mantissa;
  logic [Copies*6-1:0] reciprocal_exponent;
  logic [Copies*VarianceW-1:0] rsqrt_variance;
  logic [Copies*16-1:0] rsqrt_mantissa;
  logic [Copies*6-1:0] rsqrt_exponent;
  logic [Copies*16-1:0] square_x;
  logic [Copies*31-1:0] square_value;
  /* verilator public_off */

  logic [Copies-1:0] exists_q;
  always_ff @(posedge clk_i) exists_q <= probability_exists;
  for (genvar i = 0; i < int'(Copies); i++) begin : gen_copy
    m3vit_probability u_probability (
        .clk_i,
        .valid_i      (1'b1),
        .exists_i     (exists_q[i]),
        .score_i      (probability_score[16*i+:16]),
        .max_i        (probability_max[16*i+:16]),
        .act_o        (probability_act[8*i+:8]),
        .probability_o(probability_value[8*i+:8])
    );
    m3vit_reciprocal #(
        .Width(TotalW)
    ) u_reciprocal (
        .clk_i,
        .total_i   (reciprocal_total[TotalW*i+:TotalW]),
        .mantissa_o(reciprocal_mantissa[16*i+:16]),
        .exponent_o(reciprocal_exponent[6*i+:6])
    );
    m3vit_rsqrt #(
        .Width(VarianceW)
    ) u_rsqrt (
        .clk_i,
        .variance_i(rsqrt_variance[VarianceW*i+:VarianceW]),
        .mantissa_o(rsqrt_mantissa[16*i+:16]),
        .exponent_o(rsqrt_exponent[6*i+:6])
    );
    m3vit_square u_square (
        .clk_i,
        .valid_i (1'b1),
        .x_i     (square_x[16*i+:16]),
        .square_o(square_value[31*i+:31])
    );
  end
endmodule
