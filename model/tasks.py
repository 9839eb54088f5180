# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The dense tasks: what the model emits for each, how that is scored, and what a predictor without an image scores.

The model's output for a task is `pred_BCHW` at image resolution, in the space `decode` maps to physical units. Targets
come as `m3vit.model.datasets` gives them: any number type is accepted. Pixels without a value (`valid_pixels`) count in
no loss, metric or trivial predictor. What depends on the dataset comes from its `DatasetInfo`, by default the scenes'.

Shape legend: B images, N training images, C channels of a task, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.config import TaskName
from m3vit.model.datasets.info import IGNORE, SCENES, DatasetInfo
from m3vit.model.metrics import DecodedMetric, ImageMaxF, MaxF, MeanAngle, MeanIoU, RootMeanSquare

SALIENCY_BETA2 = 0.3


@dataclass(frozen=True)
class Task:
    """Facts about one task of a dataset.

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


METRICS: dict[TaskName, tuple[str, bool]] = {
    "segmentation": ("mIoU (%)", True),
    "human_parts": ("mIoU (%)", True),
    "depth": ("RMSE (m)", False),
    "normals": ("mean angle (deg)", False),
    "edges": ("odsF (%)", True),
    "saliency": ("maxF (%)", True),
}
"""Each task's metric with its unit, and whether higher is better."""


def tasks_of(info: DatasetInfo) -> dict[TaskName, Task]:
    """The tasks that a dataset has ground truth for.

    Where the literature reports the edge benchmark's odsF, ours has another name, for it is another measure (`MaxF`).
    """
    names = {task: name for task, (name, _) in METRICS.items()}
    names["edges"] = "F by dilation (%)" if info.edge_tolerance else names["edges"]
    weights = info.loss_weights
    return {
        task: Task(task, info.channels(task), names[task], METRICS[task][1], weights.get(task, 1.0))
        for task in info.tasks
    }


TASKS: dict[TaskName, Task] = tasks_of(SCENES)
"""The tasks of the scenes."""


def valid_pixels(task: TaskName, target: Tensor) -> Tensor:
    """Pixels that have a value: label not 255, depth above 0, normal not the zero vector.

    Args:
        task: Which task.
        target: (B, H, W) for segmentation and human parts, else (B, C, H, W).

    Returns:
        Boolean, of the target's shape with a single channel.
    """
    if task == "depth":
        return target > 0
    if task == "normals":
        return (target != 0).any(1, keepdim=True)
    return target != IGNORE


def valid_count(task: TaskName, target: Tensor) -> Tensor:
    """How many pixels have a value, a scalar; what `loss_sum` counts."""
    return valid_pixels(task, target).sum()


def decode(task: TaskName, pred_BCHW: Tensor, info: DatasetInfo = SCENES) -> Tensor:
    """Turn model outputs into what the targets are: labels, metres, unit vectors or probabilities.

    Returns:
        segmentation and human_parts (B, H, W) int64; depth (B, 1, H, W) metres; normals (B, 3, H, W) unit; edges and
        saliency (B, 1, H, W) in [0, 1].

    Raises:
        ValueError: the dataset has no such task or the number of channels is not the task's.
    """
    _check_channels(task, pred_BCHW, info)
    if task in ("segmentation", "human_parts"):
        return pred_BCHW.argmax(1)
    if task == "depth":
        return pred_BCHW * info.depth_scale_m + info.depth_offset_m
    if task == "normals":
        return functional.normalize(pred_BCHW, dim=1)
    return pred_BCHW.sigmoid()


def _check_channels(task: TaskName, pred_BCHW: Tensor, info: DatasetInfo) -> None:
    _check_task(task, info)
    if pred_BCHW.ndim != 4 or pred_BCHW.shape[1] != info.channels(task):
        raise ValueError(f"{task} needs (B, {info.channels(task)}, H, W), not {tuple(pred_BCHW.shape)}")


def _check_task(task: TaskName, info: DatasetInfo) -> None:
    if task not in info.tasks:
        raise ValueError(f"unknown task '{task}'; choose one of {', '.join(info.tasks)}")


