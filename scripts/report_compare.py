# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit report --compare A B`: two reports as one page, compare.html, and compare.json."""

import json
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.errors import UserError, write_atomically
from m3vit.scripts.report_inputs import read_inputs
from m3vit.sim.comparison import Side, compare
from m3vit.sim.figures import MISSING, number, size
from m3vit.sim.pathway import MANIFEST
from m3vit.sim.report import build_report
from m3vit.sim.report_page import render_comparison
from m3vit.sim.report_schema import check_report, read_report

REPORT = "report.json"
PRINTED = (
    "cycles.total", "cycles.ratio_to_bound", "cycles.latency_ms", "energy.nominal_mj", "memory.on_chip_bytes",
    "memory.dram_bytes_per_frame", "resources.dsp", "flops.task_gmac",
)  # fmt: skip
"""Rows of the printed table."""


def write_comparison(first: Path, second: Path, out: Path, energy_constants: Path | None) -> None:
    """Compare two pathway folders or report.json files and write compare.html and compare.json.

    Raises:
        UserError: one of them is missing or damaged.
    """
    tree = compare(read_side(first, energy_constants), read_side(second, energy_constants))
    write_atomically(out / "compare.json", (json.dumps(tree, indent=1) + "\n").encode())
    write_atomically(out / "compare.html", render_comparison(tree).encode())
    print_comparison(tree)
    typer.echo(f"wrote {out / 'compare.html'} and compare.json")


def read_side(path: Path, energy_constants: Path | None) -> Side:
    """A pathway folder, a folder with a report.json, or a report.json.

    Raises:
        UserError: it is neither, or damaged.
    """
    if path.is_file():
        return Side(str(path), read_report(path))
    if (path / MANIFEST).exists():
        return Side(str(path), check_report(build_report(read_inputs(path, energy_constants)), str(path)))
    if (path / REPORT).exists():
        return Side(str(path), read_report(path / REPORT))
    raise UserError(f"{path} is neither a pathway folder nor a report; make one with `m3vit export` or `m3vit report`")


def print_comparison(tree: dict[str, Any]) -> None:
    """Print the figures that matter most, a table per pair of tasks, and the notes."""
    for pair in tree["pairs"]:
        title = pair["a"] if pair["a"] == pair["b"] else f"{pair['a']} of A, {pair['b']} of B"
        table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("", "A", "B", "B / A"):
            table.add_column(column, justify="right" if column else "left")
        for row in (row for rows in pair["groups"].values() for row in rows if row["key"] in PRINTED):
            table.add_row(row["title"], _cell(row, "a"), _cell(row, "b"), number(row["ratio"]))
        Console().print(table)
    for note in tree["notes"]:
        typer.echo(note)


def _cell(row: dict[str, Any], side: str) -> str:
    """A figure; ~ marks what is modelled."""
    value = row[side]
    if value is None:
        return MISSING
    mark = "~" if row[f"kind_{side}"] == "modelled" else ""
    return mark + (size(value) if row["form"] == "bytes" else number(value))
