# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `project`: a self-contained folder that Vivado turns into a bitstream and a board owner runs."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from m3vit.model.errors import UserError
from m3vit.scripts.cli import run_verb
from m3vit.scripts.project_folder import replace_folder, write_project
from m3vit.sim.pathway import read_pathways
from m3vit.sim.resources import check_board
from m3vit.sim.synthesis import count


class Backend(StrEnum):
    """How the accelerator is described."""

    rtl = "rtl"
    hls = "hls"


def project(
    pathway: Annotated[Path, typer.Argument(help="Pathway folder written by `m3vit export`.")],
    backend: Annotated[Backend, typer.Option(help="SystemVerilog (rtl) or Vitis HLS (hls).")] = Backend.rtl,
    out: Annotated[Path, typer.Option(help="Folder for the project.")] = Path("runs/project"),
) -> None:
    """Write the Vivado project of a pathway's accelerator for the ZCU104, with its host driver."""
    if backend is Backend.hls:
        raise UserError("the HLS backend is not part of this version yet; use --backend rtl")
    pathways = read_pathways(pathway)
    hardware = pathways.first.config.hardware
    need, counted = check_board(hardware), count(hardware)
    if counted is not None and (excess := counted.excess(hardware.board)):
        raise UserError(f"hardware '{hardware.name}' does not fit, so make it smaller: {'; '.join(excess)}")
    with replace_folder(out) as folder:
        checked = write_project(pathways, need, folder)
    typer.echo(f"resources ({need.source}): {need.dsp} DSP48E2, {need.bram36} RAMB36, {need.uram} URAM288")
    if counted is not None:
        sizes = ", ".join(f"{number:g} {name}" for name, number in asdict(counted.total).items())
        typer.echo(f"resources ({counted.source}): {sizes}")
    typer.echo(f"Tcl scripts: {'run against stand-ins for Vivado' if checked else 'not checked, there is no Tcl here'}")
    typer.echo(f"wrote {out}; {out}/README.md says how to build and run it")


if __name__ == "__main__":
    run_verb(project)
