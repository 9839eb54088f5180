# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Energy: stacked bars of the items, and the sensitivity of the total to each constant as a tornado."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from m3vit.sim.figures.bars import Segment, stack

ENERGY_CSS = {
    "mac": "c-blue", "vector": "c-sky", "on_chip_ram": "c-green", "dram": "c-orange", "core_power": "c-red",
    "board_power": "c-purple", "bram": "c-green", "uram": "c-teal", "axi": "c-yellow", "ddr": "c-orange",
    "clock": "c-red", "static": "c-brown", "ps": "c-purple", "board": "c-grey",
}  # fmt: skip
"""Class of every item of `m3vit.sim.energy`."""


def energy_stack(energy: dict[str, Any], level: str, full: float) -> list[Segment]:
    """Items of an energy estimate at one level."""
    return stack([(i["title"], ENERGY_CSS[i["name"]], i[f"{level}_mj"]) for i in energy["items"]], full)


@dataclass(frozen=True)
class Swing:
    """A row of the tornado.

    Attributes:
        title: of the constant.
        low: the total in mJ with the constant at its low value.
        high: with the constant at its high value.
        left: where `low` lies in percent of the width.
        middle: where the nominal total lies.
        right: where `high` lies.
    """

    title: str
    low: float
    high: float
    left: float
    middle: float
    right: float


def tornado(rows: Sequence[dict[str, Any]], nominal: float) -> list[Swing]:
    """The constants in the order of their influence on the total.

    Args:
        rows: `title`, and `low_mj` and `high_mj`: the total with that constant alone at its low and high value.
        nominal: the total with all constants nominal, in mJ.
    """
    first = min([nominal, *(row["low_mj"] for row in rows)])
    last = max([nominal, *(row["high_mj"] for row in rows)])

    def percent(value: float) -> float:
        return 100 * (value - first) / (last - first) if last > first else 0.0

    swings = [
        Swing(
            row["title"], row["low_mj"], row["high_mj"], percent(row["low_mj"]), percent(nominal),
            percent(row["high_mj"]),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(swings, key=lambda swing: swing.low - swing.high)
