# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Rows of the heat maps of expert usage."""

from collections.abc import Sequence
from math import ceil

PALEST, DEEPEST = 0.08, 0.85
"""Opacity of the colour of an empty and of the largest queue: numbers stay legible on both."""


def heat(tokens: Sequence[float]) -> list[tuple[int, float, float]]:
    """(expert, mean tokens, shade) for a row of the heat map; the shade is relative to the row's largest queue."""
    top = max(tokens, default=0.0)
    return [(expert, value, PALEST + (DEEPEST - PALEST) * value / (top or 1.0)) for expert, value in enumerate(tokens)]


def columns(count: int) -> int:
    """Columns of a heat map row: all experts if they fit, else equal rows of at most 32."""
    return count if count <= 32 else ceil(count / ceil(count / 32))
