# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Geometry of the report's figures: known values lie at known places."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from typing import Any

import pytest

from m3vit.model.config import HARDWARE
from m3vit.sim.figures import number, size
from m3vit.sim.figures.axes import LogScale, nice_above, nice_below, nice_ticks
from m3vit.sim.figures.bars import cycle_stack, share_percent, stack
from m3vit.sim.figures.energy import tornado
from m3vit.sim.figures.heat import columns, heat
from m3vit.sim.figures.memory import buffer_stack, image_rows, image_strip
from m3vit.sim.figures.roofline import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, axes, roofline_svg
from m3vit.sim.figures.timeline import timeline_svg
from m3vit.sim.op_classes import by_opcode, source_of
from m3vit.sim.roofline import roof, roofline


def row(opcode: str, macs: int, moved: int, cycles: int | None, source: str | None = "rtl") -> dict[str, Any]:
    counted = None if cycles is None else 0
    return {
        "opcode": opcode, "macs": macs, "bytes": moved, "cycles": cycles, "source": source, "bound_compute": 4,
        "bound_memory": 3, "compute": counted, "stall_weight": counted, "stall_input": counted, "stall_output": counted,
        "read_bytes": None if cycles is None else moved - 64, "write_bytes": counted,
    }  # fmt: skip


def tree(*rows: dict[str, Any], total: int | None, model: int | None = None) -> dict[str, Any]:
    made = {"macs": sum(row["macs"] for row in rows), "total": total, "per_op": list(rows)}
    return made | ({} if model is None else {"model": {"total": model, "deviation_percent": 0.0}})


DEMO = HARDWARE["demo"]
"""512 MAC per cycle, 64 B x 80 % = 51.2 B per cycle: the ridge is at 10 MAC per byte."""
FRAME = tree(
    row("MLP", 100_000, 1_000, 250), row("MOE", 100_000, 19_000, 500), row("STORE", 0, 700, 50), total=800, model=1_000
)


def test_numbers_in_words() -> None:
    assert [number(v) for v in (None, 0, 7, 1234.6, 1.5, 0.01234, 999.5)] == [
        "–", "0", "7", "1,235", "1.50", "0.0123", "1,000",
    ]  # fmt: skip
    assert [size(v) for v in (None, 100, 2048, 5 << 20)] == ["–", "100 B", "2 KiB", "5 MiB"]


def test_operations_of_a_class_are_added_up() -> None:
    rows = [row(kind, 5, 100, 10) for kind in ("MLP", "MOE", "MLP")]
    rows[0]["stall_weight"] = 6
    both, single = by_opcode(rows)
    assert (both["opcode"], both["count"], both["cycles"], both["bound"], both["source"]) == ("MLP", 2, 20, 8, "rtl")
    assert (both["macs"], both["bytes"], both["stall_weight"]) == (10, 200, 6)
    assert (single["opcode"], single["cycles"]) == ("MOE", 10)
    assert share_percent(rows, "stall_weight", 60) == pytest.approx(10)
    assert share_percent(rows, "stall_weight", None) is None


def test_a_class_is_measured_only_if_all_of_it_was() -> None:
    measured, modelled, missing = row("MLP", 1, 1, 1), row("MLP", 1, 1, 1, "model"), row("MLP", 1, 99, None, None)
    assert [source_of(rows) for rows in ([measured], [measured, modelled], [measured, missing])] == [
        "rtl", "model", None,
    ]  # fmt: skip
    (both,) = by_opcode([measured, missing])
    assert (both["cycles"], both["compute"], both["bytes"]) == (None, None, 100)


def test_a_bar_is_full_at_its_full_value() -> None:
    parts = stack([("a", "c-blue", 30), ("b", "c-red", 0), ("c", "c-sky", 50)], 200)
    assert [(part.label, part.percent) for part in parts] == [("a", 15), ("c", 25)]
    made = {"cycles": 100, "compute": 50, "stall_weight": 20, "stall_input": 10, "stall_output": 5}
    assert [part.percent for part in cycle_stack(made, 200)] == [25, 10, 5, 2.5, 7.5]


