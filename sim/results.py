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
from m3vit.sim.regmap import Mode

RESULTS = Path("verification") / "results.json"


class OpResult(Frozen):
    """Counters of one operation in one frame, see `m3vit.sim.driver.Counters`."""

    op: NonNegativeInt
    cycles: NonNegativeInt
    compute: NonNegativeInt
    read_words: NonNegativeInt
    write_words: NonNegativeInt
    stall_weight: NonNegativeInt
    stall_input: NonNegativeInt
    stall_output: NonNegativeInt
    experts: NonNegativeInt
    loads: NonNegativeInt
    queue_lengths: dict[int, NonNegativeInt]
    """MOE: tokens per expert; experts without tokens may be left out. Else empty."""


class FrameResult(Frozen):
    """One whole frame in RTL: cycles from START to DONE, comparison with golden, counters of every operation."""

    task: str
    image: NonNegativeInt
    cycles: PositiveInt
    elements: PositiveInt
    mismatches: NonNegativeInt
    hls_mismatches: NonNegativeInt | None = None
    """Elements in which HLS differs from golden; None if it did not run."""
    ops: list[OpResult]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (most := max(self.mismatches, self.hls_mismatches or 0)) > self.elements:
            raise ValueError(f"{most} mismatches in {self.elements} elements")
        if [op.op for op in self.ops] != list(range(len(self.ops))):
            raise ValueError("the operations of a frame are not complete or not in order")
        shares = sum(op.cycles for op in self.ops)
        if shares > self.cycles:
            raise ValueError(f"operations of {shares} cycles in a frame of {self.cycles}")
        return self


class TaskSwitch(Frozen):
    """Cycles of frames that follow a frame of the same task, or of another task."""

    same_task_cycles: list[PositiveInt] = Field(min_length=1)
    switch_cycles: list[PositiveInt] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.same_task_cycles) != len(self.switch_cycles):
            raise ValueError("each frame after another task needs the same frame after its own task")
        return self

    @property
    def extra_cycles(self) -> int:
        """What a switch adds to a frame, at most."""
        return max(b - a for a, b in zip(self.same_task_cycles, self.switch_cycles, strict=True))


class Event(Frozen):
    """An interval in the run of an operation, in cycles from the start of the frame.

    kind: load (weights and tables stream in), input (image, positions or residual stream), compute (the operation was
    the linear engine's oldest), norm, output (the result is written).
    """

    kind: Literal["load", "input", "compute", "norm", "output"]
    op: NonNegativeInt
    expert: NonNegativeInt | None
    start: NonNegativeInt
    end: NonNegativeInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"an event ends at {self.end}, before it starts at {self.start}")
        return self


class Timeline(Frozen):
    """What one frame did when."""

    task: str
    image: NonNegativeInt
    events: list[Event]


class Results(Frozen):
    """The whole file."""

    version: Literal[2]
    workload: str
    image_sha256: str
    hardware: HardwareConfig
    mode: NonNegativeInt
    """Schedule that ran, see `m3vit.sim.regmap.Mode`; 0 is the accelerator's own."""
    simulator: str
    images: NonNegativeInt
    elements_compared: NonNegativeInt
    golden_vs_rtl_mismatches: NonNegativeInt
    golden_vs_hls_mismatches: NonNegativeInt | None
    """Sum over the frames, each of which ran once in HLS; None if HLS did not run."""
    frames: list[FrameResult]
    task_switch: TaskSwitch | None
    timeline: Timeline | None
    wall_seconds: float = Field(ge=0)
    simulated_cycles: NonNegativeInt
    simulation_seconds: float = Field(default=0.0, ge=0)
    """Wall time inside the frames, without building, golden and file access."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, total in (
            ("elements_compared", sum(frame.elements for frame in self.frames)),
            ("golden_vs_rtl_mismatches", sum(frame.mismatches for frame in self.frames)),
        ):
            if getattr(self, name) < total:
                raise ValueError(f"{name} is {getattr(self, name)}, but the frames add up to {total}")
        ran = [frame.hls_mismatches for frame in self.frames if frame.hls_mismatches is not None]
        if (sum(ran) if ran else None) != self.golden_vs_hls_mismatches or len(ran) not in (0, len(self.frames)):
            raise ValueError("golden_vs_hls_mismatches contradicts the frames")
        for op in (op for frame in self.frames for op in frame.ops):
            if op.experts != expected_experts(op.queue_lengths, self.mode):
                raise ValueError(f"operation {op.op} counted {op.experts} experts, which its queues contradict")
        return self

    @property
    def hls_elements(self) -> int:
        """Elements that were compared in HLS."""
        return sum(frame.elements for frame in self.frames if frame.hls_mismatches is not None)

    @property
    def all_equal(self) -> bool:
        """Whether nothing that ran differs from golden."""
        return not (self.golden_vs_rtl_mismatches or self.golden_vs_hls_mismatches)

    def of_task(self, task: str) -> list[FrameResult]:
        """The frames of one task."""
        return [frame for frame in self.frames if frame.task == task]


def expected_experts(queue_lengths: dict[int, int], mode: int) -> int:
    """What OP_EXPERTS must read: experts with tokens, or with Mode.TOKEN_ORDER one visit per token and expert."""
    lengths = queue_lengths.values()
    return sum(lengths) if mode & Mode.TOKEN_ORDER else sum(length > 0 for length in lengths)


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
        UserError: the hardware is not the one that the image is packed for, a frame has other operations than its
            task, or its queues do not hold rows x top_k tokens.
    """
    measured, packed = results.hardware, pathways.first.config.hardware
    if (measured.lanes, measured.groups) != (packed.lanes, packed.groups):
        raise _contradiction(path, f"it was measured with {measured.lanes} lanes and {measured.groups} groups")
    for frame in results.frames:
        program = pathways.task(frame.task).program
        if len(program) != len(frame.ops):
            raise _contradiction(path, f"a frame of task '{frame.task}' has {len(frame.ops)} operations")
        for op, counted in zip(program, frame.ops, strict=True):
            queued = op.rows * op.top_k if op.opcode is Opcode.MOE else 0
            where = f"operation {counted.op} of task '{frame.task}'"
            if sum(counted.queue_lengths.values()) != queued:
                raise _contradiction(path, f"{where} queued a wrong number of tokens")
            if max(counted.queue_lengths, default=-1) >= op.experts:
                raise _contradiction(path, f"{where} used an expert that does not exist")


def _contradiction(path: Path, what: str) -> UserError:
    return UserError(f"{path} contradicts the pathway ({what}); run `m3vit verify` again")
