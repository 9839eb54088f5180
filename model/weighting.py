# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Factors of the tasks in the sum of losses: fixed, or learned as the tasks' uncertainty."""

import math

import torch
from torch import Tensor, nn

from m3vit.model.config import TaskName, TrainConfig

REGRESSION: frozenset[TaskName] = frozenset({"depth", "normals"})
"""Tasks whose likelihood is that of a regression; the others classify."""


class FixedWeighting(nn.Module):
    """Each task's loss times a constant.

    Args:
        factors: By task.
    """

    def __init__(self, factors: dict[TaskName, float]) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, task: TaskName, loss: Tensor, share: float) -> Tensor:
        """The weighted loss."""
        return self.factors[task] * loss


class UncertaintyWeighting(nn.Module):
    """Losses weighted by learned variances s^2 (Kendall, Gal and Cipolla, arXiv 1705.07115, equations 7 and 10).

    A regression loss L becomes L / (2 s^2) + log s, a classification loss L / s^2 + log s. The variances start where
    the factors equal the fixed ones.

    Args:
        factors: Fixed factors by task, positive.
    """

    def __init__(self, factors: dict[TaskName, float]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict(
            {task: nn.Parameter(torch.tensor(-math.log(factor / _scale(task)))) for task, factor in factors.items()}
        )

    def forward(self, task: TaskName, loss: Tensor, share: float) -> Tensor:
        """The weighted loss and `share` of its log s: parts of a batch have shares that sum to 1."""
        log_variance = self.log_variance[task]
        weighted: Tensor = _scale(task) * torch.exp(-log_variance) * loss + share * 0.5 * log_variance
        return weighted


def _scale(task: TaskName) -> float:
    return 0.5 if task in REGRESSION else 1.0


def make_weighting(config: TrainConfig, defaults: dict[TaskName, float]) -> FixedWeighting | UncertaintyWeighting:
    """The configured weighting; `defaults` are the tasks' own factors, which `loss_weights` replaces."""
    factors = {task: config.loss_weights.get(task, factor) for task, factor in defaults.items()}
    return FixedWeighting(factors) if config.weighting == "fixed" else UncertaintyWeighting(factors)
