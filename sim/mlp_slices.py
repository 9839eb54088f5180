# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cuts a dense MLP into slices of its hidden channels, and joins slices again.

A slice holds some rows of fc1 and the same columns of fc2. All slices share the scales of fc2, so a cut changes no
weight: it only changes how often a partial sum is rounded to a unit of the residual stream.

Shapes: H hidden channels, D channels of the residual stream.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3vit.model.errors import UserError
from m3vit.sim.golden.linear import GELU_INDEX_BITS, Linear
from m3vit.sim.golden.moe import Expert


def zero_of(table: npt.NDArray[np.int8]) -> int:
    """What a GELU table has in place of zero, negated: the quantised GELU is the entry plus this (`gelu_table`)."""
    return -int(table[1 << (GELU_INDEX_BITS - 1)])


def cut_mlp(whole: Expert, count: int, zero: int) -> list[Expert]:
    """Equal slices of an MLP. Each has its share of `zero` times the weights in its bias, the first one the rest.

    Args:
        whole: the MLP in one piece.
        count: number of slices, a divisor of the hidden channels.
        zero: see `zero_of`.

    Raises:
        UserError: a slice's sum could leave the accumulator.
    """
    channels_H = np.split(np.arange(len(whole.fc1.weight_MK)), count)
    behind = [zero * whole.fc2.weight_MK[:, part].astype(np.int64).sum(axis=1) for part in channels_H[1:]]
    first_D = whole.fc2.bias_M.astype(np.int64) - sum(behind)
    return [_slice(whole, part, bias_D) for part, bias_D in zip(channels_H, [first_D, *behind], strict=True)]


def _slice(whole: Expert, channels: npt.NDArray[np.int64], bias_D: npt.NDArray[np.int64]) -> Expert:
    fc1, fc2 = whole.fc1, whole.fc2
    rows = Linear(fc1.weight_MK[channels], fc1.bias_M[channels], fc1.multiplier_M[channels], fc1.shift_M[channels])
    return Expert(rows, _layer(fc2.weight_MK[:, channels], bias_D, fc2))


def join_mlp(slices: Sequence[Expert]) -> Expert:
    """The MLP in one piece; inverse of `cut_mlp`.

    Raises:
        UserError: the slices have scales of their own (older exports), or a sum could leave the accumulator.
    """
    last = slices[0].fc2
    for part in slices[1:]:
        same = np.array_equal(part.fc2.multiplier_M, last.multiplier_M)
        if not (same and np.array_equal(part.fc2.shift_M, last.shift_M)):
            raise UserError("the slices of a dense MLP have scales of their own and cannot be joined; export again")
    rows = [part.fc1 for part in slices]
    fc1 = Linear(
        np.concatenate([row.weight_MK for row in rows]),
        np.concatenate([row.bias_M for row in rows]),
        np.concatenate([row.multiplier_M for row in rows]),
        np.concatenate([row.shift_M for row in rows]),
    )
    weight_DH = np.concatenate([part.fc2.weight_MK for part in slices], axis=1)
    bias_D = np.sum([part.fc2.bias_M.astype(np.int64) for part in slices], axis=0)
    return Expert(fc1, _layer(weight_DH, bias_D, last))


def _layer(weight_DH: npt.NDArray[np.int8], bias_D: npt.NDArray[np.int64], scales: Linear) -> Linear:
    """fc2 with other weights and biases but the same scales."""
    layer = Linear(weight_DH, bias_D.astype(np.int32), scales.multiplier_M, scales.shift_M)
    if (np.abs(bias_D) >= 1 << 31).any() or not layer.fits_accumulator():
        raise UserError("the sums of a dense MLP could leave the accumulator if it were cut like this; export again")
    return layer
