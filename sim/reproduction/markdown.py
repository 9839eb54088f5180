# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tables of figures as Markdown."""

from collections.abc import Sequence

from m3vit.sim.figures import MISSING, number
from m3vit.sim.reproduction.figures import Figure, Table

COLUMNS = ("row", "figure", "published", "ours", "kind", "deviation", "reason")
DIGITS = 4


def cells(figure: Figure, reasons: Sequence[str]) -> tuple[str, ...]:
    """Of one line, as COLUMNS; the reason is its number in the list below the table."""
    unit = f", {figure.unit}" if figure.unit else ""
    deviation = figure.deviation_percent
    return (
        figure.row,
        figure.name + unit,
        number(figure.published, DIGITS),
        number(figure.ours, DIGITS) + _band(figure),
        figure.kind or MISSING,
        MISSING if deviation is None else f"{deviation:+.1f} %",
        str(reasons.index(figure.reason) + 1) if figure.differs else "",
    )


def _band(figure: Figure) -> str:
    if figure.band is None:
        return ""
    low, high = figure.band
    return f" ({number(low, DIGITS)} to {number(high, DIGITS)})"


def markdown(table: Table) -> str:
    """One table with its reasons and notes."""
    reasons = table.reasons
    lines = [
        f"### {heading(table)}",
        "",
        f"Published: {table.source}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---:|---:|---|---:|---|",
        *(f"| {' | '.join(cells(figure, reasons))} |" for figure in table.figures),
        "",
        *(f"{index}. {reason}" for index, reason in enumerate(reasons, 1)),
        "",
        *(f"- {note}" for note in table.notes),
    ]
    return "\n".join(lines) + "\n"


def heading(table: Table) -> str:
    """Number and title."""
    prefix = f"Table {table.key}" if table.key.isdigit() else "Ablation"
    return f"{prefix}: {table.title}"
