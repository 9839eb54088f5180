# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Golden operators: exact facts against plain Python, closeness against float with a stated signal-to-noise ratio."""

from math import isqrt

import numpy as np
import numpy.typing as npt
import pytest

from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.attention import (
    MAX_SCORE_SHIFT,
    AttentionScales,
    attention,
    probabilities,
    reciprocal,
    scores,
)
from m3vit.sim.golden.embed import patch_embed, patches
from m3vit.sim.golden.linear import Linear, linear, linear_gelu
from m3vit.sim.golden.moe import (
    EXP2_MANTISSA,
    combine,
    exp2_fixed,
    gates,
    mlp,
    moe,
    route,
    router_logits,
    token_queues,
    top_k,
)
from m3vit.sim.golden.norm import RSQRT_MANTISSA, Norm, layer_norm, rsqrt
from m3vit.sim.integerise import (
    attention_units,
    fold_pixels,
    int8_scales,
    norm_factors,
    requant,
)
from m3vit.sim.synthetic import Dice

Floats = npt.NDArray[np.float64]


def sqnr_db(reference: Floats, approximation: Floats) -> float:
    """Signal-to-quantisation-noise ratio."""
    noise = np.square(reference - approximation).sum()
    return float(10 * np.log10(np.square(reference).sum() / noise))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# Routing


def test_top_k_ties_go_to_the_lower_expert() -> None:
    assert top_k(np.array([[1, 5, 5, 5], [0, 0, 0, 0], [-3, -1, -2, -1]]), 2).tolist() == [[1, 2], [0, 1], [1, 3]]


def test_exp2_is_close_to_float_and_monotone() -> None:
    logit = np.arange(-(16 << 8), 16 << 8)
    value = exp2_fixed(logit)
    np.testing.assert_allclose(value * 2.0**-31, 2.0 ** (logit / 256), rtol=2.0**-16)
    assert (np.diff(value) > 0).all()
    assert value.max() < 2**47
    assert exp2_fixed(np.array([-32768, 32767])).tolist() == [value[0], value[-1]]


def test_exp2_mantissa_has_sixteen_bits() -> None:
    assert (EXP2_MANTISSA[0], EXP2_MANTISSA[-1]) == (32768, 65359)


@pytest.mark.parametrize("renormalise", [False, True])
def test_gates_are_close_to_softmax(rng: np.random.Generator, renormalise: bool) -> None:
    logit = rng.integers(-1500, 1500, (200, 16))
    chosen = top_k(logit, 4)
    soft = np.exp2(logit / 256)
    soft_NK = np.take_along_axis(soft, chosen, 1)
    expected = soft_NK / (soft_NK if renormalise else soft).sum(1, keepdims=True)
    assert np.abs(gates(logit, chosen, renormalise) / 2.0**15 - expected).max() < 1.1 * 2.0**-15
    assert (gates(logit, chosen, renormalise).sum(1) <= 2**15).all()


def test_queues_hold_every_choice_once_in_order(rng: np.random.Generator) -> None:
    chosen = np.array([rng.permutation(8)[:2] for _ in range(40)])
    gate = rng.integers(0, 2**15, (40, 2))
    queues = token_queues(chosen, gate)
    assert [q.expert for q in queues] == sorted({q.expert for q in queues})
    assert all((np.diff(q.token_Q) > 0).all() for q in queues)
    found = {(int(t), q.expert): int(g) for q in queues for t, g in zip(q.token_Q, q.gate_Q, strict=True)}
    assert found == {(n, int(chosen[n, j])): int(gate[n, j]) for n in range(40) for j in range(2)}


def test_combine_rounds_half_up_and_saturates() -> None:
    residual = np.array([[0, 0, 32767, -32768]])
    out = combine(residual, np.array([[1, -1, 5, -5]]), np.array([1 << 14]))
    assert out.tolist() == [[1, 0, 32767, -32768]]


