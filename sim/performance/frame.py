# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cycles of a frame: walks the program as loader and executor do and drives the engine.

Counters are those of the RTL (m3vit_counters): a cycle belongs to the operation that is the engine's oldest. RTL:
m3vit_sequencer, m3vit_loader, m3vit_executor.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.performance.executor import Executor
from m3vit.sim.performance.routing import Routing
from m3vit.sim.program import Op
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.results import OpResult


@dataclass(frozen=True)
class FrameModel:
    """A modelled frame.

    Attributes:
        cycles: from START to DONE.
        ops: counters of every operation, as the RTL counts them.
    """

    cycles: int
    ops: tuple[OpResult, ...]


def model_frame(
    program: Sequence[Op],
    hardware: HardwareConfig,
    routing: Routing,
    mode: Mode = OWN_SCHEDULE,
    *,
    experts_on_chip: bool = False,
) -> FrameModel:
    """Model one frame of a task.

    Args:
        program: of the task.
        hardware: that it is laid out for.
        routing: the experts that the tokens choose.
        mode: schedule, see `m3vit.sim.regmap.Mode`.
        experts_on_chip: the papers' baseline with memory for all experts, which are there before the frame begins.

    Raises:
        UserError: the routing is of another model, or the schedule reads experts on demand that are on chip.
    """
    routing.check(program)
    if experts_on_chip and mode & Mode.TOKEN_ORDER:
        raise UserError("token by token, experts are read on demand; leave out either that schedule or experts on chip")
    executor = Executor(program, hardware, routing, mode, experts_on_chip)
    end = executor.run()
    return FrameModel(round(end), tuple(_counters(program, executor, routing)))


def _counters(program: Sequence[Op], executor: Executor, routing: Routing) -> Iterable[OpResult]:
    for index in range(len(program)):
        turns = [turn for turn in executor.engine.turns if turn.op == index]
        lengths = routing.queue_lengths(index) if index in routing.chosen else {}
        visits = executor.visits.get(index, len(lengths))
        yield OpResult(
            op=index,
            cycles=round(sum(turn.end - turn.begin + 1 for turn in turns)),
            compute=sum(turn.issued for turn in turns),
            read_words=executor.read_words.get(index, 0),
            write_words=executor.write_words.get(index, 0),
            stall_weight=round(sum(turn.stall_weight for turn in turns)),
            stall_input=round(sum(turn.stall_input for turn in turns)),
            stall_output=round(sum(turn.stall_output for turn in turns)),
            experts=visits,
            loads=executor.loads.get(index, 0),
            queue_lengths=lengths,
        )
