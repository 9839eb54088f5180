# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Geometry of the report's figures, and numbers in words. Colours are CSS classes, so figures follow light and dark.

Bars and heat maps are plain HTML boxes that reflow on a phone; only the time line is SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Any

from markupsafe import Markup

MISSING = "–"
LANES = ("input", "load", "norm", "compute", "output")
LANE_TITLE = {
    "input": "image, positions", "load": "load weights", "norm": "LayerNorm", "compute": "oldest in engine",
    "output": "store result",
}  # fmt: skip
SHORT = {
    "PATCH_EMBED": "patch", "LAYER_NORM": "norm", "LINEAR": "qkv", "ATTENTION": "att", "LINEAR_RESIDUAL": "proj",
    "MLP": "MLP", "MOE": "MoE", "HEAD": "head", "LOAD": "load", "STORE": "store",
}  # fmt: skip
"""Names of operations inside the boxes of the time line."""
WIDTH, LEFT, TOP, LANE, GAP, AXIS = 960, 118, 8, 30, 8, 30
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


def by_opcode(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Operations of each kind together, in the order in which they first appear; cycles are None if nothing ran."""
    kinds = dict.fromkeys(row["opcode"] for row in rows)
    return [_together(kind, [row for row in rows if row["opcode"] == kind]) for kind in kinds]


def _together(kind: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ran = all(row["cycles"] is not None for row in rows)
    counted = ("cycles", "compute", "stall_weight", "stall_input", "stall_output")
    sums = {name: sum(row[name] for row in rows) if ran else None for name in counted}
    bound = max(sum(row["bound_compute"] for row in rows), sum(row["bound_memory"] for row in rows))
    return {"opcode": kind, "count": len(rows), "bound": bound, **sums}


def share_percent(rows: Sequence[dict[str, Any]], counter: str, total: float | None) -> float | None:
    """Share of a counter in all cycles of a frame; None if nothing ran."""
    return 100 * sum(row[counter] for row in rows) / total if total else None


ENERGY_CSS = {
    "mac": "c-blue", "vector": "c-sky", "bram": "c-green", "uram": "c-teal", "axi": "c-yellow", "ddr": "c-orange",
    "clock": "c-red", "static": "c-brown", "ps": "c-purple", "board": "c-grey",
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


def timeline_svg(events: Sequence[dict[str, Any]], opcodes: Sequence[str]) -> Markup:
    """Time line of one frame: a lane per kind of work, a box per event, operations alternate in shade.

    Args:
        events: see `m3vit.sim.results.Event`.
        opcodes: names of the program's operations.
    """
    last = max((event["end"] for event in events), default=1) or 1
    scale = (WIDTH - LEFT - 12) / last
    height = TOP + len(LANES) * (LANE + GAP) + AXIS
    body = [*_axis(last, scale, height), *_lanes(), *(_box(event, scale, opcodes) for event in events)]
    label = f"Time line of one frame over {last:,} cycles"
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


def _box(event: dict[str, Any], scale: float, opcodes: Sequence[str]) -> str:
    kind, op, expert = event["kind"], event["op"], event["expert"]
    x, width = LEFT + event["start"] * scale, max((event["end"] - event["start"]) * scale, 0.5)
    name = f"{LANE_TITLE[kind]}: operation {op} {opcodes[op]}" + ("" if expert is None else f", expert {expert}")
    title = escape(f"{name}, cycles {event['start']:,} to {event['end']:,}")
    top, shade = _lane_y(kind), (op if expert is None else expert) % 2
    box = f'<rect class="t-{kind} odd{shade}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{LANE}" rx="1"/>'
    label, text = SHORT[opcodes[op]] if expert is None else str(expert), ""
    if width >= 7 * len(label) + 4:
        text = f'<text class="inbox" x="{x + width / 2:.1f}" y="{top + LANE / 2 + 4}">{label}</text>'
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


def columns(count: int) -> int:
    """Columns of a heat map row: all experts if they fit, else equal rows of at most 32."""
    return count if count <= 32 else ceil(count / ceil(count / 32))
