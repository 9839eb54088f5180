// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Square of an int16 without a multiplier: the sum of its 136 folded partial products. Latency two cycles.
/// A negative x has the magnitude ~x + 1, whose square is that of ~x plus 2 ~x + 1.
module m3vit_square
  import m3vit_pkg::*;
(
    input  logic          clk_i,
    input  logic          valid_i,  ///< only saves toggling
    input  value_t        x_i,
    output logic   [30:0] square_o
);
  localparam int unsigned Bits = 15;  // of ~x or x
  typedef logic [30:0] square_t;

  /// Products of bit i with itself and with all bits above it.
  function automatic square_t products(logic [Bits-1:0] x, int unsigned i);
    automatic logic [Bits-1:0] above = (x >> (i + 1)) << (i + 1);
    return x[i] ? (square_t'(above) << (i + 1)) | (square_t'(1) << (2 * i)) : '0;
  endfunction

  logic valid_q;
  logic [Bits-1:0] size;
  square_t quarter_q[4];
  assign size = x_i[15] ? ~x_i[Bits-1:0] : x_i[Bits-1:0];
  always_ff @(posedge clk_i) begin
    valid_q <= valid_i;
    if (valid_i) begin
      for (int unsigned i = 0; i < 3; i++)
        quarter_q[i] <= (products(size, 4 * i) + products(size, 4 * i + 1))
            + (products(size, 4 * i + 2) + products(size, 4 * i + 3));
      quarter_q[3] <= (products(size, 12) + products(size, 13)) + (products(size, 14)
          + (x_i[15] ? square_t'({size, 1'b1}) : '0));
    end
    if (valid_q) square_o <= (quarter_q[0] + quarter_q[1]) + (quarter_q[2] + quarter_q[3]);
  end
endmodule
