// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Requantisation of one accumulator: multiply, round half up, shift right, saturate. Latency three cycles, one value per
/// cycle. Golden: sim/golden/arith.py requantise.
module m3vit_requant
  import m3vit_pkg::*;
(
    input  logic                             clk_i,
    input  logic                             valid_i,       ///< only saves toggling
    input  acc_t                             acc_i,
    input  logic        [MultiplierBits-1:0] multiplier_i,
    input  logic        [               5:0] shift_i,       ///< 1..MaxShift
    input  logic        [               4:0] bits_i,        ///< width to saturate to
    output value_t                           value_o
);
  localparam int unsigned ProductBits = AccBits + MultiplierBits + 1;
  typedef logic signed [ProductBits:0] product_t;

  typedef logic signed [17:0] near_t;  // one more bit than rounding leaves of the widest value, and one for its excess

  product_t product_q;
  near_t shifted_q;
  logic [5:0] shift_q;
  logic [1:0] valid_q;
  logic [4:0] bits_q, bits_qq;

  /// Saturates to 18 bits, and rounds half up: what leaves 16 bits before, does so after.
  function automatic near_t round_half(product_t twice);
    automatic near_t x = near_t'(twice);
    if (twice != product_t'(x)) x = {twice[ProductBits], {17{!twice[ProductBits]}}};
    return near_t'((19'(x) + 19'sd1) >>> 1);
  endfunction
  function automatic value_t saturate(near_t x, logic [4:0] bits);
    automatic near_t high = (near_t'(1) <<< (bits - 5'd1)) - near_t'(1);
    automatic near_t low = ~high;
    return x > high ? value_t'(high) : x < low ? value_t'(low) : value_t'(x);
  endfunction

  always_ff @(posedge clk_i) begin
    valid_q  <= {valid_q[0], valid_i};
    bits_q   <= bits_i;
    bits_qq  <= bits_q;
    if (valid_i) begin
      product_q <= product_t'(acc_i) * product_t'(signed'({1'b0, multiplier_i}));
      shift_q   <= shift_i;
    end
    // floor(x / 2^s + 1/2) without the constant 2^(s-1), which would need more bits than the product has.
    if (valid_q[0]) shifted_q <= round_half(product_q >>> (shift_q - 6'd1));
    if (valid_q[1]) value_o <= saturate(shifted_q, bits_qq);
  end
endmodule
