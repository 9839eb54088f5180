# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `import-upstream`: checkpoints of M3ViT's and dumps of Edge-MoE's code become checkpoints of ours."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from m3vit.model.checkpoint import Checkpoint, write_checkpoint
from m3vit.model.config import HARDWARE, MODELS, Config, TaskName, load_config
from m3vit.model.edge_moe import EXPERTS_HELP, SUFFIX, import_dump
from m3vit.model.errors import UserError
from m3vit.model.interchange import PIXELS, Imported, PixelsName, write_kept
from m3vit.model.upstream import UPSTREAM_TASKS
from m3vit.model.upstream import import_upstream as import_m3vit
from m3vit.scripts.cli import run_verb


def import_upstream(
    source: Annotated[
        Path, typer.Argument(help="M3ViT's checkpoint (file, or folder of RANK.pth), or folder of an Edge-MoE dump.")
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write.")] = Path("runs/upstream/model.safetensors"),
    model: Annotated[str, typer.Option(help="Its sizes: a preset's name, or a TOML config.")] = "m3vit_tiny_patch16",
    tasks: Annotated[
        str | None, typer.Option(help="Its tasks, with commas, in the order of its gates; by default as its decoders.")
    ] = None,
    pixels: Annotated[
        str, typer.Option(help="Input of M3ViT: imagenet (NYUD, PASCAL), unit (Cityscapes, 0..1) or m3vit (-1..1).")
    ] = "imagenet",
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Experts per token (moe_top_k), if not the preset's.")
    ] = None,
    experts: Annotated[str | None, typer.Option(help=f"Matrices that a dump lacks: {EXPERTS_HELP}.")] = None,
    seed: Annotated[int, typer.Option(help="Of the heads, which upstream has in another form.")] = 0,
) -> None:
    """Import a checkpoint of M3ViT's code or a dump of Edge-MoE's."""
    config = choose_model(model, top_k)
    names = parse_tasks(tasks)
    if source.is_dir() and any(source.glob("*" + SUFFIX)):
        imported = import_dump(source, config.model, names, experts, seed)
    elif not source.exists():
        raise UserError(f"cannot read {source}: no such file or folder; check the path")
    else:
        imported = import_m3vit(source, config.model, names, parse_pixels(pixels), seed)
    whole = config.model_copy(update={"model": imported.config})
    write_checkpoint(out, Checkpoint(whole, 0, imported.state, {}))
    print_import(imported)
    typer.echo(f"wrote {out}, and what an exact export needs to {write_kept(out, imported.kept)}")


def choose_model(name: str, top_k: int | None) -> Config:
    """The config of a preset or of a TOML file, with another number of experts per token if one is given.

    Raises:
        UserError: there is no such preset or file.
    """
    if name in MODELS:
        small = HARDWARE["demo"] if MODELS[name].dim <= HARDWARE["demo"].max_dim else HARDWARE["zcu104"]
        config = Config(model=MODELS[name], hardware=small)
    elif name.endswith(".toml"):
        config = load_config(Path(name))
    else:
        raise UserError(f"model '{name}' is unknown; choose one of {', '.join(MODELS)} or a TOML file")
    fields = {} if top_k is None else {"top_k": top_k}
    return config.model_copy(update={"model": config.model.model_copy(update=fields)})


def parse_tasks(text: str | None) -> list[TaskName] | None:
    """Task names, ours or upstream's.

    Raises:
        UserError: one is unknown.
    """
    if text is None:
        return None
    known: dict[str, TaskName] = {name: name for name in get_args(TaskName)} | UPSTREAM_TASKS
    names = [name.strip() for name in text.split(",")]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UserError(f"task '{unknown}' is unknown; choose from {', '.join(get_args(TaskName))}")
    return [known[name] for name in names]


def parse_pixels(name: str) -> PixelsName:
    """A known pixel normalisation.

    Raises:
        UserError: it is unknown.
    """
    for known in PIXELS:
        if name == known:
            return known
    raise UserError(f"pixels '{name}' are unknown; choose one of {', '.join(PIXELS)}")


def print_import(imported: Imported) -> None:
    """Say what was read, what is new and what was left."""
    config = imported.config
    typer.echo(
        f"{config.name}: {config.layers} blocks, {'dense' if config.dense else config.router + ' router'}, "
        f"tasks {', '.join(config.tasks)}, {len(imported.state) - len(imported.fresh)} tensors read"
    )
    if imported.kept.experts != "file":
        typer.echo(f"NOT TRAINED: the experts' matrices, which the source lacks, are '{imported.kept.experts}'")
    print_names("new, to be trained", imported.fresh)
    print_names("without counterpart here, kept for the export", imported.left)


def print_names(title: str, names: Sequence[str]) -> None:
    """Print a list of tensors, long ones by their first words."""
    if len(names) <= 12:
        typer.echo(f"{title}: {', '.join(names) or 'none'}")
        return
    groups = Counter(".".join(name.split(".")[:3]) for name in names)
    typer.echo(f"{title}: {', '.join(f'{group}.* ({count})' for group, count in groups.items())}")


if __name__ == "__main__":
    run_verb(import_upstream)
