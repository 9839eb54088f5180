# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Fine-tuning through the integers: tasks' losses, and the float model as a teacher. Resumable to the same bits.

An update is a function of the checkpoint and the step number, as in ordinary training; routers get no noise, since the
integers that will be shipped have none.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from m3vit.model import tasks
from m3vit.model.checkpoint import Checkpoint, read_checkpoint, restore_model, write_checkpoint
from m3vit.model.config import Config, TaskName
from m3vit.model.datasets import find_info
from m3vit.model.errors import UserError
from m3vit.model.evaluate import Split
from m3vit.model.qat import QatModel
from m3vit.model.run_folder import MODEL, RESUME, first_difference
from m3vit.model.schedules import learning_rate
from m3vit.model.units import Units, units_from_tensors, units_to_tensors
from m3vit.model.vit import M3ViT, normalise_image

BETAS = (0.9, 0.99)


class QatTrainer:
    """A model that is trained through its integers, its teacher and its optimiser.

    Args:
        config: model, hardware, `quant` and, as `train`, the recipe: steps, batch, lr, warmup, grad_clip, schedule.
        model: trained in float; it is changed.
        teacher: the float model, which is not changed.
        units: of the integers.
        distillation: weight of the teacher beside the tasks' losses.
    """

    def __init__(self, config: Config, model: M3ViT, teacher: M3ViT, units: Units, distillation: float) -> None:
        self.config, self.model, self.units, self.step = config, model, units, 0
        self._info = find_info(config)
        self._qat, self._teacher, self._distillation = QatModel(model, config, units), teacher, distillation
        self.optimiser = torch.optim.Adam(model.parameters(), lr=config.train.lr, betas=BETAS, fused=True)

    def update(self, batch: Split) -> float:
        """One update on all tasks; returns the loss.

        Args:
            batch: `image` uint8 (B, 3, H, W) and one target per task.

        Raises:
            UserError: the gradient is no longer finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config.train, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.grad_clip)
        if not norm.isfinite():
            raise UserError(f"training diverged at step {self.step}: the gradient is not finite; lower --lr")
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def loss(self, batch: Split) -> Tensor:
        """Weighted sum of the tasks' losses and of the distances to the teacher."""
        wanted = self.teach(batch["image"])
        parts = []
        for task, prediction_BCHW in self._qat(batch["image"]).items():
            loss = tasks.loss(task, prediction_BCHW, batch[task], self._info)
            distance = (prediction_BCHW - wanted[task]).square().mean() / wanted[task].var()
            parts.append(tasks.tasks_of(self._info)[task].loss_weight * loss + self._distillation * distance)
        return torch.stack(parts).sum()

    @torch.no_grad()
    def teach(self, images: Tensor) -> dict[TaskName, Tensor]:
        """The float model's predictions."""
        predictions = self._teacher.forward_tasks(normalise_image(images), self.config.model.tasks)
        return {task: prediction.map_BCHW for task, prediction in predictions.items()}

    def checkpoint(self, final: bool) -> Checkpoint:
        """Everything that the next update depends on, or what is shipped."""
        optimiser = {
            f"{name}.{key}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
        }
        weights, quant = self.model.state_dict(), units_to_tensors(self.units)
        return Checkpoint(self.config, self.step, weights, {} if final else optimiser, quant=quant)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            UserError: it has another config or does not fit the model; `path` names the file in the message.
        """
        if checkpoint.config != self.config:
            different = first_difference(checkpoint.config, self.config)
            raise UserError(f"{path} is of another run ({different}); resume with the same options or choose --out")
        restore_model(self.model, checkpoint, path)
        for name, parameter in self.model.named_parameters() if checkpoint.step else ():
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.optimiser.state[parameter] = {key: checkpoint.optimiser[f"{name}.{key}"] for key in keys}
        self.step = checkpoint.step


def qat_train(trainer: QatTrainer, batches: Iterator[Split], out: Path) -> Path:
    """All updates that are left, with a checkpoint now and then.

    Args:
        trainer: new or restored.
        batches: of the update `trainer.step` and of all later ones.
        out: folder of the run.

    Returns:
        Path of the finished model with its units.
    """
    recipe = trainer.config.train
    with tqdm(total=recipe.steps, initial=trainer.step, desc="qat", unit="step", disable=None) as bar:
        while trainer.step < recipe.steps:
            bar.set_postfix(loss=f"{trainer.update(next(batches)):.4f}")
            bar.update()
            if trainer.step % recipe.checkpoint_every == 0:
                write_checkpoint(out / RESUME, trainer.checkpoint(final=False))
    write_checkpoint(out / RESUME, trainer.checkpoint(final=False))
    write_checkpoint(out / MODEL, trainer.checkpoint(final=True))
    return out / MODEL


def stored_run(out: Path) -> tuple[Checkpoint, Units] | None:
    """The checkpoint of an interrupted run and its units, None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    if not (out / RESUME).exists():
        return None
    checkpoint = read_checkpoint(out / RESUME)
    return checkpoint, units_from_tensors(checkpoint.quant, checkpoint.config.model)
