# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Routing traces: the experts that golden's routers chose on real images, as `m3vit verify` writes them.

A JSON file with one entry per frame; `chosen` lists for every MOE operation of the program the experts of each token.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import NonNegativeInt, ValidationError, model_validator

from m3vit.model.config import Frozen, one_sentence
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.sim.performance.routing import Routing
from m3vit.sim.program import Op

TRACE = Path("verification") / "routing.json"
"""Of a pathway folder."""


class TracedFrame(Frozen):
    """The routing of one frame: task, index of the image, and chosen_NK of every MOE operation by its index."""

    task: str
    image: NonNegativeInt
    chosen: dict[NonNegativeInt, list[list[NonNegativeInt]]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for index, tokens in self.chosen.items():
            if not tokens or len({len(experts) for experts in tokens}) != 1:
                raise ValueError(f"operation {index} has no tokens, or tokens with different numbers of experts")
        return self

    @classmethod
    def of(cls, task: str, image: int, routing: Routing) -> "TracedFrame":
        """A frame whose routing is known."""
        chosen = {index: chosen_NK.tolist() for index, chosen_NK in routing.chosen.items()}
        return cls(task=task, image=image, chosen=chosen)

    @property
    def routing(self) -> Routing:
        """What the cycle model takes."""
        return Routing({index: np.sort(np.array(tokens), axis=1) for index, tokens in self.chosen.items()})


class Trace(Frozen):
    """The whole file."""

    version: Literal[1] = 1
    workload: str
    frames: list[TracedFrame]


def write_trace(path: Path, workload: str, frames: Iterable[TracedFrame]) -> None:
    """Write a trace."""
    trace = Trace(workload=workload, frames=list(frames))
    write_atomically(path, (trace.model_dump_json() + "\n").encode())


def read_trace(path: Path) -> Trace:
    """Read a trace.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return Trace.model_validate_json(read_file(path))
    except ValidationError as error:
        raise UserError(
            f"{path} is not a routing trace ({one_sentence(error)}); `m3vit verify` writes one to PATHWAY/{TRACE}"
        ) from error


def read_routing(path: Path, program: Sequence[Op], task: str | None = None) -> Routing:
    """The routing of a trace's first frame, of a task if one is named.

    Raises:
        UserError: the file is missing or damaged, holds no such frame, or is of another model.
    """
    trace = read_trace(path)
    frames = [frame for frame in trace.frames if task in (None, frame.task)]
    if not frames:
        known = ", ".join(sorted({frame.task for frame in trace.frames})) or "none"
        raise UserError(f"{path} has no frame of task '{task}'; its tasks: {known}")
    routing = frames[0].routing
    try:
        routing.check(program)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return routing
