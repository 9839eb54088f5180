# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `train`: multi-task training, resumable, with metrics beside trivial predictors."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from m3vit.model import train as trainer
from m3vit.model.checkpoint import read_checkpoint
from m3vit.model.config import Config, config_from_dict, load_config
from m3vit.model.errors import UserError, read_file
from m3vit.model.router_health import worst_expert_share
from m3vit.scripts.cli import run_verb


def train(
    config: Annotated[
        Path | None, typer.Option(help="TOML file; without it the demo, or with --resume the config of the run.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    steps: Annotated[int | None, typer.Option(help="Optimiser updates, in place of train.steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per update, in place of train.batch.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads, all cores by default; 1 is faster on a busy machine.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and noise, in place of train.seed.")] = None,
) -> None:
    """Train a multi-task M3ViT on procedural scenes.

    Writes model.safetensors, metrics.json, TensorBoard logs, and resume.safetensors, from which a killed run continues
    with --resume to the same bits.
    """
    tree = choose_config(config, out, resume).model_dump()
    overrides = {"steps": steps, "batch": batch, "seed": seed}
    tree["train"] |= {key: value for key, value in overrides.items() if value is not None}
    checked = config_from_dict(tree, "the command line")
    if threads is not None:
        torch.set_num_threads(threads)
    path = trainer.train(checked, out, resume, choose_device(device))
    print_metrics(json.loads(read_file(out / trainer.METRICS)))
    typer.echo(f"wrote {path}")


def choose_config(config: Path | None, out: Path, resume: bool) -> Config:
    """The config file, else the config of the run that is resumed, else the demo."""
    if config is None and resume and (out / trainer.RESUME).exists():
        return read_checkpoint(out / trainer.RESUME).config
    return load_config(config)


def choose_device(name: str) -> torch.device:
    """The named device; `auto` takes a GPU if there is one.

    Raises:
        UserError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' cannot be used on this machine; pass --device cpu") from error
    return device


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print a table of the tasks' metrics beside the trivial predictors."""
    table = Table(title=f"{metrics['model']} after {metrics['steps']} updates, validation")
    for column in ("task", "metric", "model", "per-pixel mean", "constant"):
        table.add_column(column)
    for task, facts in metrics["tasks"].items():
        values = (facts["value"], facts["trivial_per_pixel"], facts["trivial_constant"])
        table.add_row(task, facts["metric"], *(f"{value:.3f}" for value in values))
    console = Console()
    console.print(table)
    loads = {layer: facts["load"] for layer, facts in metrics["routers"]["layers"].items()}
    console.print(f"least used expert: {worst_expert_share(loads):.2f} of an even share")
    for warning in metrics["routers"]["warnings"]:
        console.print(f"warning: {warning}")


if __name__ == "__main__":
    run_verb(train)
