# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Memory maps as stacked bars: the DRAM image row by row on one scale, and the on-chip RAMs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from m3vit.sim.figures.bars import Segment, stack
from m3vit.sim.figures.words import size

KIND_CSS = {
    "position": "c-teal", "patch": "c-yellow", "qkv": "c-sky", "proj": "c-green", "mlp": "c-blue",
    "experts": "c-orange", "routers": "c-red", "tables": "c-grey", "heads": "c-purple", "programs": "c-brown",
    "other": "c-grey",
}  # fmt: skip
"""Class of every kind of block, see `m3vit.sim.memory_map.KINDS`."""
ROW_TITLE = {
    "position": "position and patch embedding", "patch": "position and patch embedding", "programs": "programs",
}  # fmt: skip
"""Row of the map for kinds of blocks that stand outside the layers."""
CYCLE = (
    "c-blue", "c-orange", "c-green", "c-purple", "c-sky", "c-red", "c-yellow", "c-teal", "c-brown", "c-grey",
)  # fmt: skip
"""Classes that buffers get in turn."""


@dataclass(frozen=True)
class Row:
    """A row of the map of the image: neighbouring blocks that belong together."""

    title: str
    offset: int
    bytes: int
    share_percent: float
    segments: list[Segment]


def image_rows(image: dict[str, Any]) -> list[Row]:
    """A row per transformer block and for what lies before and behind them, all on the scale of the largest.

    Args:
        image: as `m3vit.sim.memory_map.image_map` gives it.
    """
    groups = [list(parts) for _, parts in groupby(image["parts"], key=_group)]
    full = max((sum(part["bytes"] for part in parts) for parts in groups), default=0)
    return [_row(parts, image["bytes"], full) for parts in groups]


def image_strip(image: dict[str, Any]) -> list[Segment]:
    """The whole image as one bar, in the order of the addresses; a segment per row and kind."""
    runs = [list(run) for _, run in groupby(image["parts"], key=lambda part: (_group(part), part["kind"]))]
    return stack([(_names(run), KIND_CSS[run[0]["kind"]], _sum(run)) for run in runs], image["bytes"])


def _group(part: dict[str, Any]) -> str:
    """Title of the row in which a block stands."""
    return ROW_TITLE.get(part["kind"], "last norm, heads") if part["layer"] is None else f"layer {part['layer']}"


def _row(parts: Sequence[dict[str, Any]], total: int, full: int) -> Row:
    segments = [(_names([part]), KIND_CSS[part["kind"]], part["bytes"]) for part in parts]
    return Row(_group(parts[0]), parts[0]["offset"], _sum(parts), 100 * _sum(parts) / total, stack(segments, full))


def _sum(parts: Sequence[dict[str, Any]]) -> int:
    return sum(part["bytes"] for part in parts)


def _names(parts: Sequence[dict[str, Any]]) -> str:
    names = [part["name"] for part in parts]
    return f"{names[0]}, {size(_sum(parts))}" if len(names) == 1 else f"{names[0]} to {names[-1]}, {size(_sum(parts))}"


def buffer_stack(buffers: Sequence[dict[str, Any]], primitive: str, available: int) -> list[Segment]:
    """Buffers in the RAM primitives of the board.

    Args:
        buffers: as `m3vit.sim.memory_map.on_chip_map` gives them.
        primitive: uram or bram36.
        available: primitives of the board: the whole width, or what is used if that is more.
    """
    used = [buffer for buffer in buffers if buffer[primitive]]
    full = max(available, sum(buffer[primitive] for buffer in used))
    return stack([(b["name"], CYCLE[i % len(CYCLE)], b[primitive]) for i, b in enumerate(used)], full)
