# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `zoo`: trained models that ship with m3vit, as pathways to verify and as checkpoints to train on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from m3vit.model.zoo import UNPACKED, card, names, unpack
from m3vit.scripts.cli import run_verb


def zoo(
    name: Annotated[str | None, typer.Argument(help="Model to unpack; without it all models are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make; by default runs/zoo/NAME.")] = None,
    show: Annotated[bool, typer.Option("--card", help="Print the model's card and unpack nothing.")] = False,
) -> None:
    """Unpack a trained model: pathway folder, float checkpoint and card.

    `m3vit verify NAME` and `m3vit report NAME` do it by themselves. The checkpoint can be exported or trained further.
    """
    if name is None:
        for known in names():
            typer.echo(f"{known}: {card(known).splitlines()[0].lstrip('# ')}")
        return
    if show:
        Console().print(Markdown(card(name)))
        return
    folder = out or UNPACKED / name
    pathway = unpack(name, folder)
    from m3vit.model.zoo_checkpoint import unpack_checkpoint  # torch loads for seconds

    typer.echo(f"pathway {pathway}\ncheckpoint {unpack_checkpoint(folder)}\ncard {folder / 'README.md'}")


if __name__ == "__main__":
    run_verb(zoo)
