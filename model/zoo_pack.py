# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Puts a trained model on the shelf: `python -m m3vit.model.zoo_pack NAME CHECKPOINT --notes FILE`.

Settles the checkpoint's weights on the integers' grid, measures the float model, the settled one and the integers on
the whole validation split, and writes `model/zoo/NAME.tar.xz` and the card `model/zoo/NAME.md`.
"""

import hashlib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from jinja2 import Environment, StrictUndefined, Template

from m3vit.model import zoo
from m3vit.model.accuracy import BATCH, with_accuracy
from m3vit.model.checkpoint import load_checkpoint, read_checkpoint
from m3vit.model.config import Config
from m3vit.model.datasets import open_data
from m3vit.model.errors import read_file, write_atomically
from m3vit.model.evaluate import evaluate
from m3vit.model.units import load_units
from m3vit.model.vit import M3ViT
from m3vit.model.zoo_checkpoint import pack, settle
from m3vit.scripts.cli import run_verb
from m3vit.scripts.export import calibrated
from m3vit.sim.pathway import Pathways

SHELF = Path(__file__).parent / "zoo"
CARD = "card.md.j2"


def zoo_pack(
    name: Annotated[str, typer.Argument(help="Name on the shelf.")],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint; without units it is calibrated.")],
    notes: Annotated[Path, typer.Option(help="Markdown: title line, then how it was trained.")],
    trained: Annotated[
        Path | None,
        typer.Option(help="Float checkpoint that INT8 is compared with, if CHECKPOINT was trained further."),
    ] = None,
    shelf: Annotated[Path, typer.Option(help="Folder of the archives.")] = SHELF,
) -> None:
    """Settle, measure and archive a trained model, and write its card."""
    config, model = load_checkpoint(checkpoint)
    data = open_data(config, progress=True)
    units = load_units(checkpoint) or calibrated(model, config, data)
    pathways, settled = settle(model, config, units)
    reference = load_checkpoint(trained or checkpoint)[1]
    pathways = with_accuracy(pathways, reference, data, progress=True)
    own = evaluate(settled, data.val(BATCH), data.info)
    pathways = with_own_routers(pathways, own["routers"]["layers"])
    pack(pathways, settled, units, read_checkpoint(checkpoint).step, shelf / (name + zoo.ARCHIVE))
    text = card(name, pathways, own, read_file(notes).decode())
    write_atomically(shelf / (name + zoo.CARD), text.encode())
    typer.echo(text)


def with_own_routers(pathways: Pathways, layers: dict[str, Any]) -> Pathways:
    """The pathways with the loads of their own model's routers in place of the reference's."""
    changed = {}
    for task, pathway in pathways.tasks.items():
        load = {layer: facts["load"][task] for layer, facts in layers.items()}
        scores = pathway.accuracy and replace(pathway.accuracy, load=load)
        changed[task] = replace(pathway, accuracy=scores)
    return Pathways(changed)


def card(name: str, pathways: Pathways, settled: dict[str, Any], notes: str) -> str:
    """The model's card.

    Args:
        name: on the shelf.
        pathways: with their accuracy.
        settled: what `evaluate` says of the settled float model.
        notes: title and history.
    """
    config, image = pathways.first.config, pathways.first.image
    scored = [(task, pathway.accuracy) for task, pathway in pathways.tasks.items() if pathway.accuracy is not None]
    layers = settled["routers"]["layers"].values()
    return template(CARD).render(
        name=name,
        notes=notes.strip(),
        model=config.model,
        hardware=config.hardware.name,
        parameters=count_parameters(config),
        image_bytes=image.size,
        image_sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        images=scored[0][1].images,
        rows=[{"task": task, "scores": scores, "own": settled["tasks"][task]["value"]} for task, scores in scored],
        entropies=[entropy for facts in layers for entropy in facts["entropy"].values()],
        overlaps=[share for facts in layers for _, _, share in facts["overlap"]],
        warnings=settled["routers"]["warnings"],
    )


def template(name: str) -> Template:
    """A Jinja template for text; unknown names are errors."""
    source = resources.files("m3vit.scripts").joinpath("templates", name).read_text(encoding="utf-8")
    made = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False)
    return made.from_string(source)


def count_parameters(config: Config) -> int:
    """Parameters of a model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in M3ViT(config.model).parameters())


if __name__ == "__main__":
    run_verb(zoo_pack)
