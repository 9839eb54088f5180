# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""One metric per task, each accumulated over batches and exact whatever the batch size.

Metrics see decoded predictions (see `m3vit.model.tasks.decode`): labels, metres, unit vectors and probabilities.
Sums are kept as Python or int64/float64 numbers, so a data set of any size loses nothing to rounding. Pixels without a
value count nowhere: labels of 255, a depth of 0, the zero vector as a normal.

Shape legend: B images, H rows, W columns, C classes, T thresholds.
"""

from math import hypot
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

IGNORE = 255
"""Label of pixels without a value."""

THRESHOLDS = 256
"""Probability thresholds k / 256, k = 0 .. 255. A power of two, so that bucketing a float is exact."""


class DecodedMetric(Protocol):
    """What every metric offers."""

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch of decoded predictions (B, ...) and their targets."""

    def value(self) -> float:
        """The metric over everything seen so far; NaN before the first update."""


class MeanIoU:
    """Mean intersection over union in percent, over the classes that occur in the targets or the predictions."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._confusion_CC = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add labels `pred` (B, H, W) against labels `target` (B, H, W)."""
        known = target != IGNORE
        cell = target[known].long() * self._classes + pred[known].long()
        counts = torch.bincount(cell, minlength=self._classes**2)
        self._confusion_CC += counts.view(self._classes, self._classes).cpu()

    def value(self) -> float:
        """Mean IoU in percent; NaN without data."""
        hit_C = self._confusion_CC.diagonal().double()
        union_C = (self._confusion_CC.sum(0) + self._confusion_CC.sum(1)).double() - hit_C
        seen_C = union_C > 0
        return 100.0 * float((hit_C[seen_C] / union_C[seen_C]).mean())


class RootMeanSquare:
    """Root mean square error over the pixels whose target is not 0, in the unit of the inputs (metres for depth)."""

    def __init__(self) -> None:
        self._squares = 0.0
        self._count = 0

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add `pred` and `target` of one shape (B, 1, H, W)."""
        known = target != 0
        self._squares += float((pred.double() - target.double()).square().where(known, 0).sum())
        self._count += int(known.sum())

    def value(self) -> float:
        """Root of the mean square; NaN without data."""
        return float((self._squares / self._count) ** 0.5) if self._count else float("nan")


class MeanAngle:
    """Mean angle in degrees between unit vectors, over the pixels whose target is not the zero vector."""

    def __init__(self) -> None:
        self._degrees = 0.0
        self._count = 0

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add unit vectors `pred` and `target` (B, 3, H, W).

        The angle is atan2(|a x b|, a . b): exact at 0 and 180 degrees, where arccos loses half its digits, and
        indifferent to a target that float16 storage left slightly off unit length.
        """
        a, b = pred.double(), target.double()
        known = (b != 0).any(1)
        sine = torch.linalg.cross(a, b, dim=1).norm(dim=1)
        self._degrees += float(torch.rad2deg(torch.atan2(sine, (a * b).sum(1))).where(known, 0).sum())
        self._count += int(known.sum())

    def value(self) -> float:
        """Mean angle in degrees; NaN without data."""
        return self._degrees / self._count if self._count else float("nan")