def test_moe_equals_token_by_token(rng: np.random.Generator) -> None:
    dice = Dice(3)
    experts = [dice.expert(64, 128) for _ in range(6)]
    router, table = dice.linear(6, 64, 32.0, 512.0), dice.table()
    x = rng.integers(-100, 101, (30, 64)).astype(np.int8)
    residual = rng.integers(-9000, 9000, (30, 64)).astype(np.int16)
    queues = route(x, router, 2, False)
    expected = residual.astype(np.int64)
    logit = router_logits(x, router)
    chosen = top_k(logit, 2)
    gate = gates(logit, chosen, False)
    for n in range(30):
        for expert, weight in sorted(zip(chosen[n].tolist(), gate[n].tolist(), strict=True)):
            hidden = linear_gelu(x[n : n + 1], experts[expert].fc1, table).astype(np.int64)
            fc2 = experts[expert].fc2
            for d in range(64):
                acc = int(hidden[0] @ fc2.weight_MK[d].astype(np.int64)) + int(fc2.bias_M[d])
                shift = int(fc2.shift_M[d])
                out = max(-32768, min(32767, (acc * int(fc2.multiplier_M[d]) + (1 << shift >> 1)) >> shift))
                expected[n, d] = max(-32768, min(32767, expected[n, d] + ((out * weight + (1 << 14)) >> 15)))
    np.testing.assert_array_equal(moe(x, residual, queues, experts, table), expected)


def test_mlp_adds_its_slices_one_after_the_other(rng: np.random.Generator) -> None:
    dice = Dice(4)
    slices, table = [dice.expert(32, 64) for _ in range(3)], dice.table()
    x = rng.integers(-100, 101, (20, 32)).astype(np.int8)
    residual = rng.integers(-32768, 32768, (20, 32)).astype(np.int16)
    expected = residual.astype(np.int64)
    for part in slices:
        expected = saturate(expected + linear(linear_gelu(x, part.fc1, table), part.fc2, 16), 16)
    np.testing.assert_array_equal(mlp(x, residual, slices, table), expected)
    assert (np.abs(expected) > 32766).any()  # saturates between slices, too


# LayerNorm


def even(scale: float, dim: int) -> Norm:
    return Norm(requant(scale), np.zeros(dim, np.uint8))


def test_rsqrt_is_within_its_stated_error() -> None:
    variance = np.unique(np.geomspace(1, 2**50, 20000).astype(np.int64))
    mantissa, exponent = rsqrt(variance)
    real = mantissa * 2.0 ** -(21.0 + exponent)
    assert np.abs(real * np.sqrt(variance) - 1)[variance >= 1024].max() < 2.0**-11
    assert mantissa.max() < 2**16
    assert mantissa.min() >= 2**15


@pytest.mark.parametrize("power", [0, 1, 9, 10, 11, 12, 13, 48, 49, 50])
@pytest.mark.parametrize("delta", [-1, 0, 1])
def test_rsqrt_at_powers_of_two(power: int, delta: int) -> None:
    value = max(2**power + delta, 1)
    mantissa, exponent = rsqrt(np.array(value))
    shift = (value.bit_length() - 11) // 2
    index = value >> 2 * shift if shift >= 0 else value << -2 * shift
    assert 1024 <= index < 4096
    assert (int(mantissa), int(exponent)) == (int(RSQRT_MANTISSA[index - 1024]), shift)


