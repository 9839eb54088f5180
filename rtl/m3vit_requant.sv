// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Requantisation of one accumulator: multiply, round half up, shift right, saturate to 16 bits or to the width of the
/// GELU index. Latency three cycles, one value per cycle. Golden: sim/golden/arith.py requantise.
module m3vit_requant
  import m3vit_pkg::*;
(
    input  logic                             clk_i,
    input  logic                             valid_i,       ///< only saves toggling
    input  acc_t                             acc_i,
    input  logic        [MultiplierBits-1:0] multiplier_i,
    input  logic        [               5:0] shift_i,       ///< 1..MaxShift
    input  logic                             narrow_i,      ///< saturate to GeluIndexBits instead of 16 bits
    output value_t                           value_o
);
  localparam int unsigned ProductBits = AccBits + MultiplierBits + 1;
  typedef logic signed [ProductBits:0] product_t;

  product_t product_q, shifted_q;
  logic [5:0] shift_q;
  logic [1:0] valid_q, narrow_q;

  function automatic value_t saturate(product_t x, logic narrow);
    automatic product_t high = narrow ? (product_t'(1) <<< (GeluIndexBits - 1)) - 1 : product_t'(32767);
    automatic product_t low = ~high;
    return x > high ? value_t'(high) : x < low ? value_t'(low) : value_t'(x);
  endfunction

  always_ff @(posedge clk_i) begin
    valid_q  <= {valid_q[0], valid_i};
    narrow_q <= {narrow_q[0], narrow_i};
    if (valid_i) begin
      product_q <= product_t'(acc_i) * product_t'(signed'({1'b0, multiplier_i}));
      shift_q   <= shift_i;
    end
    // floor(x / 2^s + 1/2) without the constant 2^(s-1), which would need more bits than the product has.
    if (valid_q[0]) shifted_q <= ((product_q >>> (shift_q - 6'd1)) + product_t'(1)) >>> 1;
    if (valid_q[1]) value_o <= saturate(shifted_q, narrow_q[1]);
  end
endmodule
