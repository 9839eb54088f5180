# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Learning rates: linear warm-up, then a cosine, a polynomial (DeepLab, arXiv 1606.00915, section 4.1), a constant."""

import math

from m3vit.model.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of the update after `step` updates; cosine and polynomial reach zero after the last one."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    match config.schedule:
        case "cosine":
            return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
        case "poly":
            return config.lr * float((1 - progress) ** config.poly_power)
        case "constant":
            return config.lr
