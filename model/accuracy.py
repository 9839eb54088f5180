# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What quantisation costs: the metric of every task in integers, in float, and without looking at the image.

Shapes: B images, C channels of a task, H x W pixels.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.evaluate import Split, evaluate, evaluate_trivial
from m3vit.model.heads import upsample
from m3vit.model.tasks import TASKS, make_metric
from m3vit.model.vit import M3ViT
from m3vit.sim.golden.executor import Executor, head_map
from m3vit.sim.pathway import Accuracy, Pathway, Pathways

BATCH = 32


def first_images(split: Split, limit: int | None) -> Split:
    """The first `limit` scenes of a split; all without a limit."""
    return {name: tensor[:limit] for name, tensor in split.items()}


def predict_int8(pathway: Pathway, images: Tensor, progress: bool = False) -> Tensor:
    """Predictions of the integer model for uint8 images (B, 3, H, W): (B, C, H, W) as `M3ViT.forward` gives them."""
    executor = Executor(pathway)
    maps = []
    for image in tqdm(images, desc=f"int8 {pathway.task}", disable=not progress):
        output_NC = executor.run(image.permute(1, 2, 0).contiguous().numpy()).output_NC
        maps.append(head_map(pathway, output_NC))
    return upsample(torch.from_numpy(np.stack(maps)).float(), pathway.config.model.image_hw)


def evaluate_int8(
    pathways: Pathways, split: Split, limit: int | None = None, progress: bool = False
) -> dict[TaskName, float]:
    """Metric of every task with the integer model.

    Args:
        pathways: exported model.
        split: scenes as `load_split` gives them.
        limit: use only the first scenes.
        progress: show a progress bar per task.
    """
    part = first_images(split, limit)
    values = {}
    for task, pathway in pathways.tasks.items():
        metric = make_metric(task)
        metric.update(predict_int8(pathway, part["image"], progress), part[task])
        values[task] = metric.value()
    return values


def with_accuracy(
    pathways: Pathways, model: M3ViT, train: Split, val: Split, limit: int | None = None, progress: bool = False
) -> Pathways:
    """The pathways with each task's accuracy on validation scenes filled in.

    Args:
        pathways: exported from `model`.
        model: the float model, in evaluation mode.
        train: scenes from which the trivial predictor (the mean target of each pixel) learns.
        val: scenes to measure on.
        limit: use only the first scenes of `val`.
        progress: show progress bars.
    """
    part = first_images(val, limit)
    facts = evaluate(model, part, BATCH)
    float32, layers = facts["tasks"], facts["routers"]["layers"]
    int8 = evaluate_int8(pathways, part, progress=progress)
    return Pathways(
        {
            task: replace(
                pathway,
                accuracy=Accuracy(
                    metric=TASKS[task].metric,
                    higher_is_better=TASKS[task].higher_is_better,
                    float32=float32[task]["value"],
                    int8=int8[task],
                    trivial=evaluate_trivial(task, train[task], part[task])["trivial_per_pixel"],
                    images=len(part["image"]),
                    load={layer: health["load"][task] for layer, health in layers.items()},
                ),
            )
            for task, pathway in pathways.tasks.items()
        }
    )
