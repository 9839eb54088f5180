# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Shift, round and saturate: defined once, used by every golden operator and mirrored by RTL and HLS.

All functions are exact on int64. The rules are written down in docs/numbers.md.
"""

from math import frexp
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]

ACC_BITS = 27
"""Width of a linear accumulator: the multiplier port of a DSP48E2. The exporter proves that no sum leaves it."""
MULTIPLIER_BITS = 16
MAX_SHIFT = 47


def round_half_up_shift(x: npt.ArrayLike, shift: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Arithmetic right shift, ties towards plus infinity: floor(x / 2**shift + 1/2). Shift 0 is the identity."""
    x64, s64 = np.asarray(x, dtype=np.int64), np.asarray(shift, dtype=np.int64)
    return np.asarray((x64 + ((np.int64(1) << s64) >> 1)) >> s64)


def saturate(x: npt.ArrayLike, bits: int) -> npt.NDArray[np.int64]:
    """Clip to the range of a signed integer of `bits` bits."""
    return np.clip(np.asarray(x, dtype=np.int64), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def requantise(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike, bits: int) -> npt.NDArray[np.int64]:
    """saturate(round_half_up_shift(acc * multiplier, shift), bits): an accumulator becomes an activation."""
    product = np.asarray(acc, dtype=np.int64) * np.asarray(multiplier, dtype=np.int64)
    return saturate(round_half_up_shift(product, shift), bits)


def quantise_multiplier(scale: float) -> tuple[int, int]:
    """(multiplier, shift) with multiplier / 2**shift closest to `scale`; multiplier in [2**15, 2**16).

    Scales too small for MAX_SHIFT become multiplier 0, that is, a constant zero.

    Raises:
        ValueError: the scale is negative, not finite, or 2**15 and more.
    """
    if not 0 <= scale < 1 << 15:
        raise ValueError(f"scale {scale} must be in [0, 32768)")
    if scale == 0:
        return 0, 1
    mantissa, exponent = frexp(scale)
    multiplier, shift = round(mantissa * (1 << MULTIPLIER_BITS)), MULTIPLIER_BITS - exponent
    if multiplier == 1 << MULTIPLIER_BITS:
        multiplier, shift = multiplier >> 1, shift - 1
    if shift > MAX_SHIFT:
        return 0, 1
    return multiplier, shift
