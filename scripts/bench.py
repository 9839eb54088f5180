# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `bench`: whole frames at full size in RTL; cycles against their bound and published figures in one table.

Cycles and bytes are counted in RTL simulation, every element of the result is compared with golden, the bound is
arithmetic, and milliseconds are cycles at the assumed clock.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.errors import UserError
from m3vit.scripts.cli import run_verb
from m3vit.scripts.report import report
from m3vit.scripts.workloads import WORKLOADS, Weights, Workload, find_checkpoint, find_workload, make_pathways, origin
from m3vit.sim.bound import Bound, frame_bound
from m3vit.sim.cycles import Task, cycles, seconds
from m3vit.sim.pathway import Pathways, check_target, write_pathways
from m3vit.sim.report import rtl_bytes
from m3vit.sim.resources import on_chip_bytes
from m3vit.sim.results import RESULTS, FrameResult, Results
from m3vit.sim.simulator import SimulationError
from m3vit.sim.verification import verify, write_results

DEFAULT = ("tiny", "small")
WIDTH = 165


@dataclass(frozen=True, eq=False)
class Run:
    """What a benchmark measured."""

    name: str
    workload: Workload
    pathways: Pathways
    results: Results

    def bound(self, frame: FrameResult) -> Bound:
        """Bound of one frame, with the experts that had tokens in it."""
        program = self.pathways.task(frame.task).program
        used = {op.op: float(op.experts) for op in frame.ops if op.queue_lengths}
        return frame_bound(program, self.results.hardware, used)

    def missed(self) -> list[str]:
        """Frames that exceed the workload's goal, one sentence each."""
        if self.workload.goal_cycles is None:
            return []
        most, frames = self.workload.goal_cycles, self.results.frames
        goals = [min(most, self.workload.goal_ratio * self.bound(frame).cycles) for frame in frames]
        return [
            f"{self.name}: {frame.cycles:,} cycles of task '{frame.task}' miss the goal of {goal:,.0f}"
            for frame, goal in zip(frames, goals, strict=True)
            if frame.cycles > goal
        ]


def bench(
    workload: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(WORKLOADS)}; {' and '.join(DEFAULT)} by default.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Images per task.")] = 1,
    weights: Annotated[
        Weights, typer.Option(help="trained: a short training first, kept in OUT; random: at once, routers uneven.")
    ] = Weights.trained,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A trained model that you have; needs exactly one --workload.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; each workload writes into one of its name.")] = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of the random weights and images.")] = 0,
) -> None:
    """Run whole frames of full-size models in RTL and print the performance table.

    A frame of `tiny` takes seconds, one of `small` minutes, the trainings before them longer; a benchmark that was
    killed continues where it was. Exit code 1 if a result differs from golden, or if a frame with trained routers takes
    longer than the workload's goal.
    """
    names = workload or list(DEFAULT)
    if checkpoint is not None and len(names) != 1:
        raise UserError("--checkpoint needs exactly one --workload, which chooses the hardware")
    chosen = {name: find_workload(name) for name in names}
    for name in chosen:
        check_target(out / name / "pathway")
    runs = []
    for name, what in chosen.items():
        model = find_checkpoint(what, weights, checkpoint, out / name / "train")
        Console().rule(f"m3vit bench {name}: {origin(model)}")
        runs.append(measure(name, what, out / name, frames, model, seed))
        report(pathway=out / name / "pathway", out=out / name, energy_constants=None)
    print_table(runs)
    print_published(runs)
    missed = [line for run in runs for line in run.missed()] if weights is Weights.trained else []
    for line in missed:
        typer.echo(line)
    if missed or not all(run.results.all_equal for run in runs):
        raise typer.Exit(1)


def measure(name: str, workload: Workload, folder: Path, frames: int, checkpoint: Path | None, seed: int) -> Run:
    """Write the pathways of a workload and run its frames in RTL and in HLS C-simulation."""
    pathways, images = make_pathways(workload, checkpoint, frames, seed)
    write_pathways(pathways, folder / "pathway")
    tasks = list(pathways.tasks)[: workload.tasks]
    work = (folder / "pathway" / RESULTS).parent
    try:
        results = verify(
            folder / "pathway", pathways, images, tasks, work=work, switch_rounds=workload.switch_rounds, hls=True
        )
    except SimulationError as error:
        typer.echo(f"m3vit: {error}", err=True)
        raise typer.Exit(1) from error
    write_results(results, folder / "pathway" / RESULTS)
    return Run(name, workload, pathways, results)


COLUMNS = (
    "workload", "GMAC", "frames", "elements", "RTL wrong", "HLS wrong", "experts", "cycles", "bound", "x bound", "ms",
    "MACs busy", "DRAM MB", "switch", "sim s",
)  # fmt: skip


def print_table(runs: list[Run]) -> None:
    """One row per task of a workload: means over frames; `experts` that had tokens, per MoE layer."""
    clock = runs[0].results.hardware.clock_mhz
    macs = " and ".join(sorted({f"{run.results.hardware.macs_per_cycle:,}" for run in runs}))
    title = f"Whole frames in RTL, {macs} MAC/cycle (measured), their bound (modelled), ms at {clock:g} MHz (assumed)"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "workload" else "right")
    for run in runs:
        for task in dict.fromkeys(frame.task for frame in run.results.frames):
            table.add_row(*row(run, task))
    console = Console(width=WIDTH, highlight=False)
    console.print(table)
    for hardware in {run.results.hardware.name: run.results.hardware for run in runs}.values():
        size = on_chip_bytes(hardware)
        console.print(f"on-chip memory of '{hardware.name}', for any model: {size:,} bytes (modelled)")


def row(run: Run, task: str) -> tuple[str, ...]:
    """Cells of one task."""
    results, hardware, mine = run.results, run.results.hardware, run.results.of_task(task)
    figures = cycles(Task(run.pathways.task(task), hardware, mine))
    ratios = [frame.cycles / run.bound(frame).cycles for frame in mine]
    switch = results.task_switch
    layers = [op for frame in mine for op in frame.ops if op.queue_lengths]
    return (
        f"{run.name}, {task}",
        f"{figures['macs'] / 1e9:.3f}",
        str(len(mine)),
        f"{sum(frame.elements for frame in mine):,}",
        str(sum(frame.mismatches for frame in mine)),
        str(sum(frame.hls_mismatches or 0 for frame in mine)),
        f"{sum(op.experts for op in layers) / max(len(layers), 1):.1f} of {run.pathways.first.config.model.experts}",
        f"{figures['total']:,.0f}",
        f"{figures['bound']:,}",
        f"{sum(ratios) / len(ratios):.3f}",
        f"{seconds(figures['total'], hardware) * 1e3:.3f}",
        f"{figures['mac_utilisation_percent']:.1f} %",
        f"{rtl_bytes(figures) / 1e6:.2f}",
        "-" if switch is None else f"{switch.extra_cycles} in {2 * len(switch.switch_cycles)}",
        f"{results.simulation_seconds / results.simulated_cycles * figures['total']:.1f}",
    )


def print_published(runs: list[Run]) -> None:
    """What others state for the same networks."""
    table = Table(box=box.SIMPLE_HEAD, title="Published figures of others, whole encoders on other boards and formats")
    for column in ("workload", "design", "board", "bits", "ms", "source"):
        table.add_column(column, justify="right" if column == "ms" else "left")
    for run in runs:
        for other in run.workload.published:
            table.add_row(run.name, other.design, other.board, other.bits, f"{other.ms:g}", other.source)
    if table.row_count:
        Console(width=WIDTH).print(table)


if __name__ == "__main__":
    run_verb(bench)
