# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The part of report.json that `m3vit report --compare` reads, and a reader that trusts nothing. See docs/report.md."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from m3vit.model.config import HardwareConfig, one_sentence
from m3vit.model.errors import UserError, read_file
from m3vit.sim.op_classes import Kind, Source
from m3vit.sim.program import Opcode
from m3vit.sim.roofline import FRAME, MODELLED_FRAME

REPORT_VERSION = 3


def _opcode(name: str) -> str:
    if name not in Opcode.__members__:
        raise ValueError(f"'{name}' is no operation")
    return name


def _point(name: str) -> str:
    return name if name in (FRAME, MODELLED_FRAME) else _opcode(name)


OpcodeName = Annotated[str, AfterValidator(_opcode)]
PointName = Annotated[str, AfterValidator(_point)]


class Part(BaseModel):
    """Base of all nodes: immutable; a report holds more than is read here."""

    model_config = ConfigDict(frozen=True)


class OpFigures(Part):
    """A row of `cycles.per_op`."""

    opcode: OpcodeName
    source: Source | None
    macs: FiniteFloat
    bytes: FiniteFloat
    bound_compute: FiniteFloat
    bound_memory: FiniteFloat
    cycles: FiniteFloat | None
    compute: FiniteFloat | None
    stall_weight: FiniteFloat | None
    stall_input: FiniteFloat | None
    stall_output: FiniteFloat | None
    read_bytes: FiniteFloat | None
    write_bytes: FiniteFloat | None


class CycleFigures(Part):
    """`cycles`."""

    source: Source
    total: FiniteFloat | None
    bound_compute: FiniteFloat
    bound_memory: FiniteFloat
    bound: FiniteFloat
    ratio_to_bound: FiniteFloat | None
    mac_utilisation_percent: FiniteFloat | None
    latency_ms: FiniteFloat | None
    bound_latency_ms: FiniteFloat
    per_op: tuple[OpFigures, ...] = Field(min_length=1)


class PointFigures(Part):
    """A point of `roofline`."""

    name: PointName
    source: Source
    intensity: FiniteFloat = Field(gt=0)
    macs_per_cycle: FiniteFloat = Field(gt=0)
    roof: FiniteFloat = Field(gt=0)


class RooflineFigures(Part):
    """`roofline`."""

    peak_macs_per_cycle: FiniteFloat = Field(gt=0)
    bytes_per_cycle: FiniteFloat = Field(gt=0)
    ridge: FiniteFloat = Field(gt=0)
    points: tuple[PointFigures, ...]


class MemoryFigures(Part):
    """`memory`."""

    on_chip_bytes: FiniteFloat
    weights_bytes: FiniteFloat
    image_bytes: FiniteFloat
    dram_bytes_per_frame: FiniteFloat


class FlopFigures(Part):
    """`flops`."""

    task_gmac: FiniteFloat
    all_experts_gmac: FiniteFloat
    all_tasks_gmac: FiniteFloat


class EnergyFigures(Part):
    """`energy`."""

    low_mj: FiniteFloat
    nominal_mj: FiniteFloat
    high_mj: FiniteFloat
    flat_10w_mj: FiniteFloat | None = None


class ResourceFigures(Part):
    """`resources`."""

    dsp: FiniteFloat
    bram36: FiniteFloat
    uram: FiniteFloat
    lut: FiniteFloat | None
    ff: FiniteFloat | None


class AccuracyFigures(Part):
    """`accuracy`."""

    metric: str | None
    float32: FiniteFloat | None = Field(alias="float")
    int8: FiniteFloat | None
    higher_is_better: bool | None


class TaskFigures(Part):
    """The figures of one task."""

    cycles: CycleFigures
    roofline: RooflineFigures
    memory: MemoryFigures
    flops: FlopFigures
    energy: EnergyFigures
    resources: ResourceFigures
    accuracy: AccuracyFigures
    kinds: dict[str, Kind | None]


class ReportFigures(Part):
    """A report."""

    version: Literal[3]
    workload: str
    image_sha256: str
    hardware: HardwareConfig
    tasks: dict[str, TaskFigures] = Field(min_length=1)


def check_report(tree: Any, source: str) -> ReportFigures:
    """Validate the tree of a report.

    Raises:
        UserError: it is not one, or one of another version; `source` names it in the message.
    """
    version = tree.get("version") if isinstance(tree, dict) else None
    if isinstance(version, int) and version != REPORT_VERSION and "tasks" in tree:
        raise UserError(f"{source} has version {version} where {REPORT_VERSION} is expected; run `m3vit report` again")
    try:
        return ReportFigures.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source} is not a report ({one_sentence(error)}); run `m3vit report` again") from error


def read_report(path: Path) -> ReportFigures:
    """Read report.json.

    Raises:
        UserError: the file is missing, damaged or of another version.
    """
    try:
        tree = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); run `m3vit report` again") from error
    return check_report(tree, str(path))
