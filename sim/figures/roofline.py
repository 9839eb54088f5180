# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Rooflines as SVG on logarithmic axes: MAC/cycle over MAC per DRAM byte, one roof and its points per design."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from markupsafe import Markup

from m3vit.sim.figures.axes import LogScale, nice_above, nice_below
from m3vit.sim.figures.timeline import SHORT
from m3vit.sim.figures.words import number
from m3vit.sim.op_classes import kind_of_source
from m3vit.sim.roofline import FRAME, MODELLED_FRAME

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 22, 54
"""Margins in SVG units."""
MARGIN = 8
"""The axes reach this factor to both sides of the ridge, and below the peak; points may widen them."""
FARTHEST = 20
"""Points beyond this factor from the ridge do not widen the axis: they are drawn at its edge."""
FRAMES = {FRAME: "frame", MODELLED_FRAME: "frame, cycle model"}
FRAME_REACH = {FRAME: 7, MODELLED_FRAME: 10}
"""From the middle to the corners of a frame's diamond: the model's stands around the measured one."""
LETTER, LINE, GAP = 6.8, 14, 9
"""Width of a letter and height of a line of a label, and its distance from the marker, in SVG units."""
SHIFTS = (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6)
"""Lines by which a label may give way to others."""


@dataclass(frozen=True)
class Series:
    """A roofline (see `m3vit.sim.roofline`) and how it is drawn: the label of its roof, and a CSS class."""

    label: str
    css: str
    roofline: dict[str, Any]


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True)
class Axes:
    """The two scales."""

    x: LogScale
    y: LogScale

    def marker(self, point: dict[str, Any]) -> tuple[float, float]:
        """Where a point lies; at the edge if it is beyond."""
        return self.x.at(point["intensity"]), self.y.at(point["macs_per_cycle"])


def axes(series: Sequence[Series]) -> Axes:
    """Scales that hold the ridge of every roof and all points but the farthest."""
    ridges = [one.roofline["ridge"] for one in series]
    peaks = [one.roofline["peak_macs_per_cycle"] for one in series]
    points = [point for one in series for point in one.roofline["points"]]
    inside = [p["intensity"] for p in points if min(ridges) / FARTHEST <= p["intensity"] <= max(ridges) * FARTHEST]
    attained = [p["macs_per_cycle"] for p in points]
    left = nice_below(min(min(ridges) / MARGIN, *(x / 1.2 for x in inside), *ridges))
    right = nice_above(max(max(ridges) * MARGIN, *(x * 1.2 for x in inside), *ridges))
    low = nice_below(min(min(peaks) / MARGIN, *(y / 1.2 for y in attained), *peaks))
    high = nice_above(1.2 * max(*attained, *peaks, 0))
    return Axes(LogScale(left, right, LEFT, WIDTH - RIGHT), LogScale(low, high, HEIGHT - BOTTOM, TOP))


def roofline_svg(series: Sequence[Series]) -> Markup:
    """The figure.

    Circles are operation classes, diamonds whole frames; filled ones were measured, hollow ones modelled. A triangle
    at the edge says that the point lies beyond.
    """
    scales = axes(series)
    roofs = _roof_boxes(series, scales)
    placed = [_marker_box(*scales.marker(p)) for one in series for p in one.roofline["points"]] + roofs
    body = [*_grid(scales), *(_roof(one, box, scales) for one, box in zip(series, roofs, strict=True))]
    for one in series:
        drawn = [_labelled(point, one, scales, placed) for point in one.roofline["points"]]
        body.append(f'<g class="{one.css}">{"".join(drawn)}</g>')
    label = escape("Roofline: " + "; ".join(_sentence(one) for one in series))
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">' + "".join(body) + "</svg>")


def _sentence(one: Series) -> str:
    points = (
        f"{p['name']} {number(p['macs_per_cycle'])} MAC/cycle at {number(p['intensity'])} MAC/byte"
        for p in one.roofline["points"]
    )
    return f"{one.label}, peak {number(one.roofline['peak_macs_per_cycle'])} MAC/cycle, " + ", ".join(points)


