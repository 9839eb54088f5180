# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tables of the fixed-point kernels; their constants are those of hls/kernels/fixed/{softmax,gelu}.h."""

from math import erf, pi, sqrt, tanh
from typing import Literal

import numpy as np

from m3vit.sim.integerise import Floats

EXP_BITS, EXP_INDEX_BITS = 24, 8
GELU_BITS, GELU_LIMIT_BITS, GELU_STEP_BITS = 24, 3, 7
GeluForm = Literal["none", "tanh"]


def exp2_table() -> Floats:
    """2^(-i / 2^EXP_INDEX_BITS), i up to 2^EXP_INDEX_BITS, on the grid of EXP_BITS fraction bits."""
    points = np.arange((1 << EXP_INDEX_BITS) + 1)
    return np.asarray(np.rint(2.0 ** (EXP_BITS - points / (1 << EXP_INDEX_BITS))) / (1 << EXP_BITS))


def gelu_value(x: float, form: GeluForm) -> float:
    """GELU of one number, by the error function or in torch's `approximate="tanh"` form."""
    if form == "tanh":
        return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / sqrt(2)))


def gelu_table(form: GeluForm) -> Floats:
    """r(a) = a - gelu(a), a = i / 2^GELU_STEP_BITS up to 2^GELU_LIMIT_BITS, on the grid of GELU_BITS fraction bits."""
    points = np.arange((1 << (GELU_LIMIT_BITS + GELU_STEP_BITS)) + 1) / (1 << GELU_STEP_BITS)
    values = np.array([a - gelu_value(float(a), form) for a in points])
    return np.asarray(np.rint(values * (1 << GELU_BITS)) / (1 << GELU_BITS))
