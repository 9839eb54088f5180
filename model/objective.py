# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What training minimises: the tasks' weighted losses and the routers' balance losses, on a part of a batch.

A batch may be cut into parts, among processes and by accumulation. Every part gives its share: the mean over the
processes of the sums over their parts is the loss of the whole batch. Task losses are means over the valid pixels of
the whole batch; balance losses and router noise are those of the images that all processes see at the same time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m3vit.model import tasks
from m3vit.model.config import Config, TaskName
from m3vit.model.datasets import find_info
from m3vit.model.distributed import Processes
from m3vit.model.evaluate import Split
from m3vit.model.moe import RouterNoise, Routing, importance_loss, load_loss
from m3vit.model.precision import autocast
from m3vit.model.vit import M3ViT, Prediction, normalise_image
from m3vit.model.weighting import make_weighting

Counts = dict[TaskName, Tensor]
"""Valid pixels of the whole batch."""


@dataclass(frozen=True)
class Losses:
    """Shares of one part."""

    weighted: dict[TaskName, Tensor]
    """With weights, balance losses and gradient."""
    task: dict[TaskName, Tensor]
    """Each task's own loss, without gradient."""
    routings: dict[TaskName, list[Routing]]
    """Of this process's images."""


class Objective(nn.Module):
    """A model and the weights of its tasks.

    Args:
        model: What is trained.
        config: The whole tree.
        processes: Among which batches are divided.
    """

    def __init__(self, model: M3ViT, config: Config, processes: Processes) -> None:
        super().__init__()
        self.model, self.config, self.processes = model, config, processes
        self.info = find_info(config)
        defaults = {task: tasks.tasks_of(self.info)[task].loss_weight for task in config.model.tasks}
        self.weighting = make_weighting(config.train, defaults)

    def forward(
        self, part: Split, chosen: tuple[TaskName, ...], counts: Counts | None, noise: RouterNoise | None
    ) -> Losses:
        """Predict and score some tasks.

        Args:
            part: `image` uint8 (B, 3, H, W) and one target per task.
            chosen: Tasks to predict.
            counts: None if the part is the whole batch.
            noise: Of the routers.
        """
        image = normalise_image(part["image"])
        with autocast(self.config.train, image.device):
            predictions = self.model.forward_tasks(image, chosen, noise)
        share = 1 / self.config.train.accumulate
        losses, weighted = {}, {}
        for task, prediction in predictions.items():
            losses[task] = self.task_loss(task, prediction.map_BCHW.float(), part[task], counts)
            weighted[task] = self.weighting(task, losses[task], share)
            counted = prediction.routings if self.config.train.balance == "task" else joint(predictions)
            weighted[task] = weighted[task] + share * self.balance_loss(counted, noise, image.device)
        routings = {task: prediction.routings for task, prediction in predictions.items()}
        return Losses(weighted, {task: loss.detach() for task, loss in losses.items()}, routings)

    def task_loss(self, task: TaskName, pred_BCHW: Tensor, target: Tensor, counts: Counts | None) -> Tensor:
        """A task's mean loss over the whole batch's valid pixels: this part's share, times the processes."""
        if counts is None:
            return tasks.loss(task, pred_BCHW, target, self.info)
        total, _ = tasks.loss_sum(task, pred_BCHW, target, self.info)
        return total * self.processes.world / counts[task].clamp_min(1)

    def balance_loss(self, routings: list[Routing], noise: RouterNoise | None, device: torch.device) -> Tensor:
        """Importance and load loss of all processes' images, averaged over the MoE layers (V-MoE, appendix A.2)."""
        recipe, total = self.config.train, torch.zeros((), device=device)
        sums: Callable[[Tensor], Tensor] = self.processes.total
        for routing in routings:
            total = total + recipe.importance_loss * importance_loss(routing, sums)
            if noise is not None:
                total = total + recipe.load_loss * load_loss(routing, noise.std, sums)
        return total / max(1, len(routings))


def joint(predictions: Mapping[TaskName, Prediction]) -> list[Routing]:
    """Each MoE layer's decisions of all tasks together."""
    layers = zip(*(prediction.routings for prediction in predictions.values()), strict=True)
    return [Routing.of_tasks(layer) for layer in layers]
