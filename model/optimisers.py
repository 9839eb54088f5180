# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""AdamW and SGD over groups of parameters, and their state as named tensors."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from m3vit.model.config import TrainConfig
from m3vit.model.distributed import placed_like

BETA2 = 0.99

Parameters = dict[str, nn.Parameter]
"""What is trained, by name."""
STATE = {"adamw": ("step", "exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
"""Tensors that an optimiser keeps per parameter (SGD: with momentum), in an order that all processes share."""


def is_decayed(name: str) -> bool:
    """Whether weight decay pulls at a parameter: not at biases, norms, embeddings, the class token, log variances."""
    plain = ("norm", "embedding", "log_variance")
    return not (name.endswith("bias") or any(word in name for word in plain) or name in ("cls_token", "pos_embed"))


def parameter_groups(parameters: Parameters, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: with and without decay, whole and sharded tensors apart."""
    groups = []
    for sharded in (False, True):
        for decayed in (True, False):
            members = [
                parameter
                for name, parameter in parameters.items()
                if (is_decayed(name), isinstance(parameter, DTensor)) == (decayed, sharded)
            ]
            if members:
                groups.append({"params": members, "weight_decay": weight_decay if decayed else 0.0})
    return groups


def make_optimiser(parameters: Parameters, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimiser: AdamW (arXiv 1711.05101) or SGD with momentum and decay in the gradient."""
    groups = parameter_groups(parameters, config.weight_decay)
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, BETA2), fused=True)


def optimiser_state(parameters: Parameters, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`PARAMETER.STATE` to tensor, in an order that all processes share, for sharded tensors are gathered in it."""
    return {
        f"{name}.{key}": value
        for name, parameter in parameters.items()
        for key, value in sorted(optimiser.state[parameter].items())
        if value is not None
    }


def restore_optimiser(
    parameters: Parameters, optimiser: torch.optim.Optimizer, config: TrainConfig, state: dict[str, Tensor]
) -> None:
    """Put back what `optimiser_state` gave.

    Raises:
        KeyError: the state of the parameter in the exception is missing.
    """
    stateless = config.optimiser == "sgd" and config.momentum == 0
    for name, parameter in parameters.items():
        for key in () if stateless else STATE[config.optimiser]:
            if f"{name}.{key}" not in state:
                raise KeyError(name)
            tensor = state[f"{name}.{key}"]
            placed = tensor if tensor.ndim == 0 and key == "step" else placed_like(parameter, tensor)
            optimiser.state[parameter][key] = placed.to(parameter.device)
