# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Validation: every task's metric, the trivial predictors beside it, and how evenly the routers use their experts.

Shapes: B images, C channels of a task, H x W pixels, E experts, K experts per token.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from m3vit.model import tasks
from m3vit.model.config import ModelConfig, TaskName
from m3vit.model.moe import Routing
from m3vit.model.router_health import load_entropy, router_health
from m3vit.model.vit import M3ViT, normalise_image

Split = dict[str, Tensor]
"""What `scenes.load_split` returns: `image` and one target per task."""


def batches(split: Split, size: int) -> Iterator[Split]:
    """A split in its own order, `size` images at a time."""
    for start in range(0, len(split["image"]), size):
        yield {key: tensor[start : start + size] for key, tensor in split.items()}


@torch.no_grad()
def evaluate(model: M3ViT, val: Split, batch: int) -> dict[str, Any]:
    """Metrics and router loads of a model on the validation split.

    Args:
        model: Runs where its parameters are; its mode is left as it is (nothing in it depends on the mode).
        val: Validation scenes.
        batch: Images at a time.

    Returns:
        `tasks.NAME.value` in the metric's unit, and `routers`, the tree of `RouterHealth`.
    """
    device = model.pos_embed.device
    metrics = {task: tasks.make_metric(task) for task in model.config.tasks}
    load: dict[tuple[int, TaskName], Tensor] = {}
    for part in batches(val, batch):
        image = normalise_image(part["image"].to(device))
        for task, prediction in model.forward_tasks(image, model.config.tasks).items():
            metrics[task].update(prediction.map_BCHW.cpu(), part[task])
            for layer, routing in zip(model.config.moe_layers, prediction.routings, strict=True):
                load[layer, task] = load.get((layer, task), 0) + routing.load().cpu() * len(image)
    shares = {key: load_E / len(val["image"]) for key, load_E in load.items()}
    return {
        "tasks": {task: _task_facts(task) | {"value": metric.value()} for task, metric in metrics.items()},
        "routers": router_health(_loads(model.config, shares)).tree(),
    }


def _task_facts(task: TaskName) -> dict[str, Any]:
    return {"metric": tasks.TASKS[task].metric, "higher_is_better": tasks.TASKS[task].higher_is_better}


def _loads(config: ModelConfig, load: dict[tuple[int, TaskName], Tensor]) -> dict[str, dict[str, list[float]]]:
    return {str(layer): {task: load[layer, task].tolist() for task in config.tasks} for layer in config.moe_layers}


def evaluate_trivial(task: TaskName, train_targets: Tensor, val_targets: Tensor) -> dict[str, float]:
    """The metric of the best predictions that ignore the image: one constant, and one value per pixel."""
    return {
        "trivial_constant": _constant_metric(task, tasks.trivial_prediction(task, train_targets, False), val_targets),
        "trivial_per_pixel": _constant_metric(task, tasks.trivial_prediction(task, train_targets, True), val_targets),
    }


def _constant_metric(task: TaskName, prediction_CHW: Tensor, targets: Tensor) -> float:
    metric = tasks.make_metric(task)
    for part in torch.split(targets, 64):
        metric.update(prediction_CHW.expand(len(part), -1, -1, -1), part)
    return metric.value()


def routing_entropy(routings: list[Routing]) -> list[float]:
    """Normalised load entropy of each MoE layer."""
    return [load_entropy(routing.load().tolist()) for routing in routings]
