# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Reads the event trace of the frame bench (sim/tb/m3vit_tb.sv) into intervals of load and compute."""

from collections.abc import Iterable, Iterator

from m3vit.sim.results import Event

LOAD_TOKENS, LOAD_RESIDUAL, LOAD_WEIGHTS, LOAD_TABLE = 1, 2, 3, 4
"""Numbers of m3vit_pkg::load_e."""
LOGITS, GELU, COMBINE = 0, 1, 2
"""Numbers of m3vit_pkg::dest_e."""
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
        run.append((int(cycle) - start, name, int(number)))
    if run:
        yield run


def times(run: Iterable[Line], name: str, number: int | None = None) -> list[int]:
    """Cycles of an event."""
    return [cycle for cycle, event, value in run if event == name and number in (None, value)]


def numbers(run: Iterable[Line], name: str) -> list[int]:
    """Numbers of an event."""
    return [value for _, event, value in run if event == name]


def events(run: list[Line]) -> list[Event]:
    """Intervals of one MoE operation: inputs, routing, each expert's load and compute, output."""
    begin, end = times(run, "load_begin", LOAD_WEIGHTS), times(run, "load_end", LOAD_WEIGHTS)
    first, last = times(run, "pass_begin", GELU), times(run, "pass_end", COMBINE)
    inputs = [
        (LOAD_TOKENS, times(run, "load_begin", LOAD_TOKENS)),
        (LOAD_RESIDUAL, times(run, "load_begin", LOAD_RESIDUAL)),
    ]
    result = [
        Event(kind="input", expert=None, start=starts[0], end=times(run, "load_end", number)[0])
        for number, starts in inputs
    ]
    result.append(
        Event(kind="route", expert=None, start=times(run, "pass_begin", LOGITS)[0], end=times(run, "routed")[-1])
    )
    for expert, start, stop in zip(numbers(run, "load_expert"), begin[1:], end[1:], strict=True):
        result.append(Event(kind="load", expert=expert, start=start, end=stop))
    for expert, start, stop in zip(numbers(run, "queue"), first, last, strict=True):
        result.append(Event(kind="compute", expert=expert, start=start, end=stop))
    result.append(Event(kind="output", expert=None, start=times(run, "store")[0], end=times(run, "end")[0]))
    return result