def _grid(scales: Axes) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in scales.x.ticks():
        x = scales.x.at(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 17}">{tick:,g}</text>'
    for tick in scales.y.ticks():
        y = scales.y.at(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="ytick" x="{LEFT - 8}" y="{y + 4:.1f}">{tick:,g}</text>'
    centre, middle = (LEFT + right) / 2, (TOP + bottom) / 2
    yield f'<text class="axis" x="{centre}" y="{HEIGHT - 12}">operational intensity, MAC per DRAM byte</text>'
    yield f'<text class="axis" transform="translate(14 {middle}) rotate(-90)">MAC per cycle</text>'


def _roof(one: Series, box: Box, scales: Axes) -> str:
    peak, width = one.roofline["peak_macs_per_cycle"], one.roofline["bytes_per_cycle"]
    first = max(scales.x.low, scales.y.low / width)
    corners = ((first, width * first), (one.roofline["ridge"], peak), (scales.x.high, peak))
    path = " ".join(f"{scales.x.at(x):.1f},{scales.y.at(y):.1f}" for x, y in corners)
    words = (
        f'<text class="rooftext" x="{box.x + box.width:.1f}" y="{box.y + LINE - 4:.1f}">{escape(_words(one))}</text>'
    )
    return f'<g class="{one.css}"><polyline class="roof" points="{path}"/>{words}</g>'


def _words(one: Series) -> str:
    peak, width = one.roofline["peak_macs_per_cycle"], one.roofline["bytes_per_cycle"]
    return f"{one.label}{number(peak)} MAC/cycle, {number(width)} B/cycle"


def _roof_boxes(series: Sequence[Series], scales: Axes) -> list[Box]:
    """Where the words of the roofs stand: above the flat part, at the right edge, equal roofs' above each other."""
    boxes: list[Box] = []
    for one in series:
        width = LETTER * len(_words(one))
        box = Box(WIDTH - RIGHT - 4 - width, scales.y.at(one.roofline["peak_macs_per_cycle"]) - 16, width, LINE)
        while any(box.meets(other) for other in boxes):
            box = replace(box, y=box.y - 1)
        boxes.append(box)
    return boxes


def _labelled(point: dict[str, Any], one: Series, scales: Axes, placed: list[Box]) -> str:
    """A marker with its title and its label, which gives way to what is in `placed` and is added to it."""
    x, y = scales.marker(point)
    words = FRAMES.get(point["name"]) or SHORT[point["name"]]
    box = _free_place(x, y, words, placed)
    placed.append(box)
    middle = box.y + LINE / 2
    end = box.x if box.x > x else box.x + box.width
    leader = f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{middle:.1f}"/>' if middle != y else ""
    title = escape(
        f"{one.label}{point['name']}: {number(point['macs_per_cycle'])} MAC/cycle at {number(point['intensity'])} "
        f"MAC/byte, {kind_of_source(point['source'])}"
    )
    label = f'<text class="label" x="{box.x + 2:.1f}" y="{middle + 4:.1f}">{escape(words)}</text>'
    return f"<g><title>{title}</title>{leader}{_marker(point, scales)}{label}</g>"


def _free_place(x: float, y: float, words: str, placed: Sequence[Box]) -> Box:
    """The nearest free box for a label beside a marker: right of it or left, on its height or some lines away."""
    width = LETTER * len(words) + 4
    for shift in SHIFTS:
        for left in (x + GAP + 5 * (shift != 0), x - GAP - 5 * (shift != 0) - width):
            box = Box(left, y - LINE / 2 + shift * LINE, width, LINE)
            inside = left > LEFT and left + width < WIDTH and box.y > TOP and box.y + LINE < HEIGHT - BOTTOM
            if inside and not any(box.meets(other) for other in placed):
                return box
    return Box(x + GAP, y - LINE / 2, width, LINE)


def _marker_box(x: float, y: float) -> Box:
    return Box(x - 5, y - 5, 10, 10)


def _marker(point: dict[str, Any], scales: Axes) -> str:
    x, y = scales.marker(point)
    css = "rtl" if point["source"] == "rtl" else "model"
    if not scales.x.low <= point["intensity"] <= scales.x.high:
        side = 1 if point["intensity"] > scales.x.high else -1
        return _path(css, (x - 6 * side, y - 5), (x + 3 * side, y), (x - 6 * side, y + 5))
    if point["name"] in FRAMES:
        reach = FRAME_REACH[point["name"]]
        return _path(css, (x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y))
    return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'


def _path(css: str, *corners: tuple[float, float]) -> str:
    return f'<path class="{css}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in corners)}Z"/>'
