# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `verify`: whole frames against golden, every element: RTL in Verilator, HLS in C-simulation."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.config import Config, HardwareConfig
from m3vit.model.scene_render import render
from m3vit.model.scenes import scene_seed
from m3vit.model.zoo import find_pathway
from m3vit.scripts.cli import run_verb
from m3vit.sim.designs import DESIGNS, find_design
from m3vit.sim.pathway import read_pathways, write_pathways
from m3vit.sim.regmap import Mode
from m3vit.sim.repack import repack
from m3vit.sim.results import RESULTS, Results
from m3vit.sim.simulator import SimulationError
from m3vit.sim.verification import verify as verify_pathways
from m3vit.sim.verification import write_results


class Schedule(StrEnum):
    """Schedules to compare with, see `m3vit.sim.regmap.Mode`."""

    no_prefetch = "no-prefetch"
    no_overlap = "no-overlap"
    token_order = "token-order"
    multipass_softmax = "multipass-softmax"


def mode_of(schedules: list[Schedule]) -> Mode:
    """The MODE register for a list of options."""
    return Mode(sum(Mode[schedule.name.upper()] for schedule in set(schedules)))


def verify(
    pathway: Annotated[Path, typer.Argument(help="Pathway folder, or a model that ships (`m3vit zoo`).")],
    images: Annotated[int, typer.Option(min=1, help="Validation scenes.")] = 2,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    stall: Annotated[int, typer.Option(min=0, max=90, help="Percent of memory handshakes withheld at random.")] = 0,
    mode: Annotated[list[Schedule] | None, typer.Option(help="Schedule to compare with; may be repeated.")] = None,
    wave: Annotated[bool, typer.Option("--wave", help="Debug model of one frame; writes dump.vcd.")] = False,
    hls: Annotated[bool, typer.Option(help="Run the HLS accelerator in C-simulation, too.")] = True,
    design: Annotated[
        str | None, typer.Option(help="Another design: one of `m3vit explore`, a preset, or a TOML file.")
    ] = None,
) -> None:
    """Run whole frames of every task in RTL and in HLS C-simulation and compare each element with golden.

    Writes PATHWAY/verification/results.json, the event trace, the routing for `m3vit estimate` and, with --wave, the
    waveform. A run that was killed
    continues where it stopped. With --mode, --stall or --wave only the RTL runs and results.json is left as it is, for
    the report speaks of the accelerator's own schedule. With --design the pathway is first laid out for another
    accelerator, into PATHWAY/designs/NAME, and everything happens there. Exit code 1 if anything differs from golden.
    """
    pathway = find_pathway(pathway)
    if design is not None:
        pathway = lay_out(pathway, find_design(design))
    pathways = read_pathways(pathway)
    tasks = [pathways.task(name).task for name in task or pathways.tasks]
    folder = (pathway / RESULTS).parent
    plain = not (mode or stall or wave)
    work = folder if plain else folder / "experiments"
    scenes = validation_images(pathways.first.config, 1 if wave else images)
    try:
        results = verify_pathways(
            pathway, pathways, scenes, tasks[:1] if wave else tasks, work=work, mode=mode_of(mode or []),
            stall_percent=stall, waves=wave, switch_rounds=0 if wave else 1, hls=hls and plain,
        )  # fmt: skip
    except SimulationError as error:
        typer.echo(f"m3vit: {error}", err=True)
        raise typer.Exit(1) from error
    print_results(results)
    if plain:
        write_results(results, pathway / RESULTS)
        typer.echo(f"wrote {pathway / RESULTS}")
    else:
        typer.echo(f"wrote {work / ('dump.vcd' if wave else 'outcome.jsonl')}; results.json is kept for plain runs")
    if not results.all_equal:
        raise typer.Exit(1)


def lay_out(pathway: Path, hardware: HardwareConfig) -> Path:
    """Write a pathway for another design into a folder of its own; what was verified there stays if it is the same.

    Raises:
        UserError: the model does not fit the design.
    """
    folder = pathway / DESIGNS / hardware.name
    write_pathways(repack(read_pathways(pathway), hardware), folder)
    typer.echo(f"laid out for design '{hardware.name}' in {folder}")
    return folder


def validation_images(config: Config, count: int) -> npt.NDArray[np.uint8]:
    """The first `count` scenes of the validation split, uint8 (B, H, W, 3).

    Models of other datasets run on them, too: to compare executors takes pixels, not labels.
    """
    seeds = [scene_seed("val", config.scenes.seed, index) for index in range(count)]
    return np.stack([render(seed, config.model.image_hw).image for seed in seeds])


def print_results(results: Results) -> None:
    """One row per task and lines with the totals."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"Against golden, {results.workload}, {results.images} images"
    )
    for column in ("task", "frames", "elements", "RTL wrong", "HLS wrong", "cycles min", "mean", "max"):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=" " not in column)
    for task in dict.fromkeys(frame.task for frame in results.frames):
        frames = results.of_task(task)
        cycles = [frame.cycles for frame in frames]
        wrong = [f.hls_mismatches for f in frames if f.hls_mismatches is not None]
        hls = f"{sum(wrong):,}" if wrong else "-"
        counts = (len(frames), sum(f.elements for f in frames), sum(f.mismatches for f in frames))
        spread = (min(cycles), round(sum(cycles) / len(cycles)), max(cycles))
        table.add_row(task, *(f"{value:,}" for value in counts), hls, *(f"{value:,}" for value in spread))
    Console().print(table)
    typer.echo(f"RTL: {results.elements_compared:,} elements compared, {results.golden_vs_rtl_mismatches:,} differ")
    if results.golden_vs_hls_mismatches is not None:
        typer.echo(f"HLS: {results.hls_elements:,} elements compared, {results.golden_vs_hls_mismatches:,} differ")
    if results.task_switch:
        typer.echo(f"cycles that switching the task adds to a frame: {results.task_switch.extra_cycles}")


if __name__ == "__main__":
    run_verb(verify)
