# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Sparse upcycling: a dense MLP becomes the start of a layer of experts (Komatsuzaki et al., arXiv 2212.05055).

Experts as wide as the MLP start as its copies. Narrower ones start as slices of its hidden channels: expert e takes
`expert_hidden` consecutive channels from e * `expert_hidden` on, counted round, so that S neighbours hold all of them,
S = `mlp_hidden` / `expert_hidden`. Experts of one group of S neighbours start with equal router rows (virtual groups;
He et al., arXiv 2410.07524), hence win or lose together, and a token that takes the S experts of a group meets every
channel once. The second matrix is multiplied by S over the sum of the gates that a token gets on average, so that the
layer starts as about the function of the MLP.

Shapes: E experts, D channels, M hidden channels of the MLP, H of an expert, N tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.config import ModelConfig
from m3vit.model.moe import make_router
from m3vit.model.sampling import UPCYCLING, seeded

PROBES = 4096
"""Random tokens that the average gate is taken over."""


@dataclass(frozen=True)
class DenseMlp:
    """Weights of a two-layer perceptron and of the norm before it."""

    fc1_MD: Tensor
    bias_M: Tensor
    fc2_DM: Tensor
    bias_D: Tensor
    norm_weight_D: Tensor
    norm_bias_D: Tensor


def upcycle(mlp: DenseMlp, router: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Initial weights of an MoE layer.

    Args:
        mlp: The dense layer, with `config.mlp_hidden` hidden channels.
        router: Random initial state of the layer's router.
        config: Sizes of the new model; `expert_hidden` is at most `mlp_hidden`.

    Returns:
        The state of `m3vit.model.moe.MoE`.
    """
    grouped = {name: group_rows(tensor, config) if "gate" in name else tensor for name, tensor in router.items()}
    gates = mean_gate_sum(grouped, mlp, config)
    hidden_EH = hidden_channels(config)
    experts = {
        "fc1_weight": mlp.fc1_MD[hidden_EH],
        "fc1_bias": mlp.bias_M[hidden_EH],
        "fc2_weight": mlp.fc2_DM.T[hidden_EH].transpose(1, 2) * (config.mlp_hidden / config.expert_hidden / gates),
        "fc2_bias": mlp.bias_D.expand(config.experts, -1) / gates,
    }
    layer = {f"experts.{name}": tensor for name, tensor in experts.items()}
    layer |= {f"router.{name}": tensor for name, tensor in grouped.items()}
    return {name: tensor.contiguous() for name, tensor in layer.items()}


def hidden_channels(config: ModelConfig) -> Tensor:
    """(E, H) indices of the MLP's hidden channels that each expert takes."""
    first_E1 = torch.arange(config.experts)[:, None] * config.expert_hidden
    return (first_E1 + torch.arange(config.expert_hidden)) % config.mlp_hidden


def group_rows(gate_ED: Tensor, config: ModelConfig) -> Tensor:
    """A router matrix in which the experts of a group share the first one's row."""
    slices = max(1, config.mlp_hidden // config.expert_hidden)
    return gate_ED[torch.arange(config.experts) // slices * slices].clone()


def mean_gate_sum(router: dict[str, Tensor], mlp: DenseMlp, config: ModelConfig) -> float:
    """Sum of a token's top-k gates, averaged over random tokens behind the norm and over the tasks."""
    module = make_router(config)
    module.load_state_dict(router)
    generator = seeded(0, UPCYCLING, 0)
    random_ND = functional.layer_norm(torch.randn(PROBES, config.dim, generator=generator), (config.dim,))
    token_ND = random_ND * mlp.norm_weight_D + mlp.norm_bias_D
    with torch.no_grad():
        sums = [module(token_ND, task).gate_NK.sum(-1).mean() for task in config.tasks]
    return float(torch.stack(sums).mean())
