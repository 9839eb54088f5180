# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Numbers in words."""

from math import floor, log10

MISSING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Thousands separated; below 1,000 with `digits` significant digits; a dash for None."""
    if value is None:
        return MISSING
    if value == 0 or abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    decimals = max(digits - 1 - floor(log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def size(value: float | None) -> str:
    """Bytes in B, KiB or MiB."""
    if value is None:
        return MISSING
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{value:,.0f} B"