def test_rsqrt_table_is_correctly_rounded() -> None:
    for index in (1024, 2047, 2048, 3333, 4095):
        # floor(2**21 / sqrt(i + 1/2) + 1/2) = floor((sqrt(2**44 / (i + 1/2)) + 1) / 2)
        expected = (isqrt(2**45 // (2 * index + 1)) + 1) // 2
        assert RSQRT_MANTISSA[index - 1024] == expected


@pytest.mark.parametrize("dim", [64, 192, 768])
@pytest.mark.parametrize("std", [30, 3000])
def test_layer_norm_is_close_to_float(rng: np.random.Generator, dim: int, std: float) -> None:
    x = np.clip(rng.normal(5 * std * 0.1, std, (100, dim)), -32768, 32767).astype(np.int16)
    real = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    assert sqnr_db(real, layer_norm(x, even(30.0, dim)) / 30.0) > 39


def test_layer_norm_of_a_constant_row_is_zero() -> None:
    for value in (-32768, 0, 32767):
        assert not layer_norm(np.full((1, 64), value, np.int16), even(30.0, 64)).any()


def test_coarse_channels_are_shifted(rng: np.random.Generator) -> None:
    x = rng.integers(-3000, 3000, (50, 64)).astype(np.int16)
    coarse = np.arange(64, dtype=np.uint8) % 4
    fine = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) * 60
    out = layer_norm(x, Norm(requant(60.0), coarse))
    np.testing.assert_allclose(out, np.clip(fine / 2.0**coarse, -128, 127), atol=0.54)


def test_outlier_channels_become_coarse(rng: np.random.Generator) -> None:
    sample = rng.normal(size=(500, 64))
    sample[:, 7] += 9
    sample[:, 9] *= 3
    scale, coarse = norm_factors(sample)
    assert coarse[7] >= 2
    assert coarse[9] >= 1
    assert np.median(coarse) == 0
    assert 2 / 127 < scale < 5 / 127


def test_attention_units_keep_their_promises(rng: np.random.Generator) -> None:
    q, k, v = (rng.normal(size=(400, 32)) * rng.uniform(0.1, 4, 32) for _ in range(3))
    v[:, 3] = 0
    units = attention_units(q, k, v, v * 0.4, channels=32)
    octaves = units.q_D * units.k_D * np.log2(np.e) * 256 / 32**0.5
    np.testing.assert_allclose(octaves, 2.0**-units.score_shift)
    assert units.score_shift >= 0
    np.testing.assert_allclose(units.v_D / units.output_D, units.gain)
    assert units.gain > 1.8
    for real, unit in ((q, units.q_D), (k, units.k_D)):
        assert (np.abs(real) <= 128 * unit).mean() > 0.999


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.33, 1.0, 7.0])
@pytest.mark.parametrize("channels", [32, 64, 96])
def test_score_units_are_rounded_up_but_no_more_than_needed(
    rng: np.random.Generator, scale: float, channels: int
) -> None:
    q, k = rng.normal(size=(200, 8)) * scale, rng.normal(size=(200, 8))
    units = attention_units(q, k, k, k, channels)
    least = float((int8_scales(q) * int8_scales(k)).max())
    product = float(units.q_D[0] * units.k_D[0])
    assert least <= product * (1 + 1e-12) < 2 * least * (1 + 1e-9)
    np.testing.assert_allclose(units.q_D / units.k_D, int8_scales(q) / int8_scales(k))


def test_extreme_products_are_clipped_to_a_score_unit() -> None:
    large = np.full((4, 2), 1e4)
    units = attention_units(large, large, large, large, 64)
    assert units.score_shift == 0
    np.testing.assert_allclose(units.q_D * units.k_D * np.log2(np.e) * 256 / 8, 1.0)


def test_tiny_products_have_the_largest_shift() -> None:
    small = np.full((4, 2), 1e-9)
    assert attention_units(small, small, small, small, 64).score_shift == MAX_SCORE_SHIFT


def test_layer_norm_survives_extremes() -> None:
    x = np.full((2, 768), -32768, np.int16)
    x[:, ::2] = 32767
    x[1, 1:] = -32768
    real = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(layer_norm(x, even(4.0, 768)), np.clip(real * 4, -128, 127), atol=0.51)


def test_layer_norm_of_one_deviating_value() -> None:
    x = np.zeros((1, 64), np.int16)
    x[0, 3] = 1
    expected = np.where(np.arange(64) == 3, np.sqrt(63), -1 / np.sqrt(63)) * 12
    np.testing.assert_allclose(layer_norm(x, even(12.0, 64))[0], expected, atol=0.55)


# Attention


def test_probabilities_against_float() -> None:
    score = np.array([np.arange(0, -2100, -1)])
    expected = np.minimum(np.floor(256 * 2.0 ** (score / 256) + 0.5), 255)
    assert np.abs(probabilities(score) - expected).max() <= 1
    assert probabilities(np.array([[32767, -32768, 32767]])).tolist() == [[255, 0, 255]]


def test_probabilities_ignore_a_common_offset(rng: np.random.Generator) -> None:
    score = rng.integers(-900, 900, (10, 20))
    np.testing.assert_array_equal(probabilities(score), probabilities(score - 12345))


def test_reciprocal_is_close_for_all_totals() -> None:
    total = np.arange(255, 60000, 7)
    mantissa, exponent = reciprocal(total)
    assert np.abs(mantissa * 2.0**-exponent * total - 1).max() <= 2.0**-15
    assert mantissa.max() < 2**16
    assert [int(part) for part in reciprocal(np.array(256))] == [65535, 24]


def test_scores_saturate() -> None:
    q = np.full((1, 64), -128, np.int8)
    assert scores(q, -q - 1, 0).tolist() == [[-32768]]
    assert scores(q, q, 0).tolist() == [[32767]]


def test_scores_round_half_up() -> None:
    q, k = np.array([[1]], np.int8), np.array([[12], [11], [-12], [-13], [-4]], np.int8)
    assert scores(q, k, 3).tolist() == [[2, 1, -1, -2, 0]]


