# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Integer Mixture-of-Experts layer: router, top-k, token queues, expert passes, weighted combination; dense MLP.

Shapes: N tokens, D channels, E experts, K chosen experts per token, Q tokens in a queue.
Router logits are in octaves (powers of two) with LOGIT_FRACTION_BITS fraction bits, gates are Q1.15.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import Ints, round_half_up_shift, saturate
from m3vit.sim.golden.embed import linear_residual
from m3vit.sim.golden.linear import Linear, linear, linear_gelu

LOGIT_FRACTION_BITS = 8
LOGIT_CLIP_OCTAVES = 16
"""Exponentials see logits clipped to +-16 octaves (a factor of 65,536 up and down); top-k sees them unclipped."""
GATE_FRACTION_BITS = 15
MAX_EXPERTS = 1024

EXP2_MANTISSA = np.floor(
    2.0 ** (np.arange(1 << LOGIT_FRACTION_BITS) / (1 << LOGIT_FRACTION_BITS)) * 2**15 + 0.5
).astype(np.int64)
"""2**fraction in Q1.15 for every fraction, 32768..65359."""


@dataclass(frozen=True)
class Queue:
    """Tokens of one expert in ascending order, and their gates (Q1.15)."""

    expert: int
    token_Q: npt.NDArray[np.int64]
    gate_Q: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Expert:
    """The two linear layers of one expert, or of one slice of a dense MLP."""

    fc1: Linear
    fc2: Linear


def router_logits(x_ND: Ints, router: Linear) -> npt.NDArray[np.int64]:
    """int16 router logits in octaves. Shape (N, E)."""
    return linear(x_ND, router, 16)


def exp2_fixed(logit: Ints) -> npt.NDArray[np.int64]:
    """2**logit as a 47-bit integer in units of 2**-31; exact sums need neither a maximum nor an order."""
    limit = LOGIT_CLIP_OCTAVES << LOGIT_FRACTION_BITS
    clipped = np.clip(np.asarray(logit, dtype=np.int64), -limit, limit - 1)
    fraction, octave = clipped & ((1 << LOGIT_FRACTION_BITS) - 1), clipped >> LOGIT_FRACTION_BITS
    return np.asarray(EXP2_MANTISSA[fraction] << (octave + LOGIT_CLIP_OCTAVES))


def top_k(logit_NE: Ints, k: int) -> npt.NDArray[np.int64]:
    """Indices of the k largest logits, largest first; ties go to the lower expert index. Shape (N, K)."""
    return np.argsort(-np.asarray(logit_NE, dtype=np.int64), axis=1, kind="stable")[:, :k]


def gates(logit_NE: Ints, expert_NK: Ints, renormalise: bool) -> npt.NDArray[np.int64]:
    """Softmax probabilities of the chosen experts in Q1.15, rounded down. Shape (N, K).

    Softmax runs over all experts, or over the chosen ones if `renormalise` (V-MoE, arXiv 2106.05974, section 2.1).
    """
    exp_NE = exp2_fixed(logit_NE)
    exp_NK = np.take_along_axis(exp_NE, np.asarray(expert_NK, dtype=np.int64), axis=1)
    total_N1 = (exp_NK if renormalise else exp_NE).sum(axis=1, keepdims=True)
    return np.asarray((exp_NK << GATE_FRACTION_BITS) // total_N1)


def token_queues(expert_NK: Ints, gate_NK: Ints) -> list[Queue]:
    """Queues of the experts that have tokens, experts ascending, tokens ascending within each."""
    queues = []
    for expert in np.unique(expert_NK):
        token_Q, slot_Q = np.nonzero(expert_NK == expert)
        queues.append(Queue(int(expert), token_Q, np.asarray(gate_NK, np.int64)[token_Q, slot_Q]))
    return queues


def combine(residual_QD: Ints, expert_QD: Ints, gate_Q: Ints) -> npt.NDArray[np.int64]:
    """Add the gated int16 expert output to the int16 residual, saturating. Shape (Q, D)."""
    contribution_QD = round_half_up_shift(np.asarray(expert_QD, np.int64) * gate_Q[:, None], GATE_FRACTION_BITS)
    return saturate(residual_QD + contribution_QD, 16)


def route(x_ND: Ints, router: Linear, k: int, renormalise: bool) -> list[Queue]:
    """From tokens to queues: router_logits, top_k, gates, token_queues."""
    logit_NE = router_logits(x_ND, router)
    expert_NK = top_k(logit_NE, k)
    return token_queues(expert_NK, gates(logit_NE, expert_NK, renormalise))


def moe(
    x_ND: Ints,
    residual_ND: Ints,
    queues: Sequence[Queue],
    experts: Sequence[Expert],
    table: npt.NDArray[np.int8],
) -> npt.NDArray[np.int16]:
    """Residual stream after the MoE layer: experts one by one over their token queues (M3ViT, section 3.3).

    Args:
        x_ND: int8 normalised tokens.
        residual_ND: int16 residual stream.
        queues: from `route`.
        experts: all experts; only those with a queue are used.
        table: GELU table of the layer.
    """
    out_ND = np.array(residual_ND, dtype=np.int64)
    for queue in queues:
        expert = experts[queue.expert]
        hidden_QH = linear_gelu(np.asarray(x_ND)[queue.token_Q], expert.fc1, table)
        out_ND[queue.token_Q] = combine(out_ND[queue.token_Q], linear(hidden_QH, expert.fc2, 16), queue.gate_Q)
    return out_ND.astype(np.int16)


def mlp(x_ND: Ints, residual_ND: Ints, slices: Sequence[Expert], table: npt.NDArray[np.int8]) -> npt.NDArray[np.int16]:
    """Residual stream after a dense MLP: slices of its hidden channels one after the other, each added on its own.

    Args:
        x_ND: int8 normalised tokens.
        residual_ND: int16 residual stream.
        slices: rows of fc1 and columns of fc2; only the first has the bias of fc2.
        table: GELU table of the layer.
    """
    out_ND = np.array(residual_ND, dtype=np.int16)
    for part in slices:
        out_ND = linear_residual(out_ND, linear_gelu(x_ND, part.fc1, table), part.fc2)
    return out_ND
