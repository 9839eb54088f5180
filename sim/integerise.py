# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""From floats to the integers of a Pathway: scales, linear layers, the hidden activation. Pure NumPy.

Shapes: M output channels, K input channels, D channels of the residual stream, S sampled activations.
"""

from dataclasses import dataclass
from math import ceil, e, log2, sqrt

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import ACC_BITS, quantise_multiplier
from m3vit.sim.golden.attention import MAX_SCORE_SHIFT
from m3vit.sim.golden.linear import GELU_INDEX_BITS, Linear, gelu_table
from m3vit.sim.golden.moe import LOGIT_FRACTION_BITS
from m3vit.sim.golden.norm import MAX_COARSE, Requant

Floats = npt.NDArray[np.float64]

BIAS_LIMIT = 1 << (ACC_BITS - 2)
ACC_LIMIT = (1 << (ACC_BITS - 1)) - 1
LOG2_E = log2(e)
OCTAVE = 2.0**-LOGIT_FRACTION_BITS
"""One unit of a score or a router logit, in octaves."""
SHRINK = np.linspace(0.15, 1.0, 52)
"""Candidate clipping points, as shares of the largest magnitude."""
WEIGHT_SHRINK = np.linspace(0.4, 1.0, 31)
"""The same for weights."""
STEPS_PER_BIT = 4
LATTICE = 2.0 ** (-np.arange(5 * STEPS_PER_BIT) / STEPS_PER_BIT)
"""The same in steps that divide a factor of two."""
GELU_NEGATIVE = 4.0
"""GELU is zero to int8 precision below -4."""
GELU_MINIMUM = -0.17


def requant(scale: float) -> Requant:
    """Integers of a real factor."""
    return Requant(*quantise_multiplier(scale))


def quantise_linear(
    weight_MK: Floats,
    bias_M: Floats,
    input_scale: float,
    output_scale: float | Floats,
    zero: int = 0,
    *,
    scale_M: Floats | None = None,
    bits: int = 8,
) -> Linear:
    """Integer layer with symmetric weights, scaled per output channel by their largest magnitude.

    A channel whose worst sum would leave the accumulator gets a coarser weight scale.

    Args:
        weight_MK: float weights.
        bias_M: float biases.
        input_scale: real value of one unit of the input.
        output_scale: real value of one unit of the output, one for all or one per channel.
        zero: the input integer plus `zero` is the quantised value (asymmetric inputs); goes into the bias.
        scale_M: real value of one unit of each channel's weights, in place of largest magnitude over largest integer.
        bits: width of the weights; the most negative integer is never used.

    Raises:
        ValueError: something is not finite.
    """
    weight_max = (1 << (bits - 1)) - 1
    if not (np.isfinite(weight_MK).all() and np.isfinite(bias_M).all() and 0 < input_scale < np.inf):
        raise ValueError(f"weights, biases or the input scale {input_scale} are not finite and positive numbers")
    magnitude_M = np.abs(weight_MK).max(axis=1)
    chosen_M = magnitude_M / weight_max if scale_M is None else scale_M
    scale_M = np.maximum(chosen_M, np.abs(bias_M) / (input_scale * BIAS_LIMIT))
    scale_M = np.where(scale_M > 0, scale_M, 1.0)
    while True:
        integer_MK = np.clip(np.floor(weight_MK / scale_M[:, None] + 0.5), -weight_max, weight_max)
        integer_M = np.floor(bias_M / (input_scale * scale_M) + 0.5) + zero * integer_MK.sum(axis=1)
        worst_M = np.abs(integer_MK).sum(axis=1) * 128 + np.abs(integer_M)
        if (worst_M <= ACC_LIMIT).all():
            break
        scale_M = np.where(worst_M > ACC_LIMIT, scale_M * np.maximum(worst_M / ACC_LIMIT, 1.01), scale_M)
    factor_M = np.broadcast_to(input_scale * scale_M / output_scale, scale_M.shape)
    multiplier_M, shift_M = zip(*(quantise_multiplier(float(factor)) for factor in factor_M), strict=True)
    return Linear(
        integer_MK.astype(np.int8),
        integer_M.astype(np.int32),
        np.array(multiplier_M, np.uint16),
        np.array(shift_M, np.uint8),
    )


def weight_scales(weight_MK: Floats, bits: int) -> Floats:
    """Scale of each output channel with the least squared error of its rounded weights. Shape (M,).

    Narrow weights gain from clipping the largest (OMSE, Choukroun et al., arXiv 1902.06822); a channel of zeros gets 1.
    """
    largest = (1 << (bits - 1)) - 1
    full_M = np.abs(weight_MK).max(axis=1) / largest
    full_M = np.where(full_M > 0, full_M, 1.0)

    def error(scale_M: Floats) -> Floats:
        rounded_MK = np.clip(np.floor(weight_MK / scale_M[:, None] + 0.5), -largest, largest) * scale_M[:, None]
        return np.asarray(np.square(rounded_MK - weight_MK).sum(axis=1))

    candidates_JM = np.multiply.outer(WEIGHT_SHRINK, full_M)
    best_M = np.argmin([error(scale_M) for scale_M in candidates_JM], axis=0)
    return np.asarray(candidates_JM[best_M, np.arange(len(best_M))])


def fold_norm(
    weight_MK: Floats, bias_M: Floats, gain_K: Floats, shift_K: Floats, coarse_K: npt.NDArray[np.uint8]
) -> tuple[Floats, Floats]:
    """Weight and bias of a layer that takes (x - mean) / deviation / 2**coarse instead of the norm's output."""
    return weight_MK * gain_K * 2.0**coarse_K, bias_M + weight_MK @ shift_K


