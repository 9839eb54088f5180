# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Exponential moving average of the weights."""

import torch
from torch import Tensor

from m3vit.model.distributed import placed_like
from m3vit.model.optimisers import Parameters


def decay_at(decay: float, step: int) -> float:
    """Decay of update `step` (from 0), at most (1 + step) / (10 + step): the first weights are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


class Average:
    """The average of parameters, which starts as their copy.

    Args:
        parameters: What is averaged, by name.
        decay: Share of the average that an update keeps, once past the warm-up of `decay_at`.
    """

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self.decay = decay
        self._parameters = parameters
        self.tensors: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters after update `step`."""
        kept = decay_at(self.decay, step)
        for name, tensor in self.tensors.items():
            tensor.lerp_(self._parameters[name].detach(), 1 - kept)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back saved averages, whole tensors."""
        self.tensors = {name: placed_like(p, tensors[name]).clone() for name, p in self._parameters.items()}
