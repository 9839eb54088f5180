# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""From router logits to token queues: m3vit_routing and all it holds.

Shapes: N tokens, E experts, K chosen experts.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.moe import exp2_fixed, gates, token_queues, top_k
from rtl.handshake import Dice, Scoreboard, fields, pack, send, start, unpack, until

LANES, MAX_TOKENS, MAX_TOP_K = 8, 24, 8
ROUTERS = ["u_routing1", "u_routing3", "u_routing8"]
LOWEST = -(1 << 15)


@dataclass(frozen=True)
class Case:
    """One layer: logits, top-k and whether gates are renormalised."""

    name: str
    logit_NE: npt.NDArray[np.int64]
    k: int
    renormalise: bool = False


def cases() -> list[Case]:
    """Layers that stress every rule of golden's routing."""
    rng = np.random.default_rng(6)

    def draw(tokens: int, experts: int, spread: int = 1500) -> npt.NDArray[np.int64]:
        return np.clip(rng.integers(-spread, spread + 1, (tokens, experts)), LOWEST, -LOWEST - 1)

    one, absent, late = draw(20, 8), draw(15, 12), draw(9, 8)
    one[:, 5] = 9000
    absent[:, 0] = LOWEST
    late[:-1, 0], late[-1, 0] = LOWEST, 9000
    early = late[::-1].copy()
    return [
        Case("random", draw(20, 12), 3),
        Case("more experts than lanes, renormalised", draw(MAX_TOKENS, 21), 4, True),
        Case("one expert takes every token", one, 1),
        Case("ties everywhere", np.zeros((11, 10), np.int64), 4),
        Case("ties of two values", draw(17, 19, 1), 5, True),
        Case("top-1", draw(13, 8), 1),
        Case("top-1 renormalised", draw(13, 16), 1, True),
        Case("all experts", draw(10, 8), 8),
        Case("all experts, fewer than lanes, renormalised", draw(10, 3), 3, True),
        Case("a single expert", draw(7, 1), 1),
        Case("a single token", draw(1, 8), 2),
        Case("most experts without tokens", draw(4, 40), 2),
        Case("expert 0 missing", absent, 2),
        Case("expert 0 only for the last token", late, 2),
        Case("expert 0 only for the first token", early, 2),
        Case("clipped logits", draw(12, 9, 40000), 3),
        Case("1,024 experts", draw(3, 1024), 8),
        Case("all tokens", draw(MAX_TOKENS, 8), 2),
    ]


class Layer:
    """Expected routes and queues of a case, and what the monitor has seen."""

    def __init__(self, case: Case, per_token: bool) -> None:
        chosen_NK = top_k(case.logit_NE, case.k)
        exp_NE = exp2_fixed(case.logit_NE)
        exp_NK = np.take_along_axis(exp_NE, chosen_NK, axis=1)
        total_N = (exp_NK if case.renormalise else exp_NE).sum(axis=1)
        queues = token_queues(chosen_NK, gates(case.logit_NE, chosen_NK, case.renormalise))
        self.case = case
        self.routes, self.jobs = (Scoreboard(f"{case.name}: {part}") for part in ("route", "queue"))
        for token, experts in enumerate(chosen_NK):
            entries = [(1, int(e), int(case.logit_NE[token, e]) & 0xFFFF) for e in experts]
            self.routes.expect((token, entries, int(total_N[token])))
        self.used = {queue.expert for queue in queues}
        pairs = [
            (queue.expert, int(t), int(g)) for queue in queues for t, g in zip(queue.token_Q, queue.gate_Q, strict=True)
        ]
        if per_token:
            for expert, token, gate in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
                self.jobs.expect((expert, 1, [(token, gate)]))
            return
        for queue in queues:
            queued = [(token, gate) for expert, token, gate in pairs if expert == queue.expert]
            self.jobs.expect((queue.expert, len(queued), queued))

    @property
    def complete(self) -> bool:
        """All has come."""
        return self.routes.complete and self.jobs.complete

    def finish(self) -> None:
        """Exactly what was expected has come."""
        for board in (self.routes, self.jobs):
            board.finish()


