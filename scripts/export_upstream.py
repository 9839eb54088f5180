# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `export-upstream`: our checkpoints under the names of M3ViT's or Edge-MoE's code."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.edge_moe import export_dump
from m3vit.model.errors import UserError
from m3vit.model.interchange import Kept, SourceName, read_kept
from m3vit.model.upstream import OWN, write_upstream
from m3vit.model.upstream import export_upstream as export_m3vit
from m3vit.scripts.cli import run_verb
from m3vit.scripts.import_upstream import parse_pixels, print_names

TARGETS: tuple[SourceName, ...] = get_args(SourceName)


def export_upstream(
    checkpoint: Annotated[Path, typer.Argument(help="model.safetensors of a training run or an import.")],
    out: Annotated[Path, typer.Option(help="File (m3vit) or folder (edge_moe) to write.")],
    to: Annotated[
        str | None, typer.Option(help="m3vit or edge_moe; by default where the checkpoint came from, or m3vit.")
    ] = None,
    pixels: Annotated[
        str, typer.Option(help="Input that upstream will give: imagenet, unit or m3vit; an imported model's own.")
    ] = "imagenet",
    plain: Annotated[
        bool, typer.Option("--plain", help=f"Leave out our norm and heads ({OWN}*), which upstream ignores.")
    ] = False,
) -> None:
    """Export a checkpoint for M3ViT's code or as files of Edge-MoE's."""
    config, model = load_checkpoint(checkpoint)
    kept, state = read_kept(checkpoint), model.state_dict()
    if choose_target(to, kept) == "edge_moe":
        print_names("not in it, as it has no place for them", export_dump(config.model, state, kept, out))
        if kept is not None and kept.experts != "file":
            typer.echo(f"NOT TRAINED: the experts' matrices were '{kept.experts}' at the import")
    else:
        tensors = export_m3vit(config.model, state, kept, parse_pixels(pixels), plain)
        write_upstream(out, tensors)
        print_names("our own, which upstream ignores", [name for name in tensors if name.startswith(OWN)])
    typer.echo(f"wrote {out}")


def choose_target(name: str | None, kept: Kept | None) -> SourceName:
    """The format to write.

    Raises:
        UserError: it is unknown.
    """
    if name is None:
        return "m3vit" if kept is None else kept.source
    for known in TARGETS:
        if name == known:
            return known
    raise UserError(f"target '{name}' is unknown; choose one of {', '.join(TARGETS)}")


if __name__ == "__main__":
    run_verb(export_upstream)
