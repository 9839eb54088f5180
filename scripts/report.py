# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `report`: FLOPs, cycles against their bound, memory, energy and accuracy of every task, as JSON and HTML."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.errors import write_atomically
from m3vit.scripts.cli import run_verb
from m3vit.sim.energy import load_constants
from m3vit.sim.figures import MISSING, number
from m3vit.sim.pathway import read_pathways
from m3vit.sim.report import Inputs, build_report, image_sha256
from m3vit.sim.report_page import render
from m3vit.sim.results import RESULTS, check_results, read_results

COLUMNS = ("task", "GMAC", "wrong", "cycles", "x bound", "~mJ", "float", "int8", "metric")
"""Of the printed table; cycles are those of the RTL, ~ marks what is modelled."""


def report(
    pathway: Annotated[Path, typer.Argument(help="Pathway folder written by `m3vit export`.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report; PATHWAY/report by default.")] = None,
    energy_constants: Annotated[
        Path | None, typer.Option(help="TOML table of energy constants in place of the built-in one.")
    ] = None,
) -> None:
    """Write report.json and report.html: FLOPs, cycles against their bound, memory, energy, per task."""
    tree = build_report(read_inputs(pathway, energy_constants))
    folder = out or pathway / "report"
    write_atomically(folder / "report.json", (json.dumps(tree, indent=1) + "\n").encode())
    write_atomically(folder / "report.html", render(tree).encode())
    print_table(tree)
    state = tree["verification_state"]
    if state["state"] != "verified":
        typer.echo(f"{state['sentence']} To measure cycles, run: {state['command']}")
    typer.echo(f"wrote {folder / 'report.html'} and report.json")


def read_inputs(folder: Path, energy_constants: Path | None) -> Inputs:
    """Read everything that a report is made of.

    Raises:
        UserError: the pathways, the results or the constants are damaged.
    """
    pathways = read_pathways(folder)
    results = read_results(folder / RESULTS)
    stale = results is not None and results.image_sha256 != image_sha256(pathways)
    if results is not None and not stale:
        check_results(results, pathways, folder / RESULTS)
    return Inputs(pathways, None if stale else results, stale, load_constants(energy_constants), folder)


def print_table(tree: dict[str, Any]) -> None:
    """Print the figures that matter most, one row per task."""
    clock = tree["cycles"]["clock_mhz"]
    table = Table(
        title=f"{tree['workload']} on hardware '{tree['hardware']['name']}', {clock:g} MHz assumed",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in COLUMNS:
        words = column in ("task", "metric")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    for name, task in tree["tasks"].items():
        table.add_row(name, *_cells(task))
    Console().print(table)


def _cells(task: dict[str, Any]) -> tuple[str, ...]:
    energy, scores = task["energy"], task["accuracy"]
    return (
        number(task["flops"]["task_gmac"]),
        number(task["verification"]["golden_vs_rtl_mismatches"]),
        number(task["cycles"]["total"]),
        number(task["cycles"]["ratio_to_bound"]),
        number(energy["nominal_mj"]),
        number(scores["float"]),
        number(scores["int8"]),
        (scores["metric"] or MISSING).partition(" (")[0],  # the unit is in the report
    )


if __name__ == "__main__":
    run_verb(report)
