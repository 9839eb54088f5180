# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Two reports side by side: every figure of A and of B, what each is, and the ratio B / A. See docs/report.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from m3vit import __version__
from m3vit.model.config import HardwareConfig
from m3vit.sim.op_classes import Kind, by_opcode
from m3vit.sim.report_schema import ReportFigures, TaskFigures

COMPARISON_VERSION = 1
Better = Literal["lower", "higher"]
Value = float | str | None


@dataclass(frozen=True)
class Side:
    """One of the two: where it was read, and its report."""

    path: str
    report: ReportFigures


@dataclass(frozen=True)
class Row:
    """A figure that is compared.

    Attributes:
        key: in report.json.
        title: in words, with the unit.
        value: takes it from a task.
        kind: group in `kinds` that says how it came about, or the kind itself.
        better: whether less or more is better; None if neither is.
        form: how the page writes it.
    """

    key: str
    title: str
    value: Callable[[TaskFigures], Value]
    kind: str
    better: Better | None = "lower"
    form: Literal["number", "bytes"] = "number"


GROUPS: dict[str, tuple[Row, ...]] = {
    "Cycles": (
        Row("cycles.total", "cycles of a frame", lambda t: t.cycles.total, "cycles.total"),
        Row("cycles.bound", "bound, cycles", lambda t: t.cycles.bound, "modelled"),
        Row("cycles.bound_compute", "bound of computing", lambda t: t.cycles.bound_compute, "modelled"),
        Row("cycles.bound_memory", "bound of memory", lambda t: t.cycles.bound_memory, "modelled"),
        Row("cycles.ratio_to_bound", "× bound", lambda t: t.cycles.ratio_to_bound, "cycles.ratio_to_bound"),
        Row(
            "cycles.mac_utilisation_percent", "MACs busy, %", lambda t: t.cycles.mac_utilisation_percent,
            "cycles.total", "higher",
        ),
        Row("cycles.latency_ms", "ms at the clock", lambda t: t.cycles.latency_ms, "cycles.latency_ms"),
        Row("cycles.bound_latency_ms", "ms at the bound", lambda t: t.cycles.bound_latency_ms, "modelled"),
    ),
    "Work": (
        Row("flops.task_gmac", "GMAC of the task", lambda t: t.flops.task_gmac, "flops"),
        Row("flops.all_experts_gmac", "GMAC through every expert", lambda t: t.flops.all_experts_gmac, "flops"),
        Row("flops.all_tasks_gmac", "GMAC of all tasks", lambda t: t.flops.all_tasks_gmac, "flops"),
    ),
    "Energy": (
        Row("energy.low_mj", "mJ per frame, low", lambda t: t.energy.low_mj, "energy"),
        Row("energy.nominal_mj", "mJ per frame, nominal", lambda t: t.energy.nominal_mj, "energy"),
        Row("energy.high_mj", "mJ per frame, high", lambda t: t.energy.high_mj, "energy"),
        Row("energy.flat_10w_mj", "mJ per frame at a flat 10 W", lambda t: t.energy.flat_10w_mj, "assumed"),
    ),
    "Memory": (
        Row("memory.on_chip_bytes", "on chip", lambda t: t.memory.on_chip_bytes, "memory", form="bytes"),
        Row("memory.weights_bytes", "weights of the task", lambda t: t.memory.weights_bytes, "memory", form="bytes"),
        Row("memory.image_bytes", "image of all tasks", lambda t: t.memory.image_bytes, "memory", form="bytes"),
        Row(
            "memory.dram_bytes_per_frame", "DRAM traffic of a frame", lambda t: t.memory.dram_bytes_per_frame,
            "cycles.per_op", form="bytes",
        ),
    ),
    "Resources": (
        Row("resources.dsp", "DSP48E2", lambda t: t.resources.dsp, "resources"),
        Row("resources.bram36", "RAMB36", lambda t: t.resources.bram36, "resources"),
        Row("resources.uram", "URAM288", lambda t: t.resources.uram, "resources"),
        Row("resources.lut", "LUT", lambda t: t.resources.lut, "resources"),
        Row("resources.ff", "FF", lambda t: t.resources.ff, "resources"),
    ),
    "Accuracy": (
        Row("accuracy.metric", "metric", lambda t: t.accuracy.metric, "accuracy", None),
        Row("accuracy.float", "float model", lambda t: t.accuracy.float32, "accuracy", None),
        Row("accuracy.int8", "INT8 model", lambda t: t.accuracy.int8, "accuracy", None),
    ),
}  # fmt: skip
"""Figures by the heading under which they stand."""

HARDWARE_ROWS: tuple[tuple[str, Callable[[HardwareConfig], Value]], ...] = (
    ("name", lambda h: h.name),
    ("board", lambda h: h.board.name),
    ("int8 MAC per cycle", lambda h: h.macs_per_cycle),
    ("output channels at once (lanes)", lambda h: h.lanes),
    ("groups of 32 input channels", lambda h: h.groups),
    ("clock, MHz (assumed)", lambda h: h.clock_mhz),
    ("DRAM ports", lambda h: h.memory.ports),
    ("sustained DRAM bytes per cycle", lambda h: h.memory.bytes_per_cycle),
    ("DRAM latency, cycles", lambda h: h.memory.latency_cycles),
    ("most tokens", lambda h: h.max_tokens),
    ("most channels per token", lambda h: h.max_dim),
    ("most hidden channels", lambda h: h.max_hidden),
    ("most experts per token", lambda h: h.max_top_k),
    ("query rows of an attention block", lambda h: h.max_block),
    ("words of the weight stream", lambda h: h.stream_words),
)


