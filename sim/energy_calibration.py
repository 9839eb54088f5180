# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Top-down calibration of the energy constants against published boards (energy_points.toml). See docs/energy.md.

Two scale factors, one for what grows with activity and one for what grows with time, are fitted to the published
energies: least squares of logarithms, each point weighed by its `sigma`, each factor held to 1 by a prior whose width
comes from the constants' bands. Few points, most of their activity assumed, so the prior stays visible in the result.
`python -m m3vit.sim.energy_calibration` prints the fit, what it predicts for each point if fitted without it, and the
nominal constants that follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import exp, floor, log, log10
from pathlib import Path
from statistics import fmean
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.optimize import least_squares

from m3vit.model.config import Frozen
from m3vit.sim.energy import (
    DYNAMIC,
    LEVELS,
    MJ_PER_J,
    STANDING,
    Constants,
    Item,
    energy,
    load_constants,
    read_table,
    total_mj,
)
from m3vit.sim.energy_activity import Activity

POINTS = "energy_points.toml"
GROUPS = (DYNAMIC, STANDING)
COUNTS = tuple(field.name for field in fields(Activity))
Scope = Literal["core", "chip", "board", "unstated"]
CORE = ("mac", "vector", "bram", "uram", "axi", "clock", "static")
SCOPES: dict[str, tuple[str, ...]] = {"core": CORE, "chip": (*CORE, "ps"), "board": (*DYNAMIC, *STANDING)}
"""Items that a published power covers."""


class Width(Frozen):
    """Energy of a multiply-accumulate of some width over that of an int8 one."""

    low: float = Field(gt=0)
    nominal: float
    high: float
    source: str = Field(min_length=1)


class Point(Frozen):
    """A published power; counts as in `Activity`, for the time `seconds`. The other fields: see energy_points.toml."""

    name: str
    title: str
    source: str = Field(min_length=1)
    scope: Scope
    width: str
    sigma: float = Field(gt=0)
    watts: float = Field(gt=0)
    seconds: float = Field(gt=0)
    macs: float = Field(ge=0)
    vector_elements: float = Field(ge=0)
    bram_accesses: float = Field(ge=0)
    uram_accesses: float = Field(ge=0)
    dram_bytes: float = Field(ge=0)
    clock_loads: float = Field(ge=0)
    cycles: float = Field(gt=0)
    device_luts: float = Field(gt=0)
    assumed: tuple[str, ...]
    least: float = Field(ge=0, le=1)
    most: float = Field(ge=1)
    note: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if unknown := set(self.assumed) - set(COUNTS):
            raise ValueError(f"{self.name}: '{sorted(unknown)[0]}' is no count of an activity")
        return self

    @property
    def millijoule(self) -> float:
        """Published, or derived as power times time."""
        return self.watts * self.seconds * MJ_PER_J

    def activity(self, level: str) -> Activity:
        """The counts, the assumed ones at a level of LEVELS."""
        factor = {"low": self.least, "nominal": 1.0, "high": self.most}[level]
        return Activity(**{name: getattr(self, name) * (factor if name in self.assumed else 1) for name in COUNTS})


class Points(Frozen):
    """The table."""

    width: dict[str, Width]
    point: tuple[Point, ...] = Field(min_length=3)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for point in self.point:
            if point.width not in self.width:
                raise ValueError(f"{point.name}: width '{point.width}' is not in the table")
        return self

    def millijoule(self, point: Point, constants: Constants, level: str, unstated: str | None = None) -> float:
        """Predicted energy of a point with the constants, its assumed counts and its scope at a level of LEVELS.

        Args:
            point: of this table.
            constants: their values at the level are used.
            level: of constants, assumed counts, width and scope.
            unstated: the scope that an unstated one stands for; None takes the chip at low, else the board.
        """
        return total_mj(self.items(point, constants, level, unstated), level)

    def items(self, point: Point, constants: Constants, level: str, unstated: str | None) -> list[Item]:
        """The items that a point's power covers, of which only `level` is meant, MACs at the point's width."""
        scope = (unstated or ("chip" if level == "low" else "board")) if point.scope == "unstated" else point.scope
        width = getattr(self.width[point.width], level)
        activity = point.activity(level)
        wide = Activity(**{name: getattr(activity, name) * (width if name == "macs" else 1) for name in COUNTS})
        return [item for item in energy(wide, constants, point.title).items if item.name in SCOPES[scope]]


def load_points(path: Path | None = None) -> Points:
    """Read the table of published points; None reads the one that comes with m3vit.

    Raises:
        UserError: the file is missing, is not TOML, or does not validate.
    """
    return read_table(Points, path, POINTS, "published powers")


@dataclass(frozen=True)
class Fit:
    """Scale factors on the raw constants, in the order of GROUPS.

    Attributes:
        scales: fitted factors.
        sigmas: standard deviation of their logarithms, after the fit.
        priors: the same before it.
    """

    scales: tuple[float, float]
    sigmas: tuple[float, float]
    priors: tuple[float, float]


def bottom_up(constants: Constants) -> Constants:
    """The constants before calibration."""
    rows = {name: getattr(constants, name) for name in Constants.model_fields}
    return Constants(**{name: row.model_copy(update={"nominal": row.bottom_up}) for name, row in rows.items()})


