# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Modelled FPGA resources of a hardware config: no synthesiser ran. sim/synthesis.py has what Yosys counts.

The model goes block by block, as the counts do. DSPs and RAMs follow Yosys' rules and equal its counts; LUTs and
flip-flops are fitted to its counts (sim/resource_fit.py, docs/resources.md).
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from math import ceil
from pathlib import Path

from m3vit.model.config import SHARE, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.memory_mapping import RAMB36_SHAPES, URAM_SHAPES, Ram
from m3vit.sim.resource_blocks import MODELS, shape
from m3vit.sim.resource_rules import MEMORIES, TABLES, block_words
from m3vit.sim.synthesis import Cells

__all__ = [
    "MEMORIES", "RAMB36_SHAPES", "TABLES", "URAM_SHAPES", "Ram", "Resources", "block_cells", "block_words",
    "check_board", "estimate", "on_chip_bytes",
]  # fmt: skip

FIT = Path(__file__).resolve().parent / "resource_fit.json"
"""Coefficients; `python -m m3vit.sim.resource_fit` rewrites it."""


@dataclass(frozen=True)
class Resources:
    """Modelled use of the device. A RAMB18E2 is half a bram36; on_chip_bytes counts data, not primitives' capacity."""

    dsp: int
    bram36: float
    uram: int
    lut: int
    ff: int
    on_chip_bytes: int
    source: str = "modelled, not synthesised"


@cache
def coefficients() -> dict[str, dict[str, dict[str, float]]]:
    """Coefficient by block, "lut" or "ff", and feature."""
    blocks: dict[str, dict[str, dict[str, float]]] = json.loads(FIT.read_text())["blocks"]
    return blocks


def block_cells(module: str, hardware: HardwareConfig) -> Cells:
    """Modelled primitives of one instance of a block.

    Args:
        module: a key of sim/synthesis.py BLOCKS.
        hardware: the accelerator that holds it.
    """
    made, fitted = shape(module, hardware), coefficients()[module]
    lut, ff = (round(weighted(sizes, fitted[kind])) for kind, sizes in (("lut", made.lut), ("ff", made.ff)))
    return made.known + Cells(lut=lut, ff=ff)


def weighted(features: dict[str, int], coefficient: dict[str, float]) -> float:
    """Sum of the features times their coefficients."""
    return sum(coefficient[name] * size for name, size in features.items())


def estimate(hardware: HardwareConfig) -> Resources:
    """Modelled resources of an accelerator."""
    blocks = (block_cells(module, hardware).times(block.copies(hardware)) for module, block in MODELS.items())
    return Resources(**asdict(sum(blocks, Cells())), on_chip_bytes=on_chip_bytes(hardware))


def on_chip_bytes(hardware: HardwareConfig) -> int:
    """Bytes of data the accelerator holds, all buffers and tables together."""
    rams = (*(make(hardware) for make in MEMORIES.values()), *TABLES.values())
    return ceil(sum(ram.bits for ram in rams) / 8)


LIMITS = {
    "dsp": ("DSP48E2", "lanes or groups"),
    "bram36": ("RAMB36", "max_tokens, max_block or lanes"),
    "uram": ("URAM288", "max_tokens, max_dim, max_hidden or stream_words"),
    "lut": ("LUTs", "lanes, groups, max_top_k or router_lanes"),
    "ff": ("flip-flops", "lanes or groups"),
}
"""Name of each resource in messages, and what to lower when it does not suffice."""


def check_board(hardware: HardwareConfig) -> Resources:
    """Check that an accelerator fits its board.

    Returns:
        The modelled resources.

    Raises:
        UserError: the first resource that does not suffice, with what is needed and what there is.
    """
    need, board = estimate(hardware), hardware.board
    for field, (name, knob) in LIMITS.items():
        value, total = getattr(need, field), getattr(board, field)
        allowed = int(SHARE[field] * total)
        if value > allowed:
            raise UserError(
                f"hardware '{hardware.name}' needs {value:g} {name}, but {board.name} has {total} of which {allowed} "
                f"({SHARE[field]:.0%}) may be used; lower {knob}"
            )
    return need
