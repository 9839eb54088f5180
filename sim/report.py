# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Assembles the report: a tree of figures per task, each measured, modelled or assumed. See docs/report.md."""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from m3vit import __version__
from m3vit.model.config import SHARE, HardwareConfig
from m3vit.model.router_health import router_health
from m3vit.sim.bound import weight_bytes
from m3vit.sim.cycles import Task, cycles
from m3vit.sim.energy import Constants, energy
from m3vit.sim.energy_activity import frame_activity, mean_activity
from m3vit.sim.flops import entries, flops
from m3vit.sim.memory_map import image_map, on_chip_map
from m3vit.sim.op_classes import Kind, kind_of_source, moved, source_of
from m3vit.sim.pathway import Accuracy, Pathways
from m3vit.sim.program import Op
from m3vit.sim.program_check import expert_bytes
from m3vit.sim.report_schema import REPORT_VERSION
from m3vit.sim.resources import MEMORIES, estimate, on_chip_bytes
from m3vit.sim.results import FrameResult, Results
from m3vit.sim.roofline import roofline
from m3vit.sim.synthesis import BLOCKS, count, count_command

PUBLISHED_PJ_PER_MAC: tuple[tuple[str, str, float], ...] = (
    ("Edge-MoE, ZCU102, W16 A32", "arXiv 2305.18691", 403),
    ("UbiMoE, ZCU102, W16 A32", "arXiv 2502.05602", 237),
    ("CoQMoE, ZCU102, INT8", "arXiv 2506.08496", 51),
    ("EfficientViT accelerator", "derived from its published GOPS/W", 19),
)
"""Whole-design energy per MAC, derived from published GOPS/W; for comparison only, never mixed with our estimate."""


@dataclass(frozen=True)
class Inputs:
    """What a report is made of.

    Attributes:
        pathways: of all tasks.
        results: of `m3vit verify` on this image; None if there are none.
        stale: results exist, but of another image.
        constants: of the energy estimate.
        folder: where the pathways were read, for the commands that the report suggests.
    """

    pathways: Pathways
    results: Results | None
    stale: bool
    constants: Constants
    folder: Path

    @property
    def hardware(self) -> HardwareConfig:
        """What RTL ran on, else what the pathways were exported for."""
        return self.results.hardware if self.results else self.pathways.first.config.hardware


def image_sha256(pathways: Pathways) -> str:
    """SHA-256 of image.bin."""
    return hashlib.sha256(pathways.first.image.tobytes()).hexdigest()


def build_report(inputs: Inputs) -> dict[str, Any]:
    """The whole report: the first task's figures at the top level, every task's under `tasks`, then what they share."""
    tasks = {name: task_report(inputs, name) for name in inputs.pathways.tasks}
    first = next(iter(tasks.values()))
    return {
        "version": REPORT_VERSION,
        "m3vit": __version__,
        **first,
        "image_sha256": image_sha256(inputs.pathways),
        "hardware": inputs.hardware.model_dump(mode="json"),
        "verification_state": verification_state(inputs),
        "verified": verified(inputs.results),
        "routers": routers(inputs.pathways),
        "memory_map": {"image": image_map(inputs.pathways), "on_chip": on_chip_map(inputs.hardware)},
        "timeline": inputs.results.timeline.model_dump() if inputs.results and inputs.results.timeline else None,
        "assumptions": assumptions(inputs.hardware, inputs.constants),
        "published": [
            {"design": design, "source": source, "pj_per_mac": value} for design, source, value in PUBLISHED_PJ_PER_MAC
        ],
        "tasks": tasks,
    }


def task_report(inputs: Inputs, name: str) -> dict[str, Any]:
    """The figures of one task."""
    pathway = inputs.pathways.task(name)
    task = Task(pathway, inputs.hardware, inputs.results.of_task(name) if inputs.results else [])
    figures = cycles(task)
    used = resource_table(inputs.hardware)
    counts = flops(pathway.program, [other.program for other in inputs.pathways.tasks.values()])
    return {
        "workload": pathway.workload,
        "task": name,
        "verification": verification(inputs.results, task.measured),
        "cycles": figures,
        "roofline": roofline(figures, inputs.hardware),
        "task_switch": task_switch(inputs.results),
        "memory": memory(task, figures),
        "flops": asdict(counts),
        "energy": frame_energy(task, inputs.constants),
        "resources": used,
        "accuracy": accuracy(pathway.accuracy),
        "kinds": kinds(figures, scored=pathway.accuracy is not None, synthesised=used["blocks"] is not None),
    }


