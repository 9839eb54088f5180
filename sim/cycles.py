# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cycles of one task's frames against their bound: the whole program, and every operation's share of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.bound import Bound, activation_bytes, frame_bound, op_bound, weight_bytes
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import regions
from m3vit.sim.results import FrameResult, OpResult

COUNTERS = ("compute", "stall_weight", "stall_input", "stall_output")


@dataclass(frozen=True)
class Task:
    """What the figures of one task are made of.

    Attributes:
        pathway: the task's program.
        hardware: what it ran on, or was exported for.
        frames: that ran in RTL, with the counters of every operation; none if none did.
    """

    pathway: Pathway
    hardware: HardwareConfig
    frames: Sequence[FrameResult]

    def frames_of(self, index: int) -> list[OpResult]:
        """RTL counters of one operation, a frame each."""
        return [frame.ops[index] for frame in self.frames]

    @property
    def frame_cycles(self) -> list[int]:
        """Cycles of every frame, from START to DONE."""
        return [frame.cycles for frame in self.frames]

    @property
    def experts_used(self) -> dict[int, float]:
        """Mean number of experts with tokens by the index of the MOE operation; empty if nothing ran."""
        return {
            index: fmean(frame.experts for frame in frames)
            for index in self.moe_ops
            if (frames := self.frames_of(index))
        }

    @property
    def moe_ops(self) -> list[int]:
        """Indices of the MOE operations."""
        return [index for index, op in enumerate(self.pathway.program) if op.opcode is Opcode.MOE]


def seconds(cycles: float, hardware: HardwareConfig) -> float:
    """Duration at the assumed clock."""
    return cycles / (hardware.clock_mhz * 1e6)


def cycles(task: Task) -> dict[str, Any]:
    """The `cycles` part of the report."""
    program, used = task.pathway.program, task.experts_used
    work = frame_bound(program, task.hardware, used)
    total = fmean(task.frame_cycles) if task.frames else None
    return {
        "source": "rtl" if task.frames else "model",
        "covers": _covers(task),
        "experts": "as measured" if task.frames else "all",
        "total": total,
        **_bound_tree(work),
        "ratio_to_bound": _ratio(total, work.cycles),
        "mac_utilisation_percent": 100 * work.macs / task.hardware.macs_per_cycle / total if total else None,
        "clock_mhz": task.hardware.clock_mhz,
        "latency_ms": seconds(total, task.hardware) * 1e3 if total else None,
        "bound_latency_ms": seconds(work.cycles, task.hardware) * 1e3,
        "per_op": [_op_row(task, index, used.get(index)) for index in range(len(program))],
    }


def _covers(task: Task) -> str:
    count = len(task.pathway.program)
    if not task.frames:
        return f"all {count} operations of a frame, bound only: nothing was run in RTL"
    frames = len(task.frame_cycles)
    images = f"{frames} image{'s' if frames > 1 else ''}"
    return f"all {count} operations of a frame, image in to result out, run in RTL, mean over {images}"


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


def _op_row(task: Task, index: int, used: float | None) -> dict[str, Any]:
    op, frames = task.pathway.program[index], task.frames_of(index)
    work = op_bound(op, task.hardware, used)
    measured = _measured(frames)
    return {
        "index": index,
        "opcode": op.opcode.name,
        "layer": layer_of(task.pathway, index),
        "source": "rtl" if frames else None,
        **_bound_tree(work),
        "weight_bytes": weight_bytes(op, task.hardware, used),
        "activation_bytes": activation_bytes(op),
        "ratio_to_bound": _ratio(measured["cycles"], work.cycles),
        "experts_used": used,
        "expert_tokens": _expert_tokens(op, frames),
        **measured,
    }


def _measured(frames: Sequence[OpResult]) -> dict[str, Any]:
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


def _expert_tokens(op: Op, frames: Sequence[OpResult]) -> list[float] | None:
    """Mean queue length of every expert of a MOE operation, experts without tokens included."""
    if not frames or op.opcode is not Opcode.MOE:
        return None
    return [fmean(frame.queue_lengths.get(expert, 0) for frame in frames) for expert in range(op.experts)]


def layer_of(pathway: Pathway, index: int) -> int | None:
    """The transformer block that an operation belongs to; None for what lies before and behind the blocks."""
    op = pathway.program[index]
    if op.opcode is Opcode.ATTENTION:  # has no parameters in the image
        return layer_of(pathway, index - 1)
    offsets = {region.offset for region in regions(op, pathway.config.hardware)}
    names = (name for name, block in pathway.blocks.items() if block.offset in offsets)
    match = re.match(r"blocks\.(\d+)\.", next(names, ""))
    return int(match[1]) if match else None
