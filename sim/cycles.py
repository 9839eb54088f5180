# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cycles of one task against their bound: every operation of the program, measured in RTL where it was."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.bound import (
    Bound,
    activation_bytes,
    activations_fit,
    bound,
    frame_activation_bytes,
    op_bound,
    weight_bytes,
)  # fmt: skip
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import regions
from m3vit.sim.results import FrameResult

COUNTERS = ("compute", "stall_weight", "stall_input", "stall_output")


@dataclass(frozen=True)
class Task:
    """What the figures of one task are made of."""

    pathway: Pathway
    hardware: HardwareConfig
    frames: Sequence[FrameResult]

    def frames_of(self, index: int) -> list[FrameResult]:
        """RTL runs of one operation."""
        return [frame for frame in self.frames if frame.op == index]

    def experts_used(self, index: int) -> float | None:
        """Mean number of experts with tokens in a MOE operation; None if it was not measured."""
        frames = self.frames_of(index)
        return fmean(frame.experts for frame in frames) if frames else None

    @property
    def moe_ops(self) -> list[int]:
        """Indices of the MOE operations: what this hardware runs."""
        return [index for index, op in enumerate(self.pathway.program) if op.opcode is Opcode.MOE]

    @property
    def covered(self) -> list[int]:
        """Indices of the operations that were measured in RTL, or all MOE operations if none was."""
        return [index for index in self.moe_ops if self.frames_of(index)] or self.moe_ops


def seconds(cycles: float, hardware: HardwareConfig) -> float:
    """Duration at the assumed clock."""
    return cycles / (hardware.clock_mhz * 1e6)


def cycles(task: Task) -> dict[str, Any]:
    """The `cycles` part of the report."""
    rows = [_op_row(task, index) for index in range(len(task.pathway.program))]
    covered = [rows[index] for index in task.covered]
    work = bound(sum(row["macs"] for row in covered), sum(row["bytes"] for row in covered), task.hardware)
    total = sum(row["cycles"] for row in covered) if task.frames else None
    return {
        "source": "rtl" if task.frames else "model",
        "covers": _covers(task),
        "ops_not_in_rtl": [row["index"] for row in rows if row["cycles"] is None],
        "total": total,
        **_bound_tree(work),
        "ratio_to_bound": _ratio(total, work.cycles),
        "mac_utilisation_percent": 100 * work.macs / task.hardware.macs_per_cycle / total if total else None,
        "clock_mhz": task.hardware.clock_mhz,
        "latency_ms": seconds(total, task.hardware) * 1e3 if total else None,
        "frame_bound": frame_bound(task),
        "per_op": rows,
    }


def _covers(task: Task) -> str:
    if not task.frames:
        return f"the {len(task.moe_ops)} MoE layers, bound only: nothing was run in RTL"
    count = len({frame.image for frame in task.frames})
    images = f"{count} image{'s' if count > 1 else ''}"
    return (
        f"{len(task.covered)} of {len(task.moe_ops)} MoE layers, each run alone in RTL, mean over {images}; "
        "activations in and out cross DRAM"
    )


def frame_bound(task: Task) -> dict[str, Any]:
    """Bound of the whole program as one frame: activations stay on chip if they fit, experts as measured or all."""
    program = task.pathway.program
    fits = activations_fit(program, task.hardware.board)
    used = {index: task.experts_used(index) for index in task.moe_ops}
    bounds = [
        op_bound(op, task.hardware, frame_activation_bytes(op, fits), used.get(index))
        for index, op in enumerate(program)
    ]
    work = bound(sum(b.macs for b in bounds), sum(b.bytes for b in bounds), task.hardware)
    return {
        **_bound_tree(work),
        "latency_ms": seconds(work.cycles, task.hardware) * 1e3,
        "activations_fit_on_chip": fits,
        "experts": "all" if None in used.values() else "as measured",
    }


def _bound_tree(work: Bound) -> dict[str, Any]:
    return {
        "macs": work.macs,
        "bytes": work.bytes,
        "bound_compute": work.compute,
        "bound_memory": work.memory,
        "bound": work.cycles,
    }


def _ratio(measured: float | None, least: int) -> float | None:
    return measured / least if measured is not None and least else None


def _op_row(task: Task, index: int) -> dict[str, Any]:
    op, frames = task.pathway.program[index], task.frames_of(index)
    used = task.experts_used(index)
    alone = op.opcode is Opcode.MOE
    fits = activations_fit(task.pathway.program, task.hardware.board)
    activations = activation_bytes(op) if alone else frame_activation_bytes(op, fits)
    work = op_bound(op, task.hardware, activations, used)
    measured = _measured(frames)
    return {
        "index": index,
        "opcode": op.opcode.name,
        "layer": layer_of(task.pathway, op),
        "source": "rtl" if frames else None,
        **_bound_tree(work),
        "weight_bytes": weight_bytes(op, task.hardware.lanes, used),
        "activation_bytes": activations,
        "bound_without_activations": op_bound(op, task.hardware, 0, used).cycles,
        "ratio_to_bound": _ratio(measured["cycles"], work.cycles),
        "experts_used": used,
        "expert_tokens": _expert_tokens(op, frames),
        **measured,
    }


def _measured(frames: Sequence[FrameResult]) -> dict[str, Any]:
    """Means of the counters over images; all None without frames."""
    if not frames:
        names = ("cycles", "cycles_min", "cycles_max", *COUNTERS, "read_bytes", "write_bytes", "runs")
        return dict.fromkeys(names, None)
    runs = [frame.cycles for frame in frames]
    return {
        "cycles": fmean(runs),
        "cycles_min": min(runs),
        "cycles_max": max(runs),
        **{name: fmean(getattr(frame, name) for frame in frames) for name in COUNTERS},
        "read_bytes": WORD_BYTES * fmean(frame.read_words for frame in frames),
        "write_bytes": WORD_BYTES * fmean(frame.write_words for frame in frames),
        "runs": len(runs),
    }


def _expert_tokens(op: Op, frames: Sequence[FrameResult]) -> list[float] | None:
    """Mean queue length of every expert, experts without tokens included."""
    if not frames:
        return None
    return [fmean(frame.queue_lengths.get(expert, 0) for frame in frames) for expert in range(op.experts)]


def layer_of(pathway: Pathway, op: Op) -> int | None:
    """The transformer block whose parameters an operation reads; None for attention and what lies outside."""
    offsets = {region.offset for region in regions(op, pathway.config.hardware.lanes)}
    names = (name for name, block in pathway.blocks.items() if block.offset in offsets)
    match = re.match(r"blocks\.(\d+)\.", next(names, ""))
    return int(match[1]) if match else None
