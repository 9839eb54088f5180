# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Integer linear layer and the GELU table: what the linear engine and its output stage compute."""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import ACC_BITS, Ints, requantise, saturate

GELU_INDEX_BITS = 10
"""Pre-activations are requantised to this width and address the table."""


@dataclass(frozen=True)
class Linear:
    """An integer linear layer of M output and K input channels.

    Attributes:
        weight_MK: int8, symmetric per output channel, -127..127; of experts with 4-bit weights -7..7.
        bias_M: int32 in accumulator units.
        multiplier_M: uint16 requantisation multipliers.
        shift_M: uint8 requantisation shifts, 1..MAX_SHIFT.
    """

    weight_MK: npt.NDArray[np.int8]
    bias_M: npt.NDArray[np.int32]
    multiplier_M: npt.NDArray[np.uint16]
    shift_M: npt.NDArray[np.uint8]

    def fits_accumulator(self) -> bool:
        """Whether no int8 input can drive a sum out of ACC_BITS."""
        worst_M = np.abs(self.weight_MK.astype(np.int64)).sum(axis=1) * 128 + np.abs(self.bias_M.astype(np.int64))
        return bool(worst_M.max(initial=0) < 1 << (ACC_BITS - 1))


def accumulate(x_NK: Ints, layer: Linear) -> npt.NDArray[np.int64]:
    """x @ weight.T + bias, exact. Shape (N, M)."""
    # float64 BLAS is exact here: every partial sum stays far below 2**53.
    acc_NM = x_NK.astype(np.float64) @ layer.weight_MK.astype(np.float64).T
    return acc_NM.astype(np.int64) + layer.bias_M.astype(np.int64)


def linear(x_NK: Ints, layer: Linear, bits: int) -> npt.NDArray[np.int64]:
    """Requantised linear layer with `bits` wide outputs. Shape (N, M)."""
    return requantise(accumulate(x_NK, layer), layer.multiplier_M, layer.shift_M, bits)


def gelu_table(input_scale: float, output_scale: float, zero: int = 0) -> npt.NDArray[np.int8]:
    """int8 GELU of every GELU_INDEX_BITS wide pre-activation, entry i for pre-activation i - 2**(bits-1).

    Exact erf form (Hendrycks & Gimpel, arXiv 1606.08415, section 2). An entry plus `zero` is the rounded GELU in units
    of `output_scale`; the exporter folds `zero` into the next layer's bias.
    """
    half = 1 << (GELU_INDEX_BITS - 1)
    x = [i * input_scale for i in range(-half, half)]
    y = np.array([0.5 * v * (1.0 + erf(v / sqrt(2.0))) for v in x]) / output_scale
    return saturate(np.floor(y + 0.5) - zero, 8).astype(np.int8)


def gelu(pre_NM: Ints, table: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Table look-up of pre-activations in -2**(bits-1) .. 2**(bits-1)-1."""
    return table[pre_NM + (1 << (GELU_INDEX_BITS - 1))]


def linear_gelu(x_NK: Ints, layer: Linear, table: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Linear layer followed by GELU, int8 in and out. Shape (N, M)."""
    return gelu(linear(x_NK, layer, GELU_INDEX_BITS), table)
