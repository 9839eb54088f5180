# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Reads the event trace of the frame bench (sim/tb/m3vit_tb.sv) into intervals of a run, one list of a whole frame."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from m3vit.sim.program import Op, Opcode
from m3vit.sim.results import Event

BEFORE_EXPERTS = 2
"""Jobs that the loader asks for before the experts of a MOE operation: GELU table and router."""
INPUTS = (Opcode.PATCH_EMBED, Opcode.LOAD)
"""Operations that bring the image or the residual stream."""
Line = tuple[int, str, int]


def runs(text: str) -> Iterator[list[Line]]:
    """Lines of each run, in cycles from its start."""
    run: list[Line] = []
    start = 0
    for line in text.splitlines():
        cycle, name, number = line.split()
        if name == "start":
            if run:
                yield run
            run, start = [], int(cycle)
        if run or name == "start":
            run.append((int(cycle) - start, name, int(number)))
    if run:
        yield run


def times(run: Iterable[Line], name: str) -> list[int]:
    """Cycles of an event."""
    return [cycle for cycle, event, _ in run if event == name]


def numbers(run: Iterable[Line], name: str) -> list[int]:
    """Numbers of an event."""
    return [value for _, event, value in run if event == name]


def events(run: Sequence[Line], program: Sequence[Op]) -> list[Event]:
    """Intervals of one run: what was loaded, which operation had the engine, norms, the result.

    Args:
        run: as `runs` gives it.
        program: that ran.
    """
    (end,) = times(run, "end")
    return [*_loads(run, program), *_turns(run, end), *_norms(run), *_output(run, end, len(program) - 1)]


def _loads(run: Sequence[Line], program: Sequence[Op]) -> Iterator[Event]:
    """One event per read job, from its first word to its last one; jobs of a MOE operation end with its experts."""
    experts, seen = iter(numbers(run, "expert")), dict.fromkeys(range(len(program)), 0)
    starts, stops = times(run, "load_begin"), times(run, "load_end")
    for op, start, stop in zip(numbers(run, "load_begin"), starts, stops, strict=True):
        expert = next(experts) if program[op].opcode is Opcode.MOE and seen[op] >= BEFORE_EXPERTS else None
        seen[op] += 1
        kind = "input" if program[op].opcode in INPUTS else "load"
        yield Event(kind=kind, op=op, expert=expert, start=start, end=stop)


def _turns(run: Sequence[Line], end: int) -> Iterator[Event]:
    """The operation that was the engine's oldest, interval by interval; nothing for the wait before the first."""
    turns = [*zip(times(run, "op"), numbers(run, "op"), strict=True), (end, -1)]
    for (start, op), (stop, _) in pairwise(turns):
        yield Event(kind="compute", op=op, expert=None, start=start, end=stop)


def _norms(run: Sequence[Line]) -> Iterator[Event]:
    begun = zip(numbers(run, "norm_begin"), times(run, "norm_begin"), times(run, "norm_end"), strict=True)
    for op, start, stop in begun:
        yield Event(kind="norm", op=op, expert=None, start=start, end=stop)


def _output(run: Sequence[Line], end: int, last: int) -> Iterator[Event]:
    for start in times(run, "store"):
        yield Event(kind="output", op=last, expert=None, start=start, end=end)
