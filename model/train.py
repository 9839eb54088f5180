# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A training run in a folder, with exact resume.

An update is a pure function of the checkpoint and the step number: the batch and the router's noise come from
generators seeded by (seed, stream, counter), and nothing draws from torch's global generator. So a run that was killed
at any moment and resumed ends with the same bits as one that was not, on the same CPU, number of threads and processes.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from m3vit.model import scenes
from m3vit.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from m3vit.model.config import Config
from m3vit.model.distributed import Processes, join_processes, own_device, restarted
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.evaluate import Split, evaluate, evaluate_trivial
from m3vit.model.sampling import batch_indices
from m3vit.model.pretrained import pretrained_weights
from m3vit.model.trainer import Trainer

RESUME, MODEL, METRICS, LOGS = "resume.safetensors", "model.safetensors", "metrics.json", "tensorboard"
LOG_EVERY = 10


def find_start(config: Config, out: Path, resume: bool) -> Checkpoint | None:
    """The checkpoint to start from, or None for a new run.

    Raises:
        UserError: the folder is not empty without `resume`, holds something else, or holds a run with another config.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; pass a folder to --out")
    contents = [path.name for path in out.iterdir()] if out.exists() else []
    if contents and not resume:
        raise UserError(f"{out} is not empty; choose another --out, or continue the run in it with --resume")
    if RESUME not in contents:
        # A kill during the very first write leaves only its temporary file.
        if any(not name.startswith(RESUME) for name in contents):
            raise UserError(f"{out} holds no run to resume; choose another --out")
        return None
    checkpoint = read_checkpoint(out / RESUME)
    if checkpoint.config != config:
        raise UserError(
            f"{out} was trained with another config ({first_difference(checkpoint.config, config)}); resume with the "
            f"same config or choose another --out"
        )
    return checkpoint


def remove_leftovers(out: Path) -> None:
    """Delete the temporary files of writes that a kill interrupted; their names begin with the file's name."""
    for name in (RESUME, METRICS, MODEL):
        for path in out.glob(f"{name}?*"):
            path.unlink()


def first_difference(old: Config, new: Config) -> str:
    """The first parameter in which two configs differ, with both values."""
    pairs = zip(_leaves(old.model_dump(), ""), _leaves(new.model_dump(), ""), strict=True)
    return next((f"{key} is {a} there and {b} here" for (key, a), (_, b) in pairs if a != b), "no difference")


def _leaves(tree: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs = []
    for key, value in tree.items():
        pairs += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return pairs


def train(config: Config, out: Path, resume: bool, device: torch.device) -> Path:
    """Train, validate and write `model.safetensors`, `metrics.json`, `resume.safetensors` and TensorBoard logs.

    Args:
        config: The whole tree.
        out: Folder of the run; new or empty unless `resume`.
        resume: Continue the run in `out`; a finished run is left as it is.
        device: Where to compute.

    Returns:
        Path of `model.safetensors`, which is written last.

    Raises:
        UserError: the folder is unsuitable, the run in it has another config, or training diverged.
    """
    start = find_start(config, out, resume)
    if start is not None and (out / MODEL).exists():
        return out / MODEL
    remove_leftovers(out)
    trainer = Trainer(config, device)
    if start is None:
        write_checkpoint(out / RESUME, trainer.checkpoint())
    else:
        trainer.restore(start, out / RESUME)
    splits = {
        name: scenes.load_split(config.scenes, config.model.image_hw, name, progress=True) for name in ("train", "val")
    }
    metrics = run_updates(trainer, splits["train"], splits["val"], out)
    for task, facts in metrics["tasks"].items():
        facts |= evaluate_trivial(task, splits["train"][task], splits["val"][task])
    write_atomically(out / METRICS, json.dumps(metrics, indent=2).encode())
    write_checkpoint(out / MODEL, Checkpoint(config, trainer.step, trainer.model.state_dict(), {}))
    return out / MODEL


def run_updates(trainer: Trainer, data: Split, val: Split, out: Path) -> dict[str, Any]:
    """All updates that are left, with logs, checkpoints and validation; returns the last validation's metrics."""
    recipe = trainer.config.train
    with (
        SummaryWriter(out / LOGS, purge_step=trainer.step) as writer,
        tqdm(total=recipe.steps, initial=trainer.step, desc="train", unit="step", disable=None) as bar,
    ):
        while trainer.step < recipe.steps:
            indices = batch_indices(recipe, len(data["image"]), trainer.step)
            scalars = trainer.update({key: tensor[indices] for key, tensor in data.items()})
            bar.update()
            if trainer.step % LOG_EVERY == 0:
                bar.set_postfix(loss=f"{scalars['loss/total']:.3f}")
                log(writer, scalars, trainer.step)
            if trainer.step % recipe.checkpoint_every == 0 and trainer.step < recipe.steps:
                write_checkpoint(out / RESUME, trainer.checkpoint())
                log(writer, validation_scalars(evaluate(trainer.model, val, recipe.batch)), trainer.step)
        write_checkpoint(out / RESUME, trainer.checkpoint())
        metrics = evaluate(trainer.model, val, recipe.batch)
        log(writer, validation_scalars(metrics), trainer.step)
    return {"model": trainer.config.model.name, "steps": trainer.step} | metrics


def log(writer: SummaryWriter, scalars: dict[str, float], step: int) -> None:
    """Write scalars to TensorBoard."""
    for name, value in scalars.items():
        writer.add_scalar(name, value, step)


def validation_scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The metric of each task under the name TensorBoard shows."""
    return {f"val/{task}": facts["value"] for task, facts in metrics["tasks"].items()}