def fold_pixels(weight_MK: Floats, bias_M: Floats) -> tuple[Floats, Floats]:
    """Weight and bias of a layer that takes pixel - 128 (scale 1) instead of (pixel / 255 - 0.5) / 0.5."""
    return weight_MK / 127.5, bias_M + weight_MK.sum(axis=1) * (128 / 127.5 - 1)


def int8_scales(sample_SD: Floats) -> Floats:
    """Scale of each channel, as symmetric int8, with the least mean squared error on a sample. Shape (D,).

    A channel that is (nearly) zero gets a scale below the others, and 1 if all are zero.
    """
    largest_D = np.abs(sample_SD).max(axis=0)
    if not largest_D.any():
        return np.ones_like(largest_D)
    largest_D = np.maximum(largest_D, 1e-4 * largest_D.max())
    candidates_JD = largest_D / 127 * LATTICE[: 2 * STEPS_PER_BIT, None]
    errors_JD = np.stack([int8_errors(sample_SD, scale_D) for scale_D in candidates_JD])
    return np.asarray(np.take_along_axis(candidates_JD, errors_JD.argmin(axis=0)[None], axis=0)[0])


def int8_errors(sample_SD: Floats, scale_D: Floats | float) -> Floats:
    """Mean squared error of each channel when rounded to int8. Shape (D,)."""
    rounded_SD = np.clip(np.rint(sample_SD / scale_D), -128, 127) * scale_D
    return np.asarray(np.square(rounded_SD - sample_SD).mean(axis=0))


def norm_factors(sample_SD: Floats) -> tuple[float, npt.NDArray[np.uint8]]:
    """Scale and coarse_D of a norm, least mean squared error: a unit of channel d is worth scale * 2**coarse_D[d]."""
    scale_J = (np.abs(sample_SD).max() or 1.0) / 127 * LATTICE
    errors_JD = np.stack([int8_errors(sample_SD, scale) for scale in scale_J])

    def options(j: int) -> Floats:
        return errors_JD[j::-STEPS_PER_BIT][: MAX_COARSE + 1]

    best = min(range(len(scale_J)), key=lambda j: float(options(j).min(axis=0).sum()))
    return float(scale_J[best]), options(best).argmin(axis=0).astype(np.uint8)


@dataclass(frozen=True)
class AttentionUnits:
    """Real values of one unit, per channel: queries times keys and output over values are the same for all channels.

    One unit of query times one of key is worth 2**-score_shift units of the score.
    """

    q_D: Floats
    k_D: Floats
    v_D: Floats
    output_D: Floats
    score_shift: int

    @property
    def gain(self) -> float:
        """Units of output in one unit of value."""
        return float(self.v_D[0] / self.output_D[0])


def attention_units(q_SD: Floats, k_SD: Floats, v_SD: Floats, output_SD: Floats, channels: int) -> AttentionUnits:
    """Choose the units of an attention layer from samples.

    A query's channel only meets the same channel of keys, so the two share their product's range evenly; an output
    channel is a mean of the same channel of values. The product of their units is rounded up until a right shift makes
    scores of products, so nothing is clipped that its calibrated units would not clip; only if they are so large that a
    product would be worth more than a unit of the score are they made smaller.

    Args:
        q_SD: queries.
        k_SD: keys.
        v_SD: values.
        output_SD: output of the attention.
        channels: of one head.
    """
    q_D, k_D, v_D = int8_scales(q_SD), int8_scales(k_SD), int8_scales(v_SD)
    score = LOG2_E / (sqrt(channels) * OCTAVE)
    shift = min(max(-ceil(log2((q_D * k_D).max() * score)), 0), MAX_SCORE_SHIFT)
    product = 2.0**-shift / score
    balance_D = np.sqrt(q_D / k_D)
    ratios: list[float] = SHRINK[::3].tolist()
    ratio = min(ratios, key=lambda share: float(int8_errors(output_SD, v_D * share).sum()))
    return AttentionUnits(product**0.5 * balance_D, product**0.5 / balance_D, v_D, v_D * ratio, shift)


@dataclass(frozen=True)
class Hidden:
    """Hidden activation of an MLP: scale before GELU, table, and the meaning of an entry, (entry + zero) * scale."""

    input_scale: float
    output_scale: float
    zero: int
    table: npt.NDArray[np.int8]


def hidden_activation(pre_S: Floats, gelu_S: Floats) -> Hidden:
    """Scales of a GELU with the least mean squared error on a sample.

    GELU's outputs are lopsided (never below -0.17), so the table is asymmetric: all 256 codes are used.

    Args:
        pre_S: pre-activations.
        gelu_S: GELU of each.
    """
    upper, lower = float(max(pre_S.max(), 0.1)), float(max(-pre_S.min(), 0.1))
    candidates = [_hidden(upper * share, min(lower, GELU_NEGATIVE)) for share in SHRINK]
    return min(candidates, key=lambda hidden: _hidden_error(hidden, pre_S, gelu_S))


def _hidden(upper: float, lower: float) -> Hidden:
    input_scale = max(upper, lower) / ((1 << (GELU_INDEX_BITS - 1)) - 1)
    output_scale = (upper - GELU_MINIMUM) / 255
    zero = 128 + round(GELU_MINIMUM / output_scale)
    return Hidden(input_scale, output_scale, zero, gelu_table(input_scale, output_scale, zero))


def _hidden_error(hidden: Hidden, pre_S: Floats, gelu_S: Floats) -> float:
    half = 1 << (GELU_INDEX_BITS - 1)
    index_S = np.clip(np.floor(pre_S / hidden.input_scale + 0.5), -half, half - 1).astype(np.int64) + half
    return float(np.square((hidden.table[index_S] + float(hidden.zero)) * hidden.output_scale - gelu_S).mean())
