# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Linear layers: accumulators, quantisation, the GELU table. The DRAM packing has test_layout.py."""

import numpy as np
import numpy.typing as npt
import pytest

from m3vit.sim.golden.linear import accumulate, gelu, gelu_table
from m3vit.sim.integerise import (
    hidden_activation,
    int8_scales,
    quantise_linear,
)

Floats = npt.NDArray[np.float64]


def sqnr_db(reference: Floats, approximation: Floats) -> float:
    """Signal-to-quantisation-noise ratio."""
    noise = np.square(reference - approximation).sum()
    return float(10 * np.log10(np.square(reference).sum() / noise))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_linear_is_exact_with_extreme_values() -> None:
    layer = quantise_linear(np.full((2, 3072), 1.0), np.array([0.0, 1.0]), 1.0, 1.0)
    x = np.full((1, 3072), -128, np.int8)
    expected = [sum(-128 * int(w) for w in row) + int(b) for row, b in zip(layer.weight_MK, layer.bias_M, strict=True)]
    assert accumulate(x, layer)[0].tolist() == expected


def test_no_layer_can_leave_the_accumulator(rng: np.random.Generator) -> None:
    weight = rng.uniform(0.99, 1.0, (4, 4096))
    layer = quantise_linear(weight, np.array([0.0, 1e3, -1e9, 5.0]), 0.01, 1.0, zero=127)
    assert layer.fits_accumulator()


def test_zero_weights_keep_their_bias() -> None:
    layer = quantise_linear(np.zeros((2, 64)), np.array([3.0, 0.0]), 0.05, 0.1)
    x = np.full((1, 64), 77, np.int8)
    real = accumulate(x, layer) * layer.multiplier_M / 2.0**layer.shift_M * 0.1
    assert np.allclose(real, [[3.0, 0.0]], rtol=1e-4)


def test_quantised_linear_is_close_to_float(rng: np.random.Generator) -> None:
    weight, bias = rng.normal(size=(96, 192)), rng.normal(size=96)
    x = rng.integers(-128, 128, (50, 192), np.int8)
    layer = quantise_linear(weight, bias, 0.03, 0.02)
    real = accumulate(x, layer) * layer.multiplier_M / 2.0**layer.shift_M * 0.02
    assert sqnr_db(x * 0.03 @ weight.T + bias, real) > 38


def test_gelu_table_covers_all_indices() -> None:
    table = gelu_table(0.01, 0.02, zero=5)
    assert table.shape == (1024,)
    assert gelu(np.array([-512, 0, 511]), table).tolist() == [table[0], -5, table[1023]]


def test_hidden_activation_is_close_to_float(rng: np.random.Generator) -> None:
    pre = rng.normal(0, 1.5, 20000)
    real: Floats = np.array([0.5 * v * (1 + float(np.tanh(0.7978845608 * (v + 0.044715 * v**3)))) for v in pre])
    hidden = hidden_activation(pre, real)
    index = np.clip(np.floor(pre / hidden.input_scale + 0.5), -512, 511).astype(np.int64)
    assert sqnr_db(real, (gelu(index, hidden.table).astype(np.float64) + hidden.zero) * hidden.output_scale) > 38
    assert hidden.table.min() == -128


def test_scale_search_clips_outliers(rng: np.random.Generator) -> None:
    sample = rng.normal(size=(20000, 3)) * [1.0, 100.0, 0.0]
    sample[0, 0] = 12.0
    scales = int8_scales(sample)
    assert 4.0 / 127 < scales[0] < 11.0 / 127
    assert 300.0 / 127 < scales[1] < 500.0 / 127
    assert 0 < scales[2] < scales[0]
    assert int8_scales(np.zeros((5, 2))).tolist() == [1.0, 1.0]
