# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Text of m3vit_rsqrt_table.sv from the golden table."""

from m3vit.rtl.package import LICENCE
from m3vit.sim.golden.norm import RSQRT_FIRST, RSQRT_FRACTION_BITS, RSQRT_INDEX_BITS, RSQRT_MANTISSA

MODULE = """\
/// 2**{fraction} / sqrt(index + 1/2), rounded, for the indexes from {first} on. Latency one cycle.
/// Golden: sim/golden/norm.py RSQRT_MANTISSA. A case statement, because every tool makes a ROM of it.
module m3vit_rsqrt_table
  import m3vit_pkg::*;
(
    input  logic                      clk_i,
    input  logic [{index_msb}:0] index_i,
    output logic [MultiplierBits-1:0] mantissa_o
);
  always_ff @(posedge clk_i) begin
    case (index_i)
{items}
      default: mantissa_o <= '0;
    endcase
  end
endmodule
"""


def rsqrt_table() -> str:
    """Text of m3vit_rsqrt_table.sv."""
    items = "\n".join(
        f"      {RSQRT_INDEX_BITS}'d{RSQRT_FIRST + i}: mantissa_o <= 16'd{value};"
        for i, value in enumerate(RSQRT_MANTISSA)
    )
    msb = f"{RSQRT_INDEX_BITS - 1}".rjust(len("MultiplierBits-1"))
    return LICENCE + MODULE.format(fraction=RSQRT_FRACTION_BITS, first=RSQRT_FIRST, index_msb=msb, items=items)
