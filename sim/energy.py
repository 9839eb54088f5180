# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Itemised energy estimate: activity times constants, each with a low, a nominal and a high value. See docs/energy.md.

Bottom-up, in the manner of Horowitz (ISSCC 2014), with nominal values calibrated top-down against published boards
(sim/energy_calibration.py): an estimate for design choices, not a measurement. The constants and their sources are in
energy_constants.toml, the activity comes from sim/energy_activity.py.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from m3vit.model.config import Frozen, one_sentence
from m3vit.model.errors import UserError, read_file
from m3vit.sim.energy_activity import Activity

CONSTANTS = "energy_constants.toml"
LEVELS = ("low", "nominal", "high")
MJ_PER_PJ, MJ_PER_FJ, MJ_PER_J, PJ_PER_MJ = 1e-9, 1e-12, 1e3, 1e9
LUTS_PER_LEAK = 100_000
"""The static power is stated for so many LUTs of the device."""
FLAT_WATTS = 10.0
"""What M3ViT (arXiv 2210.14793, table 4) assumes for its board: energy = latency x 10 W."""


class Constant(Frozen):
    """One assumed constant; `raw` is the nominal value before calibration, `nominal` the one that is used."""

    title: str
    unit: str
    low: float = Field(gt=0)
    raw: float | None = None
    nominal: float
    high: float
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(self.low <= value <= self.high for value in (self.nominal, self.bottom_up)):
            raise ValueError(f"{self.title}: low, nominal and high must not decrease, and raw must lie between")
        return self

    @property
    def bottom_up(self) -> float:
        """The nominal value before calibration."""
        return self.nominal if self.raw is None else self.raw

    def at(self, level: str) -> float:
        """The value at a level of LEVELS."""
        value: float = getattr(self, level)
        return value


class Constants(Frozen):
    """The table."""

    mac: Constant
    vector: Constant
    bram: Constant
    uram: Constant
    axi: Constant
    ddr: Constant
    clock: Constant
    static: Constant
    ps: Constant
    board: Constant


DYNAMIC = ("mac", "vector", "bram", "uram", "axi", "ddr", "clock")
"""Items that grow with what is done or clocked."""
STANDING = ("static", "ps", "board")
"""Items that grow with time alone."""


Rows = TypeVar("Rows", bound=Frozen)


def read_table(kind: type[Rows], path: Path | None, default: str, what: str) -> Rows:
    """Read a TOML table; without a path the one of the name `default` that comes with m3vit. `what` names it in errors.

    Raises:
        UserError: the file is missing, is not TOML, or does not validate.
    """
    data = read_file(path) if path else resources.files(__package__).joinpath(default).read_bytes()
    source = path or default
    try:
        return kind.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise UserError(f"{source} is not a table of {what}: {one_sentence(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source} is not valid TOML: {error}") from error


def load_constants(path: Path | None = None) -> Constants:
    """Read a table of constants; None reads the one that comes with m3vit.

    Raises:
        UserError: the file is missing, is not TOML, or lacks a row.
    """
    return read_table(Constants, path, CONSTANTS, "energy constants")


@dataclass(frozen=True)
class Item:
    """One line of the estimate: `count` things of `constant`, in millijoule."""

    name: str
    title: str
    count: float
    count_unit: str
    low_mj: float
    nominal_mj: float
    high_mj: float


@dataclass(frozen=True)
class Swing:
    """Total energy of a frame with one constant at its low and at its high value, all others nominal, in millijoule."""

    name: str
    title: str
    low_mj: float
    high_mj: float


@dataclass(frozen=True)
class Energy:
    """An estimate for one frame and what it covers, in millijoule; macs and seconds as in `Activity`."""

    scope: str
    items: tuple[Item, ...]
    macs: float
    seconds: float

    def total_mj(self, level: str) -> float:
        """Sum of the items at a level."""
        return total_mj(self.items, level)

    @property
    def flat_mj(self) -> float:
        """Latency times a flat `FLAT_WATTS`, as M3ViT's table 4 counts energy."""
        return FLAT_WATTS * self.seconds * MJ_PER_J

    def sensitivity(self) -> list[Swing]:
        """What each constant's uncertainty means for the total, the widest first."""
        total = self.total_mj("nominal")
        swings = [
            Swing(i.name, i.title, total - i.nominal_mj + i.low_mj, total - i.nominal_mj + i.high_mj)
            for i in self.items
        ]
        return sorted(swings, key=lambda swing: swing.low_mj - swing.high_mj)

    def tree(self) -> dict[str, Any]:
        """As report.json holds it."""
        totals = {f"{level}_mj": self.total_mj(level) for level in LEVELS}
        implied = {level: self.total_mj(level) * PJ_PER_MJ / self.macs if self.macs else None for level in LEVELS}
        return {
            "kind": "modelled",
            "scope": self.scope,
            **totals,
            "flat_10w_mj": self.flat_mj,
            "pj_per_mac": implied,
            "items": [asdict(item) for item in self.items],
            "sensitivity": [asdict(swing) for swing in self.sensitivity()],
        }


def total_mj(items: Iterable[Item], level: str) -> float:
    """Sum of items at a level, in millijoule."""
    return float(sum(getattr(item, f"{level}_mj") for item in items))


def energy(activity: Activity, constants: Constants, scope: str) -> Energy:
    """Itemised estimate of one frame; `scope` says in words what it covers."""
    leaks = activity.seconds * activity.device_luts / LUTS_PER_LEAK
    counts = (
        ("mac", activity.macs, "MAC", MJ_PER_PJ),
        ("vector", activity.vector_elements, "values", MJ_PER_PJ),
        ("bram", activity.bram_accesses, "accesses", MJ_PER_PJ),
        ("uram", activity.uram_accesses, "accesses", MJ_PER_PJ),
        ("axi", activity.dram_bytes, "bytes", MJ_PER_PJ),
        ("ddr", activity.dram_bytes, "bytes", MJ_PER_PJ),
        ("clock", activity.clock_loads * activity.cycles, "loads x cycles", MJ_PER_FJ),
        ("static", leaks, "s x 100,000 LUT", MJ_PER_J),
        ("ps", activity.seconds, "s", MJ_PER_J),
        ("board", activity.seconds, "s", MJ_PER_J),
    )
    items = tuple(_item(name, getattr(constants, name), count, unit, to_mj) for name, count, unit, to_mj in counts)
    return Energy(scope, items, activity.macs, activity.seconds)


def _item(name: str, constant: Constant, count: float, unit: str, to_mj: float) -> Item:
    low, nominal, high = (count * constant.at(level) * to_mj for level in LEVELS)
    return Item(name, constant.title, count, unit, low, nominal, high)
