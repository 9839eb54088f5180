# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `validate`: the cycle model against the RTL on random accelerators, models, routers and memories."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from m3vit.model.errors import UserError
from m3vit.scripts.cli import run_verb
from m3vit.sim.pathway import read_pathways
from m3vit.sim.performance_cases import SUITES, Suite
from m3vit.sim.performance_check import (
    CLASS_LIMIT,
    FRAME_LIMIT,
    SMALL_CLASS,
    Comparison,
    Summary,
    class_summaries,
    compare_measured,
    compare_results,
    counter_summaries,
    frame_summary,
    missed,
)
from m3vit.sim.performance_measured import Measured, measure_cases
from m3vit.sim.report import image_sha256
from m3vit.sim.results import RESULTS, check_results, read_results
from m3vit.sim.simulator import SimulationError

WIDTH = 150
DEFAULT = "held-out"
UNLIMITED = {
    "compute": "engine multiplies, of frame",
    "stall_weight": "waits for weights, of frame",
    "stall_input": "waits for rows, of frame",
    "stall_output": "waits for consumer, of frame",
}
"""Counters of the summary that have no limit."""


def validate(
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(SUITES)}.")] = DEFAULT,
    pathway: Annotated[
        list[Path] | None, typer.Option(help="Pathway folder whose verified frames are compared, too; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; measured frames go into OUT/validation/SUITE.")] = Path("runs"),
) -> None:
    """Compare the cycle model with the RTL on random accelerators, models, routers, memories and schedules.

    What an earlier run measured on the same RTL is not measured again. Exit code 1 if the model misses a limit, or if
    the RTL differs from golden.
    """
    if suite not in SUITES:
        raise UserError(f"suite '{suite}' is unknown; choose one of {', '.join(SUITES)}")
    verified = [one for path in pathway or [] for one in verified_frames(path)]
    try:
        measured = [*measured_cases(SUITES[suite], out / "validation" / suite)]
    except SimulationError as error:
        typer.echo(f"m3vit: {error}", err=True)
        raise typer.Exit(1) from error
    if not print_comparisons([*map(compare_measured, measured), *verified], f"suite {suite}"):
        raise typer.Exit(1)


def verified_frames(folder: Path) -> list[Comparison]:
    """The frames that `m3vit verify` or `bench` ran of a pathway.

    Raises:
        UserError: there are none, or they are not of this pathway.
    """
    pathways, results = read_pathways(folder), read_results(folder / RESULTS)
    if results is None:
        raise UserError(f"nothing of {folder} ran in RTL; run `m3vit verify {folder}` first")
    if results.image_sha256 != image_sha256(pathways):
        raise UserError(f"{folder / RESULTS} is of another pathway; run `m3vit verify {folder}` again")
    check_results(results, pathways, folder / RESULTS)
    return compare_results(results, pathways)


def measured_cases(suite: Suite, folder: Path) -> Iterator[Measured]:
    """All cases of a suite with a progress bar, those that are already known at once."""
    cases = suite.draw()
    yield from tqdm(measure_cases(cases, folder), total=len(cases), desc=f"RTL, {suite.name}", unit="frame")


def print_comparisons(comparisons: Sequence[Comparison], title: str) -> bool:
    """Print the error table and what misses a limit; whether nothing does."""
    console = Console(width=WIDTH, highlight=False)
    console.print(frame_table(comparisons, title))
    console.print(summary_table(comparisons))
    console.print(
        f"Limits: {FRAME_LIMIT:g} % of a frame, {CLASS_LIMIT:g} % of an operation class, whose error is relative to at "
        f"least {SMALL_CLASS:.0%} of the frame: cycles at the border of two operations count for either of them."
    )
    lines = missed(comparisons)
    for line in lines:
        console.print(line)
    return not lines


def frame_table(comparisons: Sequence[Comparison], title: str) -> Table:
    """One row per frame."""
    table = Table(box=box.SIMPLE_HEAD, title=f"Cycle model (modelled) against RTL (measured), {title}")
    for column in (
        "frame",
        "array",
        "DRAM",
        "mode",
        "RTL cycles",
        "model",
        "error %",
        "worst class",
        "error %",
        "words %",
    ):
        table.add_column(column, justify="left" if column in ("frame", "worst class") else "right", no_wrap=True)
    for one in comparisons:
        table.add_row(*cells(one))
    return table


def cells(one: Comparison) -> tuple[str, ...]:
    """The row of a frame."""
    memory = one.hardware.memory
    return (
        one.name,
        f"{one.hardware.lanes}x{one.hardware.inputs}",
        f"{memory.ports} x {memory.efficiency_percent} %, {memory.latency_cycles}",
        str(int(one.mode)),
        f"{one.frame.rtl:,}",
        f"{one.frame.model:,}",
        f"{one.frame.error:+.2f}",
        one.worst_class.name,
        f"{one.classes[one.worst_class].error:+.2f}",
        f"{one.words.error:+.2f}",
    )


def summary_table(comparisons: Sequence[Comparison]) -> Table:
    """Mean and worst of frames, and of each operation class."""
    table = Table(box=box.SIMPLE_HEAD, title="Errors without sign")
    for column in ("what", "frames", "mean %", "worst %", "worst in"):
        table.add_column(column, justify="left" if column in ("what", "worst in") else "right")
    rows: dict[str, Summary] = {"whole frame": frame_summary(comparisons)}
    rows |= {opcode.name: errors for opcode, errors in class_summaries(comparisons).items()}
    rows |= {UNLIMITED.get(name, name): errors for name, errors in counter_summaries(comparisons).items()}
    for name, errors in rows.items():
        table.add_row(name, str(errors.frames), f"{errors.mean:.2f}", f"{errors.worst:.2f}", errors.name)
    return table


if __name__ == "__main__":
    run_verb(validate)
