# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The same MoE layer in the two ways that it is usually written, to compare the queues of `m3vit.model.moe` with.

Both take the layer's own parameters and compute the same function; neither is used outside benchmark and tests.

Shapes: N tokens, D channels, E experts, K chosen experts per token, Q tokens of one expert.
"""

import torch
from torch import Tensor

from m3vit.model.config import TaskName
from m3vit.model.moe import MoE, mlp


def mask_loop(layer: MoE, x_ND: Tensor, task: TaskName) -> Tensor:
    """Every expert on every token, times a mask that is zero where the router did not choose it. (N, D) to (N, D)."""
    routing, experts = layer.router(x_ND, task), layer.experts
    y_ND = torch.zeros_like(x_ND)
    for expert in range(len(experts.fc1_weight)):
        gate_N1 = ((routing.expert_NK == expert) * routing.gate_NK).sum(-1, keepdim=True)
        y_ND = y_ND + gate_N1 * _expert(layer, expert, x_ND)
    return y_ND


def index_loop(layer: MoE, x_ND: Tensor, task: TaskName) -> Tensor:
    """Expert by expert: look its tokens up, gather them, add the results back. (N, D) to (N, D)."""
    routing, experts = layer.router(x_ND, task), layer.experts
    y_ND = torch.zeros_like(x_ND)
    for expert in range(len(experts.fc1_weight)):
        token_Q, choice_Q = torch.where(routing.expert_NK == expert)
        gate_Q1 = routing.gate_NK[token_Q, choice_Q, None]
        y_ND = y_ND.index_add(0, token_Q, gate_Q1 * _expert(layer, expert, x_ND[token_Q]))
    return y_ND


def _expert(layer: MoE, expert: int, x_QD: Tensor) -> Tensor:
    e = layer.experts
    return mlp(x_QD, e.fc1_weight[expert], e.fc1_bias[expert], e.fc2_weight[expert], e.fc2_bias[expert])
