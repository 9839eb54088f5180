// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// 2^logit in fixed point: an exact shift and a 256-entry mantissa table. Latency two cycles, one value per cycle.
/// Golden: sim/golden/moe.py exp2_fixed.
module m3vit_exp2
  import m3vit_pkg::*;
(
    input  logic   clk_i,
    input  value_t logit_i,  ///< octaves, LogitFractionBits fraction bits
    output exp_t   exp_o     ///< units of 2^-31
);
  localparam value_t Limit = value_t'(LogitClipOctaves << LogitFractionBits);

  value_t clipped;
  logic [15:0] mantissa_q;
  logic [4:0] shift_q;
  assign clipped = logit_i >= Limit ? Limit - 1'b1 : logit_i < -Limit ? -Limit : logit_i;

  always_ff @(posedge clk_i) begin
    mantissa_q <= Exp2Mantissa[clipped[LogitFractionBits-1:0]];
    shift_q <= 5'(clipped >>> LogitFractionBits) + 5'(LogitClipOctaves);
    exp_o <= exp_t'(mantissa_q) << shift_q;
  end
endmodule
