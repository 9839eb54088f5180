# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The arithmetic that everything rests on, against Python's exact integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3vit.sim.golden.arith import MAX_SHIFT, quantise_multiplier, requantise, round_half_up_shift, saturate

INT32 = st.integers(-(2**31), 2**31 - 1)


@pytest.mark.parametrize(
    ("x", "shift", "expected"),
    [
        (5, 0, 5), (-5, 0, -5),
        (1, 1, 1), (-1, 1, 0), (3, 1, 2), (-3, 1, -1),
        (2, 2, 1), (-2, 2, 0), (-3, 2, -1), (6, 2, 2), (-6, 2, -1), (-7, 2, -2),
        (127, 8, 0), (128, 8, 1), (-128, 8, 0), (-129, 8, -1),
        (2**46, 47, 1), (2**46 - 1, 47, 0), (-(2**46), 47, 0), (-(2**46) - 1, 47, -1),
    ],
)  # fmt: skip
def test_ties_go_up(x: int, shift: int, expected: int) -> None:
    assert round_half_up_shift(x, shift) == expected


@given(INT32, st.integers(0, MAX_SHIFT))
def test_shift_is_floor_of_x_plus_half(x: int, shift: int) -> None:
    assert round_half_up_shift(x, shift) == floor(Fraction(x, 2**shift) + (Fraction(1, 2) if shift else 0))


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_saturation_edges(bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert saturate([low - 1, low, low + 1, -1, 0, high - 1, high, high + 1, 2**60, -(2**60)], bits).tolist() == [
        low, low, low + 1, -1, 0, high - 1, high, high, high, low,
    ]  # fmt: skip


@given(st.integers(-(2**26), 2**26 - 1), st.integers(0, 2**16 - 1), st.integers(1, MAX_SHIFT))
def test_requantise_equals_fractions(acc: int, multiplier: int, shift: int) -> None:
    exact = floor(Fraction(acc * multiplier, 2**shift) + Fraction(1, 2))
    assert requantise(acc, multiplier, shift, 8) == min(max(exact, -128), 127)


def test_requantise_takes_factors_per_channel() -> None:
    acc = np.array([[100, 100, -100], [3, 3, 3]])
    assert requantise(acc, [1, 3, 1], [1, 1, 3], 8).tolist() == [[50, 127, -12], [2, 5, 0]]


@given(st.floats(2.0**-30, 32767.0))
def test_multiplier_is_within_half_a_unit(scale: float) -> None:
    multiplier, shift = quantise_multiplier(scale)
    assert 2**15 <= multiplier < 2**16
    assert 1 <= shift <= MAX_SHIFT
    assert abs(Fraction(multiplier, 2**shift) - Fraction(scale)) <= Fraction(scale) / 2**16


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.0, (0, 1)), (1e-12, (0, 1)), (1.0, (32768, 15)), (0.5, (32768, 16))]
)
def test_special_multipliers(scale: float, expected: tuple[int, int]) -> None:
    assert quantise_multiplier(scale) == expected


def test_multiplier_that_rounds_to_the_next_power() -> None:
    assert quantise_multiplier(1 - 2.0**-18) == (32768, 15)


@pytest.mark.parametrize("scale", [-1.0, 32768.0, float("nan"), float("inf")])
def test_bad_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        quantise_multiplier(scale)