def test_heat_is_relative_to_the_largest_queue() -> None:
    assert [round(shade, 3) for _, _, shade in heat([0, 5, 10])] == [0.08, 0.465, 0.85]
    assert [shade for _, _, shade in heat([0, 0])] == [0.08, 0.08]
    assert [columns(count) for count in (8, 32, 33, 64, 100)] == [8, 32, 17, 32, 25]


def test_ticks_are_round() -> None:
    assert nice_ticks(1000, 5) == [0, 200, 400, 600, 800, 1000]
    assert nice_ticks(0) == [0]
    assert [nice_below(v) for v in (1, 1.99, 2, 49, 50, 0.07)] == [1, 1, 2, 20, 50, 0.05]
    assert [nice_above(v) for v in (1, 1.01, 2, 51, 50, 0.07)] == [1, 2, 2, 100, 50, 0.1]
    assert LogScale(5, 200, 0, 1).ticks() == [5, 10, 20, 50, 100, 200]
    assert LogScale(1, 1e6, 0, 1).ticks() == [1, 10, 100, 1000, 1e4, 1e5, 1e6]


def test_a_logarithmic_axis_is_logarithmic_and_ends_at_its_edges() -> None:
    scale = LogScale(1, 100, 50, 250)
    assert [scale.at(value) for value in (1, 10, 100)] == pytest.approx([50, 150, 250])
    assert [scale.at(value) for value in (0.1, 1000)] == pytest.approx([50, 250])


def test_the_time_line_places_events_in_proportion() -> None:
    events = [
        {"kind": "load", "op": 0, "expert": 3, "start": 0, "end": 500},
        {"kind": "compute", "op": 0, "expert": None, "start": 500, "end": 1000},
    ]
    svg = ElementTree.fromstring(timeline_svg(events, ["MOE"]))
    load, compute = (dict(box.attrib) for box in svg.iter("rect"))
    assert (load["x"], load["width"], compute["x"], compute["width"]) == ("118.0", "415.0", "533.0", "415.0")
    assert (load["class"], compute["class"]) == ("t-load odd1", "t-compute odd0")
    assert [text.text for text in svg.iter("text") if text.get("class") == "inbox"] == ["3", "MoE"]
    assert "operation 0 MOE, expert 3, cycles 0 to 500" in "".join(svg.itertext())


def test_the_roof_is_the_smaller_of_bandwidth_and_peak() -> None:
    assert [roof(intensity, 512, 51.2) for intensity in (1, 10, 100)] == pytest.approx([51.2, 512, 512])
    made = roofline(FRAME, DEMO)
    assert (made["peak_macs_per_cycle"], made["bytes_per_cycle"], made["ridge"]) == (512, 51.2, 10)


def test_points_of_the_roofline() -> None:
    made = roofline(FRAME, DEMO)
    points = {point["name"]: point for point in made["points"]}
    assert list(points) == ["whole frame", "whole frame, cycle model", "MLP", "MOE"]
    assert made["left_out"] == ["STORE"]
    assert (points["MLP"]["intensity"], points["MLP"]["macs_per_cycle"], points["MLP"]["roof"]) == (100, 400, 512)
    assert points["MOE"]["intensity"] == pytest.approx(100 / 19)
    assert points["MOE"]["roof"] == pytest.approx(51.2 * 100 / 19)
    assert points["whole frame"]["intensity"] == pytest.approx(200_000 / 20_700), "STORE moves bytes, too"
    assert (points["whole frame"]["macs_per_cycle"], points["whole frame"]["source"]) == (250, "rtl")
    model = points["whole frame, cycle model"]
    assert (model["macs_per_cycle"], model["source"]) == (200, "model")


def test_a_frame_without_cycles_has_a_roof_but_no_points() -> None:
    made = roofline(tree(row("MLP", 100, 100, None, None), total=None), DEMO)
    assert (made["points"], made["left_out"], made["ridge"]) == ([], ["MLP"], 10)
    assert "circle" not in roofline_svg([Series("", "s-one", made)])


def drawn(*series: Series) -> ElementTree.Element:
    return ElementTree.fromstring(roofline_svg(series))


