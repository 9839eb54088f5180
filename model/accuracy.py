# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What quantisation costs: the metric of every task in integers, in float, and without looking at the image.

Shapes: B images, C channels of a task, H x W pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.datasets import SCENES, Data, DatasetInfo, Split
from m3vit.model.evaluate import evaluate, evaluate_trivial
from m3vit.model.integer_model import IntegerModel, IntNetwork
from m3vit.model.tasks import make_metric
from m3vit.model.vit import M3ViT
from m3vit.sim.capacity import mlp_slices
from m3vit.sim.pathway import Accuracy, Pathways
from m3vit.sim.repack import unpack_network

BATCH = 32
TRIVIAL_IMAGES = 512
"""Training images from which the trivial predictor learns."""
INT8_BATCH = 8
"""All tasks at once: the token rows of so many images stay in a cache."""


def first_images(val: Iterable[Split], limit: int | None) -> Iterator[Split]:
    """The first `limit` images of a split that comes in batches; all without a limit."""
    left = limit
    for part in val:
        if left is not None and left <= 0:
            return
        kept = {name: tensor[:left] for name, tensor in part.items()}
        left = left and left - len(kept["image"])
        yield kept


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


def evaluate_int8(
    pathways: Pathways, val: Iterable[Split], info: DatasetInfo = SCENES, progress: bool = False
) -> dict[TaskName, float]:
    """Metric of every task with the integer model.

    Args:
        pathways: exported model.
        val: images and targets in batches; INT8_BATCH at a time are fastest.
        info: the dataset they are of.
        progress: show a progress bar.
    """
    predictor = Int8Predictor(pathways)
    metrics = {task: make_metric(task, info) for task in pathways.tasks}
    for part in tqdm(val, desc="int8", unit="batch", disable=not progress):
        for task, prediction_BCHW in predictor(part["image"]).items():
            metrics[task].update(prediction_BCHW, part[task])
    return {task: metric.value() for task, metric in metrics.items()}


def with_accuracy(
    pathways: Pathways, model: M3ViT, data: Data, limit: int | None = None, progress: bool = False
) -> Pathways:
    """The pathways with each task's accuracy on validation images filled in.

    Args:
        pathways: exported from `model`.
        model: the float model, in evaluation mode.
        data: its dataset; the trivial predictor (the mean target of each pixel) learns from training images.
        limit: use only the first validation images.
        progress: show progress bars.
    """
    info, chosen = data.info, tuple(pathways.tasks)
    images = sum(len(part["image"]) for part in first_images(data.val(BATCH), limit))
    facts = evaluate(model, first_images(data.val(BATCH), limit), info)
    trivial = evaluate_trivial(chosen, data.targets(TRIVIAL_IMAGES), first_images(data.val(BATCH), limit), info)
    int8 = evaluate_int8(pathways, first_images(data.val(INT8_BATCH), limit), info, progress)
    scored = {}
    for task, pathway in pathways.tasks.items():
        of_task = facts["tasks"][task]
        scores = Accuracy(
            metric=of_task["metric"],
            higher_is_better=of_task["higher_is_better"],
            float32=of_task["value"],
            int8=int8[task],
            trivial=trivial[task]["trivial_per_pixel"],
            images=images,
            load={layer: health["load"][task] for layer, health in facts["routers"]["layers"].items()},
        )
        scored[task] = replace(pathway, accuracy=scores)
    return Pathways(scored)
