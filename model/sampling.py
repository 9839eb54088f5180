# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Which images an update sees, and generators that depend on a few numbers only: what makes a run repeatable."""

import numpy as np
import torch
from torch import Tensor

from m3vit.model.config import TrainConfig

ORDER, NOISE, AUGMENT = 0, 1, 2
"""Streams of random numbers: order of the images, noise of the routers, augmentation."""


def seeded(seed: int, stream: int, counter: int, device: torch.device | None = None) -> torch.Generator:
    """A generator that depends on its three numbers only."""
    state = np.random.SeedSequence([seed, stream, counter]).generate_state(1)
    return torch.Generator(device or torch.device("cpu")).manual_seed(int(state[0]))


def batch_indices(config: TrainConfig, size: int, step: int) -> Tensor:
    """Images of one update: consecutive parts of an endless sequence of permutations of `size` images."""
    first, last = step * config.batch, (step + 1) * config.batch - 1
    epochs = range(first // size, last // size + 1)
    orders = [torch.randperm(size, generator=seeded(config.seed, ORDER, epoch)) for epoch in epochs]
    return torch.cat(orders)[first % size :][: config.batch]


def rank_share(batch: int, rank: int, world: int) -> slice:
    """The contiguous part of a batch that one of `world` processes computes; the parts differ by one image at most."""
    return slice(rank * batch // world, (rank + 1) * batch // world)
