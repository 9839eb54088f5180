# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `agreement`: float against integer features and router decisions, float against a float64 reference."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.table import Table
from torch import Tensor

from m3vit.model.agreement import Deviation, TaskAgreement, operator_deviations
from m3vit.model.agreement import agreement as compare
from m3vit.model.agreement_picture import draw_agreement
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.config import Config, TaskName
from m3vit.model.datasets import open_data
from m3vit.model.edge_moe import SUFFIX
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.units import load_units
from m3vit.model.vit import normalise_image
from m3vit.scripts.cli import run_verb
from m3vit.scripts.export import choose_hardware


def agreement(
    checkpoint: Annotated[Path, typer.Option(help="model.safetensors of a training run or an import.")],
    out: Annotated[Path, typer.Option(help="Folder for agreement.json, .png and .svg.")] = Path("runs/agreement"),
    hardware: Annotated[
        str | None, typer.Option(help="Design in place of the config's: a preset, a name or a TOML file.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation scenes to compare on.")] = 8,
    picture: Annotated[
        list[Path] | None,
        typer.Option(
            help="Compare on this picture (or Edge-MoE's image.float32.bin) and calibrate on its mirror image."
        ),
    ] = None,
) -> None:
    """Compare a model's float features and router decisions with its integer model's."""
    config, model = load_checkpoint(checkpoint)
    config = choose_hardware(config, hardware)
    calibration, compared, words = choose_images(config, images, picture or [])
    deviations = {task: operator_deviations(model, normalise_image(compared[0]), task) for task in config.model.tasks}
    units = None if picture else load_units(checkpoint)
    pathways = quantise(model, config, units or calibrate_units(model, config, calibration, progress=True))
    results = compare(model, pathways, compared, progress=True)
    report = {
        "workload": config.model.name,
        "images": words,
        "float64": {task: [asdict(row) for row in rows] for task, rows in deviations.items()},
        "tasks": {task: result.as_dict() for task, result in results.items()},
    }
    write_atomically(out / "agreement.json", (json.dumps(report, indent=1) + "\n").encode())
    draw_agreement(results, f"{config.model.name}, float against INT8, {words}", out / "agreement")
    console = Console()
    print_deviations(console, deviations)
    print_sqnr(console, results)
    print_flips(console, results)
    typer.echo(f"{words}; wrote {out / 'agreement.json'}, .png and .svg")


def choose_images(config: Config, count: int, pictures: Sequence[Path]) -> tuple[Tensor, Tensor, str]:
    """Images to calibrate on and to compare on, uint8 (B, 3, H, W), and which they are in words.

    Raises:
        UserError: a picture cannot be read.
    """
    if pictures:
        compared = torch.stack([read_picture(path, config.model.image_hw) for path in pictures])
        return compared.flip(-1), compared, f"{len(compared)} picture(s), calibrated on the mirror images"
    data = open_data(config, progress=True)
    train = data.targets(config.quant.calibration_images)["image"]
    val = next(data.val(count))["image"]
    return train, val, f"{len(val)} validation images, calibrated on {len(train)} training images"


def read_picture(path: Path, image_hw: tuple[int, int]) -> Tensor:
    """A picture, scaled to the model's size, or an image of a dump (8-bit fractions), as uint8 (3, H, W).

    Raises:
        UserError: it is no picture or has the wrong size.
    """
    if path.name.endswith(SUFFIX):
        return _read_dumped(path, image_hw)
    try:
        with Image.open(path) as picture:
            pixels_HW3 = np.array(picture.convert("RGB").resize(image_hw[::-1]))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(
            f"cannot read the picture {path}; check the path and that it is a complete image file"
        ) from error
    return torch.from_numpy(pixels_HW3).permute(2, 0, 1).contiguous()


def _read_dumped(path: Path, image_hw: tuple[int, int]) -> Tensor:
    data, shape = read_file(path), (3, *image_hw)
    if len(data) != 4 * int(np.prod(shape)):
        raise UserError(f"{path} has {len(data):,} bytes where an image has {4 * int(np.prod(shape)):,}; copy it again")
    pixels_3HW = np.frombuffer(data, "<f4").reshape(shape) * 256
    if not (pixels_3HW == np.clip(np.rint(pixels_3HW), 0, 255)).all():
        raise UserError(f"{path} does not hold multiples of 1/256 below 1; pass the image of an Edge-MoE dump")
    return torch.from_numpy(pixels_3HW.astype(np.uint8))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def print_deviations(console: Console, deviations: Mapping[TaskName, Sequence[Deviation]]) -> None:
    """Print the largest deviation of every kind of operator from the float64 reference."""
    rows = [row for task in deviations.values() for row in task]
    kinds = list(dict.fromkeys(row.kind for row in rows))
    worst = [max((row for row in rows if row.kind == kind), key=lambda row: row.largest) for kind in kinds]
    lines = [(row.kind, f"{row.largest:.1e}", f"{row.magnitude:.3g}", row.name) for row in worst]
    columns = ("operator", "largest deviation", "largest output", "where")
    console.print(_table("float32 against float64 NumPy, equal input", columns, lines))


def print_sqnr(console: Console, results: Mapping[TaskName, TaskAgreement]) -> None:
    """Print the SQNR of every stage, one column per task."""
    stages = list(next(iter(results.values())).powers)
    lines = [(stage, *(f"{result.powers[stage].sqnr_db:.2f}" for result in results.values())) for stage in stages]
    console.print(_table("SQNR of the INT8 model's features, dB", ("after", *results), lines))


def print_flips(console: Console, results: Mapping[TaskName, TaskAgreement]) -> None:
    """Print every router's changed decisions."""
    fields = ("tokens", "free", "free_first", "forced", "forced_first", "inherited", "healed")
    lines = [
        (task, layer, *(getattr(flips, name) for name in fields))
        for task, result in results.items()
        for layer, flips in result.flips.items()
    ]
    title = "tokens whose experts INT8 changes (free: running by itself; forced: on the float model's features)"
    columns = ("task", "block", "tokens", "free", "first", "forced", "first", "inherited", "healed")
    console.print(_table(title, columns, lines))


if __name__ == "__main__":
    run_verb(agreement)