def verification_state(inputs: Inputs) -> dict[str, str]:
    """Whether RTL results are in this report, and the command that brings them."""
    command = f"m3vit verify {shlex.quote(str(inputs.folder))}"
    if inputs.results:
        return {"state": "verified", "sentence": "RTL results belong to this memory image.", "command": command}
    if inputs.stale:
        sentence = "verification/results.json belongs to another memory image and was left out."
        return {"state": "stale", "sentence": sentence, "command": command}
    return {"state": "missing", "sentence": "These pathways have not been verified in RTL.", "command": command}


def verified(results: Results | None) -> dict[str, Any] | None:
    """What `m3vit verify` compared, all tasks together."""
    if results is None:
        return None
    return {
        "golden_vs_rtl_mismatches": results.golden_vs_rtl_mismatches,
        "golden_vs_hls_mismatches": results.golden_vs_hls_mismatches,
        "elements_compared": results.elements_compared,
        "hls_elements_compared": results.hls_elements,
        "images": results.images,
        "simulator": results.simulator,
        "simulated_cycles": results.simulated_cycles,
        "wall_seconds": results.wall_seconds,
    }


def verification(results: Results | None, frames: Sequence[FrameResult]) -> dict[str, Any]:
    """Comparison of one task's frames; null where nothing ran."""
    ran = bool(results and frames)
    hls = [frame.hls_mismatches for frame in frames if frame.hls_mismatches is not None]
    return {
        "golden_vs_rtl_mismatches": sum(frame.mismatches for frame in frames) if ran else None,
        "golden_vs_hls_mismatches": sum(hls) if hls else None,
        "elements_compared": sum(frame.elements for frame in frames) if ran else None,
        "images": len({frame.image for frame in frames}) if ran else None,
        "simulator": results.simulator if results else None,
    }


def task_switch(results: Results | None) -> dict[str, Any]:
    """Mean cycles after the same task and after another one, with the samples."""
    switch = results.task_switch if results else None
    if switch is None:
        names = ("same_task_cycles", "switch_cycles", "same_task_samples", "switch_samples")
        return dict.fromkeys(names, None)
    return {
        "same_task_cycles": fmean(switch.same_task_cycles),
        "switch_cycles": fmean(switch.switch_cycles),
        "same_task_samples": list(switch.same_task_cycles),
        "switch_samples": list(switch.switch_cycles),
    }


