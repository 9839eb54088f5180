# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `verify`: the RTL in Verilator against golden, every element, on real validation images."""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.config import Config, TaskName
from m3vit.model.scene_render import render
from m3vit.model.scenes import scene_seed
from m3vit.scripts.cli import run_verb
from m3vit.sim.pathway import read_pathways
from m3vit.sim.results import RESULTS, Results
from m3vit.sim.simulator import SimulationError
from m3vit.sim.verification import verify as verify_pathways
from m3vit.sim.verification import write_results


def verify(
    pathway: Annotated[Path, typer.Argument(help="Pathway folder written by `m3vit export`.")],
    images: Annotated[int, typer.Option(min=1, help="Validation scenes.")] = 8,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    stall: Annotated[int, typer.Option(min=0, max=90, help="Percent of memory handshakes withheld at random.")] = 0,
    wave: Annotated[bool, typer.Option("--wave", help="Debug model of one scene; writes dump.vcd.")] = False,
) -> None:
    """Run the MoE layers of every task in RTL and compare each element with golden.

    Writes PATHWAY/verification/results.json, the event trace and, with --wave, the waveform. Exit code 1 if RTL and
    golden differ.
    """
    pathways = read_pathways(pathway)
    tasks = [pathways.task(name).task for name in task or pathways.tasks]
    folder = (pathway / RESULTS).parent
    scenes = validation_images(pathways.first.config, 1 if wave else images)
    try:
        results = verify_pathways(pathway, pathways, scenes, tasks, work=folder, stall_percent=stall, waves=wave)
    except SimulationError as error:
        typer.echo(f"m3vit: {error}", err=True)
        raise typer.Exit(1) from error
    print_results(results, tasks)
    if wave:
        typer.echo(f"wrote {folder / 'dump.vcd'}; results.json is kept for full runs")
    else:
        write_results(results, pathway / RESULTS)
        typer.echo(f"wrote {pathway / RESULTS}")
    if results.golden_vs_rtl_mismatches:
        raise typer.Exit(1)


def validation_images(config: Config, count: int) -> npt.NDArray[np.uint8]:
    """The first `count` scenes of the validation split, uint8 (B, H, W, 3)."""
    seeds = [scene_seed("val", config.scenes.seed, index) for index in range(count)]
    return np.stack([render(seed, config.model.image_hw).image for seed in seeds])


def print_results(results: Results, tasks: list[TaskName]) -> None:
    """One row per task and a line with the totals."""
    table = Table(box=box.SIMPLE_HEAD, title=f"RTL against golden, {results.workload}, {results.images} images")
    for column in ("task", "operations", "elements", "wrong", "cycles min", "mean", "max"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task in tasks:
        frames = results.of_task(task)
        cycles = [frame.cycles for frame in frames]
        counts = (len(frames), sum(f.elements for f in frames), sum(f.mismatches for f in frames))
        spread = (min(cycles), round(sum(cycles) / len(cycles)), max(cycles))
        table.add_row(task, *(f"{value:,}" for value in (*counts, *spread)))
    Console().print(table)
    typer.echo(f"{results.elements_compared:,} elements compared, {results.golden_vs_rtl_mismatches:,} differ")
    if results.task_switch:
        same, switch = results.task_switch.same_task_cycles, results.task_switch.switch_cycles
        extra = max(abs(a - b) for a, b in zip(same, switch, strict=True))
        typer.echo(f"cycles that switching the task adds: {extra}")


if __name__ == "__main__":
    run_verb(verify)
