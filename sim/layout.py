# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""DRAM layout of linear layers: exactly the order in which the linear engine consumes them.

A layer is a sequence of stream words of `hardware.inputs` (PI) bytes. It is cut into output tiles of `hardware.lanes`
channels. A tile is its channel records (8 bytes each: bias int32, multiplier uint16, shift uint8, zero), padded with
zeros to full stream words, then for each PI-wide chunk of the inputs one stream word per channel. Weights are padded
with zeros up to full tiles and chunks; the record of a channel that does not exist is zero but for its shift of 1.

With 4-bit weights a stream word holds two channels: bits 3:0 of its bytes are the weights of the even one, bits 7:4
those of the odd one behind it. Records stay as they are.
"""

import numpy as np
import numpy.typing as npt

from m3vit.model.config import WORD_BYTES, HardwareConfig
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


def record_words(hardware: HardwareConfig) -> int:
    """Stream words that hold the channel records of one tile."""
    return ceil_div(hardware.lanes * CHANNEL.itemsize, hardware.inputs)


def stream_words(out_features: int, in_features: int, hardware: HardwareConfig, bits: int = 8) -> int:
    """Size of a packed layer with weights of 4 or 8 `bits`, in stream words of `hardware.inputs` bytes."""
    tile = record_words(hardware) + ceil_div(in_features, hardware.inputs) * hardware.lanes * bits // 8
    return ceil_div(out_features, hardware.lanes) * tile


def linear_bytes(out_features: int, in_features: int, hardware: HardwareConfig, bits: int = 8) -> int:
    """Size of a packed layer with weights of 4 or 8 `bits`, in bytes."""
    return stream_words(out_features, in_features, hardware, bits) * hardware.inputs


def job_bytes(words: int, hardware: HardwareConfig) -> int:
    """Bytes that are read to get a number of stream words: whole DRAM words of 64 bytes."""
    return align(words * hardware.inputs, WORD_BYTES)


def pack_linear(layer: Linear, hardware: HardwareConfig, bits: int = 8) -> npt.NDArray[np.uint8]:
    """Bytes of a layer in DRAM order; see the module docstring.

    Args:
        layer: what to pack.
        hardware: fixes the layout.
        bits: of a weight, 4 or 8.

    Raises:
        ValueError: a weight does not fit its bits.
    """
    limit = 1 << (bits - 1)
    if layer.weight_MK.min(initial=0) < -limit or layer.weight_MK.max(initial=0) >= limit:
        raise ValueError(f"a weight of the layer has more than {bits} bits")
    lanes, inputs = hardware.lanes, hardware.inputs
    out_features, in_features = layer.weight_MK.shape
    tiles, chunks = ceil_div(out_features, lanes), ceil_div(in_features, inputs)
    weight = np.zeros((tiles * lanes, chunks * inputs), np.int8)
    weight[:out_features, :in_features] = layer.weight_MK
    channel = np.zeros(tiles * lanes, CHANNEL)
    channel["shift"] = 1
    for field, values in (("bias", layer.bias_M), ("multiplier", layer.multiplier_M), ("shift", layer.shift_M)):
        channel[field][:out_features] = values
    records = np.zeros((tiles, record_words(hardware) * inputs), np.uint8)
    records[:, : lanes * CHANNEL.itemsize] = channel.view(np.uint8).reshape(tiles, -1)
    words = weight.reshape(tiles, lanes, chunks, inputs).transpose(0, 2, 1, 3).view(np.uint8)
    if bits == 4:
        words = join_nibbles(words)
    return np.concatenate([records, words.reshape(tiles, -1)], axis=1).reshape(-1)


def join_nibbles(word_XLI: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Words of the channels L of 4-bit weights, two channels in a word. Shape (..., L / 2, I)."""
    return np.asarray(word_XLI[..., 0::2, :] & 0xF | word_XLI[..., 1::2, :] << 4)


def split_nibbles(word_XPI: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Inverse of `join_nibbles`, signs extended. Shape (..., 2 P, I)."""
    channels_XP2I = np.stack([word_XPI << 4 >> 4, word_XPI >> 4], axis=-2)
    return channels_XP2I.reshape(*word_XPI.shape[:-2], -1, word_XPI.shape[-1])


def unpack_linear(
    data: npt.NDArray[np.uint8], out_features: int, in_features: int, hardware: HardwareConfig, bits: int = 8
) -> Linear:
    """Inverse of `pack_linear`.

    Raises:
        ValueError: `data` is shorter than the layer.
    """
    lanes, inputs = hardware.lanes, hardware.inputs
    size = linear_bytes(out_features, in_features, hardware, bits)
    if data.size < size:
        raise ValueError(f"a {out_features}x{in_features} layer needs {size} bytes, got {data.size}")
    tiles, chunks = ceil_div(out_features, lanes), ceil_div(in_features, inputs)
    tile = data[:size].reshape(tiles, -1)
    records = np.ascontiguousarray(tile[:, : lanes * CHANNEL.itemsize])
    channel = records.view(CHANNEL).reshape(-1)[:out_features]
    words = np.ascontiguousarray(tile[:, record_words(hardware) * inputs :]).view(np.int8)
    words = words.reshape(tiles, chunks, -1, inputs)
    if bits == 4:
        words = split_nibbles(words)
    weight = words.transpose(0, 2, 1, 3).reshape(tiles * lanes, -1)
    return Linear(
        np.ascontiguousarray(weight[:out_features, :in_features]),
        channel["bias"],
        channel["multiplier"],
        channel["shift"],
    )
