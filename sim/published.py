# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Published figures that `m3vit reproduce` compares with: published.toml, read and checked."""

import tomllib
from importlib import resources
from typing import Self

from pydantic import Field, PositiveFloat, model_validator

from m3vit.model.config import Frozen

TABLES = "published.toml"


class NetworkRow(Frozen):
    """A network in M3ViT's tables 1 and 2.

    Attributes:
        key: names the network in the code.
        name: as the table names it.
        delta_m: mean relative gain over the single-task networks, in percent.
        gflops: 10^9 operations of one task.
        energy_ws: W s of one task.
        fpga: whether that is the FPGA's; the others are presumably of the GPU in table 4.
    """

    key: str
    name: str
    delta_m: float
    gflops: PositiveFloat
    energy_ws: PositiveFloat
    fpga: bool = False


class NetworkTable(Frozen):
    """Table 1 or 2 of M3ViT."""

    title: str
    source: str = Field(min_length=1)
    rows: tuple[NetworkRow, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _unique([row.key for row in self.rows])
        return self

    def row(self, key: str) -> NetworkRow:
        """The row of a network."""
        return next(row for row in self.rows if row.key == key)


class Latency(Frozen):
    """Time and energy of one frame."""

    ms: PositiveFloat
    energy_ws: PositiveFloat


class MemoryRow(Frozen):
    """An implementation in M3ViT's table 4."""

    key: str
    name: str
    mib: PositiveFloat
    pascal: Latency
    nyud: Latency


class MemoryTable(Frozen):
    """Table 4 of M3ViT; `power_w` is the flat power behind its energies on the FPGA."""

    title: str
    source: str = Field(min_length=1)
    power_w: PositiveFloat
    rows: tuple[MemoryRow, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _unique([row.key for row in self.rows])
        return self

    def row(self, key: str) -> MemoryRow:
        """The row of an implementation."""
        return next(row for row in self.rows if row.key == key)


class Headlines(Frozen):
    """What M3ViT's abstract claims; `all_on_chip_mib` is the memory behind its 2.4 times."""

    source: str = Field(min_length=1)
    flops_saved_percent: PositiveFloat
    memory_ratio: PositiveFloat
    energy_ratio: PositiveFloat
    all_on_chip_mib: PositiveFloat


class Step(Frozen):
    """A step of Edge-MoE's ablation: the time of a frame with it and all steps before it."""

    key: str
    name: str
    ms: PositiveFloat


class Ablation(Frozen):
    """Edge-MoE's cumulative ablation."""

    title: str
    source: str = Field(min_length=1)
    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _unique([step.key for step in self.steps])
        if sorted(self.steps, key=lambda step: -step.ms) != list(self.steps):
            raise ValueError("the steps of an ablation must become faster")
        return self


class Published(Frozen):
    """All tables."""

    pascal: NetworkTable
    nyud: NetworkTable
    memory: MemoryTable
    headlines: Headlines
    ablation: Ablation


def _unique(keys: list[str]) -> None:
    if len(set(keys)) != len(keys):
        raise ValueError("a key appears twice")


def load_published() -> Published:
    """The tables that come with m3vit."""
    text = resources.files(__package__).joinpath(TABLES).read_text(encoding="utf-8")
    return Published.model_validate(tomllib.loads(text))
