# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Geometry of the report's figures, and numbers in words. Colours are CSS classes, so figures follow light and dark.

Bars and heat maps are plain HTML boxes that reflow on a phone; only the time line is SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from markupsafe import Markup

MISSING = "–"
LANES = ("input", "route", "load", "compute", "output")
LANE_TITLE = {
    "input": "load tokens", "route": "route", "load": "load weights", "compute": "compute", "output": "store result",
}  # fmt: skip
WIDTH, LEFT, TOP, LANE, GAP, AXIS = 960, 104, 8, 30, 8, 30
"""Sizes of the time line in SVG units."""


@dataclass(frozen=True)
class Segment:
    """A piece of a stacked bar."""

    label: str
    css: str
    value: float
    percent: float


def stack(parts: Sequence[tuple[str, str, float]], full: float) -> list[Segment]:
    """Segments (label, CSS class, value) of a bar whose whole width stands for `full`."""
    return [Segment(label, css, value, 100 * value / full if full else 0.0) for label, css, value in parts if value > 0]


def cycle_stack(row: dict[str, Any], full: float) -> list[Segment]:
    """Where the cycles of one operation went: the engine's counters, and what is left over."""
    counted = [
        ("computing", "c-blue", row["compute"]),
        ("waiting for weights", "c-orange", row["stall_weight"]),
        ("no command: routing, loading, draining", "c-sky", row["stall_input"]),
        ("waiting for the output", "c-purple", row["stall_output"]),
    ]
    rest = row["cycles"] - sum(value for _, _, value in counted)
    return stack([*counted, ("not counted", "c-grey", rest)], full)


ENERGY_CSS = {
    "mac": "c-blue", "vector": "c-sky", "on_chip_ram": "c-green", "dram": "c-orange", "core_power": "c-red",
    "board_power": "c-purple",
}  # fmt: skip


def energy_stack(energy: dict[str, Any], level: str, full: float) -> list[Segment]:
    """Items of an energy estimate at one level."""
    return stack([(i["title"], ENERGY_CSS[i["name"]], i[f"{level}_mj"]) for i in energy["items"]], full)


def heat(tokens: Sequence[float]) -> list[tuple[int, float, float]]:
    """(expert, mean tokens, shade 0..1) for a row of the heat map; the shade is relative to the row's largest queue."""
    top = max(tokens, default=0.0)
    return [(expert, value, value / top if top else 0.0) for expert, value in enumerate(tokens)]


def nice_ticks(last: float, count: int = 6) -> list[int]:
    """Round positions from 0 to `last`, at most about `count`."""
    if last <= 0:
        return [0]
    raw = last / count
    power = 10 ** floor(log10(raw)) if raw >= 1 else 1
    step = int(next(power * m for m in (1, 2, 5, 10) if power * m >= raw))
    return list(range(0, floor(last) + 1, step))


def timeline_svg(events: Sequence[dict[str, Any]]) -> Markup:
    """Time line of one operation: a lane per kind of work, a box per event, experts alternate in shade."""
    last = max((event["end"] for event in events), default=1) or 1
    scale = (WIDTH - LEFT - 12) / last
    height = TOP + len(LANES) * (LANE + GAP) + AXIS
    body = [*_axis(last, scale, height), *_lanes(), *(_box(event, scale) for event in events)]
    label = f"Time line of one MoE layer over {last:,} cycles"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">' + "".join(body) + "</svg>"
    )


def _lane_y(kind: str) -> int:
    return TOP + LANES.index(kind) * (LANE + GAP)


def _lanes() -> list[str]:
    return [
        f'<text class="lane" x="{LEFT - 10}" y="{_lane_y(kind) + LANE / 2 + 4}">{LANE_TITLE[kind]}</text>'
        for kind in LANES
    ]


def _axis(last: float, scale: float, height: int) -> list[str]:
    parts = []
    for tick in nice_ticks(last):
        x = LEFT + tick * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - AXIS}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - AXIS + 18}">{tick:,}</text>')
    return parts


def _box(event: dict[str, Any], scale: float) -> str:
    kind, expert = event["kind"], event["expert"]
    x, width = LEFT + event["start"] * scale, max((event["end"] - event["start"]) * scale, 1.0)
    shade = "" if expert is None else f" odd{expert % 2}"
    name = LANE_TITLE[kind] + ("" if expert is None else f", expert {expert}")
    title = escape(f"{name}: cycles {event['start']:,} to {event['end']:,}")
    box = f'<rect class="t-{kind}{shade}" x="{x:.1f}" y="{_lane_y(kind)}" width="{width:.1f}" height="{LANE}" rx="2"/>'
    text = ""
    if expert is not None and width >= 9 * len(str(expert)) + 4:
        text = f'<text class="inbox" x="{x + width / 2:.1f}" y="{_lane_y(kind) + LANE / 2 + 4}">{expert}</text>'
    return f"<g><title>{title}</title>{box}{text}</g>"


def number(value: float | None, digits: int = 3) -> str:
    """Thousands separated; below 1,000 with `digits` significant digits; a dash for None."""
    if value is None:
        return MISSING
    if value == 0 or abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    decimals = max(digits - 1 - floor(log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def size(value: float | None) -> str:
    """Bytes in B, KiB or MiB."""
    if value is None:
        return MISSING
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{value:,.0f} B"


def overlap_percent(events: Sequence[dict[str, Any]]) -> float | None:
    """Share of the weight-loading time that lies under computing; None without loads."""
    loads, computes = _merged(events, "load"), _merged(events, "compute")
    total = sum(end - start for start, end in loads)
    hidden = sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in loads for b in computes)
    return 100 * hidden / total if total else None


def _merged(events: Sequence[dict[str, Any]], kind: str) -> list[tuple[int, int]]:
    """Union of the intervals of one kind, ascending and disjoint."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((event["start"], event["end"]) for event in events if event["kind"] == kind):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    assert all(first[1] < second[0] for first, second in pairwise(merged))
    return merged


def columns(count: int) -> int:
    """Columns of a heat map row: all experts if they fit, else equal rows of at most 32."""
    return count if count <= 32 else ceil(count / ceil(count / 32))
