# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The dense tasks: what the model emits for each, how that is scored, and what a predictor without an image scores.

The model's output for a task is `pred_BCHW` at image resolution, in the space `decode` maps to physical units. Targets
come as `m3vit.model.scenes` gives them, from the data set or from `load_split`: any number type is accepted.

Shape legend: B images, N training images, C channels of a task, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.config import SEGMENTATION_CLASSES, TaskName
from m3vit.model.metrics import DecodedMetric, MaxF, MeanAngle, MeanIoU, RootMeanSquare

DEPTH_OFFSET_M = 3.75
DEPTH_SCALE_M = 1.5
"""The model emits (depth - offset) / scale, which is about zero-mean and unit-variance over the scenes."""

EDGE_POSITIVE_WEIGHT = 0.85
"""Weight of an edge pixel in the balanced cross-entropy; a non-edge pixel weighs 0.15 (13 % are edges at 64 x 64)."""

EDGE_TOLERANCE_PX = 1
SALIENCY_BETA2 = 0.3


@dataclass(frozen=True)
class Task:
    """Facts about one task.

    Attributes:
        name: Key of `TASKS`.
        channels: Output channels of the model.
        metric: Name of the metric with its unit.
        higher_is_better: Direction of the metric.
        loss_weight: Factor of this task in the sum of losses.
    """

    name: TaskName
    channels: int
    metric: str
    higher_is_better: bool
    loss_weight: float


TASKS: dict[TaskName, Task] = {
    task.name: task
    for task in (
        Task("segmentation", len(SEGMENTATION_CLASSES), "mIoU (%)", True, 1.0),
        Task("depth", 1, "RMSE (m)", False, 1.0),
        Task("normals", 3, "mean angle (deg)", False, 1.0),
        Task("edges", 1, "odsF (%)", True, 4.0),
        Task("saliency", 1, "maxF (%)", True, 1.0),
    )
}


def _not_a_task(task: str) -> ValueError:
    return ValueError(f"unknown task '{task}'; choose one of {', '.join(TASKS)}")


def decode(task: TaskName, pred_BCHW: Tensor) -> Tensor:
    """Turn model outputs into what the targets are: labels, metres, unit vectors or probabilities.

    Returns:
        segmentation (B, H, W) int64; depth (B, 1, H, W) metres; normals (B, 3, H, W) unit; edges and saliency
        (B, 1, H, W) in [0, 1].

    Raises:
        ValueError: `task` is unknown or the number of channels is not the task's.
    """
    _check_channels(task, pred_BCHW)
    if task == "segmentation":
        return pred_BCHW.argmax(1)
    if task == "depth":
        return pred_BCHW * DEPTH_SCALE_M + DEPTH_OFFSET_M
    if task == "normals":
        return functional.normalize(pred_BCHW, dim=1)
    return pred_BCHW.sigmoid()


def _check_channels(task: TaskName, pred_BCHW: Tensor) -> None:
    if task not in TASKS:
        raise _not_a_task(task)
    if pred_BCHW.ndim != 4 or pred_BCHW.shape[1] != TASKS[task].channels:
        raise ValueError(f"{task} needs (B, {TASKS[task].channels}, H, W), not {tuple(pred_BCHW.shape)}")


def loss(task: TaskName, pred_BCHW: Tensor, target: Tensor) -> Tensor:
    """Mean loss over all pixels, a scalar, without `Task.loss_weight`.

    segmentation: cross-entropy. depth: L1 in units of 1.5 m. normals: (1 - cosine) + L1 of the raw vector, so that the
    length learns to be 1. edges: cross-entropy with weight 0.85 on edge pixels and 0.15 on the others (the class
    balance of HED, arXiv 1504.06375, section 2.2, fixed over the data set). saliency: cross-entropy.

    Args:
        task: Which task.
        pred_BCHW: Model output at image resolution.
        target: Labels (B, H, W) for segmentation, else (B, C, H, W).

    Raises:
        ValueError: `task` is unknown, the number of channels is not the task's, or the shapes differ.
    """
    _check_channels(task, pred_BCHW)
    if task == "segmentation":
        return functional.cross_entropy(pred_BCHW, target.long())
    if target.shape != pred_BCHW.shape:
        raise ValueError(f"{task}: prediction {tuple(pred_BCHW.shape)} does not match {tuple(target.shape)}")
    target = target.to(pred_BCHW.dtype)
    if task == "depth":
        return functional.l1_loss(pred_BCHW, (target - DEPTH_OFFSET_M) / DEPTH_SCALE_M)
    if task == "normals":
        cosine_BHW = (pred_BCHW * target).sum(1) / pred_BCHW.norm(dim=1).clamp_min(1e-8)  # targets are unit vectors
        total: Tensor = (1 - cosine_BHW).mean() + functional.l1_loss(pred_BCHW, target)
        return total
    if task == "edges":
        weight = 1 - EDGE_POSITIVE_WEIGHT + (2 * EDGE_POSITIVE_WEIGHT - 1) * target
        return functional.binary_cross_entropy_with_logits(pred_BCHW, target, weight=weight)
    return functional.binary_cross_entropy_with_logits(pred_BCHW, target)


