# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cycles of one task's frames against their bound: the whole program, and every operation's share of it.

They are the RTL's where it ran, else the cycle model's; `source` says which.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.bound import Bound, activation_bytes, frame_bound, op_bound, weight_bytes
from m3vit.sim.op_classes import Source
from m3vit.sim.pathway import Pathway
from m3vit.sim.performance import FrameModel, Routing, model_frame, random_routing
from m3vit.sim.performance.routing import routing_of_lengths
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
        measured: frames that ran in RTL, with the counters of every operation; none if none did.
    """

    pathway: Pathway
    hardware: HardwareConfig
    measured: Sequence[FrameResult]

    @cached_property
    def modelled(self) -> list[FrameModel]:
        """What the cycle model says of the measured frames, or of one with a random routing if there are none."""
        program = self.pathway.program
        routings = [queued_routing(program, frame) for frame in self.measured] or [random_routing(program)]
        return [model_frame(program, self.hardware, routing) for routing in routings]

    @property
    def frames(self) -> Sequence[FrameResult | FrameModel]:
        """Measured frames, or a modelled one if nothing ran."""
        return self.measured or self.modelled

    @property
    def source(self) -> Source:
        """Where the counters of `frames` come from."""
        return "rtl" if self.measured else "model"

    def frames_of(self, index: int) -> list[OpResult]:
        """Counters of one operation, a frame each."""
        return [frame.ops[index] for frame in self.frames]

    @property
    def frame_cycles(self) -> list[int]:
        """Cycles of every frame, from START to DONE."""
        return [frame.cycles for frame in self.frames]

    @property
    def mean_cycles(self) -> float:
        """Cycles of a frame."""
        return fmean(self.frame_cycles)

    @property
    def experts_used(self) -> dict[int, float]:
        """Mean number of experts with tokens by the index of the MOE operation."""
        return {index: fmean(frame.experts for frame in self.frames_of(index)) for index in self.moe_ops}

    @property
    def moe_ops(self) -> list[int]:
        """Indices of the MOE operations."""
        return [index for index, op in enumerate(self.pathway.program) if op.opcode is Opcode.MOE]


def seconds(cycles: float, hardware: HardwareConfig) -> float:
    """Duration at the assumed clock."""
    return cycles / (hardware.clock_mhz * 1e6)


def queued_routing(program: Sequence[Op], frame: FrameResult) -> Routing:
    """A routing with the queue lengths of a measured frame."""
    return routing_of_lengths({op.op: op.queue_lengths for op in frame.ops if op.queue_lengths}, program)


def cycles(task: Task) -> dict[str, Any]:
    """The `cycles` part of the report."""
    program, used = task.pathway.program, task.experts_used
    work, total = frame_bound(program, task.hardware, used), task.mean_cycles
    return {
        "source": task.source,
        "covers": _covers(task),
        "experts": "as measured" if task.measured else "drawn at random, see docs/performance.md",
        "total": total,
        **_bound_tree(work),
        "ratio_to_bound": _ratio(total, work.cycles),
        "mac_utilisation_percent": 100 * work.macs / task.hardware.macs_per_cycle / total,
        "clock_mhz": task.hardware.clock_mhz,
        "latency_ms": seconds(total, task.hardware) * 1e3,
        "bound_latency_ms": seconds(work.cycles, task.hardware) * 1e3,
        "model": _model_tree(task),
        "per_op": [_op_row(task, index, used.get(index)) for index in range(len(program))],
    }


def _model_tree(task: Task) -> dict[str, Any] | None:
    """What the cycle model says of measured frames."""
    if not task.measured:
        return None
    modelled = fmean(frame.cycles for frame in task.modelled)
    return {"total": modelled, "deviation_percent": 100 * (modelled / task.mean_cycles - 1)}


def _covers(task: Task) -> str:
    whole = f"all {len(task.pathway.program)} operations of a frame, image in to result out"
    if not task.measured:
        return f"{whole}, by the cycle model with a random routing: nothing was run in RTL"
    frames = len(task.measured)
    return f"{whole}, run in RTL, mean over {frames} image{'s' if frames > 1 else ''}"


def _bound_tree(work: Bound) -> dict[str, Any]:
    return {
        "macs": work.macs,
        "bytes": work.bytes,
        "bound_compute": work.compute,
        "bound_memory": work.memory,
        "bound": work.cycles,
    }


def _ratio(cycles: float, least: int) -> float | None:
    return cycles / least if least else None


def _op_row(task: Task, index: int, used: float | None) -> dict[str, Any]:
    op, frames = task.pathway.program[index], task.frames_of(index)
    work = op_bound(op, task.hardware, used)
    counted = _means(frames)
    return {
        "index": index,
        "opcode": op.opcode.name,
        "layer": layer_of(task.pathway, index),
        "source": task.source,
        **_bound_tree(work),
        "weight_bytes": weight_bytes(op, task.hardware, used),
        "activation_bytes": activation_bytes(op),
        "ratio_to_bound": _ratio(counted["cycles"], work.cycles),
        "experts_used": used,
        "expert_tokens": _expert_tokens(op, frames),
        **counted,
    }


def _means(frames: Sequence[OpResult]) -> dict[str, Any]:
    """Means of the counters over frames."""
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
    if op.opcode is not Opcode.MOE:
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
