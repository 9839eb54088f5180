# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `coverage`: which lines, branches and bits of the RTL the simulations have used."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.scripts.cli import run_verb
from m3vit.sim.coverage import Share, report, total

WIDTH = 120


def coverage(
    counts: Annotated[
        Path, typer.Argument(help="Folder that the variable M3VIT_COVERAGE named while the tests ran.")
    ] = Path("runs/coverage/counts"),
    out: Annotated[Path, typer.Option(help="Where coverage.json and coverage.html go.")] = Path("runs/coverage"),
) -> None:
    """Report which lines, branches and bits of the RTL the tests used; `make coverage` runs them first."""
    modules = report(counts, out)
    console = Console(width=WIDTH)
    table = Table("module", box=box.SIMPLE_HEAD)
    for name in ("lines", "branches", "toggles"):
        table.add_column(f"{name} %", justify="right")
    for name in ("lines never hit", "branches never taken"):
        table.add_column(name, justify="right")
    for module in modules:
        gaps = (str(len(module.never_lines) or ""), str(len(module.never_branches) or ""))
        table.add_row(module.path.stem, *map(_percent, module.shares().values()), *gaps)
    lines, branches = (
        sum(map(len, gaps)) for gaps in zip(*((m.never_lines, m.never_branches) for m in modules), strict=True)
    )
    table.add_section()
    table.add_row("all", *map(_percent, total(modules).values()), str(lines), str(branches))
    console.print(table)
    for module in modules:
        if module.never_lines:
            console.print(f"{module.path.stem}: lines {', '.join(map(str, module.never_lines))} never hit")
    console.print(f"wrote {out / 'coverage.json'} and {out / 'coverage.html'}")


def _percent(share: Share) -> str:
    return "–" if share.percent is None else f"{share.percent:.1f}"


if __name__ == "__main__":
    run_verb(coverage)