def ratio(a: Value, b: Value) -> float | None:
    """B / A; None for words, missing figures and an A of 0."""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str) or not a:
        return None
    return b / a


def compare(a: Side, b: Side) -> dict[str, Any]:
    """The tree of the comparison: tasks of the same name are compared, or the first ones if no name is common."""
    pairs = task_pairs(tuple(a.report.tasks), tuple(b.report.tasks))
    return {
        "version": COMPARISON_VERSION,
        "m3vit": __version__,
        "a": _identity(a),
        "b": _identity(b),
        "same_workload": a.report.workload == b.report.workload,
        "same_hardware": a.report.hardware == b.report.hardware,
        "notes": notes(a.report, b.report, pairs),
        "hardware": [_hardware_row(title, take, a, b) for title, take in HARDWARE_ROWS],
        "pairs": [_pair(first, a.report.tasks[first], second, b.report.tasks[second]) for first, second in pairs],
    }


def task_pairs(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    """Names of the tasks that are compared: the common ones in A's order, or the first of each."""
    return [(task, task) for task in a if task in b] or [(a[0], b[0])]


def notes(a: ReportFigures, b: ReportFigures, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What a reader must know before reading a ratio, a sentence each."""
    found = []
    if a.workload != b.workload:
        found.append(f"A and B are different workloads, {a.workload} and {b.workload}: their frames are unlike work.")
    elif a.image_sha256 == b.image_sha256:
        found.append("A and B are the same memory image.")
    if any(first != second for first, second in pairs):
        found.append(f"No task is in both; {pairs[0][0]} of A is compared with {pairs[0][1]} of B.")
    else:
        found += _alone(a, b)
    return found + _unlike_kinds(a, b, pairs)


def _alone(a: ReportFigures, b: ReportFigures) -> list[str]:
    sides = (("A", a, b), ("B", b, a))
    return [
        f"Only {name} has {', '.join(alone)}."
        for name, own, other in sides
        if (alone := [task for task in own.tasks if task not in other.tasks])
    ]


def _unlike_kinds(a: ReportFigures, b: ReportFigures, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Figures of which one side is measured or counted and the other is not, with the tasks that this holds for."""
    found: dict[str, list[str]] = {}
    for group, title in (("cycles.total", "Cycles"), ("resources", "Resources")):
        for first, second in pairs:
            kinds = a.tasks[first].kinds.get(group), b.tasks[second].kinds.get(group)
            if kinds[0] != kinds[1]:
                sentence = f"{title} of A are {kinds[0] or 'missing'}, those of B {kinds[1] or 'missing'}"
                found.setdefault(sentence, []).append(first)
    return [f"{sentence} ({', '.join(tasks)})." for sentence, tasks in found.items()]


def _identity(side: Side) -> dict[str, Any]:
    report = side.report
    return {
        "path": side.path,
        "workload": report.workload,
        "hardware": report.hardware.name,
        "image_sha256": report.image_sha256,
        "tasks": list(report.tasks),
    }


def _hardware_row(title: str, take: Callable[[HardwareConfig], Value], a: Side, b: Side) -> dict[str, Any]:
    first, second = take(a.report.hardware), take(b.report.hardware)
    return {"title": title, "a": first, "b": second, "ratio": ratio(first, second)}


def _pair(first: str, a: TaskFigures, second: str, b: TaskFigures) -> dict[str, Any]:
    return {
        "a": first,
        "b": second,
        "groups": {name: [figure(row, a, b) for row in rows] for name, rows in GROUPS.items()},
        "classes": _classes(a, b),
        "roofline": {"a": a.roofline.model_dump(mode="json"), "b": b.roofline.model_dump(mode="json")},
    }


def figure(row: Row, a: TaskFigures, b: TaskFigures) -> dict[str, Any]:
    """A figure of both, what each is, and the ratio."""
    first, second = row.value(a), row.value(b)
    better = row.better
    if row.key in ("accuracy.float", "accuracy.int8") and a.accuracy.metric == b.accuracy.metric is not None:
        better = "higher" if a.accuracy.higher_is_better else "lower"
    return {
        "key": row.key,
        "title": row.title,
        "form": row.form,
        "better": better,
        "a": first,
        "b": second,
        "ratio": ratio(first, second),
        "kind_a": _kind(row, a, first),
        "kind_b": _kind(row, b, second),
    }


def _kind(row: Row, task: TaskFigures, value: Value) -> Kind | str | None:
    """How a figure came about; DRAM traffic without counters is that of the bound."""
    if value is None:
        return None
    if row.key == "memory.dram_bytes_per_frame":
        return task.kinds.get(row.kind) or "modelled"
    return task.kinds.get(row.kind) if row.kind in task.kinds else row.kind


def _classes(a: TaskFigures, b: TaskFigures) -> list[dict[str, Any]]:
    """Every operation class of either, with the cycles of both."""
    sides = [{row["opcode"]: row for row in by_opcode(_rows(task))} for task in (a, b)]
    return [
        {"opcode": name, "a": sides[0].get(name), "b": sides[1].get(name), "ratio": _cycle_ratio(name, sides)}
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]


def _rows(task: TaskFigures) -> list[dict[str, Any]]:
    return [row.model_dump() for row in task.cycles.per_op]


def _cycle_ratio(name: str, sides: Sequence[dict[str, dict[str, Any]]]) -> float | None:
    first, second = (side.get(name, {}).get("cycles") for side in sides)
    return ratio(first, second)
