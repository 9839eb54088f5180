# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Results of RTL and of the cycle model for tests of the report: counters that no simulator made."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from m3vit.model.config import DEMO
from m3vit.scripts.report import report
from m3vit.sim.bound import op_bound
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Op, Opcode
from m3vit.sim.report import image_sha256

IDLE = 7
"""Cycles of a frame that belong to no operation."""


def counted(index: int, op: Op, image: int, rng: np.random.Generator) -> dict[str, Any]:
    """Counters of an operation that takes 1,000 cycles more than its bound."""
    queues = rng.multinomial(op.rows * op.top_k, [0.5, 0.3, 0.2] + [0.0] * (op.experts - 3)) if op.top_k else []
    used = {str(expert): int(tokens) for expert, tokens in enumerate(queues) if tokens}
    least = op_bound(op, DEMO.hardware, len(used) if used else None)
    return {
        "op": index, "cycles": least.cycles + 1000 + image, "compute": least.compute, "read_words": 100,
        "write_words": 10, "stall_weight": 500, "stall_input": 300, "stall_output": 100, "experts": len(used),
        "loads": len(used), "queue_lengths": used,
    }  # fmt: skip


def frame(task: str, image: int, program: tuple[Op, ...], rng: np.random.Generator) -> dict[str, Any]:
    ops = [counted(index, op, image, rng) for index, op in enumerate(program)]
    cycles = sum(op["cycles"] for op in ops) + IDLE
    return {"task": task, "image": image, "cycles": cycles, "elements": 1000, "mismatches": 0, "ops": ops}


def make_results(pathways: Pathways, images: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    frames = [
        frame(task, image, pathway.program, rng) for task, pathway in pathways.tasks.items() for image in range(images)
    ]
    moe = moe_ops(pathways)[0]
    events = [
        {"kind": "input", "op": 0, "expert": None, "start": 0, "end": 10},
        {"kind": "load", "op": moe, "expert": 0, "start": 0, "end": 100},
        {"kind": "compute", "op": moe, "expert": None, "start": 50, "end": 150},
        {"kind": "norm", "op": 1, "expert": None, "start": 20, "end": 40},
        {"kind": "output", "op": len(pathways.first.program) - 1, "expert": None, "start": 150, "end": 160},
    ]
    timeline = {"task": pathways.first.task, "image": 0, "events": events}
    return {
        "version": 2, "workload": pathways.first.workload, "image_sha256": image_sha256(pathways),
        "hardware": pathways.first.config.hardware.model_dump(mode="json"), "mode": 0, "simulator": "Verilator 5.048",
        "images": images, "elements_compared": 1000 * len(frames), "golden_vs_rtl_mismatches": 0,
        "golden_vs_hls_mismatches": None, "frames": frames,
        "task_switch": {"same_task_cycles": [100, 102], "switch_cycles": [105, 105]}, "timeline": timeline,
        "wall_seconds": 1.5, "simulated_cycles": 12345,
    }  # fmt: skip


def moe_ops(pathways: Pathways) -> list[int]:
    return [index for index, op in enumerate(pathways.first.program) if op.opcode is Opcode.MOE]


def verify(folder: Path, results: dict[str, Any]) -> None:
    (folder / "verification").mkdir(exist_ok=True)
    (folder / "verification" / "results.json").write_text(json.dumps(results))


def run(folder: Path) -> dict[str, Any]:
    report(folder)
    tree: dict[str, Any] = json.loads((folder / "report" / "report.json").read_text())
    return tree


def page(folder: Path) -> str:
    return (folder / "report" / "report.html").read_text()