@pytest.mark.parametrize(("tokens", "shift", "least_db"), [(5, 5, 38), (129, 7, 37), (129, 5, 36), (129, 4, 31)])
def test_attention_is_close_to_float(rng: np.random.Generator, tokens: int, shift: int, least_db: float) -> None:
    heads, dim = 3, 96
    qkv = np.clip(np.rint(rng.normal(0, 40, (tokens, 3 * dim))), -128, 127).astype(np.int8)
    q, k, v = qkv.astype(np.float64).reshape(tokens, 3, heads, 32).transpose(1, 2, 0, 3)
    octaves = 2.0 ** -(shift + 8)
    weight = np.exp2(q @ k.transpose(0, 2, 1) * octaves)
    real = (weight / weight.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(tokens, dim)
    gain = 100 / np.abs(real).max()
    out = attention(qkv, heads, AttentionScales(score=shift, output=requant(gain)))
    assert sqnr_db(real * gain, out.astype(np.float64)) > least_db


def test_attention_of_equal_keys_is_the_mean() -> None:
    qkv = np.zeros((4, 3 * 8), np.int8)
    qkv[:, 16:] = np.arange(-16, 16).reshape(4, 8)
    out = attention(qkv, 2, AttentionScales(score=0, output=requant(4.0)))
    np.testing.assert_array_equal(out, np.tile(np.arange(-16, -8) * 4 + 48, (4, 1)))


def test_attention_equals_plain_python() -> None:
    rng = np.random.default_rng(0)
    qkv = rng.integers(-128, 128, (6, 3 * 4)).astype(np.int8)
    scales = AttentionScales(score=4, output=requant(1.1))
    out = attention(qkv, 2, scales)
    for n in range(6):
        for head in range(2):
            part = [qkv[:, part * 4 + head * 2 : part * 4 + head * 2 + 2].astype(int).tolist() for part in range(3)]
            expected = _attend(part[0][n], part[1], part[2], scales)
            assert out[n, head * 2 : head * 2 + 2].tolist() == expected


def _attend(q: list[int], keys: list[list[int]], values: list[list[int]], scales: AttentionScales) -> list[int]:
    def half_up(x: int, shift: int) -> int:
        return (x + (1 << shift >> 1)) >> shift

    score = [half_up(sum(a * b for a, b in zip(q, k, strict=True)), scales.score) for k in keys]
    score = [max(-32768, min(32767, s)) for s in score]
    p = []
    for s in score:
        octave, fraction = divmod(s - max(score), 256)
        p.append(min(255, half_up(int(EXP2_MANTISSA[fraction]), 15 - 8 - octave)))
    total = sum(p)
    exponent = total.bit_length() + 15
    factor = half_up(min((1 << exponent) // total, 65535) * scales.output.multiplier, 16)
    sums = [sum(a * v[c] for a, v in zip(p, values, strict=True)) for c in range(2)]
    return [max(-128, min(127, half_up(s * factor, scales.output.shift + exponent - 16))) for s in sums]


# Embedding


def test_patches_are_row_major_with_colour_last() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    cells = patches(image, 2).astype(int) + 128
    assert cells.shape == (6, 12)
    assert cells[4].tolist() == [*image[2, 2], *image[2, 3], *image[3, 2], *image[3, 3]]
    assert patches(np.array([[[0, 128, 255]]], np.uint8), 1).tolist() == [[-128, 0, 127]]


def test_folded_pixels_give_the_normalised_projection(rng: np.random.Generator) -> None:
    weight, bias, pixels = rng.normal(size=(5, 12)), rng.normal(size=5), rng.integers(0, 256, (7, 12))
    folded, offset = fold_pixels(weight, bias)
    np.testing.assert_allclose((pixels - 128) @ folded.T + offset, ((pixels / 255 - 0.5) / 0.5) @ weight.T + bias)


def test_patch_embed_adds_positions_and_saturates() -> None:
    layer = Linear(
        np.ones((2, 3), np.int8), np.zeros(2, np.int32), np.full(2, 32768, np.uint16), np.full(2, 15, np.uint8)
    )
    position = np.array([[1, -2], [10, 20], [32767, -32768]], np.int16)
    image = np.array([[[129, 128, 128], [0, 128, 255]]], np.uint8)
    assert patch_embed(image, 1, layer, position).tolist() == [[1, -2], [11, 21], [32766, -32768]]
