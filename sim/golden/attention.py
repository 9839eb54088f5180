# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Integer multi-head self-attention (Vaswani et al., arXiv 1706.03762, section 3.2).

Scores are octaves like router logits; the units of queries and keys are chosen so that a shift makes scores of their
products. Probabilities are unsigned 8-bit integers relative to the row's largest score.
The engine makes one pass over the keys, in which a row's scores are buffered and its maximum is tracked, and one over
the values, in which the sum of the probabilities is formed beside the products: neither rescales what it accumulated.
An int8 engine multiplies p - 128 and starts from the bias 128 * sum(v) of the channel; the result is the same integer.

Shapes: N tokens (queries and keys), D channels, S heads, C = D / S channels of a head.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import ACC_BITS, MULTIPLIER_BITS, Ints, round_half_up_shift, saturate
from m3vit.sim.golden.moe import EXP2_MANTISSA, LOGIT_FRACTION_BITS
from m3vit.sim.golden.norm import Requant, fold_multiplier

PROBABILITY_BITS = 8
MANTISSA_BITS = 15
MAX_SCORE_SHIFT = 31
MAX_TOKENS = ((1 << (ACC_BITS - 1)) - 1) // (((1 << PROBABILITY_BITS) - 1) << 7)
"""More tokens could drive a weighted sum of values out of the accumulator."""


@dataclass(frozen=True)
class AttentionScales:
    """Factors of an attention layer.

    Attributes:
        score: right shift from the product of query and key to the score, 0..MAX_SCORE_SHIFT.
        output: from weighted values to the output.
    """

    score: int
    output: Requant


def scores(q_NC: Ints, k_NC: Ints, shift: int) -> npt.NDArray[np.int64]:
    """int16 scores of every query (rows) with every key in octaves, LOGIT_FRACTION_BITS fraction bits. Shape (N, N)."""
    product_NN = q_NC.astype(np.float64) @ k_NC.astype(np.float64).T
    return saturate(round_half_up_shift(product_NN.astype(np.int64), shift), 16)


def probabilities(score_NN: Ints) -> npt.NDArray[np.int64]:
    """2**(score - row maximum) in units of 2**-8, 0..255: the largest score of a row always gives 255. Shape (N, N)."""
    score_NN = np.asarray(score_NN, dtype=np.int64)
    below_NN = score_NN - score_NN.max(axis=1, keepdims=True)
    fraction_NN = below_NN & ((1 << LOGIT_FRACTION_BITS) - 1)
    shift_NN = np.minimum(MANTISSA_BITS - PROBABILITY_BITS - (below_NN >> LOGIT_FRACTION_BITS), 31)
    return np.minimum(round_half_up_shift(EXP2_MANTISSA[fraction_NN], shift_NN), (1 << PROBABILITY_BITS) - 1)


def reciprocal(total: Ints) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(mantissa, exponent) with mantissa * 2**-exponent close to 1 / total; the mantissa is 16 bits wide.

    For a total of n bits: min(2**(n + 15) // total, 65535) and n + 15.
    """
    bits = np.frexp(np.asarray(total, dtype=np.float64))[1].astype(np.int64)
    exponent = bits + (MULTIPLIER_BITS - 1)
    quotient = (np.int64(1) << exponent) // np.asarray(total, dtype=np.int64)
    return np.minimum(quotient, (1 << MULTIPLIER_BITS) - 1), exponent


def weighted_values(probability_NN: Ints, v_NC: Ints, scale: Requant) -> npt.NDArray[np.int64]:
    """int8 mean of the values under the probabilities. Shape (N, C)."""
    product_NC = (probability_NN.astype(np.float64) @ v_NC.astype(np.float64)).astype(np.int64)
    mantissa_N1, exponent_N1 = reciprocal(probability_NN.sum(axis=1, keepdims=True))
    factor_N1 = fold_multiplier(mantissa_N1, scale.multiplier)
    shift_N1 = scale.shift + exponent_N1 - MULTIPLIER_BITS
    return saturate(round_half_up_shift(product_NC * factor_N1, shift_N1), 8)


def attention(qkv_NM: Ints, heads: int, scales: AttentionScales) -> npt.NDArray[np.int8]:
    """Self-attention of all heads, side by side. Shape (N, D).

    Args:
        qkv_NM: int8, M = 3 D: queries, keys, values, each ordered by head.
        heads: S.
        scales: factors of the layer.
    """
    tokens, dim = qkv_NM.shape[0], qkv_NM.shape[1] // 3
    q_SNC, k_SNC, v_SNC = np.asarray(qkv_NM).reshape(tokens, 3, heads, dim // heads).transpose(1, 2, 0, 3)
    out_NSC = np.empty((tokens, heads, dim // heads), np.int8)
    for head in range(heads):
        probability_NN = probabilities(scores(q_SNC[head], k_SNC[head], scales.score))
        out_NSC[:, head] = weighted_values(probability_NN, v_SNC[head], scales.output)
    return out_NSC.reshape(tokens, dim)