def loss_sum(task: TaskName, pred_BCHW: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of pixels."""
    count = valid_count(task, target)
    return loss(task, pred_BCHW, target) * count, count


def valid_count(task: TaskName, target: Tensor) -> Tensor:
    """Pixels."""
    return torch.tensor(float(target.shape[0] * target.shape[-1] * target.shape[-2]))


class Metric:
    """A task's metric on model outputs: decodes, then accumulates."""

    def __init__(self, task: TaskName, inner: DecodedMetric) -> None:
        self._task: TaskName = task
        self._inner = inner

    @torch.no_grad()
    def update(self, pred_BCHW: Tensor, target: Tensor) -> None:
        """Add a batch of model outputs at image resolution and their targets.

        Raises:
            ValueError: the channels are not the task's, or prediction and target differ in images or pixels.
        """
        decoded = decode(self._task, pred_BCHW)
        if decoded.shape != target.shape:
            raise ValueError(f"{self._task}: prediction {tuple(decoded.shape)} does not match {tuple(target.shape)}")
        self._inner.update(decoded, target)

    def value(self) -> float:
        """The metric over all batches so far, in the unit `Task.metric` names; NaN before the first one."""
        return self._inner.value()


def make_metric(task: TaskName) -> Metric:
    """A fresh accumulator of the task's metric.

    segmentation: mean IoU in percent. depth: RMSE in metres. normals: mean angle in degrees. edges: optimal data set
    scale F in percent with a tolerance of 1 pixel. saliency: maximum F with beta^2 = 0.3 in percent.
    `m3vit.model.metrics` defines each exactly.

    Raises:
        ValueError: `task` is unknown.
    """
    if task == "segmentation":
        return Metric(task, MeanIoU(len(SEGMENTATION_CLASSES)))
    if task == "depth":
        return Metric(task, RootMeanSquare())
    if task == "normals":
        return Metric(task, MeanAngle())
    if task == "edges":
        return Metric(task, MaxF(beta2=1.0, tolerance=EDGE_TOLERANCE_PX))
    if task == "saliency":
        return Metric(task, MaxF(beta2=SALIENCY_BETA2, tolerance=0))
    raise _not_a_task(task)


def trivial_prediction(task: TaskName, targets: Tensor, per_pixel: bool) -> Tensor:
    """The best prediction that ignores the image, as a model output.

    Both variants average the training targets: over everything (`per_pixel=False`) or over the images at each pixel
    (`per_pixel=True`, the stronger one because it knows that the floor is at the bottom). segmentation takes the most
    frequent class, depth the mean, normals the mean direction; edges and saliency take the frequency, which without
    `per_pixel` is a constant and so calls every pixel positive at the best threshold.

    Args:
        task: Which task.
        targets: Training targets, (N, H, W) for segmentation, else (N, C, H, W).
        per_pixel: Average at each pixel instead of over all of them.

    Returns:
        (C, H, W) float32 in the model's output space; feed `prediction.expand(B, -1, -1, -1)` to the task's `Metric`.

    Raises:
        ValueError: `task` is unknown.
    """
    if task not in TASKS:
        raise _not_a_task(task)
    if task == "segmentation":
        one = [(targets == c).double().mean(0) for c in range(len(SEGMENTATION_CLASSES))]
        mean_CHW = torch.stack(one)
    else:
        mean_CHW = targets.sum(0, dtype=torch.float64) / len(targets)
    if not per_pixel:
        mean_CHW = mean_CHW.mean((1, 2), keepdim=True).expand_as(mean_CHW)
    return _encode_mean(task, mean_CHW).float()


def _encode_mean(task: TaskName, mean_CHW: Tensor) -> Tensor:
    """The model output that decodes to a mean target (segmentation: whose largest channel is the likeliest class)."""
    if task == "segmentation":
        return mean_CHW
    if task == "depth":
        return (mean_CHW - DEPTH_OFFSET_M) / DEPTH_SCALE_M
    if task == "normals":
        return functional.normalize(mean_CHW, dim=0)
    return mean_CHW.logit(eps=1e-4)
