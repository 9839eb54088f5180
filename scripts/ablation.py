# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `ablation`: one frame with one schedule after the other, from the papers' baseline to the accelerator's own.

Every schedule is a value of the MODE register of the same RTL, so nothing is estimated; every result is compared with
golden. The order of the steps is that of Edge-MoE's own table as far as both designs have the step.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.config import WORD_BYTES
from m3vit.model.errors import write_atomically
from m3vit.scripts.cli import run_verb
from m3vit.scripts.workloads import WORKLOADS, Weights, find_checkpoint, find_workload, make_pathways, origin
from m3vit.sim.pathway import write_pathways
from m3vit.sim.program import OP_BYTES
from m3vit.sim.regmap import Mode
from m3vit.sim.results import FrameResult, OpResult
from m3vit.sim.simulator import SimulationError
from m3vit.sim.verification import verify

STEPS: tuple[tuple[str, Mode], ...] = (
    ("base", Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX),
    ("expert by expert", Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX),
    ("streaming softmax", Mode.NO_PREFETCH | Mode.NO_OVERLAP),
    ("overlapped vector units", Mode.NO_PREFETCH),
    ("prefetch across operations", Mode(0)),
)
"""What each step adds, and the schedule that remains."""
PUBLISHED = {
    "source": "Edge-MoE, arXiv 2305.18691, ZCU102 at 300 MHz, workload tiny",
    "ms": {
        "base": 650.3,
        "expert by expert": 433.4,
        "single-pass softmax": 353.4,
        "GELU table": 212.9,
        "unified linear engine": 104.3,
        "attention reordering": 34.6,
    },
}


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Attributes:
        name: what the step adds.
        mode: value of MODE.
        cycles: of the frame.
        speedup: over the step before.
        cumulative: over the base.
        dram_bytes: read and written.
        expert_visits, expert_loads: tokens-and-expert pairs or experts computed, and experts read from DRAM.
        hit_rate: of the expert cache (TOKEN_ORDER); None for the others.
        mismatches: elements that differ from golden.
    """

    name: str
    mode: int
    cycles: int
    ms: float
    speedup: float
    cumulative: float
    dram_bytes: int
    expert_visits: int
    expert_loads: int
    hit_rate: float | None
    mismatches: int


def ablation(
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}.")] = "tiny",
    weights: Annotated[
        Weights, typer.Option(help="trained: a short training first, kept in OUT; random: at once, routers uneven.")
    ] = Weights.trained,
    checkpoint: Annotated[Path | None, typer.Option(help="A trained model that you have.")] = None,
    out: Annotated[Path, typer.Option(help="Folder; each workload writes into one of its name.")] = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of the random weights and the image.")] = 0,
) -> None:
    """Run one frame with every schedule of the MODE register, from the papers' baseline on, and print what each gains.

    Writes ablation.json. The baseline simulates many times more cycles than the accelerator's own schedule. Exit code 1
    if any schedule's result differs from golden.
    """
    chosen, folder = find_workload(workload), out / workload
    checkpoint = find_checkpoint(chosen, weights, checkpoint, folder / "train")
    pathways, images = make_pathways(chosen, checkpoint, 1, seed)
    folder = folder / "ablation"
    write_pathways(pathways, folder / "pathway")
    task = pathways.first.task
    steps: list[Step] = []
    for name, mode in STEPS:
        Console().rule(f"m3vit ablation {workload}: {name}")
        work = folder / f"mode{int(mode)}"
        try:
            results = verify(folder / "pathway", pathways, images, [task], work=work, mode=mode, switch_rounds=0)
        except SimulationError as error:
            typer.echo(f"m3vit: {error}", err=True)
            raise typer.Exit(1) from error
        steps.append(make_step(name, mode, results.frames[0], steps, chosen.hardware.clock_mhz))
    write_json(folder / "ablation.json", workload, origin(checkpoint), steps)
    print_table(f"{workload}, {origin(checkpoint)}, {chosen.hardware.clock_mhz:g} MHz assumed", steps)
    typer.echo(f"wrote {folder / 'ablation.json'}")
    if any(step.mismatches for step in steps):
        raise typer.Exit(1)


def make_step(name: str, mode: Mode, frame: FrameResult, before: list[Step], clock_mhz: float) -> Step:
    """The row of a frame, beside the rows before it."""
    layers = [op for op in frame.ops if op.queue_lengths]
    visits, loads = sum(op.experts for op in layers), sum(op.loads for op in layers)
    return Step(
        name=name,
        mode=int(mode),
        cycles=frame.cycles,
        ms=frame.cycles / clock_mhz / 1e3,
        speedup=before[-1].cycles / frame.cycles if before else 1.0,
        cumulative=before[0].cycles / frame.cycles if before else 1.0,
        dram_bytes=len(frame.ops) * OP_BYTES + sum(moved(op) for op in frame.ops),
        expert_visits=visits,
        expert_loads=loads,
        hit_rate=1 - loads / visits if mode & Mode.TOKEN_ORDER and visits else None,
        mismatches=frame.mismatches,
    )


def moved(op: OpResult) -> int:
    """Bytes that an operation read and wrote."""
    return WORD_BYTES * (op.read_words + op.write_words)


def write_json(path: Path, workload: str, weights: str, steps: list[Step]) -> None:
    """Write ablation.json."""
    tree = {"workload": workload, "weights": weights, "steps": [asdict(step) for step in steps], "published": PUBLISHED}
    write_atomically(path, (json.dumps(tree, indent=1) + "\n").encode())


def print_table(title: str, steps: list[Step]) -> None:
    """One row per schedule."""
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for column in ("schedule", "cycles", "ms", "step", "in all", "DRAM MB", "expert loads", "cache hits", "wrong"):
        table.add_column(column, justify="left" if column == "schedule" else "right")
    for step in steps:
        table.add_row(
            step.name,
            f"{step.cycles:,}",
            f"{step.ms:.3f}",
            f"{step.speedup:.2f}x",
            f"{step.cumulative:.2f}x",
            f"{step.dram_bytes / 1e6:.2f}",
            f"{step.expert_loads:,}",
            "-" if step.hit_rate is None else f"{step.hit_rate:.1%}",
            str(step.mismatches),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    run_verb(ablation)