def test_markers_lie_where_their_values_are() -> None:
    one = Series("", "s-one", roofline(FRAME, DEMO))
    scales = axes([one])
    assert (scales.x.low, scales.x.high, scales.y.low, scales.y.high) == (1, 200, 50, 1000)
    svg = drawn(one)
    circles = [(float(c.get("cx", "")), float(c.get("cy", "")), c.get("class")) for c in svg.iter("circle")]
    across, down = (WIDTH - RIGHT - LEFT) / 2.301, (HEIGHT - BOTTOM - TOP) / 1.301  # a decade, log10(200), log10(20)
    assert circles[0] == (pytest.approx(LEFT + 2 * across, abs=0.2), pytest.approx(TOP + 0.398 * down, abs=0.2), "rtl")
    (path,) = (line.get("points", "") for line in svg.iter("polyline"))
    start, ridge, end = ([float(v) for v in corner.split(",")] for corner in path.split())
    assert ridge == pytest.approx([LEFT + across, TOP + 0.2907 * down], abs=0.2), "10 MAC/byte, 512 MAC/cycle"
    assert start[0] == pytest.approx(LEFT, abs=0.1)
    assert start[1] == pytest.approx(TOP + 1.2907 * down, abs=0.2), "51.2 MAC/cycle at 1 MAC/byte"
    assert end == pytest.approx([WIDTH - RIGHT, ridge[1]], abs=0.1)


def test_measured_and_modelled_points_look_different() -> None:
    rows = [row("MLP", 100_000, 1_000, 250), row("MOE", 100_000, 19_000, 500, "model")]
    svg = drawn(Series("", "s-one", roofline(tree(*rows, total=800, model=900), DEMO)))
    titles = {title.text: group for group in svg.iter("g") for title in group.findall("title")}
    marks = {
        name.split(":")[0]: next(mark.get("class") for mark in group if mark.tag in ("path", "circle"))
        for name, group in titles.items()
        if name
    }
    assert marks == {
        "MLP": "rtl", "MOE": "model", "whole frame": "model", "whole frame, cycle model": "model",
    }, "a frame of which a part is modelled is modelled"  # fmt: skip
    assert all(("measured" in (name or "")) == (name or "").startswith("MLP") for name in titles)


def test_a_point_far_beyond_the_ridge_stands_at_the_edge() -> None:
    rows = [row("ATTENTION", 1_000_000, 64, 4_000), row("MLP", 100_000, 1_000, 250)]
    one = Series("", "s-one", roofline(tree(*rows, total=5_000), DEMO))
    assert axes([one]).x.high == 200, "15,625 MAC/byte do not stretch the axis"
    titles = [group for group in drawn(one).iter("g") if "ATTENTION" in (group.findtext("title") or "")]
    (triangle,) = titles[0].findall("path")
    assert max(float(x) for x in re.findall(r"[ML]([\d.]+) ", triangle.get("d", ""))) == WIDTH - RIGHT + 3
    assert len(titles[0].findall("circle")) == 0


def test_labels_of_the_roofline_do_not_cover_each_other() -> None:
    names = ("PATCH_EMBED", "LINEAR", "ATTENTION", "LINEAR_RESIDUAL", "MLP", "MOE", "HEAD")
    rows = [row(name, 100_000 + index, 1_000, 250) for index, name in enumerate(names)]
    svg = drawn(Series("", "s-one", roofline(tree(*rows, total=2_000), DEMO)))
    labels = [text for text in svg.iter("text") if text.get("class") == "label"]
    assert len(labels) == len(names) + 1
    boxes = [
        (float(t.get("x", "")), float(t.get("y", "")), float(t.get("x", "")) + 6.8 * len(t.text or "")) for t in labels
    ]
    for (left, y, right), (other_left, other_y, other_right) in combinations(boxes, 2):
        assert abs(y - other_y) >= 13 or right <= other_left or other_right <= left
    assert all(left > LEFT and right < WIDTH and TOP < y < HEIGHT - BOTTOM for left, y, right in boxes)


