# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The stream layout of linear layers in DRAM: round trip, sizes, and where each record and weight lies."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from m3vit.model.config import HARDWARE, HardwareConfig
from m3vit.sim.golden.linear import Linear
from m3vit.sim.layout import CHANNEL, linear_bytes, pack_linear, stream_words, unpack_linear
from m3vit.sim.program_check import expert_bytes

SHAPES = [
    HARDWARE["demo"].model_copy(update={"lanes": lanes, "groups": groups})
    for lanes, groups in itertools.product((8, 16, 32), (2, 3, 4))
]
FEATURES = [(1, 1), (32, 96), (33, 97), (70, 200)]


def random_layer(out_features: int, in_features: int) -> Linear:
    """A layer whose every field uses its full range."""
    rng = np.random.default_rng(out_features * 1000 + in_features)
    return Linear(
        rng.integers(-128, 128, (out_features, in_features), dtype=np.int8),
        rng.integers(-(2**31), 2**31, out_features, dtype=np.int32),
        rng.integers(0, 2**16, out_features, dtype=np.uint16),
        rng.integers(1, 2**6, out_features, dtype=np.uint8),
    )


@pytest.mark.parametrize("hardware", SHAPES, ids=lambda h: f"{h.lanes}x{h.groups}")
@pytest.mark.parametrize(("out_features", "in_features"), FEATURES)
def test_round_trip(out_features: int, in_features: int, hardware: HardwareConfig) -> None:
    """Unpacking gives the layer back, also when other data follows; one byte less is refused."""
    layer = random_layer(out_features, in_features)
    data = pack_linear(layer, hardware)
    assert data.size == linear_bytes(out_features, in_features, hardware)
    back = unpack_linear(np.append(data, np.full(5, 255, np.uint8)), out_features, in_features, hardware)
    np.testing.assert_array_equal(back.weight_MK, layer.weight_MK)
    np.testing.assert_array_equal(back.bias_M, layer.bias_M)
    np.testing.assert_array_equal(back.multiplier_M, layer.multiplier_M)
    np.testing.assert_array_equal(back.shift_M, layer.shift_M)
    with pytest.raises(ValueError, match="needs"):
        unpack_linear(data[:-1], out_features, in_features, hardware)


@pytest.mark.parametrize("hardware", SHAPES, ids=lambda h: f"{h.lanes}x{h.groups}")
@pytest.mark.parametrize(("out_features", "in_features"), FEATURES)
def test_order(out_features: int, in_features: int, hardware: HardwareConfig) -> None:
    """Walking the stream word by word, as the feeder does, meets every record and weight in its place."""
    layer = random_layer(out_features, in_features)
    lanes, inputs = hardware.lanes, hardware.inputs
    words = iter(pack_linear(layer, hardware).reshape(-1, inputs))
    for first in range(0, out_features, lanes):
        records = np.concatenate([next(words) for _ in range(-(-8 * lanes // inputs))])
        assert not records[8 * lanes :].any()
        channel = records[: 8 * lanes].view(CHANNEL)
        live = min(lanes, out_features - first)
        np.testing.assert_array_equal(channel["bias"][:live], layer.bias_M[first : first + lanes])
        np.testing.assert_array_equal(channel["multiplier"][:live], layer.multiplier_M[first : first + lanes])
        np.testing.assert_array_equal(channel["shift"][:live], layer.shift_M[first : first + lanes])
        for field, padding in (("bias", 0), ("multiplier", 0), ("shift", 1), ("zero", 0)):
            assert (channel[field][live:] == padding).all()
        for start, lane in itertools.product(range(0, in_features, inputs), range(lanes)):
            expected = np.zeros(inputs, np.int8)
            if lane < live:
                row = layer.weight_MK[first + lane, start : start + inputs]
                expected[: row.size] = row
            np.testing.assert_array_equal(next(words).view(np.int8), expected)
    assert next(words, None) is None


def narrow_layer(out_features: int, in_features: int) -> Linear:
    """The same with every 4-bit weight from -8 to 7."""
    layer = random_layer(out_features, in_features)
    return replace(layer, weight_MK=(layer.weight_MK >> 4).astype(np.int8))


@pytest.mark.parametrize("hardware", SHAPES, ids=lambda h: f"{h.lanes}x{h.groups}")
@pytest.mark.parametrize(("out_features", "in_features"), FEATURES)
def test_two_channels_share_a_word_of_4_bit_weights(
    out_features: int, in_features: int, hardware: HardwareConfig
) -> None:
    """Records as they lie before 8-bit weights, then channel 2i in the low and 2i + 1 in the high half of each byte."""
    layer = narrow_layer(out_features, in_features)
    lanes, inputs = hardware.lanes, hardware.inputs
    data = pack_linear(layer, hardware, 4)
    assert data.size == linear_bytes(out_features, in_features, hardware, 4)
    words = iter(data.reshape(-1, inputs).tolist())
    wide = iter(pack_linear(layer, hardware).reshape(-1, inputs).tolist())
    for first in range(0, out_features, lanes):
        for _ in range(-(-8 * lanes // inputs)):
            assert next(words) == next(wide)
        for start, lane in itertools.product(range(0, in_features, inputs), range(0, lanes, 2)):
            for byte, value in enumerate(next(words)):
                for channel, nibble in ((first + lane, value % 16), (first + lane + 1, value // 16)):
                    exists = channel < out_features and start + byte < in_features
                    expected = int(layer.weight_MK[channel, start + byte]) if exists else 0
                    assert nibble == expected % 16
            next(wide), next(wide)
    assert next(words, None) is None
    back = unpack_linear(np.append(data, np.full(5, 255, np.uint8)), out_features, in_features, hardware, 4)
    np.testing.assert_array_equal(back.weight_MK, layer.weight_MK)
    np.testing.assert_array_equal(back.bias_M, layer.bias_M)


@pytest.mark.parametrize("value", [8, -9, 127])
def test_a_weight_that_does_not_fit_4_bits_is_refused(value: int) -> None:
    layer = narrow_layer(8, 64)
    layer.weight_MK[3, 5] = value
    with pytest.raises(ValueError, match="more than 4 bits"):
        pack_linear(layer, HARDWARE["demo"], 4)


def test_headline_size_of_4_bit_weights() -> None:
    """Half the words of weights, as many of records: an expert of 384 hidden channels takes 53 % of the bytes."""
    zcu104 = HARDWARE["zcu104"]
    assert stream_words(384, 384, zcu104, 4) == 12 * (3 + 4 * 16)
    assert expert_bytes(192, 384, zcu104, 4) == 12 * (3 + 2 * 16) * 96 + 6 * (3 + 4 * 16) * 96
    assert expert_bytes(192, 384, zcu104) == 12 * (3 + 2 * 32) * 96 + 6 * (3 + 4 * 32) * 96


def test_headline_size() -> None:
    """A 384x384 layer on zcu104: 12 tiles of 3 record words (256 bytes in 288) and 4 chunks of 32 words."""
    assert stream_words(384, 384, HARDWARE["zcu104"]) == 12 * (3 + 4 * 32)
    assert linear_bytes(384, 384, HARDWARE["zcu104"]) == 12 * (3 + 4 * 32) * 96
