# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `project`: a self-contained folder that the vendor's tools turn into a bitstream and a board owner runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.model.zoo import find_pathway
from m3vit.scripts.cli import run_verb
from m3vit.scripts.project_folder import Backend, replace_folder, write_project
from m3vit.sim.designs import find_design
from m3vit.sim.pathway import read_pathways
from m3vit.sim.repack import repack
from m3vit.sim.resources import Resources, check_board
from m3vit.sim.synthesis import count

__all__ = ["Backend", "project"]


def project(
    pathway: Annotated[Path, typer.Argument(help="Pathway folder, or a model that ships (`m3vit zoo`).")],
    backend: Annotated[Backend, typer.Option(help="SystemVerilog (rtl) or C++ for Vitis HLS (hls).")] = Backend.rtl,
    out: Annotated[Path, typer.Option(help="Folder for the project.")] = Path("runs/project"),
    design: Annotated[
        str | None, typer.Option(help="Another design: one of `m3vit explore`, a preset, or a TOML file.")
    ] = None,
) -> None:
    """Write the bitstream project of a pathway's accelerator for its board, with its host driver."""
    pathway = find_pathway(pathway)
    pathways = read_pathways(pathway)
    if design is not None:
        pathways = repack(pathways, find_design(design))
    hardware = pathways.first.config.hardware
    need = check_fit(hardware) if backend is Backend.rtl else None
    with replace_folder(out) as folder:
        checked = write_project(pathways, backend, need, folder)
    if need:
        print_resources(hardware, need)
    else:
        typer.echo("resources: unknown until Vitis HLS has synthesised the design")
    how = "run against stand-ins for the tools" if checked else "not checked, there is no Tcl here"
    typer.echo(f"Tcl scripts: {how}")
    typer.echo(f"wrote {out}; {out}/README.md says how to build and run it")


def check_fit(hardware: HardwareConfig) -> Resources:
    """Modelled resources of an RTL design that fits its board.

    Raises:
        UserError: it does not fit, by the model or by Yosys' count where there is one.
    """
    need, counted = check_board(hardware), count(hardware)
    if counted is not None and (excess := counted.excess(hardware.board)):
        raise UserError(f"hardware '{hardware.name}' does not fit, so make it smaller: {'; '.join(excess)}")
    return need


def print_resources(hardware: HardwareConfig, need: Resources) -> None:
    """Print what the model says, and what Yosys counted if it did."""
    typer.echo(
        f"resources ({need.source}): {need.dsp} DSP48E2, {need.bram36:g} RAMB36, {need.uram} URAM288, "
        f"{need.lut} LUTs, {need.ff} flip-flops"
    )
    counted = count(hardware)
    if counted is not None:
        sizes = ", ".join(f"{number:g} {name}" for name, number in asdict(counted.total).items())
        typer.echo(f"resources ({counted.source}): {sizes}")


if __name__ == "__main__":
    run_verb(project)