def test_two_roofs_share_the_axes() -> None:
    small, large = roofline(FRAME, DEMO), roofline(FRAME, HARDWARE["zcu104"])
    scales = axes([Series("A: ", "s-a", small), Series("B: ", "s-b", large)])
    assert (scales.x.high, scales.y.high) == (500, 5000), "8 times the ridge of 60; 1.2 times the peak of 3,072"
    svg = drawn(Series("A: ", "s-a", small), Series("B: ", "s-b", large))
    groups = [group.get("class") for group in svg.findall("g")]
    assert groups == ["s-a", "s-b", "s-a", "s-b"]
    words = [text.text for text in svg.iter("text") if text.get("class") == "rooftext"]
    assert words == ["A: 512 MAC/cycle, 51.2 B/cycle", "B: 3,072 MAC/cycle, 51.2 B/cycle"]


def test_equal_roofs_have_their_words_above_each_other() -> None:
    svg = drawn(Series("A: ", "s-a", roofline(FRAME, DEMO)), Series("B: ", "s-b", roofline(FRAME, DEMO)))
    first, second = (float(t.get("y", "")) for t in svg.iter("text") if t.get("class") == "rooftext")
    assert first - second >= 14


def part(name: str, kind: str, layer: int | None, offset: int, length: int) -> dict[str, Any]:
    return {"name": name, "kind": kind, "layer": layer, "offset": offset, "bytes": length, "tasks": ["depth"]}


IMAGE = {
    "bytes": 10_000,
    "parts": [
        part("position", "position", None, 0, 100), part("patch_embed", "patch", None, 1_000, 300),
        part("blocks.0.qkv", "qkv", 0, 2_000, 1_000), part("blocks.0.mlp", "mlp", 0, 3_000, 1_000),
        part("blocks.1.experts", "experts", 1, 4_000, 4_000), part("norm", "tables", None, 8_000, 10),
        part("head.depth", "heads", None, 8_100, 90), part("program.depth", "programs", None, 9_000, 64),
    ],
}  # fmt: skip


def test_rows_of_the_memory_map_are_scaled_to_the_largest() -> None:
    rows = image_rows(IMAGE)
    assert [(r.title, r.offset, r.bytes, r.share_percent) for r in rows] == [
        ("position and patch embedding", 0, 400, 4), ("layer 0", 2_000, 2_000, 20), ("layer 1", 4_000, 4_000, 40),
        ("last norm, heads", 8_000, 100, 1), ("programs", 9_000, 64, pytest.approx(0.64)),
    ]  # fmt: skip
    assert [s.percent for s in rows[1].segments] == [25, 25]
    assert [(s.percent, s.css) for s in rows[2].segments] == [(100, "c-orange")]


def test_the_strip_shows_the_whole_image_in_the_order_of_its_addresses() -> None:
    strip = image_strip(IMAGE)
    assert [s.percent for s in strip] == pytest.approx([1, 3, 10, 10, 40, 0.1, 0.9, 0.64])
    assert strip[4].label == "blocks.1.experts, 3.91 KiB"


def test_buffers_fill_what_the_board_has() -> None:
    buffers = [{"name": n, "uram": u, "bram36": b} for n, u, b in (("x", 24, 0), ("scores", 0, 78), ("kv", 48, 0))]
    assert [(s.label, s.percent) for s in buffer_stack(buffers, "uram", 96)] == [("x", 25), ("kv", 50)]
    assert [(s.label, s.percent) for s in buffer_stack(buffers, "bram36", 312)] == [("scores", 25)]
    assert [s.percent for s in buffer_stack(buffers, "uram", 60)] == pytest.approx([100 / 3, 200 / 3]), "too many"


def test_the_tornado_begins_with_the_widest() -> None:
    rows = [
        {"title": "narrow", "low_mj": 0, "high_mj": 10},
        {"title": "wide", "low_mj": 5, "high_mj": 20},
        {"title": "none", "low_mj": 10, "high_mj": 10},
    ]
    swings = tornado(rows, 10)
    assert [swing.title for swing in swings] == ["wide", "narrow", "none"]
    assert [(s.left, s.middle, s.right) for s in swings] == [(25, 50, 100), (0, 50, 50), (50, 50, 50)]
    assert [(s.left, s.right) for s in tornado([{"title": "none", "low_mj": 1, "high_mj": 1}], 1)] == [(0, 0)]
