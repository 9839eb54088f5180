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

from m3vit.model.errors import UserError, write_atomically
from m3vit.model.zoo import find_pathway
from m3vit.scripts.cli import run_verb
from m3vit.scripts.report_compare import write_comparison
from m3vit.scripts.report_inputs import read_inputs
from m3vit.sim.figures import MISSING, number
from m3vit.sim.report import build_report
from m3vit.sim.report_page import render

COLUMNS = ("task", "GMAC", "wrong", "cycles", "x bound", "~mJ", "float", "int8", "metric")
"""Of the printed table; ~ marks what is modelled."""
COMPARISON = Path("runs") / "compare"
"""Where a comparison goes by default."""


def report(
    pathway: Annotated[Path | None, typer.Argument(help="Pathway folder, or a model that ships (`m3vit zoo`).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; by default PATHWAY/report, or runs/compare.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Compare two pathway folders or report.json files instead."),
    ] = None,
    energy_constants: Annotated[
        Path | None, typer.Option(help="TOML table of energy constants in place of the built-in one.")
    ] = None,
) -> None:
    """Write report.json and report.html: FLOPs, cycles against their bound, memory, energy, per task."""
    if (pathway is None) == (compare is None):
        raise UserError("give either one PATHWAY or --compare A B")
    if compare is not None:
        write_comparison(*compare, out or COMPARISON, energy_constants)
    if pathway is not None:
        pathway = find_pathway(pathway)
        write_report(pathway, out or pathway / "report", energy_constants)


def write_report(pathway: Path, folder: Path, energy_constants: Path | None) -> None:
    """Write report.json and report.html of a pathway folder and print the figures that matter most.

    Raises:
        UserError: the pathways, the results or the constants are damaged.
    """
    tree = build_report(read_inputs(pathway, energy_constants))
    write_atomically(folder / "report.json", (json.dumps(tree, indent=1) + "\n").encode())
    write_atomically(folder / "report.html", render(tree).encode())
    print_table(tree)
    state = tree["verification_state"]
    if state["state"] != "verified":
        typer.echo(f"{state['sentence']} To measure cycles, run: {state['command']}")
    typer.echo(f"wrote {folder / 'report.html'} and report.json")


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
    mark = "~" if task["kinds"]["cycles.total"] == "modelled" else ""
    return (
        number(task["flops"]["task_gmac"]),
        number(task["verification"]["golden_vs_rtl_mismatches"]),
        mark + number(task["cycles"]["total"]),
        mark + number(task["cycles"]["ratio_to_bound"]),
        number(energy["nominal_mj"]),
        number(scores["float"]),
        number(scores["int8"]),
        (scores["metric"] or MISSING).partition(" (")[0],  # the unit is in the report
    )


if __name__ == "__main__":
    run_verb(report)
