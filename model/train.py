# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A training run: updates, logs, checkpoints, validation; resumable to the same bits, in one process or several.

An update is a pure function of the checkpoint and the step number: the batch and the router's noise come from
generators seeded by (seed, stream, counter), and nothing draws from torch's global generator. So a run that was killed
at any moment and resumed ends with the same bits as one that was not, on the same CPU, number of threads and processes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from m3vit.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from m3vit.model.config import Config
from m3vit.model.datasets import Data, open_data
from m3vit.model.distributed import join_processes, own_device, own_mistakes, restarted
from m3vit.model.errors import write_atomically
from m3vit.model.evaluate import evaluate, evaluate_trivial
from m3vit.model.pretrained import pretrained_weights
from m3vit.model.run_folder import LOGS, METRICS, MODEL, RESUME, find_start, remove_leftovers
from m3vit.model.trainer import Trainer

__all__ = ["LOGS", "METRICS", "MODEL", "RESUME", "train"]

LOG_EVERY = 10
TRIVIAL_IMAGES = 4096
"""Training images at most that the predictors without an image average."""


def train(config: Config, out: Path, resume: bool, device: torch.device) -> Path:
    """Train, validate and write `model.safetensors`, `metrics.json`, `resume.safetensors` and TensorBoard logs.

    Under torchrun the processes share the batch; the first one writes. A process that torchrun started again continues
    the run.

    Args:
        config: The whole tree.
        out: Folder of the run, which all processes see; new or empty unless `resume`.
        resume: Continue the run in `out`; a finished run is left as it is.
        device: Where to compute.

    Returns:
        Path of `model.safetensors`, which is written last.

    Raises:
        UserError: the folder, the data or the recipe is unsuitable, the run in the folder has another config, or
            training diverged.
    """
    own = own_device(device)
    with join_processes(own) as processes:
        start = processes.agree(lambda: _start(config, out, resume or restarted()))
        if start == "finished":
            return out / MODEL
        data = open_data(config, progress=processes.first)
        trainer = Trainer(config, own, processes)
        if start == "resume":
            trainer.restore(read_checkpoint(out / RESUME), out / RESUME)
        else:
            _begin(trainer, out)
        run_updates(trainer, data, out)
        processes.wait()
    return out / MODEL


def _start(config: Config, out: Path, resume: bool) -> str:
    """How the run in a folder starts; makes the folder ready."""
    start = find_start(config, out, resume)
    if start is not None and (out / MODEL).exists():
        return "finished"
    remove_leftovers(out)
    return "new" if start is None else "resume"


def _begin(trainer: Trainer, out: Path) -> None:
    """Load the weights that the recipe starts from, and write the first checkpoint."""
    config = trainer.config
    if config.train.pretrained is not None:
        trainer.load_weights(pretrained_weights(config.train.pretrained, config.model, trainer.weights()))
    write_state(trainer, out)


def run_updates(trainer: Trainer, data: Data, out: Path) -> None:
    """All updates that are left, with logs and checkpoints; at the end metrics and model."""
    recipe, first = trainer.config.train, trainer.processes.first
    batches = data.train(trainer.config, trainer.step, trainer.processes.rank, trainer.processes.world)
    with (
        open_log(trainer, out) as writer,
        tqdm(total=recipe.steps, initial=trainer.step, desc="train", unit="step", disable=not first or None) as bar,
    ):
        while trainer.step < recipe.steps:
            with own_mistakes():
                batch = next(batches)
            scalars = trainer.update(batch)
            bar.update()
            if trainer.step % LOG_EVERY == 0:
                bar.set_postfix(loss=f"{scalars['loss/total']:.3f}")
                log(writer, scalars, trainer.step)
            if trainer.step % recipe.checkpoint_every == 0 and trainer.step < recipe.steps:
                write_state(trainer, out)
                log(writer, validation_scalars(validate(trainer, data)), trainer.step)
        write_state(trainer, out)
        metrics = validate(trainer, data)
        log(writer, validation_scalars(metrics), trainer.step)
    weights = trainer.weights()
    if first:
        write_result(trainer, data, metrics, weights, out)


def validate(trainer: Trainer, data: Data) -> dict[str, Any]:
    """Metrics of the present weights; none in all processes but the first."""
    model = trainer.validated_model()
    metrics = {} if model is None else evaluate(model, data.val(trainer.config.train.batch), data.info)
    trainer.processes.wait()
    return metrics


def write_state(trainer: Trainer, out: Path) -> None:
    """Write the checkpoint to resume from; all processes must call this."""
    checkpoint = trainer.checkpoint()
    if trainer.processes.first:
        write_checkpoint(out / RESUME, checkpoint)


def write_result(
    trainer: Trainer, data: Data, metrics: dict[str, Any], weights: dict[str, torch.Tensor], out: Path
) -> None:
    """Write metrics beside those of the trivial predictors, and the model last."""
    val = data.val(trainer.config.train.batch)
    values = evaluate_trivial(trainer.config.model.tasks, data.targets(TRIVIAL_IMAGES), val, data.info)
    for task, facts in metrics["tasks"].items():
        facts |= values[task]
    report = {"model": trainer.config.model.name, "steps": trainer.step} | metrics
    write_atomically(out / METRICS, json.dumps(report, indent=2).encode())
    write_checkpoint(out / MODEL, Checkpoint(trainer.config, trainer.step, weights, {}))


@contextmanager
def open_log(trainer: Trainer, out: Path) -> Iterator[SummaryWriter | None]:
    """TensorBoard's log in the first process, nothing in the others."""
    if not trainer.processes.first:
        yield None
        return
    with SummaryWriter(out / LOGS, purge_step=trainer.step) as writer:
        yield writer


def log(writer: SummaryWriter | None, scalars: dict[str, float], step: int) -> None:
    """Write scalars to TensorBoard."""
    if writer is not None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)


def validation_scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics of the tasks and health of the routers under the names that TensorBoard shows."""
    if not metrics:
        return {}
    values = {f"val/{task}": facts["value"] for task, facts in metrics["tasks"].items()}
    for layer, facts in metrics["routers"]["layers"].items():
        values |= {f"router_entropy/{layer}/{task}": entropy for task, entropy in facts["entropy"].items()}
        values |= {f"router_overlap/{layer}/{a}-{b}": share for a, b, share in facts["overlap"]}
        values[f"router_starved/{layer}"] = len(facts["starved"])
    return values
