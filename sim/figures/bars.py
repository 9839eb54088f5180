# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Stacked bars: plain HTML boxes that reflow on a phone, in widths of percent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Segment:
    """A piece of a stacked bar, as long as `percent` of the bar's width."""

    label: str
    css: str
    value: float
    percent: float


def stack(parts: Sequence[tuple[str, str, float]], full: float) -> list[Segment]:
    """Segments (label, CSS class, value) of a bar whose whole width stands for `full`."""
    return [Segment(label, css, value, 100 * value / full if full else 0.0) for label, css, value in parts if value > 0]


CYCLE_PARTS = (
    ("compute", "c-blue", "computing"),
    ("stall_weight", "c-orange", "waiting for weights"),
    ("stall_input", "c-sky", "waiting for rows: norm, routing, draining"),
    ("stall_output", "c-purple", "waiting for the output"),
)
"""Counter, CSS class and meaning."""
REST = ("c-grey", "nothing of these: filling, storing")
CYCLE_LEGEND = [*((css, label) for _, css, label in CYCLE_PARTS), REST]


def cycle_stack(row: dict[str, Any], full: float) -> list[Segment]:
    """Where the cycles of some operations went: the engine's counters, and what is left over."""
    counted = [(label, css, row[name]) for name, css, label in CYCLE_PARTS]
    rest = row["cycles"] - sum(value for _, _, value in counted)
    return stack([*counted, (REST[1], REST[0], rest)], full)


def share_percent(rows: Sequence[dict[str, Any]], counter: str, total: float | None) -> float | None:
    """Share of a counter in all cycles of a frame; None if nothing ran."""
    return 100 * sum(row[counter] for row in rows) / total if total else None
