# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""DRAM layout of linear layers: exactly the order in which the linear engine consumes them.

A layer is a sequence of output tiles of `lanes` channels. A tile is its channel records (8 bytes each: bias int32,
multiplier uint16, shift uint8, zero), then for each 64-wide chunk of the inputs one 64-byte word per channel. Channels
and inputs are padded with zeros up to full tiles and chunks.
"""

import numpy as np
import numpy.typing as npt

from m3vit.model.config import WORD_BYTES
from m3vit.sim.golden.linear import Linear

STRIPE_BYTES = 1024
"""Alignment of every block in the memory image: one burst of 256 bytes on each of the four ports."""

CHANNEL = np.dtype([("bias", "<i4"), ("multiplier", "<u2"), ("shift", "u1"), ("zero", "u1")])
"""Channel record, 8 bytes."""


def ceil_div(value: int, unit: int) -> int:
    """Smallest number of units that hold `value`."""
    return -(-value // unit)


def align(offset: int, unit: int = STRIPE_BYTES) -> int:
    """Next multiple of `unit`."""
    return ceil_div(offset, unit) * unit


def linear_bytes(out_features: int, in_features: int, lanes: int) -> int:
    """Size of a packed layer."""
    return ceil_div(out_features, lanes) * lanes * (CHANNEL.itemsize + ceil_div(in_features, WORD_BYTES) * WORD_BYTES)


def pack_linear(layer: Linear, lanes: int) -> npt.NDArray[np.uint8]:
    """Bytes of a layer in DRAM order; see the module docstring."""
    out_features, in_features = layer.weight_MK.shape
    tiles, chunks = ceil_div(out_features, lanes), ceil_div(in_features, WORD_BYTES)
    weight = np.zeros((tiles * lanes, chunks * WORD_BYTES), np.int8)
    weight[:out_features, :in_features] = layer.weight_MK
    channel = np.zeros(tiles * lanes, CHANNEL)
    channel["shift"] = 1
    for field, values in (("bias", layer.bias_M), ("multiplier", layer.multiplier_M), ("shift", layer.shift_M)):
        channel[field][:out_features] = values
    records = channel.view(np.uint8).reshape(tiles, -1)
    words = weight.reshape(tiles, lanes, chunks, WORD_BYTES).transpose(0, 2, 1, 3).reshape(tiles, -1).view(np.uint8)
    return np.concatenate([records, words], axis=1).reshape(-1)


def unpack_linear(data: npt.NDArray[np.uint8], out_features: int, in_features: int, lanes: int) -> Linear:
    """Inverse of `pack_linear`.

    Raises:
        ValueError: `data` is shorter than the layer.
    """
    size = linear_bytes(out_features, in_features, lanes)
    if data.size < size:
        raise ValueError(f"a {out_features}x{in_features} layer needs {size} bytes, got {data.size}")
    tiles, chunks = ceil_div(out_features, lanes), ceil_div(in_features, WORD_BYTES)
    tile = data[:size].reshape(tiles, -1)
    record_bytes = lanes * CHANNEL.itemsize
    channel = np.ascontiguousarray(tile[:, :record_bytes]).view(CHANNEL).reshape(-1)[:out_features]
    words = np.ascontiguousarray(tile[:, record_bytes:]).view(np.int8).reshape(tiles, chunks, lanes, WORD_BYTES)
    weight = words.transpose(0, 2, 1, 3).reshape(tiles * lanes, -1)[:out_features, :in_features]
    return Linear(np.ascontiguousarray(weight), channel["bias"], channel["multiplier"], channel["shift"])
