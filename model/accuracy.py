# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What quantisation costs: the metric of every task in integers, in float, and without looking at the image.

Shapes: B images, C channels of a task, H x W pixels.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.evaluate import Split, batches, evaluate, evaluate_trivial
from m3vit.model.integer_model import IntegerModel, IntNetwork
from m3vit.model.tasks import TASKS, make_metric
from m3vit.model.vit import M3ViT
from m3vit.sim.capacity import mlp_slices
from m3vit.sim.pathway import Accuracy, Pathways
from m3vit.sim.repack import unpack_network

BATCH = 32
INT8_BATCH = 8
"""All tasks at once: the token rows of so many images stay in a cache."""


def first_images(split: Split, limit: int | None) -> Split:
    """The first `limit` scenes of a split; all without a limit."""
    return {name: tensor[:limit] for name, tensor in split.items()}


class Int8Predictor:
    """Runs exported pathways on many images: the integers of the golden executor, computed in batches.

    Args:
        pathways: exported model; every parameter is unpacked from its memory image.
    """

    def __init__(self, pathways: Pathways) -> None:
        config = pathways.first.config
        network = unpack_network(pathways, mlp_slices(config.model, config.hardware))
        self._model = IntegerModel(IntNetwork.of(network), config.model)
        self._units = {task: pathway.scales.output for task, pathway in pathways.tasks.items()}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[TaskName, Tensor]:
        """Predictions for uint8 images (B, 3, H, W): per task (B, C, H, W) as `M3ViT.forward` gives them."""
        return self._model.maps(self._model(images), self._units)


def int8_batches(pathways: Pathways, split: Split, progress: bool) -> Iterator[tuple[dict[TaskName, Tensor], Split]]:
    """Predictions and targets of a split, a few images at a time."""
    predictor = Int8Predictor(pathways)
    with tqdm(total=len(split["image"]), desc="int8", unit="image", disable=not progress) as bar:
        for part in batches(split, INT8_BATCH):
            yield predictor(part["image"]), part
            bar.update(len(part["image"]))


def evaluate_int8(
    pathways: Pathways, split: Split, limit: int | None = None, progress: bool = False
) -> dict[TaskName, float]:
    """Metric of every task with the integer model.

    Args:
        pathways: exported model.
        split: scenes as `load_split` gives them.
        limit: use only the first scenes.
        progress: show a progress bar.
    """
    metrics = {task: make_metric(task) for task in pathways.tasks}
    for predictions, part in int8_batches(pathways, first_images(split, limit), progress):
        for task, metric in metrics.items():
            metric.update(predictions[task], part[task])
    return {task: metric.value() for task, metric in metrics.items()}


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
