# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Itemised energy estimate: counted activity times assumed constants, each with a low, a nominal and a high value.

Bottom-up, in the manner of Horowitz (ISSCC 2014): an estimate for design choices, not a measurement. The constants and
their sources are in energy_constants.toml.
"""

import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from m3vit.model.config import Frozen, HardwareConfig, one_sentence
from m3vit.model.errors import UserError, read_file
from m3vit.sim.golden.arith import ACC_BITS

CONSTANTS = "energy_constants.toml"
LEVELS = ("low", "nominal", "high")
MJ_PER_PJ, MJ_PER_J, PJ_PER_MJ = 1e-9, 1e3, 1e9


class Constant(Frozen):
    """One assumed constant."""

    title: str
    unit: str
    low: float = Field(gt=0)
    nominal: float
    high: float
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low <= self.nominal <= self.high:
            raise ValueError(f"{self.title}: low, nominal and high must not decrease")
        return self

    def at(self, level: str) -> float:
        """The value at a level of LEVELS."""
        value: float = getattr(self, level)
        return value


class Constants(Frozen):
    """The table."""

    mac: Constant
    vector: Constant
    on_chip_ram: Constant
    dram: Constant
    core_power: Constant
    board_power: Constant
    slowdown: Constant


def load_constants(path: Path | None = None) -> Constants:
    """Read a table of constants; None reads the one that comes with m3vit.

    Raises:
        UserError: the file is missing, is not TOML, or lacks a row.
    """
    data = read_file(path) if path else resources.files(__package__).joinpath(CONSTANTS).read_bytes()
    source = path or CONSTANTS
    try:
        return Constants.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise UserError(f"{source} is not a table of energy constants: {one_sentence(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{source} is not valid TOML: {error}") from error


@dataclass(frozen=True)
class Activity:
    """What was done, for one frame.

    Attributes:
        macs: int8 multiply-accumulates.
        vector_elements: values that passed requantisation, a table, a norm or a softmax.
        on_chip_bytes: bytes read from and written to on-chip RAM.
        dram_bytes: bytes over the DRAM ports.
        seconds: duration.
        seconds_measured: whether the duration comes from counted cycles; otherwise `slowdown` is applied to it.
    """

    macs: float
    vector_elements: float
    on_chip_bytes: float
    dram_bytes: float
    seconds: float
    seconds_measured: bool


def on_chip_traffic(engine_cycles: float, dram_bytes: float, vector_elements: float, hardware: HardwareConfig) -> float:
    """Bytes that cross the ports of on-chip RAM.

    In each cycle of the engine a word of activations is read and an accumulator per lane read and written; every
    byte from or to DRAM and every produced 16-bit value is written once and read once.
    """
    accumulators = 2 * hardware.lanes * ACC_BITS / 8
    return engine_cycles * (hardware.inputs + accumulators) + 2 * dram_bytes + 2 * 2 * vector_elements


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
class Energy:
    """An estimate for one frame and what it covers, in millijoule."""

    scope: str
    items: tuple[Item, ...]
    macs: float

    def total_mj(self, level: str) -> float:
        """Sum of the items at a level."""
        return float(sum(getattr(item, f"{level}_mj") for item in self.items))

    def tree(self) -> dict[str, Any]:
        """As report.json holds it."""
        totals = {f"{level}_mj": self.total_mj(level) for level in LEVELS}
        implied = {level: self.total_mj(level) * PJ_PER_MJ / self.macs if self.macs else None for level in LEVELS}
        items = [asdict(item) for item in self.items]
        return {"kind": "modelled", "scope": self.scope, **totals, "pj_per_mac": implied, "items": items}


def energy(activity: Activity, constants: Constants, scope: str) -> Energy:
    """Itemised estimate of one frame; `scope` says in words what it covers."""
    counts = (
        ("mac", activity.macs, "MAC"),
        ("vector", activity.vector_elements, "values"),
        ("on_chip_ram", activity.on_chip_bytes, "bytes"),
        ("dram", activity.dram_bytes, "bytes"),
    )
    dynamic = [_item(name, getattr(constants, name), count, unit, MJ_PER_PJ) for name, count, unit in counts]
    slowdown = None if activity.seconds_measured else constants.slowdown
    static = [
        _item(name, getattr(constants, name), activity.seconds, "s", MJ_PER_J, slowdown)
        for name in ("core_power", "board_power")
    ]
    return Energy(scope, (*dynamic, *static), activity.macs)


def _item(name: str, constant: Constant, count: float, unit: str, to_mj: float, factor: Constant | None = None) -> Item:
    low, nominal, high = (
        count * constant.at(level) * to_mj * (factor.at(level) if factor else 1.0) for level in LEVELS
    )
    return Item(name, constant.title, count, unit, low, nominal, high)
