# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `export`: from a checkpoint to a pathway folder, with the accuracy of both models."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from m3vit import __version__
from m3vit.model.accuracy import with_accuracy
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.config import Config, QuantConfig
from m3vit.model.datasets import Data, open_data
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.units import Units, load_units
from m3vit.model.vit import M3ViT
from m3vit.scripts.cli import run_verb
from m3vit.scripts.project_folder import MARKER, check_replaceable, replace_folder
from m3vit.sim.capacity import check_fits
from m3vit.sim.designs import find_design
from m3vit.sim.pathway import Pathways, check_target, write_pathways

HLS4ML = "hls4ml"
"""Folder of the hls4ml projects inside a pathway folder, one of each task."""


def export(
    checkpoint: Annotated[Path, typer.Option(help="model.safetensors of a training run.")],
    out: Annotated[Path, typer.Option(help="Folder for the pathways.")] = Path("runs/pathway"),
    hardware: Annotated[
        str | None, typer.Option(help="Design in place of the config's: a preset, a name or a TOML file.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the dataset, in place of the config's data.root.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=0, help="Validation images to measure accuracy on; all by default, 0 measures nothing."),
    ] = None,
    expert_bits: Annotated[
        int | None, typer.Option(help="Width of the experts' weights, 4 or 8, in place of the config's.")
    ] = None,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Calibrate anew even if the checkpoint carries its units.")
    ] = False,
    hls: Annotated[
        bool, typer.Option("--hls", help="Write an hls4ml project of each task into OUT/hls4ml, too.")
    ] = False,
) -> None:
    """Quantise a checkpoint and write the pathways of all its tasks on one memory image."""
    config, model = load_checkpoint(checkpoint)
    config = choose_hardware(config, hardware)
    config = config.model_copy(update={"quant": with_expert_bits(config.quant, expert_bits)})
    check_fits(config.model, config.hardware)
    check_target(out)
    units = None if recalibrate else load_units(checkpoint)
    if units is None:
        units = calibrated(model, config, open_dataset(config, data))
    pathways = quantise(model, config, units)
    if images != 0:
        pathways = with_accuracy(pathways, model, open_dataset(config, data), images, progress=True)
    check_replaceable(out / HLS4ML)
    write_pathways(pathways, out)
    write_hls4ml(pathways if hls else None, out / HLS4ML)
    print_accuracy(pathways)
    typer.echo(f"wrote {out}" + (f" and an hls4ml project of each task in {out / HLS4ML}" if hls else ""))


def calibrated(model: M3ViT, config: Config, data: Data) -> Units:
    """Units from the first training images."""
    return calibrate_units(model, config, data.targets(config.quant.calibration_images)["image"], progress=True)


def open_dataset(config: Config, folder: Path | None) -> Data:
    """The dataset that the model was trained on, in another folder if one is given."""
    if folder is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"root": folder})})
    return open_data(config, progress=True)


def choose_hardware(config: Config, name: str | None) -> Config:
    """The config with another design, or as it is.

    Raises:
        UserError: no such design.
    """
    return config if name is None else config.model_copy(update={"hardware": find_design(name)})


def with_expert_bits(quant: QuantConfig, bits: int | None) -> QuantConfig:
    """The same quantisation with experts of another width, or as it is.

    Raises:
        UserError: the accelerator has no such width.
    """
    if bits is None:
        return quant
    if bits not in (4, 8):
        raise UserError(f"weights of experts have 4 or 8 bits, not {bits}; use --expert-bits 4 or 8")
    return QuantConfig.model_validate(quant.model_dump() | {"expert_bits": bits})


def write_hls4ml(pathways: Pathways | None, folder: Path) -> None:
    """Write an hls4ml project of each task in the place of older ones; without pathways only remove those.

    Raises:
        UserError: the folder holds something else or cannot be written.
    """
    if pathways is None:
        if folder.exists():
            shutil.rmtree(folder)  # it held another memory image
        return
    from m3vit.hls.plugin.project import write_project  # hls4ml loads for seconds

    with replace_folder(folder) as new:
        for task in pathways.tasks:
            write_project(pathways, task, new / task)
        marker = {"m3vit": __version__, "backend": HLS4ML, "workload": pathways.first.workload}
        (new / MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def print_accuracy(pathways: Pathways) -> None:
    """Print a table of the tasks' metrics in float and in integers."""
    first = pathways.first
    seen = first.accuracy.images if first.accuracy else 0
    table = Table(title=f"{first.workload} on hardware '{first.config.hardware.name}', {seen} validation scenes")
    for column in ("task", "metric", "float", "int8", "loss %", "trivial"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    for task, pathway in pathways.tasks.items():
        if pathway.accuracy is not None:
            scores = pathway.accuracy
            values = (scores.float32, scores.int8, scores.loss_percent, scores.trivial)
            table.add_row(task, scores.metric, *(f"{value:.3f}" for value in values))
    console = Console()
    if seen:
        console.print(table)
    console.print(f"memory image: {first.image.size:,} bytes for {len(pathways.tasks)} tasks")


if __name__ == "__main__":
    run_verb(export)
