# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The time line of a frame as SVG."""

from collections.abc import Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from m3vit.sim.figures.axes import nice_ticks

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
