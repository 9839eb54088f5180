# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `reproduce`: the papers' tables with published figures, ours, the deviation and the reason for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.scripts.cli import run_verb
from m3vit.sim.published import load_published
from m3vit.sim.reproduction.ablation_table import ablation_table
from m3vit.sim.reproduction.figures import LIMIT_PERCENT, Table
from m3vit.sim.reproduction.markdown import COLUMNS, cells, heading, markdown
from m3vit.sim.reproduction.memory_table import MemoryTable
from m3vit.sim.reproduction.network_tables import Case, cases, network_table
from m3vit.sim.reproduction.scan import scan as count_all_ways
from m3vit.sim.reproduction.scan import ways
from m3vit.sim.reproduction.settings import Routings

KEYS = ("1", "2", "4", "ablation")
WIDTH = 120
MARKS = ("<!-- tables -->", "<!-- end -->")
RIGHT = ("published", "ours", "deviation", "reason")
Make = Callable[[Path, Routings], Table]


def makers() -> dict[str, Make]:
    """How each table is made from the folder of earlier runs and the routings of modelled frames."""
    published = load_published()
    return {
        "1": lambda runs, routings: network_table(cases(published, routings)["1"]),
        "2": lambda runs, routings: network_table(cases(published, routings)["2"]),
        "4": lambda runs, routings: MemoryTable(published, runs, routings).table(),
        "ablation": lambda runs, routings: ablation_table(published, runs, routings),
    }


def reproduce(
    table: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(KEYS)}; all by default.")] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder of `m3vit bench` and `m3vit ablation`: what the RTL measured there is shown.")
    ] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder for reproduce.json and reproduce.md.")] = Path("runs/reproduce"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random routing behind modelled cycles.")] = 0,
    traces: Annotated[
        bool,
        typer.Option("--traces", help="Instead take the routing that golden formed on workloads verified in RUNS."),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="Also refresh the tables in this Markdown page: docs/reproduce.md."),
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Also count the ResNets of tables 1 and 2 in 96 ways; takes minutes.")
    ] = False,
) -> None:
    """Print M3ViT's tables 1, 2 and 4 and Edge-MoE's ablation: published figures, ours, deviation, reason.

    FLOPs are counted on modules, cycles come from the performance model or, where there is a run, from the RTL. Nothing
    is trained or simulated.
    """
    routings, tables = Routings(seed, runs if traces else None), []
    for key in find_tables(table or list(KEYS)):
        tables.append(makers()[key](runs, routings))
        print_table(tables[-1])
        if scan and key in cases(load_published()):
            print_scan(cases(load_published())[key])
    tree = {"limit_percent": LIMIT_PERCENT, "tables": {made.key: made.tree() for made in tables}}
    write_atomically(out / "reproduce.json", (json.dumps(tree, indent=1) + "\n").encode())
    text = "\n".join(markdown(made) for made in tables)
    write_atomically(out / "reproduce.md", text.encode())
    if page is not None:
        update_page(page, text)
    typer.echo(f"wrote {out / 'reproduce.md'} and reproduce.json")


def find_tables(names: list[str]) -> list[str]:
    """The tables to make, each once.

    Raises:
        UserError: a name is unknown.
    """
    for name in names:
        if name not in KEYS:
            raise UserError(f"table '{name}' is unknown; choose one of {', '.join(KEYS)}")
    return list(dict.fromkeys(names))


def update_page(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        UserError: there is no such page, or it has no marks.
    """
    head, begin, rest = read_file(page).decode().partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not end:
        raise UserError(f"{page} has no place for tables; mark it with the lines '{MARKS[0]}' and '{MARKS[1]}'")
    write_atomically(page, f"{head}{begin}\n{text}{end}{tail}".encode())


def print_table(table: Table) -> None:
    """Print a table, its reasons and its notes."""
    console, reasons = Console(width=WIDTH, highlight=False), table.reasons
    shown = RichTable(box=box.SIMPLE_HEAD, title=heading(table), caption=f"published: {table.source}")
    for column in COLUMNS:
        shown.add_column(column, justify="right" if column in RIGHT else "left")
    for figure in table.figures:
        shown.add_row(*cells(figure, reasons))
    console.print(shown)
    for index, reason in enumerate(reasons, 1):
        console.print(f" {index}. {reason}")
    for note in table.notes:
        console.print(f" - {note}")


def print_scan(case: Case) -> None:
    """Print the ways of counting that fit a row, those that fit most rows first."""
    fits = count_all_ways(case, list(ways()))
    shown = [fit for fit in fits if fit.rows]
    title = f"Table {case.key}: {len(shown)} of {len(fits)} ways of counting bring a ResNet within {LIMIT_PERCENT:g} %"
    table = RichTable(box=box.SIMPLE_HEAD, title=title)
    table.add_column("way")
    for key in fits[0].gflops:
        table.add_column(key, justify="right")
    for fit in shown:
        table.add_row(fit.way.text(), *(f"{value:.1f}{'*' * (key in fit.rows)}" for key, value in fit.gflops.items()))
    Console(width=WIDTH, highlight=False).print(table)


if __name__ == "__main__":
    run_verb(reproduce)