def loss(task: TaskName, pred_BCHW: Tensor, target: Tensor, info: DatasetInfo = SCENES) -> Tensor:
    """The training loss, a scalar mean over the pixels that have a value; 0 if none has.

    segmentation and human_parts: cross-entropy. depth: mean absolute error in units of the dataset's depth scale.
    normals: 1 - cosine plus the absolute error of the raw output vector, so that the length learns to be 1. edges:
    cross-entropy with the dataset's weight w on edge pixels and 1 - w on the others (the class balance of HED, arXiv
    1504.06375, section 2.2, fixed over the data set). saliency: cross-entropy.

    Args:
        task: Which task.
        pred_BCHW: Model output at image resolution.
        target: Labels (B, H, W) for segmentation and human parts, else (B, C, H, W).
        info: The dataset.

    Raises:
        ValueError: the dataset has no such task, the number of channels is not the task's, or the shapes differ.
    """
    return _loss_and_count(task, pred_BCHW, target, info)[0]


def loss_sum(task: TaskName, pred_BCHW: Tensor, target: Tensor, info: DatasetInfo = SCENES) -> tuple[Tensor, Tensor]:
    """The loss times the number of pixels that have a value, and that number, so that processes can add both up.

    Their quotient is `loss` up to rounding; the arguments and errors are the same.
    """
    mean, count = _loss_and_count(task, pred_BCHW, target, info)
    return mean * count, count


def _loss_and_count(task: TaskName, pred_BCHW: Tensor, target: Tensor, info: DatasetInfo) -> tuple[Tensor, Tensor]:
    """The loss and the number of pixels that have a value; half-precision outputs are summed in float32."""
    _check_channels(task, pred_BCHW, info)
    pred = pred_BCHW if pred_BCHW.dtype == torch.float64 else pred_BCHW.float()
    valid = valid_pixels(task, target)
    count = valid.sum()
    if task in ("segmentation", "human_parts"):
        total = functional.cross_entropy(pred, target.long(), ignore_index=IGNORE, reduction="sum")
        return total / count.clamp(min=1), count
    if target.shape != pred.shape:
        raise ValueError(f"{task}: prediction {tuple(pred.shape)} does not match {tuple(target.shape)}")
    return _regression(task, pred, target.to(pred.dtype), valid, info), count


def _regression(task: TaskName, pred: Tensor, true: Tensor, valid: Tensor, info: DatasetInfo) -> Tensor:
    """The loss of a task whose target has the prediction's shape."""
    if task == "depth":
        return _mean((pred - (true - info.depth_offset_m) / info.depth_scale_m).abs(), valid)
    if task == "normals":
        cosine_B1HW = (pred * true).sum(1, keepdim=True) / pred.norm(dim=1, keepdim=True).clamp_min(
            1e-8
        )  # unit targets
        return _mean(1 - cosine_B1HW, valid) + _mean((pred - true).abs(), valid.expand_as(pred))
    true = true.where(valid, 0)
    weight = (_edge_weight(true, info) if task == "edges" else torch.ones_like(true)).where(valid, 0)
    mean = functional.binary_cross_entropy_with_logits(pred, true, weight=weight)
    return mean * (valid.numel() / valid.sum().clamp(min=1))


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the valid values; 0 without any."""
    return values.where(valid, 0).sum() / valid.sum().clamp(min=1)


def _edge_weight(true_B1HW: Tensor, info: DatasetInfo) -> Tensor:
    return 1 - info.edge_weight + (2 * info.edge_weight - 1) * true_B1HW


class Metric:
    """A task's metric on model outputs: decodes, then accumulates."""

    def __init__(self, task: TaskName, inner: DecodedMetric, info: DatasetInfo) -> None:
        self._task: TaskName = task
        self._inner, self._info = inner, info

    @torch.no_grad()
    def update(self, pred_BCHW: Tensor, target: Tensor) -> None:
        """Add a batch of model outputs at image resolution and their targets.

        Raises:
            ValueError: the channels are not the task's, or prediction and target differ in images or pixels.
        """
        decoded = decode(self._task, pred_BCHW, self._info)
        if decoded.shape != target.shape:
            raise ValueError(f"{self._task}: prediction {tuple(decoded.shape)} does not match {tuple(target.shape)}")
        self._inner.update(decoded, target)

    def value(self) -> float:
        """The metric over all batches so far, in the unit `Task.metric` names; NaN before the first one."""
        return self._inner.value()


