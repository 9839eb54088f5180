# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A published figure beside ours, and tables of them."""

from dataclasses import dataclass
from typing import Any, Literal

LIMIT_PERCENT = 3.0
"""A figure that deviates by more carries its reason."""
Kind = Literal["counted", "modelled", "measured"]


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        row: what the figure belongs to, as the paper names it.
        name: what it is.
        unit: of both values.
        published: as it stands in the paper; None if the paper does not state it.
        ours: None if we have none.
        kind: how ours came about.
        reason: why the two differ, in one line.
        band: low and high value of ours.
    """

    row: str
    name: str
    unit: str
    published: float | None = None
    ours: float | None = None
    kind: Kind | None = None
    reason: str = ""
    band: tuple[float, float] | None = None

    @property
    def deviation_percent(self) -> float | None:
        """Of ours from the published value."""
        if self.published is None or self.ours is None:
            return None
        return 100 * (self.ours / self.published - 1)

    @property
    def differs(self) -> bool:
        """Whether the deviation exceeds the limit."""
        deviation = self.deviation_percent
        return deviation is not None and abs(deviation) > LIMIT_PERCENT

    def tree(self) -> dict[str, Any]:
        """As reproduce.json holds it; the reason only where the figures differ."""
        fields = ("row", "name", "unit", "published", "ours", "kind", "deviation_percent")
        return {
            **{field: getattr(self, field) for field in fields},
            "band": None if self.band is None else list(self.band),
            "reason": self.reason if self.differs else "",
        }


@dataclass(frozen=True)
class Table:
    """One of a paper's tables.

    Attributes:
        key: what the user calls it.
        title: one line.
        source: of the published figures.
        figures: row by row.
        notes: what holds for all of it.
    """

    key: str
    title: str
    source: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for figure in self.figures:
            assert not figure.differs or figure.reason, f"{figure.row}, {figure.name}: no reason for the deviation"
            assert (figure.ours is None) == (figure.kind is None), f"{figure.row}, {figure.name}: of which kind?"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each reason once, in order."""
        return tuple(dict.fromkeys(figure.reason for figure in self.figures if figure.differs))

    def tree(self) -> dict[str, Any]:
        """As reproduce.json holds it."""
        return {
            "title": self.title,
            "source": self.source,
            "figures": [figure.tree() for figure in self.figures],
            "notes": list(self.notes),
        }