def prior_sigma(constants: Constants, group: Sequence[str]) -> float:
    """Width of a group's prior: low and high of its constants are taken as two standard deviations, on average."""
    rows = [getattr(constants, name) for name in group]
    return fmean(log(row.high / row.low) / 4 for row in rows)


def scale_bounds(constants: Constants, group: Sequence[str]) -> tuple[float, float]:
    """Logarithms of the factors that keep every raw constant of a group inside its band."""
    rows = [getattr(constants, name) for name in group]
    return max(log(row.low / row.bottom_up) for row in rows), min(log(row.high / row.bottom_up) for row in rows)


def fit(points: Points, used: Sequence[Point], constants: Constants, unstated: str = "board") -> Fit:
    """Scale factors that bring the raw constants closest to published energies.

    Args:
        points: the table, for its widths.
        used: points to fit.
        constants: raw values and bands.
        unstated: the scope that an unstated one stands for.
    """
    raw = bottom_up(constants)
    parts = np.array([_parts(points, point, raw, unstated) for point in used])
    published = np.log([point.millijoule for point in used])
    sigmas = np.array([point.sigma for point in used])
    priors = (prior_sigma(constants, DYNAMIC), prior_sigma(constants, STANDING))

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([(np.log(parts @ np.exp(logs)) - published) / sigmas, logs / priors])

    bounds = np.array([scale_bounds(constants, group) for group in GROUPS]).T
    found = least_squares(residuals, np.zeros(len(GROUPS)), bounds=(bounds[0], bounds[1]))
    spread = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
    return Fit((exp(found.x[0]), exp(found.x[1])), (float(spread[0]), float(spread[1])), priors)


def _parts(points: Points, point: Point, raw: Constants, unstated: str) -> list[float]:
    """Predicted millijoules of a point, a group each."""
    items = points.items(point, raw, "nominal", unstated)
    return [sum(item.nominal_mj for item in items if item.name in group) for group in GROUPS]


def scaled(constants: Constants, found: Fit) -> Constants:
    """The table with calibrated nominal values, three digits each."""
    rows = {}
    for group, scale in zip(GROUPS, found.scales, strict=True):
        for name in group:
            row = getattr(constants, name)
            rows[name] = row.model_copy(update={"nominal": three_digits(row.bottom_up * scale)})
    return Constants(**rows)


def three_digits(value: float) -> float:
    """Rounded to three significant digits."""
    return round(value, 2 - floor(log10(value)))


@dataclass(frozen=True)
class Row:
    """What the model says of a point, in millijoule. left_out: nominal, fitted to all other points."""

    point: Point
    low: float
    nominal: float
    high: float
    left_out: float

    @property
    def error_percent(self) -> float:
        """Of the prediction without this point."""
        return 100 * (self.left_out / self.point.millijoule - 1)

    @property
    def inside(self) -> bool:
        """Whether the published figure lies in the band."""
        return self.low <= self.point.millijoule <= self.high


def evaluate(points: Points, constants: Constants) -> list[Row]:
    """Every point against its band and against a fit to the others."""
    calibrated = scaled(constants, fit(points, points.point, constants))
    rows = []
    for point in points.point:
        others = [other for other in points.point if other is not point]
        without = scaled(constants, fit(points, others, constants))
        low, nominal, high = (points.millijoule(point, calibrated, level) for level in LEVELS)
        rows.append(Row(point, low, nominal, high, points.millijoule(point, without, "nominal")))
    return rows


def print_calibration(points: Points, constants: Constants, console: Console) -> None:
    """The fit, the points and the constants as tables."""
    for unstated in ("board", "chip"):
        found = fit(points, points.point, constants, unstated)
        scales = zip(("activity", "time"), found.scales, found.sigmas, found.priors, strict=True)
        text = ", ".join(f"{name} x {s:.3f} (1 sigma {e:.0%}, before {p:.0%})" for name, s, e, p in scales)
        console.print(f"factors if an unstated power covers the {unstated}: {text}")
    console.print(point_table(evaluate(points, constants)))
    console.print(constant_table(constants, scaled(constants, fit(points, points.point, constants))))


COLUMNS = ("point", "published mJ", "low", "nominal", "high", "high / low", "left out", "error", "inside")


def point_table(rows: Sequence[Row]) -> Table:
    """Published figures beside predicted ones."""
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD, title="Published energy against the model's, mJ")
    for row in rows:
        numbers = (row.point.millijoule, row.low, row.nominal, row.high, row.high / row.low, row.left_out)
        cells = (f"{value:,.1f}" for value in numbers)
        table.add_row(row.point.title, *cells, f"{row.error_percent:+.0f} %", "yes" if row.inside else "no")
    errors = [abs(row.error_percent) for row in rows]
    table.caption = f"left out: mean error {fmean(errors):.0f} %, largest {max(errors):.0f} %"
    return table


def constant_table(committed: Constants, calibrated: Constants) -> Table:
    """Constants before and after, and whether the table holds the calibrated value."""
    table = Table("constant", "unit", "low", "raw", "calibrated", "high", "in the table", box=box.SIMPLE_HEAD)
    for name in Constants.model_fields:
        now, new = getattr(committed, name), getattr(calibrated, name)
        values = (new.low, new.bottom_up, new.nominal, new.high, now.nominal)
        table.add_row(name, new.unit, *(f"{value:g}" for value in values))
    return table


if __name__ == "__main__":
    print_calibration(load_points(), load_constants(), Console(width=120, highlight=False))
