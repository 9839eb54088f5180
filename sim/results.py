# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`verification/results.json` as `m3vit verify` writes it: the schema, and a reader that trusts nothing."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from m3vit.model.config import Frozen, HardwareConfig, one_sentence
from m3vit.model.errors import UserError, read_file
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Opcode

RESULTS = Path("verification") / "results.json"


class FrameResult(Frozen):
    """One operation on one image: counters of the RTL and comparison with golden."""

    task: str
    image: NonNegativeInt
    op: NonNegativeInt
    layer: NonNegativeInt
    cycles: PositiveInt
    compute: NonNegativeInt
    read_words: NonNegativeInt
    write_words: NonNegativeInt
    stall_weight: NonNegativeInt
    stall_input: NonNegativeInt
    stall_output: NonNegativeInt
    experts: NonNegativeInt
    queue_lengths: dict[int, NonNegativeInt]
    """Tokens per expert; experts without tokens may be left out."""
    elements: PositiveInt
    mismatches: NonNegativeInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        used = sum(length > 0 for length in self.queue_lengths.values())
        if used != self.experts:
            raise ValueError(f"{self.experts} experts were counted, but {used} queues have tokens")
        if self.mismatches > self.elements:
            raise ValueError(f"{self.mismatches} mismatches in {self.elements} elements")
        return self


class TaskSwitch(Frozen):
    """Cycles of frames that follow a frame of the same task, or of another task."""

    same_task_cycles: list[PositiveInt] = Field(min_length=1)
    switch_cycles: list[PositiveInt] = Field(min_length=1)


class Event(Frozen):
    """An interval of one operation, in cycles from its start."""

    kind: Literal["load", "compute", "route", "input", "output"]
    expert: NonNegativeInt | None
    start: NonNegativeInt
    end: NonNegativeInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"an event ends at {self.end}, before it starts at {self.start}")
        return self


class Timeline(Frozen):
    """What one operation did when."""

    task: str
    image: NonNegativeInt
    op: NonNegativeInt
    events: list[Event]


class Results(Frozen):
    """The whole file."""

    version: Literal[1]
    workload: str
    image_sha256: str
    hardware: HardwareConfig
    simulator: str
    images: NonNegativeInt
    elements_compared: NonNegativeInt
    golden_vs_rtl_mismatches: NonNegativeInt
    golden_vs_hls_mismatches: NonNegativeInt | None
    frames: list[FrameResult]
    task_switch: TaskSwitch | None
    timeline: Timeline | None
    wall_seconds: float = Field(ge=0)
    simulated_cycles: NonNegativeInt
    simulation_seconds: float = Field(default=0.0, ge=0)
    """Wall time inside the operations, without building, golden and file access."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, total in (
            ("elements_compared", sum(frame.elements for frame in self.frames)),
            ("golden_vs_rtl_mismatches", sum(frame.mismatches for frame in self.frames)),
        ):
            if getattr(self, name) < total:
                raise ValueError(f"{name} is {getattr(self, name)}, but the frames add up to {total}")
        return self

    def of_task(self, task: str) -> list[FrameResult]:
        """The frames of one task."""
        return [frame for frame in self.frames if frame.task == task]


def read_results(path: Path) -> Results | None:
    """Read the file; None if there is none.

    Raises:
        UserError: the file is truncated, damaged, of another version or contradicts itself.
    """
    if not path.exists():
        return None
    try:
        return Results.model_validate_json(read_file(path))
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({one_sentence(error)}); run `m3vit verify` again") from error


def check_results(results: Results, pathways: Pathways, path: Path) -> None:
    """Check that results of an image speak of its programs.

    Raises:
        UserError: the hardware has other lanes than the image is packed for, a frame names no MOE operation of its
            task, or its queues do not hold rows x top_k tokens.
    """
    if results.hardware.lanes != pathways.first.config.hardware.lanes:
        raise _contradiction(path, f"it was measured with {results.hardware.lanes} lanes")
    for frame in results.frames:
        program = pathways.task(frame.task).program
        if frame.op >= len(program) or program[frame.op].opcode is not Opcode.MOE:
            raise _contradiction(path, f"operation {frame.op} of task '{frame.task}' is no MOE operation")
        op = program[frame.op]
        if sum(frame.queue_lengths.values()) != op.rows * op.top_k:
            raise _contradiction(path, f"operation {frame.op} of task '{frame.task}' queued a wrong number of tokens")
        if max(frame.queue_lengths, default=0) >= op.experts:
            raise _contradiction(
                path, f"operation {frame.op} of task '{frame.task}' used an expert that does not exist"
            )


def _contradiction(path: Path, what: str) -> UserError:
    return UserError(f"{path} contradicts the pathway ({what}); run `m3vit verify` again")
