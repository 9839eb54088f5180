# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Axes: round positions on linear and logarithmic scales."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

STEPS = (1, 2, 5, 10)


def nice_ticks(last: float, count: int = 6) -> list[int]:
    """Round positions from 0 to `last`, at most about `count`."""
    if last <= 0:
        return [0]
    raw = last / count
    power = 10 ** floor(log10(raw)) if raw >= 1 else 1
    step = int(next(power * m for m in STEPS if power * m >= raw))
    return list(range(0, floor(last) + 1, step))


def nice_below(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is at most `value`, which must be positive."""
    return max(tick for tick in _around(value) if tick <= value)


def nice_above(value: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is at least `value`, which must be positive."""
    return min(tick for tick in _around(value) if tick >= value)


def _around(value: float) -> Iterator[float]:
    power = floor(log10(value))
    return (float(f"{m}e{exponent}") for exponent in (power - 1, power, power + 1) for m in STEPS)


@dataclass(frozen=True)
class LogScale:
    """Maps `low` to `high` on a logarithmic scale onto `start` to `end` in SVG units; what lies beyond, to the edge."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Position of a positive value."""
        share = log10(min(max(value, self.low), self.high) / self.low) / log10(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten inside; the powers alone if they span more than four decades."""
        steps = STEPS[:-1] if self.high <= 1e4 * self.low else (1,)
        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        ticks = [float(f"{m}e{decade}") for decade in decades for m in steps]
        assert all(a < b for a, b in pairwise(ticks))
        return [tick for tick in ticks if self.low <= tick <= self.high]
