# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A MoE layer in the accelerator's own order, expert by expert, and in the papers' baseline, token by token.

RTL: m3vit_executor (states MoeFirst to Passed, Demand), m3vit_loader (state Expert), m3vit_expert_cache.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from m3vit.model.config import WORD_BYTES
from m3vit.sim.layout import ceil_div, job_bytes, stream_words
from m3vit.sim.performance.engine import Command, Turn
from m3vit.sim.performance.queues import QueueBuilder, Router
from m3vit.sim.performance.timing import CACHE_LOAD, CACHE_LOOK, OUTPUT_LATENCY, QUEUE_DRAIN, SKIP_CYCLES
from m3vit.sim.program import Op
from m3vit.sim.program_check import expert_words
from m3vit.sim.regmap import Mode

if TYPE_CHECKING:
    from m3vit.sim.performance.executor import Executor

CACHE_SLOTS = 16
"""Experts of the cache at most (m3vit_expert_cache Slots)."""
GUESS_TOKENS = 4
"""Tokens per expert from which on the loader guesses that all experts are used (m3vit_loader)."""


class MoeLayer:
    """One MOE operation of a run.

    Args:
        executor: of the run.
        index: of the operation.
        op: the operation.
    """

    def __init__(self, executor: Executor, index: int, op: Op) -> None:
        self._run, self._index, self._op = executor, index, op
        self._lengths = executor.routing.queue_lengths(index)
        self._words = expert_words(op.in_features, op.out_features, executor.hardware, op.expert_bits)
        self._guess = op.experts * GUESS_TOKENS <= op.rows * op.top_k and not (
            executor.loader.wait or executor.experts_on_chip
        )
        self._arrive = at_once if executor.experts_on_chip else None
        self._next = 0  # expert that the loader looks at

    def run(self) -> None:
        """Route, then compute every used expert."""
        executor, op = self._run, self._op
        self._source = executor.gelu_table(self._index)
        self._routed = self._route()
        executor.loads[self._index] = 0
        if executor.mode & Mode.TOKEN_ORDER:
            self._token_order()
            return
        builder = QueueBuilder(op.rows, self._routed, 0 in self._lengths)
        for expert, rows in self._lengths.items():
            pushed = executor.push(builder.ready)
            self._reach(expert, pushed)
            taken = executor.expert(self._index, op, rows, pushed, self._source, arrive=self._arrive)
            self._loaded()
            builder.take(taken)
            builder.release(executor.engine.issued + OUTPUT_LATENCY)
        self._drop()

    def _token_order(self) -> None:
        """Token by token: an expert is visited when the visit before has ended, so all visits take equally long.

        Two are followed, an expert in the cache and one that is read; the rest is counted.
        """
        executor = self._run
        slots = min(CACHE_SLOTS, executor.hardware.stream_words // self._words)
        cache, visits = ExpertCache(slots), self._op.rows * self._op.top_k
        misses = sum(not cache.hit(expert) for expert in executor.routing.chosen[self._index].reshape(-1).tolist())
        begin = max(executor.idle, self._routed + QUEUE_DRAIN + 4)
        load = self._read_expert(begin)
        first, second = self._visit(begin + load)
        visit = executor.idle - (begin + load)
        end = begin + visits * visit + misses * load
        second.issued += (visits - 1) * (first.issued + second.issued)
        second.stall_weight += (visits - 1) * (first.stall_weight + second.stall_weight)
        second.stall_input = end - second.begin - second.issued - second.stall_weight
        second.end = end - 1
        executor.engine.wait_until(end)
        executor.time = end
        executor.visits[self._index], executor.loads[self._index] = visits, misses
        executor.loader.words[self._index] += (misses - 1) * job_bytes(self._words, executor.hardware) // WORD_BYTES

    def _read_expert(self, begin: float) -> float:
        """Cycles that reading an expert on demand adds to a visit."""
        loader = self._run.loader
        loader.expert(self._index, self._words, begin + 1)
        arrived = loader.receive(job_bytes(self._words, self._run.hardware) // WORD_BYTES, 1.0)
        return arrived + CACHE_LOAD - begin

    def _visit(self, begin: float) -> list[Turn]:
        """One token in one expert; returns the turns of its two commands."""
        executor = self._run
        pushed = executor.push(begin + CACHE_LOOK)
        executor.expert(self._index, self._op, 1, pushed, self._source, arrive=at_once)
        return executor.engine.turns[-2:]

    def _route(self) -> float:
        executor, op = self._run, self._op
        hardware = executor.hardware
        executor.loader.stream_job(self._index, stream_words(op.experts, op.in_features, hardware))
        router = Router(op, hardware)
        command = Command(
            self._index,
            op.rows,
            ceil_div(op.in_features, hardware.inputs),
            ceil_div(op.experts, hardware.lanes),
            norm=executor.norm(),
        )
        executor.engine.linear(command, executor.push(), 0.0, accept=router.accept)
        executor.loader.done()
        executor.engine.quiet = max(executor.engine.quiet, router.routed + 1)
        return router.routed

    def _reach(self, expert: int, pushed: float) -> None:
        """The feeder seeks an expert: skips what was loaded in vain; the loader loads the expert."""
        while self._next < expert:
            self._pass(pushed)
        self._load(expert, pushed)

    def _loaded(self) -> None:
        if not self._run.experts_on_chip:
            self._run.loader.done()
        self._run.loader.seek = 0.0

    def _pass(self, pushed: float) -> None:
        """The loader looks at an expert without tokens."""
        if self._guess and not self._run.experts_on_chip and self._run.loader.candidate < self._routed:
            self._load(self._next, pushed)
            self._skip(pushed)
        else:
            self._next += 1
            self._run.loader.pass_over(self._routed)

    def _load(self, expert: int, pushed: float) -> None:
        loader, self._next = self._run.loader, expert + 1
        if self._run.experts_on_chip:
            return
        loader.expert(self._index, self._words, 0.0 if self._guess else self._routed)
        self._run.loads[self._index] += 1
        loader.sought(max(self._run.engine.fed + 3, pushed + 3, loader.seek, loader.asked + 1))

    def _skip(self, pushed: float) -> None:
        engine, loader = self._run.engine, self._run.loader
        seek = max(engine.fed + 4, pushed + 4, loader.seek)
        lanes = self._run.hardware.lanes
        parts = [min(lanes, self._words - first) for first in range(0, self._words, lanes)]
        skipped = max(seek, *(self._run.stream.arrive(part) for part in parts))
        self._run.stream.drop(skipped)
        loader.done()
        loader.seek = skipped + SKIP_CYCLES

    def _drop(self) -> None:
        """The end of the list: what was loaded behind the last used expert is skipped."""
        executor = self._run
        pushed = executor.push()
        while self._next < self._op.experts:
            self._pass(pushed)
        executor.engine.idle(max(executor.engine.fed + 3, pushed + 3, executor.loader.seek))
        executor.loader.seek = 0.0
        executor.time = max(executor.time + 1, executor.loader.candidate)


def at_once(_: int) -> float:
    """Words that are on chip."""
    return 0.0


class ExpertCache:
    """The papers' baseline: experts on demand, the oldest makes room (m3vit_expert_cache).

    Args:
        slots: experts that the cache holds.
    """

    def __init__(self, slots: int) -> None:
        self._experts: deque[int] = deque(maxlen=slots)

    def hit(self, expert: int) -> bool:
        """Whether an expert is there; it is afterwards."""
        if expert in self._experts:
            return True
        self._experts.append(expert)
        return False