def make_metric(task: TaskName, info: DatasetInfo = SCENES) -> Metric:
    """A fresh accumulator of the task's metric.

    segmentation and human_parts: mean IoU in percent. depth: RMSE in metres. normals: mean angle in degrees. edges:
    optimal data set scale F in percent, hits found by dilation, with the dataset's tolerance. saliency: maximum F in
    percent, with beta^2 = 0.3 over all pixels or, where the dataset's literature does so, with precision and recall
    averaged over images. `m3vit.model.metrics` defines each exactly.

    Raises:
        ValueError: the dataset has no such task.
    """
    _check_task(task, info)
    return Metric(task, _decoded_metric(task, info), info)


def _decoded_metric(task: TaskName, info: DatasetInfo) -> DecodedMetric:
    match task:
        case "segmentation" | "human_parts":
            return MeanIoU(info.channels(task))
        case "depth":
            return RootMeanSquare()
        case "normals":
            return MeanAngle()
        case "edges":
            return MaxF(beta2=1.0, tolerance=1, share=info.edge_tolerance)
        case "saliency":
            return ImageMaxF() if info.saliency_per_image else MaxF(beta2=SALIENCY_BETA2, tolerance=0)


def trivial_prediction(task: TaskName, targets: Tensor, per_pixel: bool, info: DatasetInfo = SCENES) -> Tensor:
    """The best prediction that ignores the image, as a model output.

    Both variants average the training targets: over everything (`per_pixel=False`) or over the images at each pixel
    (`per_pixel=True`, the stronger one because it knows that the floor is at the bottom). segmentation and human parts
    take the most frequent class, depth the mean, normals the mean direction; edges and saliency take the frequency,
    which without `per_pixel` is a constant and so calls every pixel positive at the best threshold. Where no image has
    a value, the mean over everything stands.

    Args:
        task: Which task.
        targets: Training targets, (N, H, W) for segmentation and human parts, else (N, C, H, W).
        per_pixel: Average at each pixel instead of over all of them.
        info: The dataset.

    Returns:
        (C, H, W) float32 in the model's output space; feed `prediction.expand(B, -1, -1, -1)` to the task's `Metric`.

    Raises:
        ValueError: the dataset has no such task.
    """
    _check_task(task, info)
    valid = valid_pixels(task, targets)
    if task in ("segmentation", "human_parts"):
        total_CHW = torch.stack([(targets == c).sum(0) for c in range(info.channels(task))]).double()
        count_HW = valid.sum(0)
    else:
        total_CHW = targets.where(valid, 0).sum(0, dtype=torch.float64)
        count_HW = valid.sum((0, 1))
    overall_CHW = (total_CHW.sum((1, 2), keepdim=True) / count_HW.sum().clamp(min=1)).expand_as(total_CHW)
    mean_CHW = (total_CHW / count_HW.clamp(min=1)).where(count_HW > 0, overall_CHW) if per_pixel else overall_CHW
    return _encode_mean(task, mean_CHW, info).float()


def _encode_mean(task: TaskName, mean_CHW: Tensor, info: DatasetInfo) -> Tensor:
    """The model output that decodes to a mean target (of labels: whose largest channel is the likeliest class)."""
    if task in ("segmentation", "human_parts"):
        return mean_CHW
    if task == "depth":
        return (mean_CHW - info.depth_offset_m) / info.depth_scale_m
    if task == "normals":
        return functional.normalize(mean_CHW, dim=0)
    return mean_CHW.logit(eps=1e-4)
