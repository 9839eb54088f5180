# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `qat`: fine-tune a checkpoint through the integers that the accelerator computes."""

import copy
import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from m3vit.model.accuracy import INT8_BATCH, evaluate_int8
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.config import Config, config_from_dict
from m3vit.model.datasets import Data, open_data
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.evaluate import evaluate
from m3vit.model.qat_train import QatTrainer, qat_train, stored_run
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.train import METRICS, MODEL, RESUME
from m3vit.model.units import Units
from m3vit.model.vit import M3ViT
from m3vit.scripts.cli import run_verb
from m3vit.sim.capacity import check_fits
from m3vit.sim.designs import find_design


def qat(
    checkpoint: Annotated[Path, typer.Option(help="model.safetensors of a training run: start and teacher.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/qat"),
    steps: Annotated[int, typer.Option(min=1, help="Optimiser updates.")] = 200,
    batch: Annotated[int | None, typer.Option(min=1, help="Images per update, the training's by default.")] = None,
    lr: Annotated[float, typer.Option(help="Largest learning rate; a cosine follows a short warm-up.")] = 2e-4,
    distillation: Annotated[
        float, typer.Option(min=0, help="Weight of the distance to the float model beside the tasks' losses.")
    ] = 1.0,
    expert_bits: Annotated[
        int | None, typer.Option(help="Width of the experts' weights, 4 or 8, in place of the config's.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Design in place of the config's: a preset, a name or a TOML file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, all cores by default.")] = None,
) -> None:
    """Fine-tune a checkpoint through the integers that the accelerator computes.

    Writes model.safetensors, whose units `m3vit export` uses without calibration, metrics.json, and resume.safetensors,
    from which a killed run continues with --resume to the same bits.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    trained, model = load_checkpoint(checkpoint)
    recipe = {"steps": steps, "batch": batch, "lr": lr, "warmup": min(10, steps // 2), "checkpoint_every": 50}
    config = choose_config(trained, recipe, expert_bits, hardware)
    check_fits(config.model, config.hardware)
    check_folder(out, resume)
    data = open_data(config, progress=True)
    teacher = copy.deepcopy(model)
    trainer = start(config, model, teacher, data, out, distillation)
    path = qat_train(trainer, data.train(config, trainer.step), out)
    metrics = compare(config, teacher, model, trainer.units, data)
    write_atomically(out / METRICS, json.dumps(metrics, indent=2).encode())
    print_metrics(metrics)
    typer.echo(f"wrote {path}")


def choose_config(trained: Config, recipe: dict[str, Any], expert_bits: int | None, hardware: str | None) -> Config:
    """The trained model's config with another recipe, width of the experts and design.

    Raises:
        UserError: a value is out of range.
    """
    tree = trained.model_dump()
    tree["train"] |= {key: value for key, value in recipe.items() if value is not None}
    if expert_bits is not None:
        tree["quant"]["expert_bits"] = expert_bits
    if hardware is not None:
        tree["hardware"] = find_design(hardware).model_dump()
    return config_from_dict(tree, "the command line")


def check_folder(out: Path, resume: bool) -> None:
    """Check that a run may begin or go on in a folder.

    Raises:
        UserError: it is a file, holds something else, or holds a run without `resume`.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; pass a folder to --out")
    names = {path.name for path in out.iterdir()} if out.exists() else set()
    if names and not resume:
        raise UserError(f"{out} is not empty; choose another --out, or continue the run in it with --resume")
    if names and not names & {RESUME, MODEL}:
        raise UserError(f"{out} holds no run to resume; choose another --out")


def start(config: Config, model: M3ViT, teacher: M3ViT, data: Data, out: Path, distillation: float) -> QatTrainer:
    """A trainer at the step that the run in `out` has reached; a new run is calibrated first."""
    run = stored_run(out)
    if run is None:
        images = data.targets(config.quant.calibration_images)["image"]
        return QatTrainer(config, model, teacher, calibrate_units(model, config, images, progress=True), distillation)
    checkpoint, units = run
    trainer = QatTrainer(config, model, teacher, units, distillation)
    trainer.restore(checkpoint, out / RESUME)
    return trainer


def compare(config: Config, teacher: M3ViT, model: M3ViT, units: Units, data: Data) -> dict[str, Any]:
    """Every task's metric: float before, integers before and after."""
    before, after = (
        evaluate_int8(quantise(each, config, units), data.val(INT8_BATCH), data.info) for each in (teacher, model)
    )
    facts = evaluate(teacher, data.val(config.train.batch), data.info)["tasks"]
    rows = {
        task: {
            "metric": facts[task]["metric"],
            "higher_is_better": facts[task]["higher_is_better"],
            "float": facts[task]["value"],
            "int8_before": before[task],
            "int8": after[task],
        }
        for task in config.model.tasks
    }
    quant = config.quant
    return {"model": config.model.name, "steps": config.train.steps, "expert_bits": quant.expert_bits, "tasks": rows}


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print a table of the tasks' metrics before and after."""
    table = Table(title=f"{metrics['model']}, {metrics['expert_bits']}-bit experts, {metrics['steps']} updates")
    for column in ("task", "metric", "float", "integers before", "integers after"):
        table.add_column(column)
    for task, facts in metrics["tasks"].items():
        values = (facts["float"], facts["int8_before"], facts["int8"])
        table.add_row(task, facts["metric"], *(f"{value:.3f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    run_verb(qat)
