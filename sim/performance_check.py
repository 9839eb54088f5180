# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The cycle model beside the RTL: errors of whole frames and of operation classes, and their limits.

A class is all operations of one opcode in a frame. Its error is relative to its own cycles, or to SMALL_CLASS of the
frame if it has fewer: the engine counts a few cycles at the border of two operations for either of them, and of a class
of a hundred cycles they would be percents that mean nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from m3vit.model.config import HardwareConfig
from m3vit.sim.cycles import COUNTERS
from m3vit.sim.pathway import Pathways
from m3vit.sim.performance import FrameModel, Routing, model_frame
from m3vit.sim.performance.routing import routing_of_lengths
from m3vit.sim.performance_measured import Measured
from m3vit.sim.program import Op, Opcode
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.results import FrameResult, OpResult, Results

FRAME_LIMIT, CLASS_LIMIT = 2.0, 5.0
"""Largest errors, in percent."""
SMALL_CLASS = 0.01
"""Share of a frame's cycles."""
Model = Callable[[Sequence[Op], HardwareConfig, Routing, Mode], FrameModel]


@dataclass(frozen=True)
class Pair:
    """Cycles of the same thing, measured and modelled.

    Attributes:
        rtl: counted by the RTL in simulation.
        model: modelled.
        least: the error is relative to this if `rtl` is less.
    """

    rtl: int
    model: int
    least: float = 1.0

    @property
    def error(self) -> float:
        """How much the model is above the RTL, in percent."""
        return 100 * (self.model - self.rtl) / max(self.rtl, self.least)


@dataclass(frozen=True)
class Comparison:
    """One frame, measured and modelled.

    Attributes:
        name: of the case.
        hardware: accelerator and memory.
        mode: schedule.
        frame: cycles from START to DONE.
        classes: cycles of all operations of an opcode.
        words: DRAM words read and written.
        counters: cycles in which the engine multiplies, and waits for each of its reasons; errors are percents of the
            frame. They have no limit.
    """

    name: str
    hardware: HardwareConfig
    mode: Mode
    frame: Pair
    classes: Mapping[Opcode, Pair]
    words: Pair
    counters: Mapping[str, Pair]

    @property
    def worst_class(self) -> Opcode:
        """The class with the largest error, up or down."""
        return max(self.classes, key=lambda opcode: abs(self.classes[opcode].error))

    def missed(self) -> list[str]:
        """Limits that the model exceeds, one sentence each."""
        wrong = [("the frame", self.frame.error, FRAME_LIMIT)] if abs(self.frame.error) > FRAME_LIMIT else []
        wrong += [
            (opcode.name, pair.error, CLASS_LIMIT)
            for opcode, pair in self.classes.items()
            if abs(pair.error) > CLASS_LIMIT
        ]
        return [
            f"{self.name}: the model of {what} is {error:+.2f} % off, the limit is {most:g} %"
            for what, error, most in wrong
        ]


def class_cycles(program: Sequence[Op], counters: Iterable[OpResult]) -> Counter[Opcode]:
    """Cycles of all operations of each opcode."""
    totals = Counter({op.opcode: 0 for op in program})
    for op, counted in zip(program, counters, strict=True):
        totals[op.opcode] += counted.cycles
    return totals


def total(name: str, counters: Iterable[OpResult]) -> int:
    """Sum of one counter over a frame's operations."""
    return sum(getattr(op, name) for op in counters)


def words(counters: Sequence[OpResult]) -> int:
    """DRAM words read and written."""
    return total("read_words", counters) + total("write_words", counters)


def compare(
    name: str,
    program: Sequence[Op],
    hardware: HardwareConfig,
    routing: Routing,
    frame: FrameResult,
    mode: Mode = OWN_SCHEDULE,
    model: Model = model_frame,
) -> Comparison:
    """Model a frame that ran in RTL.

    Args:
        name: of the comparison.
        program: that ran.
        hardware: what it ran on.
        routing: experts that the tokens chose.
        frame: what the RTL counted.
        mode: schedule that ran.
        model: the cycle model.
    """
    modelled = model(program, hardware, routing, mode)
    rtl, predicted = class_cycles(program, frame.ops), class_cycles(program, modelled.ops)
    least = SMALL_CLASS * frame.cycles
    return Comparison(
        name=name,
        hardware=hardware,
        mode=mode,
        frame=Pair(frame.cycles, modelled.cycles),
        classes={opcode: Pair(cycles, predicted[opcode], least) for opcode, cycles in rtl.items()},
        words=Pair(words(frame.ops), words(modelled.ops)),
        counters={name: Pair(total(name, frame.ops), total(name, modelled.ops), frame.cycles) for name in COUNTERS},
    )


def compare_measured(measured: Measured, model: Model = model_frame) -> Comparison:
    """Model a measured case."""
    routing, mode = Routing(measured.routes), Mode(measured.mode)
    return compare(measured.name, measured.program, measured.hardware, routing, measured.frame, mode, model)


def compare_results(results: Results, pathways: Pathways, model: Model = model_frame) -> list[Comparison]:
    """Model the frames that `m3vit verify` or `bench` ran, in the accelerator's own schedule.

    Args:
        results: what they measured; of the routing they hold the queue lengths, and more does not matter.
        pathways: that they ran.
        model: the cycle model.
    """
    found = []
    for frame in results.frames:
        program = pathways.task(frame.task).program
        routing = routing_of_lengths({op.op: op.queue_lengths for op in frame.ops if op.queue_lengths}, program)
        name = f"{results.workload}, {frame.task} {frame.image}"
        found.append(compare(name, program, results.hardware, routing, frame, OWN_SCHEDULE, model))
    return found


@dataclass(frozen=True)
class Summary:
    """Errors of one thing over many frames, in percent without sign.

    Attributes:
        frames: how many have it.
        mean: of the errors.
        worst: the largest.
        name: the frame that has it.
    """

    frames: int
    mean: float
    worst: float
    name: str


def summary(errors: Mapping[str, float]) -> Summary:
    """Of the errors of named frames."""
    name = max(errors, key=lambda key: abs(errors[key]))
    return Summary(len(errors), fmean(abs(error) for error in errors.values()), abs(errors[name]), name)


def frame_summary(comparisons: Sequence[Comparison]) -> Summary:
    """Of whole frames."""
    return summary({comparison.name: comparison.frame.error for comparison in comparisons})


def counter_summaries(comparisons: Sequence[Comparison]) -> dict[str, Summary]:
    """Of each counter, in percent of the frame, and of the DRAM words."""
    names = list(comparisons[0].counters)
    found = {name: summary({c.name: c.counters[name].error for c in comparisons}) for name in names}
    return found | {"DRAM words": summary({c.name: c.words.error for c in comparisons})}


def class_summaries(comparisons: Sequence[Comparison]) -> dict[Opcode, Summary]:
    """Of each class, over the frames that have it."""
    found = sorted({opcode for comparison in comparisons for opcode in comparison.classes})
    return {
        opcode: summary({c.name: c.classes[opcode].error for c in comparisons if opcode in c.classes})
        for opcode in found
    }


def missed(comparisons: Iterable[Comparison]) -> list[str]:
    """Limits that the model exceeds, one sentence each."""
    return [line for comparison in comparisons for line in comparison.missed()]
