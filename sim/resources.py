# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Modelled FPGA resources of a hardware config: no synthesiser ran. sim/synthesis.py has what Yosys counts.

`MEMORIES` mirrors the RAM instances in rtl/ and `DSPS` its multipliers, one line each. Look-up tables and flip-flops
are not modelled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from m3vit.model.config import SHARE, UNIT_BYTES, WORD_BYTES, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.golden.arith import ACC_BITS
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.program import MAX_OPS
from m3vit.sim.regmap import COUNTER_SLOTS

Style = Literal["block", "ultra", "distributed", "registers"]

CANDIDATE_BITS, EXP_SUM_BITS, ENTRY_BITS = 27, 58, 29
"""Packed types of m3vit_pkg: candidate_t (valid, expert, logit), exp_sum_t, entry_t (token, gate)."""

RAMB36_SHAPES = ((72, 512), (36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768))
"""Width and depth of a RAMB36E2 as simple dual-port RAM (AMD UG573)."""
URAM_SHAPES = ((72, 4096),)
"""Width and depth of a URAM288 (AMD UG573)."""


@dataclass(frozen=True)
class Ram:
    """Equal RAMs: width in bits, depth in words."""

    width: int
    depth: int
    style: Style
    count: int = 1

    @property
    def bits(self) -> int:
        """Bits that hold data."""
        return self.width * self.depth * self.count

    def primitives(self, style: Style) -> int:
        """RAMB36 (block) or URAM288 (ultra) that the RAMs take; 0 for another style."""
        if style != self.style:
            return 0
        shapes = URAM_SHAPES if style == "ultra" else RAMB36_SHAPES
        return self.count * min(ceil(self.width / width) * ceil(self.depth / depth) for width, depth in shapes)


@dataclass(frozen=True)
class Resources:
    """Modelled use of the device. on_chip_bytes counts data, not the primitives' capacity."""

    dsp: int
    bram36: int
    uram: int
    on_chip_bytes: int
    source: str = "modelled, not synthesised"


ROW = 4096
"""Depth of a URAM288: m3vit_ram keeps up to 64 words beyond whole rows in LUT RAM (the class token)."""


def ultra(width: int, depth: int, count: int) -> Ram:
    """RAMs of style ultra as m3vit_ram builds them, without the few words in LUT RAM."""
    rest = depth % ROW if depth > ROW else 0
    return Ram(width, depth - (rest if rest <= 64 else 0), "ultra", count)


def words(hardware: HardwareConfig, channels: int) -> int:
    """On-chip words that hold a row of one-byte channels."""
    return ceil(channels / hardware.inputs)


def block_words(hardware: HardwareConfig) -> int:
    """Words of the stream buffer in block RAM: half of a deep one (m3vit_stream)."""
    return hardware.stream_words // 2 if hardware.stream_words > ROW else 0


def route_bits(hardware: HardwareConfig) -> int:
    """Bits of one token's entry in the route table."""
    return hardware.max_top_k * CANDIDATE_BITS + EXP_SUM_BITS


MEMORIES: dict[str, Callable[[HardwareConfig], Ram]] = {
    "x buffer": lambda h: ultra(8 * h.lanes, h.max_tokens * words(h, h.max_dim), h.inputs // h.lanes),
    "h buffer": lambda h: ultra(8 * h.lanes, h.max_tokens * words(h, h.max_hidden), h.inputs // h.lanes),
    "kv buffer": lambda h: ultra(64, h.max_tokens * words(h, 2 * h.max_dim) - h.lend_words, h.inputs // 8),
    "kv buffer, lent part": lambda h: ultra(64, h.lend_words, h.inputs // 8),
    "residual": lambda h: ultra(16 * h.lanes, h.max_tokens * ceil(h.max_dim / UNIT_BYTES), UNIT_BYTES // h.lanes),
    "weight stream": lambda h: Ram(8 * h.inputs, h.stream_words - block_words(h), "ultra"),
    "weight stream, block RAM": lambda h: Ram(8 * h.inputs, block_words(h), "block"),
    "attention scores": lambda h: Ram(16 * h.lanes, h.max_block * words(h, h.max_tokens), "block", h.inputs // h.lanes),
    "accumulators": lambda h: Ram(h.lanes * ACC_BITS, h.max_tokens, "block"),
    "route table": lambda h: Ram(route_bits(h), h.max_tokens, "block"),
    "token queues": lambda h: Ram(ENTRY_BITS, 2 * h.max_tokens, "block", 2),
    "GELU tables": lambda h: Ram(64, (1 << GELU_INDEX_BITS) // 8, "block", h.lanes),
    "counters": lambda h: Ram(9 * 32, COUNTER_SLOTS, "distributed"),
    "program, two copies": lambda h: Ram(8 * WORD_BYTES, MAX_OPS, "block", 2),
    "working weights": lambda h: Ram(8 * h.inputs, 2 * h.lanes, "registers"),
}
"""RAMs by purpose; none grows with the number of experts."""

DSPS: dict[str, Callable[[HardwareConfig], int]] = {
    "multiply-accumulate, two per DSP48E2": lambda h: ceil(h.macs_per_cycle / 2),
    "requantisation, one per lane": lambda h: h.lanes,
    "gates, one per lane": lambda h: h.lanes,
    "LayerNorm, one per lane and four per row": lambda h: h.lanes + 4,
    "attention, factors": lambda h: 3,
    "addresses and sizes": lambda h: 17,
}
"""Multipliers by purpose."""


def estimate(hardware: HardwareConfig) -> Resources:
    """Modelled resources of an accelerator."""
    rams = [make(hardware) for make in MEMORIES.values()]
    return Resources(
        dsp=sum(count(hardware) for count in DSPS.values()),
        bram36=sum(ram.primitives("block") for ram in rams),
        uram=sum(ram.primitives("ultra") for ram in rams),
        on_chip_bytes=on_chip_bytes(hardware),
    )


def on_chip_bytes(hardware: HardwareConfig) -> int:
    """Bytes of data the accelerator holds, all buffers together."""
    return ceil(sum(make(hardware).bits for make in MEMORIES.values()) / 8)


def check_board(hardware: HardwareConfig) -> Resources:
    """Check that an accelerator fits its board.

    Returns:
        The modelled resources.

    Raises:
        UserError: the first resource that does not suffice, with what is needed and what there is.
    """
    need, board = estimate(hardware), hardware.board
    limits = (
        ("DSP48E2", "dsp", need.dsp, board.dsp, "lanes"),
        ("RAMB36", "bram36", need.bram36, board.bram36, "max_tokens or lanes"),
        ("URAM288", "uram", need.uram, board.uram, "max_tokens, max_dim, max_hidden or stream_words"),
    )
    for name, field, value, total, knob in limits:
        allowed = int(SHARE[field] * total)
        if value > allowed:
            raise UserError(
                f"hardware '{hardware.name}' needs {value} {name}, but {board.name} has {total} of which {allowed} "
                f"({SHARE[field]:.0%}) may be used; lower {knob}"
            )
    return need
