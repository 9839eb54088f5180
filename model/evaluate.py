# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Validation: every task's metric, the trivial predictors beside it, and how evenly the routers use their experts.

Shapes: B images, C channels of a task, H x W pixels, E experts, K experts per token.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from m3vit.model import tasks
from m3vit.model.config import ModelConfig, TaskName
from m3vit.model.datasets.info import SCENES, DatasetInfo
from m3vit.model.router_health import router_health
from m3vit.model.vit import M3ViT, normalise_image

Split = dict[str, Tensor]
"""What `scenes.load_split` returns: `image` and one target per task."""


def batches(split: Split, size: int) -> Iterator[Split]:
    """A split in its own order, `size` images at a time."""
    for start in range(0, len(split["image"]), size):
        yield {key: tensor[start : start + size] for key, tensor in split.items()}


@torch.no_grad()
def evaluate(model: M3ViT, val: Iterable[Split], info: DatasetInfo = SCENES) -> dict[str, Any]:
    """Metrics and router loads of a model on the validation split.

    Args:
        model: Runs where its parameters are; its mode is left as it is (nothing in it depends on the mode).
        val: Validation images in batches.
        info: The dataset they are of.

    Returns:
        `tasks.NAME.value` in the metric's unit, and `routers`, the tree of `RouterHealth`.
    """
    device = model.pos_embed.device
    metrics = {task: tasks.make_metric(task, info) for task in model.config.tasks}
    load: dict[tuple[int, TaskName], Tensor] = {}
    images = 0
    for part in val:
        images += len(part["image"])
        image = normalise_image(part["image"].to(device))
        for task, prediction in model.forward_tasks(image, model.config.tasks).items():
            metrics[task].update(prediction.map_BCHW.cpu(), part[task])
            for layer, routing in zip(model.config.moe_layers, prediction.routings, strict=True):
                load[layer, task] = load.get((layer, task), 0) + routing.load().cpu() * len(image)
    shares = {key: load_E / images for key, load_E in load.items()}
    return {
        "tasks": {task: _task_facts(task, info) | {"value": metric.value()} for task, metric in metrics.items()},
        "routers": router_health(_loads(model.config, shares)).tree(),
    }


def _task_facts(task: TaskName, info: DatasetInfo) -> dict[str, Any]:
    facts = tasks.tasks_of(info)[task]
    return {"metric": facts.metric, "higher_is_better": facts.higher_is_better}


def _loads(config: ModelConfig, load: dict[tuple[int, TaskName], Tensor]) -> dict[str, dict[str, list[float]]]:
    return {str(layer): {task: load[layer, task].tolist() for task in config.tasks} for layer in config.moe_layers}


def evaluate_trivial(
    chosen: Sequence[TaskName], train: Split, val: Iterable[Split], info: DatasetInfo = SCENES
) -> dict[TaskName, dict[str, float]]:
    """The metrics of the best predictions that ignore the image: one constant, and one value per pixel.

    Args:
        chosen: Tasks.
        train: Targets that the predictions are the averages of.
        val: Validation images in batches.
        info: The dataset they are of.
    """
    kinds = {"trivial_constant": False, "trivial_per_pixel": True}
    predictions = {
        (task, kind): tasks.trivial_prediction(task, train[task], per_pixel, info)
        for task in chosen
        for kind, per_pixel in kinds.items()
    }
    metrics = {(task, kind): tasks.make_metric(task, info) for task, kind in predictions}
    for part in val:
        for (task, kind), prediction_CHW in predictions.items():
            target = part[task]
            metrics[task, kind].update(prediction_CHW.expand(len(target), -1, -1, -1), target)
    return {task: {kind: metrics[task, kind].value() for kind in kinds} for task in chosen}
