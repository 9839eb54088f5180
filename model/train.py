# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Multi-task training with exact resume.

An update is a pure function of the checkpoint and the step number: the batch and the router's noise come from
generators seeded by (seed, stream, counter), and nothing draws from torch's global generator. So a run that was killed
at any moment and resumed ends with the same bits as one that was not, on the same CPU and number of threads.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from m3vit.model import scenes, tasks
from m3vit.model.checkpoint import Checkpoint, read_checkpoint, restore_model, write_checkpoint
from m3vit.model.config import Config, TrainConfig
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.evaluate import Split, evaluate, evaluate_trivial, routing_entropy
from m3vit.model.moe import RouterNoise, Routing, importance_loss, load_loss
from m3vit.model.vit import M3ViT, normalise_image

RESUME, MODEL, METRICS, LOGS = "resume.safetensors", "model.safetensors", "metrics.json", "tensorboard"
ORDER, NOISE = 0, 1
"""Streams of random numbers."""
LOG_EVERY = 10


def seeded(seed: int, stream: int, counter: int, device: torch.device | None = None) -> torch.Generator:
    """A generator that depends on its three numbers only."""
    state = np.random.SeedSequence([seed, stream, counter]).generate_state(1)
    return torch.Generator(device or torch.device("cpu")).manual_seed(int(state[0]))


def batch_indices(config: TrainConfig, size: int, step: int) -> Tensor:
    """Scenes of one update: consecutive parts of an endless sequence of permutations of `size` scenes."""
    first, last = step * config.batch, (step + 1) * config.batch - 1
    epochs = range(first // size, last // size + 1)
    orders = [torch.randperm(size, generator=seeded(config.seed, ORDER, epoch)) for epoch in epochs]
    return torch.cat(orders)[first % size :][: config.batch]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimiser(model: M3ViT, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms, embeddings and the class token are not decayed."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "norm" in name or "embedding" in name or name in ("cls_token", "pos_embed")
        (kept if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)


class Trainer:
    """A model, its optimiser and the number of updates done.

    Args:
        config: Model and recipe. The initial weights depend on `config.train.seed` only.
        device: Where to compute.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device, self.step = config, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.train.seed)
            self.model = M3ViT(config.model)
        self.model.to(device).train()
        self.optimiser = make_optimiser(self.model, config.train)

    def update(self, batch: Split) -> dict[str, float]:
        """One optimiser update on all tasks.

        Args:
            batch: `image` uint8 (B, 3, H, W) and one target per task.

        Returns:
            Scalars by name, for the log.

        Raises:
            UserError: the loss is no longer finite.
        """
        rate = learning_rate(self.config.train, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss, scalars = self.loss({key: tensor.to(self.device) for key, tensor in batch.items()})
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.grad_clip)
        if not norm.isfinite():
            raise UserError(f"training diverged at step {self.step}: the gradient is not finite; lower train.lr")
        self.optimiser.step()
        self.step += 1
        return scalars | {"loss/total": float(loss.detach()), "optimiser/gradient": float(norm), "optimiser/rate": rate}

    def loss(self, batch: Split) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the tasks' losses and the routers' balance losses, and its parts."""
        noise = self.router_noise()
        total, scalars = torch.zeros((), device=self.device), {}
        predictions = self.model.forward_tasks(normalise_image(batch["image"]), self.config.model.tasks, noise)
        for task, prediction in predictions.items():
            task_loss = tasks.loss(task, prediction.map_BCHW, batch[task])
            total = total + tasks.TASKS[task].loss_weight * task_loss + self.balance_loss(prediction.routings, noise)
            scalars[f"loss/{task}"] = float(task_loss.detach())
            for layer, entropy in zip(self.config.model.moe_layers, routing_entropy(prediction.routings), strict=True):
                scalars[f"load_entropy/{task}/{layer}"] = entropy
        return total, scalars

    def router_noise(self) -> RouterNoise | None:
        """The noise of this step, None if the recipe has none."""
        std = self.config.train.router_noise / self.config.model.experts
        generator = seeded(self.config.train.seed, NOISE, self.step, self.device)
        return RouterNoise(std, generator) if std > 0 else None

    def balance_loss(self, routings: list[Routing], noise: RouterNoise | None) -> Tensor:
        """Importance and load loss, averaged over the MoE layers (V-MoE, appendix A.2)."""
        total = torch.zeros((), device=self.device)
        for routing in routings:
            total = total + self.config.train.importance_loss * importance_loss(routing)
            if noise is not None:
                total = total + self.config.train.load_loss * load_loss(routing, noise.std)
        return total / max(1, len(routings))

    def checkpoint(self) -> Checkpoint:
        """Everything that the next update depends on."""
        optimiser = {
            f"{name}.{key}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
        }
        return Checkpoint(self.config, self.step, self.model.state_dict(), optimiser)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Continue from a checkpoint; `path` names its file in error messages.

        Raises:
            UserError: the checkpoint's tensors do not fit the model.
        """
        restore_model(self.model, checkpoint, path)
        for name, parameter in self.model.named_parameters():
            state = {k.rpartition(".")[2]: t for k, t in checkpoint.optimiser.items() if k.rpartition(".")[0] == name}
            if checkpoint.step and set(state) != {"step", "exp_avg", "exp_avg_sq"}:
                raise UserError(f"{path} has no optimiser state for {name}; train again in another folder")
            if state:
                self.optimiser.state[parameter] = {key: tensor.to(self.device) for key, tensor in state.items()}
        self.step = checkpoint.step


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
    """Metrics of the tasks and health of the routers under the names that TensorBoard shows."""
    values = {f"val/{task}": facts["value"] for task, facts in metrics["tasks"].items()}
    for layer, facts in metrics["routers"]["layers"].items():
        values |= {f"router_entropy/{layer}/{task}": entropy for task, entropy in facts["entropy"].items()}
        values |= {f"router_overlap/{layer}/{a}-{b}": share for a, b, share in facts["overlap"]}
        values[f"router_starved/{layer}"] = len(facts["starved"])
    return values