class Consumer:
    """The other side of the queue builder: takes queues when it likes, and gives banks back late."""

    def __init__(self, dut: Any, name: str, dice: Dice) -> None:
        self._clock, self._unit, self._dice = dut.clk_i, getattr(dut, name), dice
        self._entries: dict[bool, list[tuple[int, ...]]] = {False: [], True: []}
        self._owned: deque[bool] = deque()  # banks handed over and not released
        self._release_in = 0
        self.layer: Layer | None = None

    async def run(self) -> None:
        """Serve for ever."""
        unit = self._unit
        while True:
            unit.job_ready.value = not self._dice.stalls()
            unit.release_bank.value = released = bool(self._owned) and self._release_in == 0
            self._release_in = max(self._release_in - 1, 0)
            await RisingEdge(self._clock)
            self._see_route()
            self._see_queue()
            if released:
                self._owned.popleft()
                self._release_in = self._dice.random.choice((0, 3, 40))

    def _see_route(self) -> None:
        unit = self._unit
        if unit.route_valid.value and unit.route_last.value:
            assert self.layer, "a route without a layer"
            entries = [fields(word, 1, 10, 16) for word in unpack(int(unit.route_list.value), 27, MAX_TOP_K)]
            self.layer.routes.check(
                (int(unit.route_token.value), entries[: self.layer.case.k], int(unit.route_sum.value))
            )

    def _see_queue(self) -> None:
        unit = self._unit
        if unit.queue_write.value:
            bank = bool(unit.queue_bank.value)
            assert bank not in self._owned, "a queue is overwritten while it is in use"
            assert int(unit.queue_index.value) == len(self._entries[bank])
            self._entries[bank].append(fields(int(unit.queue_entry.value), 13, 16))
        if unit.job_valid.value and unit.job_ready.value:
            assert self.layer, "a queue without a layer"
            bank = bool(unit.job_bank.value)
            self.layer.jobs.check((int(unit.job_expert.value), int(unit.job_rows.value), self._entries[bank]))
            self._entries[bank] = []
            self._owned.append(bank)
            assert len(self._owned) <= 2
            if len(self._owned) == 1:
                self._release_in = self._dice.random.choice((0, 3, 40))


def rows_of(case: Case) -> list[int]:
    """Logit rows as the linear engine gives them, tile by tile: token, tile and lanes in one word."""
    tokens, experts = case.logit_NE.shape
    tiles = -(-experts // LANES)
    # Lanes beyond the last expert carry what a padded weight tile gives: zeros, which must not win.
    padded = np.zeros((tokens, tiles * LANES), np.int64)
    padded[:, :experts] = case.logit_NE
    return [
        pack(padded[token, tile * LANES : (tile + 1) * LANES], 16) << 23 | token << 10 | tile
        for tile in range(tiles)
        for token in range(tokens)
    ]


class RowPort:
    """Token, tile and logits of the router's input, driven as one word."""

    def __init__(self, unit: Any) -> None:
        self._unit = unit

    def __len__(self) -> int:
        return 10 + 13 + 16 * LANES

    def _drive(self, word: int) -> None:
        logits, token, tile = fields(word, 16 * LANES, 13, 10)
        self._unit.in_logits.value, self._unit.in_token.value, self._unit.in_tile.value = logits, token, tile

    value = property(fset=_drive)


@cocotb.test()
@cocotb.parametrize(name=ROUTERS, stalls=[(0.0, 0.0), (0.6, 0.0), (0.1, 0.8)], per_token=[False, True])
async def routing(dut: Any, name: str, stalls: tuple[float, float], per_token: bool) -> None:
    """All cases, one layer directly after the other."""
    unit = getattr(dut, name)
    await start(dut, unit.in_valid, unit.start, unit.job_ready, unit.release_bank)
    consumer = Consumer(dut, name, Dice((name, "consumer"), stalls[1]))
    cocotb.start_soon(consumer.run())
    source = (RowPort(unit), unit.in_valid, unit.in_ready)
    unit.per_token.value = per_token
    for case in cases():
        consumer.layer = layer = Layer(case, per_token)
        unit.experts.value, unit.rows.value = case.logit_NE.shape[1], case.logit_NE.shape[0]
        unit.top_k.value, unit.renormalise.value = case.k, case.renormalise
        unit.start.value = 1
        await RisingEdge(dut.clk_i)
        unit.start.value = 0
        await RisingEdge(dut.clk_i)
        assert not unit.done.value
        await send(dut.clk_i, source, rows_of(case), Dice((name, case.name), stalls[0]))
        await until(dut.clk_i, lambda: bool(unit.done.value), 6000, f"{case.name}: the end")
        layer.finish()
        assert unit.idle.value
        assert unit.routed.value
        for expert in range(case.logit_NE.shape[1]):
            unit.asked.value = expert
            await RisingEdge(dut.clk_i)
            assert bool(unit.asked_used.value) == (expert in layer.used)
