# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Mixed precision: which matrix products run in 16 bits, and the loss scale that float16 gradients need."""

import torch
from torch import Tensor

from m3vit.model.config import TrainConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The context of the forward pass; parameters, losses and the routers' softmax stay in float32."""
    return torch.autocast(device.type, DTYPES[config.precision], enabled=config.precision != "float32")


def make_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """The dynamic loss scale of float16 (arXiv 1710.03740, section 3.2); disabled for the other precisions."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def scaler_state(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """What the next update depends on: the scale and the number of updates since it last changed."""
    if not scaler.is_enabled():
        return {}
    state = scaler.state_dict()
    return {key: torch.tensor(float(state[key]), dtype=torch.float64) for key in ("scale", "_growth_tracker")}


def restore_scaler(scaler: torch.amp.GradScaler, state: dict[str, Tensor]) -> None:
    """Put back what `scaler_state` gave."""
    if scaler.is_enabled():
        tracker = {"scale": float(state["scale"]), "_growth_tracker": int(state["_growth_tracker"])}
        scaler.load_state_dict(scaler.state_dict() | tracker)
