# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Integer LayerNorm of the residual stream (Ba et al., arXiv 1607.06450, equation 4).

Gain and bias of the norm are not here: the exporter folds them into the linear layers that follow. Epsilon is not
here either: it is less than one unit of the residual stream squared, and a constant row gives exact zeros without it.

A few channels of a residual stream hold outliers in every token. Each channel therefore has a power-of-two factor of
its own (FQ-ViT, arXiv 2111.13824, section 3.2): two bits per channel in the hardware and nothing behind the norm.

Shapes: N tokens, D channels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import MULTIPLIER_BITS, Ints, round_half_up_shift, saturate

RSQRT_INDEX_BITS = 12
RSQRT_FIRST = 1 << (RSQRT_INDEX_BITS - 2)
"""Mantissas are 1024..4095: an even shift brings any positive integer there."""
RSQRT_FRACTION_BITS = 21

RSQRT_MANTISSA = np.floor(
    2.0**RSQRT_FRACTION_BITS / np.sqrt(np.arange(RSQRT_FIRST, 1 << RSQRT_INDEX_BITS) + 0.5) + 0.5
).astype(np.int64)
"""2**21 / sqrt(mantissa + 1/2), 32770..65520: the half is the middle of what truncation to the mantissa dropped."""


@dataclass(frozen=True)
class Requant:
    """A real factor as integers, multiplier / 2**shift (see `quantise_multiplier`)."""

    multiplier: int
    shift: int


MAX_COARSE = 3
MAX_ROW_SHIFT = 31
"""Largest shift of a factor that a row's exponent is added to (norms, attention): their sum stays below 64."""


@dataclass(frozen=True)
class Norm:
    """Factors of a norm's output: one real factor, and per channel how many bits coarser (uint8, 0..MAX_COARSE)."""

    scale: Requant
    coarse_D: npt.NDArray[np.uint8]


def rsqrt(variance: Ints) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(mantissa, exponent) with mantissa * 2**-(21 + exponent) close to 1 / sqrt(variance).

    The mantissa is 16 bits wide, its relative error below 2**-11. Zero is treated as one.
    """
    v = np.maximum(np.asarray(variance, dtype=np.int64), 1)
    # frexp is exact below 2**53 and gives the position of the leading one.
    bits = np.frexp(v.astype(np.float64))[1].astype(np.int64)
    exponent = (bits - RSQRT_INDEX_BITS + 1) >> 1
    index = np.where(exponent >= 0, v >> np.maximum(exponent * 2, 0), v << np.maximum(exponent * -2, 0))
    return RSQRT_MANTISSA[index - RSQRT_FIRST], exponent


def fold_multiplier(mantissa: Ints, multiplier: int) -> npt.NDArray[np.int64]:
    """Product of two 16-bit factors, rounded to 16 bits: what a row multiplies all its elements with."""
    return round_half_up_shift(np.asarray(mantissa, dtype=np.int64) * multiplier, MULTIPLIER_BITS)


def layer_norm(residual_ND: Ints, norm: Norm) -> npt.NDArray[np.int8]:
    """int8 of (x - mean) / deviation * scale / 2**coarse for each row of the int16 residual stream. Shape (N, D).

    Exact sums: c = D x - sum(x) and V = D sum(x^2) - sum(x)^2 = D^2 variance, so (x - mean) / deviation = c / sqrt(V).
    """
    x_ND = np.asarray(residual_ND, dtype=np.int64)
    dim, sum_N1 = x_ND.shape[1], x_ND.sum(axis=1, keepdims=True)
    variance_N1 = dim * (x_ND * x_ND).sum(axis=1, keepdims=True) - sum_N1 * sum_N1
    mantissa_N1, exponent_N1 = rsqrt(variance_N1)
    factor_N1 = fold_multiplier(mantissa_N1, norm.scale.multiplier)
    shift_N1 = norm.scale.shift + exponent_N1 + (RSQRT_FRACTION_BITS - MULTIPLIER_BITS)
    shift_ND = shift_N1 + norm.coarse_D.astype(np.int64)
    return saturate(round_half_up_shift((dim * x_ND - sum_N1) * factor_N1, shift_ND), 8).astype(np.int8)