class MaxF:
    """F-measure in percent at the one threshold that is best for the whole data set, with a distance tolerance.

    A pixel is predicted positive at threshold t when its probability is >= t, t = k / 256. Over the pixels of all
    images together,

        precision(t) = predicted pixels with a true pixel at Chebyshev distance <= tolerance / predicted pixels,
        recall(t)    = true pixels with a predicted pixel at Chebyshev distance <= tolerance / true pixels,
        F(t)         = (1 + beta2) precision recall / (beta2 precision + recall),   value = 100 max_t F(t).

    Pixels without a value are neither predicted nor true. The tolerance is a number of pixels or, if that is more, a
    share of the image's diagonal. With beta2 = 1 this is the optimal-data-set-scale F of the edge benchmark (Martin,
    Fowlkes and Malik, PAMI 2004), but with many-to-one matching and no thinning: hits are found by dilation instead of
    by bipartite assignment. With tolerance 0 and beta2 = 0.3 it is the maximum F-measure of saliency detection
    (Achanta et al., CVPR 2009), with precision and recall pooled over the data set.

    No threshold is ever looped over: three histograms of probabilities and their tail sums give all of them.
    """

    def __init__(self, beta2: float, tolerance: int, share: float = 0.0) -> None:
        self._beta2, self._tolerance, self._share = beta2, tolerance, share
        self._predicted_T = torch.zeros(THRESHOLDS, dtype=torch.int64)
        self._correct_T = torch.zeros(THRESHOLDS, dtype=torch.int64)
        self._found_T = torch.zeros(THRESHOLDS, dtype=torch.int64)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add probabilities `pred` (B, 1, H, W) against {0, 1, 255} `target` (B, 1, H, W)."""
        known = target != IGNORE
        bucket = (pred.float() * THRESHOLDS).long().clamp(0, THRESHOLDS - 1).where(known, 0)
        true = (target > 0.5) & known
        self._predicted_T += _histogram(bucket[known])
        self._correct_T += _histogram(bucket[(self._dilate(true.float()) > 0.5) & known])
        self._found_T += _histogram(self._dilate(bucket.float()).long()[true])

    def value(self) -> float:
        """Best F in percent; 0 when nothing true was found, NaN without data."""
        predicted_T, correct_T, found_T = (_tail(h) for h in (self._predicted_T, self._correct_T, self._found_T))
        if not predicted_T[0]:
            return float("nan")
        precision_T = correct_T / predicted_T.clamp(min=1)
        recall_T = found_T / found_T[0].clamp(min=1)
        below_T = (self._beta2 * precision_T + recall_T).clamp(min=1e-12)
        return 100.0 * float(((1 + self._beta2) * precision_T * recall_T / below_T).max())

    def _dilate(self, x_B1HW: Tensor) -> Tensor:
        height, width = x_B1HW.shape[2:]
        reach = max(self._tolerance, int(self._share * hypot(height, width)))
        return max_pool2d(x_B1HW, 2 * reach + 1, stride=1, padding=reach)


class ImageMaxF:
    """Maximum F-measure of saliency in percent as the multi-task literature on PASCAL-Context takes it.

    For thresholds t = 0.20, 0.25, .. 0.90 a pixel is predicted when its probability is > t. Precision and recall (0 of
    0 is 0) are averaged over images, F = 2 P R / (P + R) of the two means, and the best threshold counts (ASTMT, arXiv
    1904.08918; SimonVandenhende/Multi-Task-Learning-PyTorch, evaluation/eval_sal.py, which rounds predictions to 8
    bits). Pixels without a value are neither predicted nor true.
    """

    def __init__(self) -> None:
        self._thresholds_T = torch.linspace(0.2, 0.9, 15)
        self._precision_T = torch.zeros(15, dtype=torch.float64)
        self._recall_T = torch.zeros(15, dtype=torch.float64)
        self._images = 0

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add probabilities `pred` (B, 1, H, W) against {0, 1, 255} `target` (B, 1, H, W)."""
        known_BP = (target != IGNORE).flatten(1)
        true_BP = (target > 0.5).flatten(1) & known_BP
        for i, threshold in enumerate(self._thresholds_T):
            predicted_BP = (pred.float().flatten(1) > threshold) & known_BP
            hits_B = (predicted_BP & true_BP).sum(1).double().cpu()
            self._precision_T[i] += (hits_B / predicted_BP.sum(1).cpu().clamp(min=1)).sum()
            self._recall_T[i] += (hits_B / true_BP.sum(1).cpu().clamp(min=1)).sum()
        self._images += len(pred)

    def value(self) -> float:
        """Best F in percent; NaN without data."""
        if not self._images:
            return float("nan")
        precision_T, recall_T = self._precision_T / self._images, self._recall_T / self._images
        below_T = (precision_T + recall_T).clamp(min=1e-12)
        return 100.0 * float((2 * precision_T * recall_T / below_T).max())


def _histogram(bucket: Tensor) -> Tensor:
    return torch.bincount(bucket.flatten(), minlength=THRESHOLDS).cpu()


def _tail(histogram_T: Tensor) -> Tensor:
    """Number of entries at or above each threshold."""
    return histogram_T.flip(0).cumsum(0).flip(0).double()
