# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""How Yosys maps the memories of the RTL to the RAM primitives of an UltraScale+ device.

m3vit_ram fixes the kind of primitive; Yosys chooses its width. It takes what costs least: the price of the cells, half
a unit for every bit of the multiplexer behind them, and half for every write enable in front of them. A primitive's
width may be filled by parts of several banks of words. Source: the pass memory_libmap of Yosys 0.70 and its cells for
the family (share/xilinx/brams_xc4v.txt, urams.txt, lutrams_xcu.txt); shapes as in AMD UG573.
tests/test_resources.py compares the result with every count that comes with the project.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Literal

Style = Literal["block", "ultra", "distributed", "registers"]

LUTS_PER_CELL = 8
"""LUTs of a RAM32M16 or RAM64M8."""
ULTRA_WORDS, MAX_REST = 4096, 64
"""m3vit_ram puts up to MAX_REST words beyond whole rows of an UltraRAM into LUT RAM (the class token)."""


@dataclass(frozen=True)
class Primitive:
    """A RAM cell as Yosys knows it.

    Attributes:
        name: of the cell.
        price: in units of Yosys' cost.
        depths: words by width in bits, narrow ones first: the order in which Yosys tries them.
        byte: bits that share a write enable; the width of a memory is rounded up to it.
        shared: the price is divided between the memories that use parts of a cell.
    """

    name: str
    price: int
    depths: dict[int, int]
    byte: int
    shared: bool = False


PRIMITIVES: dict[Style, tuple[Primitive, ...]] = {
    "block": (
        Primitive("RAMB18E2", 129, {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}, 9),
        Primitive("RAMB36E2", 257, {1: 32768, 2: 16384, 4: 8192, 9: 4096, 18: 2048, 36: 1024, 72: 512}, 9),
    ),
    "ultra": (Primitive("URAM288", 1024, {72: 4096}, 8), Primitive("URAM288", 1024, {72: 4096}, 9)),
    "distributed": (
        Primitive("RAM32M16", 16, {14: 32}, 14, shared=True),
        Primitive("RAM64M8", 16, {7: 64}, 7, shared=True),
    ),
    "registers": (),
}
"""Simple dual-port cells for each style of m3vit_ram, in Yosys' order."""

RAMB36_SHAPES = tuple(sorted(PRIMITIVES["block"][-1].depths.items(), reverse=True))
URAM_SHAPES = tuple(PRIMITIVES["ultra"][-1].depths.items())
"""Width and depth of a RAMB36E2 and of a URAM288, wide ones first."""


@dataclass(frozen=True)
class Mapping:
    """Primitives of one memory.

    Attributes:
        bram36: RAMB36E2, a RAMB18E2 counts half.
        uram: URAM288.
        lut: LUTs that hold data.
        ff: output registers of LUT RAM; the other primitives have their own.
        banks: groups of words in cells of their own; a multiplexer chooses between their outputs.
    """

    bram36: float = 0
    uram: int = 0
    lut: int = 0
    ff: int = 0
    banks: int = 1

    def times(self, number: int) -> "Mapping":
        """Primitives of that many memories."""
        return Mapping(number * self.bram36, number * self.uram, number * self.lut, number * self.ff, self.banks)


@dataclass(frozen=True)
class Ram:
    """Equal memories: width in bits, depth in words.

    The lowest `unread` bits of a word are written and never read: a cell that holds nothing else disappears.
    """

    width: int
    depth: int
    style: Style
    count: int = 1
    unread: int = 0

    @property
    def bits(self) -> int:
        """Bits that hold data."""
        return self.width * self.depth * self.count

    @property
    def mapping(self) -> Mapping:
        """Primitives of all of them."""
        return map_ram(self.width, self.depth, self.style, self.unread).times(self.count)


@dataclass(frozen=True)
class Geometry:
    """One way to build a memory: its cost, the width of a cell, a word's bits as the cells hold it, banks."""

    cost: float
    unit: int
    padded: int
    banks: int

    def cells(self, width: int, unread: int) -> int:
        """Cells in which a bit is read."""
        used = {
            (bank * self.padded + bit) // self.unit
            for bank in range(self.banks)
            for bit in {*range(unread, width, self.unit), width - 1}
        }
        return len(used)


def geometries(width: int, depth: int, cell: Primitive) -> Iterator[Geometry]:
    """One geometry for each width of a cell."""
    for unit, words in cell.depths.items():
        byte = min(cell.byte, unit)
        banks, padded = ceil(depth / words), ceil(width / byte) * byte
        paid = banks * width / unit if cell.shared else ceil(banks * padded / unit)
        cost = cell.price * paid + ((banks - 1) * width + (banks if banks > 1 else 0)) / 2
        yield Geometry(cost, unit, padded, banks)


def cheapest(width: int, depth: int, cell: Primitive) -> Geometry:
    """The geometry that Yosys chooses: it compares with the integer part of the best cost so far."""
    options = geometries(width, depth, cell)
    best = next(options)
    for option in options:
        if option.cost < int(best.cost):
            best = option
    return best


@cache
def map_ram(width: int, depth: int, style: Style, unread: int = 0) -> Mapping:
    """Primitives of one memory.

    Args:
        width: bits of a word.
        depth: words.
        style: ram_style of m3vit_ram; memories in registers take none.
        unread: lowest bits of a word that nobody reads.
    """
    rest = depth % ULTRA_WORDS
    if style == "ultra" and depth > ULTRA_WORDS and 0 < rest <= MAX_REST:
        main, few = map_ram(width, depth - rest, "ultra"), map_ram(width, rest, "distributed")
        return replace(few, uram=main.uram, banks=main.banks + 1)
    if not depth or not PRIMITIVES[style]:
        return Mapping()
    options = ((cell.name, cheapest(width, depth, cell)) for cell in PRIMITIVES[style])
    name, geometry = min(options, key=lambda option: option[1].cost)
    cells = geometry.cells(width, unread)
    return Mapping(
        bram36={"RAMB18E2": 0.5, "RAMB36E2": 1.0}.get(name, 0.0) * cells,
        uram=cells if style == "ultra" else 0,
        lut=cells * LUTS_PER_CELL if style == "distributed" else 0,
        ff=width if style == "distributed" else 0,
        banks=geometry.banks,
    )