def memory(task: Task, figures: dict[str, Any]) -> dict[str, Any]:
    """Bytes on chip, of weights, and moved; `baselines` shows what other schedules would need."""
    program, hardware = task.pathway.program, task.hardware
    moe = [program[index] for index in task.moe_ops]
    used = task.experts_used
    counted = source_of(figures["per_op"])
    traffic = rtl_bytes(figures) if counted else None
    return {
        "on_chip_bytes": on_chip_bytes(hardware),
        "on_chip_items": {name: -(-make(hardware).bits // 8) for name, make in MEMORIES.items()},
        "weights_bytes": sum(weight_bytes(op, hardware) for op in program),
        "dram_bytes_per_frame": figures["bytes"] if traffic is None else traffic,
        "bound_dram_bytes": figures["bytes"],
        "rtl_dram_bytes": traffic if counted == "rtl" else None,
        "model_dram_bytes": traffic if counted == "model" else None,
        "image_bytes": task.pathway.image.size,
        "moe_expert_bytes_read": sum(
            used.get(index, program[index].experts) * _expert(program[index], hardware) for index in task.moe_ops
        ),
        "baselines": {
            "all_experts_on_chip_bytes": sum(op.experts * _expert(op, hardware) for op in moe),
            "token_by_token_bytes": sum(entries(op) * _expert(op, hardware) for op in moe),
        },
    }


def rtl_bytes(figures: dict[str, Any]) -> float:
    """Bytes that a frame moved in RTL, a mean over frames: the counters' words and the program itself."""
    return sum(moved(row) for row in figures["per_op"])


def _expert(op: Op, hardware: HardwareConfig) -> int:
    return expert_bytes(op.in_features, op.out_features, hardware, op.expert_bits)


def frame_energy(task: Task, constants: Constants) -> dict[str, Any]:
    """Estimate for a whole frame from the counters of the RTL if it ran, else of the cycle model."""
    program, hardware = task.pathway.program, task.hardware
    frames = [frame_activity(program, hardware, frame.ops, frame.cycles) for frame in task.frames]
    what = "counted in RTL" if task.source == "rtl" else "by the cycle model"
    scope = f"one frame of task '{task.pathway.task}', all {len(program)} operations; cycles and DRAM words {what}"
    return energy(mean_activity(frames), constants, scope).tree()


def resource_table(hardware: HardwareConfig) -> dict[str, Any]:
    """Primitives of the design and of its blocks, as Yosys counts them, beside the model's; else the model's alone."""
    need, synthesis = estimate(hardware), count(hardware)
    modelled = {name: getattr(need, name) for name in SHARE}
    if synthesis is None:
        source = f"{need.source}; Yosys has not counted this RTL in this shape, '{count_command(hardware)}' does"
        return {**modelled, "source": source, "modelled": modelled, "blocks": None, "excess": None}
    return {
        **asdict(synthesis.total),
        "source": synthesis.source,
        "modelled": modelled,
        "blocks": [{"name": BLOCKS[module], **asdict(cells)} for module, cells in synthesis.blocks.items()],
        "excess": synthesis.excess(hardware.board),
    }


def accuracy(scores: Accuracy | None) -> dict[str, Any]:
    """Scores on the validation split; null if they were not measured at export."""
    if scores is None:
        names = ("metric", "float", "int8", "trivial", "higher_is_better", "images", "loss_percent")
        return dict.fromkeys(names, None)
    return {
        "metric": scores.metric,
        "float": scores.float32,
        "int8": scores.int8,
        "trivial": scores.trivial,
        "higher_is_better": scores.higher_is_better,
        "images": scores.images,
        "loss_percent": scores.loss_percent,
    }


def routers(pathways: Pathways) -> dict[str, Any] | None:
    """Health of the float model's routers on the validation images; null if it was not measured at export."""
    scored: dict[str, Accuracy | None] = {task: pathway.accuracy for task, pathway in pathways.tasks.items()}
    loads = {task: scores.load for task, scores in scored.items() if scores is not None and scores.load}
    if not loads or len(loads) < len(scored):
        return None
    layers = {layer: {task: load[layer] for task, load in loads.items()} for layer in next(iter(loads.values()))}
    return {"images": pathways.first.accuracy and pathways.first.accuracy.images, **router_health(layers).tree()}


def kinds(figures: dict[str, Any], scored: bool, synthesised: bool) -> dict[str, Kind | None]:
    """How each group of figures came about; None where there is no figure.

    Args:
        figures: the `cycles` part, whose sources decide.
        scored: the accuracy was measured at export.
        synthesised: Yosys counted the resources.
    """
    ran = figures["source"] == "rtl"
    rtl: Kind | None = "measured" if ran else None
    total: Kind | None = kind_of_source(figures["source"]) if figures["total"] is not None else None
    return {
        "verification": rtl,
        "cycles.total": total,
        "cycles.per_op": kind_of_source(source_of(figures["per_op"])),
        "cycles.bound": "modelled",
        "cycles.ratio_to_bound": total,
        "cycles.latency_ms": "assumed" if total else None,
        "cycles.bound_latency_ms": "modelled",
        "cycles.clock_mhz": "assumed",
        "task_switch": rtl,
        "memory": "modelled",
        "memory.rtl_dram_bytes": rtl,
        "flops": "modelled",
        "energy": "modelled",
        "resources": "counted" if synthesised else "modelled",
        "accuracy": "measured" if scored else None,
    }


def assumptions(hardware: HardwareConfig, constants: Constants) -> list[dict[str, Any]]:
    """Everything that no measurement stands behind, one row each."""
    memory = hardware.memory
    rows = [
        ("Clock", f"{hardware.clock_mhz:g} MHz", "until a vendor tool closes timing"),
        ("DRAM peak", f"{memory.peak_bytes} B/cycle", f"{memory.ports} ports of {8 * memory.port_bytes} bit"),
        ("DRAM efficiency", f"{memory.efficiency_percent} %", "of the peak, in the bound and in simulation"),
        ("DRAM latency", f"{memory.latency_cycles} cycles", "read latency of the simulated memory"),
    ]
    named = [{"kind": "assumed", "name": name, "value": value, "source": why} for name, value, why in rows]
    energies = [
        {"kind": "assumed", "name": row.title, "value": f"{row.low:g} / {row.nominal:g} / {row.high:g} {row.unit}"}
        | {"source": row.source}
        for row in (getattr(constants, field) for field in Constants.model_fields)
    ]
    return named + energies
