# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The linear engine against golden: a small network per run, with every kind of command, stalls on every side.

The bench stands for everything around the engine. It keeps the buffers at their real addresses and writes a result
there some cycles after it has come, so a wrong address and a read that comes too early both give wrong numbers.

Shapes: N tokens, K inputs, M outputs, D channels, C channels of a head.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.linear import gelu
from rtl.engine_plan import (
    ACT_LATENCY,
    DST_ATTENTION,
    DST_GELU,
    DST_LOGITS,
    DST_QKV,
    FACTOR_LATENCY,
    KV_LATENCY,
    REQUEST,
    RETURN,
    SCORE_TAG,
    SRC_HIDDEN,
    SRC_PATCHES,
    SRC_QUERY,
    SRC_QUEUE,
    SRC_SCORES,
    TAG,
    UNIT,
    Int8s,
    Plan,
    Work,
    ceil_div,
)
from rtl.handshake import Dice, Scoreboard, fields, join, send, start, unpack, until


class Bench:
    """Everything around the engine; `pace` is how often a cycle brings a row of the norm, unless as all else."""

    def __init__(self, dut: Any, plan: Plan, dice: Dice, *, calm: bool = False, pace: float | None = None) -> None:
        self.dut, self.plan, self.dice, self.calm, self.pace = dut, plan, dice, calm, pace
        self.lanes, self.groups, self.inputs = plan.lanes, plan.groups, plan.inputs
        self.results, self.scores, self.requests = Scoreboard("result"), Scoreboard("score"), Scoreboard("request")
        self.cycle = 0
        self.request_cycles: dict[int, list[int]] = {}
        noise = np.random.default_rng(1)
        self.x, self.h, self.kv = (noise.integers(-128, 128, 1 << 16, np.int8) for _ in range(3))
        self.queues: dict[int, list[int]] = {}
        self.owners: Iterator[tuple[int, Work, int, int, int]] = (
            (index, work, *place) for index, work in enumerate(plan.works) for place in work.nest()
        )
        self.answers: deque[int | None] = deque([None] * (ACT_LATENCY - 1))
        self.units: deque[int | None] = deque([None] * (KV_LATENCY - 1))
        self.arriving: deque[tuple[int, npt.NDArray[np.int8], int, npt.NDArray[np.int8]]] = deque()
        self.factors: deque[tuple[int, int, int]] = deque()  # due, multiplier, shift
        self.tables, self.norms = deque(plan.tables), deque(plan.norms)
        self.table = np.zeros(1024, np.int8)
        self.table_words = 0
        self.table_due: int | None = None
        self.norm_words = 0
        self.norm_rows = 0
        self.norming: npt.NDArray[np.int8] | None = None
        self.starting = False
        self.patches_at = dice.random.randrange(100)
        self.expected_requests = sum(c["rows"] * c["k_chunks"] * c["m_tiles"] for c in (w.command for w in plan.works))
        for work in plan.works:
            self._expect(work)

    def _expect(self, work: Work) -> None:
        c = work.command
        for tile in range(c["m_tiles"]):
            word, sub, pitch, keys = work.place(tile)
            for row in range(c["rows"]):
                if work.score_NK is not None:
                    tag = (row, tile, c["units"], c["score_shift"], c["keys"])
                    self.scores.expect((*tag, *self._sums(work, tile, row)))
                    continue
                assert work.out_NM is not None
                last = int(tile == c["m_tiles"] - 1 and row == c["rows"] - 1)
                place = (word, sub, pitch) if c["dest"] != DST_LOGITS else (0, 0, 0)
                values = work.out_NM[row, tile * self.lanes : (tile + 1) * self.lanes].tolist()
                dest_row = c["dest_first"] + row
                self.results.expect((c["op"], row, dest_row, tile, *place, c["dest"], keys, c["bank"], last, *values))

    def _sums(self, work: Work, tile: int, row: int) -> list[int]:
        """Scores of the keys that exist, in the order of groups and lanes."""
        assert work.score_NK is not None
        per = self.lanes * (self.groups if work.command["units"] == 1 else 1)
        return [int(v) for v in work.score_NK[row, tile * per : (tile + 1) * per]]

    @property
    def complete(self) -> bool:
        """All has come."""
        return self.results.complete and self.scores.complete and not self.arriving

    def finish(self) -> None:
        """Exactly what was expected has come."""
        self.results.finish()
        if self.scores.expected:
            self.scores.finish()
        seen = sum(map(len, self.request_cycles.values()))
        assert seen == self.expected_requests, f"{seen} of {self.expected_requests} rows were requested"
        assert not self.norms
        assert not self.tables
        assert not self.factors

    def _chance(self) -> bool:
        return self.calm or self.dice.random.random() < 0.6

    async def run(self) -> None:
        """Serve until all results have come."""
        dut = self.dut
        while not self.complete:
            dut.out_ready.value = ready = not self.dice.stalls()
            dut.consumer_idle.value = not self.arriving
            dut.gelu_ready.value = self._chance()
            dut.norm_ready.value = self._chance()
            dut.gelu_loaded.value = self.table_due is not None and self.table_due <= self.cycle
            dut.norm_idle.value = self.norming is None
            dut.norm_busy.value = self.norming is not None
            dut.norm_rows.value = self.norm_rows
            dut.patches_ready.value = self.cycle > self.patches_at
            if self.cycle == self.patches_at:
                self._write_rows(self.kv, self.plan.patches_NK, 0)
            due = bool(self.factors) and self.factors[0][0] <= self.cycle + 1
            dut.factor_valid.value = due
            dut.factor.value = join((self.factors[0][1], 16), (self.factors[0][2], 6)) if due else self.dice.noise(22)
            dut.norm_start.value = starting = self.starting
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            dut.act.value = self._answer(self.answers, self.inputs)
            dut.kv_unit.value = self._answer(self.units, UNIT)
            self._see_request()
            self._see_key()
            self._see_score()
            self._see_tables()
            self._norm(starting)
            if dut.factor_ready.value:
                assert due, "a factor is taken that is not there"
                self.factors.popleft()
            if ready and dut.out_valid.value:
                self._see_result()
            while self.arriving and self.arriving[0][0] <= self.cycle:
                _, memory, at, data = self.arriving.popleft()
                memory[at : at + len(data)] = data
            states = [dut.act_valid, dut.stall_weight, dut.stall_input, dut.stall_output]
            assert sum(int(state.value) for state in states) == 1, "a cycle is counted twice or not at all"

    def _answer(self, queue: deque[int | None], size: int) -> int:
        """The word that belongs to this cycle, noise otherwise."""
        word = queue.popleft()
        return self.dice.noise(8 * size) if word is None else word

    def _write_rows(self, memory: Int8s, rows_NK: Int8s, first: int) -> None:
        pitch = self.plan.pitch(rows_NK.shape[1]) * self.inputs if len(rows_NK) else 0
        for row, data in enumerate(rows_NK, first):
            memory[row * pitch : row * pitch + len(data)] = data

    def _see_request(self) -> None:
        dut = self.dut
        if not dut.act_valid.value:
            self.answers.append(None)
            return
        index, work, tile, chunk, row = next(self.owners)
        c = work.command
        source, bank, at, word, pitch, sub, units, keys, last, multiplier, shift = fields(
            int(dut.act_req.value), *REQUEST
        )
        assert (source, at) == (c["source"], c["first"] + row), f"command {index} asks for row {at} of {source}"
        assert int(dut.op.value) == c["op"]
        cycles = self.request_cycles.setdefault(index, [])
        cycles.append(self.cycle)
        returns = (tile, chunk) != (0, 0)
        assert not returns or self.cycle - cycles[-1 - c["rows"]] >= RETURN, f"row {row} of {index} returns too early"
        if source == SRC_QUEUE:
            if len(cycles) == 1:
                self.queues.update([self.plan.queues.popleft()])
            assert bank == c["bank"]
            at = self.queues[bank][at]
        if source == SRC_SCORES:
            assert work.act_NK is not None
            assert (word, last) == (chunk, int(chunk == c["k_chunks"] - 1))
            assert (keys, multiplier, shift) == (c["keys"], c["multiplier"], c["shift"])
            data = work.act_NK[row, chunk * self.inputs : (chunk + 1) * self.inputs]
            data = np.pad(data, (0, self.inputs - len(data)))
            if last:
                delay = ACT_LATENCY + (FACTOR_LATENCY if self.calm or self.dice.random.random() < 0.7 else 10)
                due = max(self.cycle + delay, self.factors[-1][0] if self.factors else 0)
                self.factors.append((due, *work.factors[row]))
        else:
            memory = {SRC_HIDDEN: self.h, SRC_PATCHES: self.kv, SRC_QUERY: self.h}.get(source, self.x)
            assert word == (c["word"] if source == SRC_QUERY else chunk)
            start_byte = (at * pitch + word) * self.inputs
            data = memory[start_byte : start_byte + self.inputs]
            if source == SRC_QUERY:
                assert units == c["units"]
                unit = data[sub * UNIT : (sub + 1) * UNIT]
                data = np.tile(unit, self.groups) if units == 1 else data.copy()
                if units > 1:
                    data[units * UNIT :] = 0
        self.answers.append(int.from_bytes(data.tobytes(), "little"))

    def _see_key(self) -> None:
        dut = self.dut
        if not dut.kv_valid.value:
            self.units.append(None)
            return
        row, unit, pitch = fields(int(dut.kv_req.value), 13, 8, 8)
        at = row * pitch * self.inputs + unit * UNIT
        self.units.append(int.from_bytes(self.kv[at : at + UNIT].tobytes(), "little"))

    def _see_score(self) -> None:
        dut = self.dut
        if not dut.score_valid.value:
            return
        row, tile, units, shift, keys = fields(int(dut.score_tag.value), *SCORE_TAG)
        per = self.lanes * (self.groups if units == 1 else 1)
        exist = max(0, min(per, keys - tile * per))
        sums = unpack(int(dut.score_sum.value), 23, self.groups * self.lanes, signed=True)[:exist]
        self.scores.check((row, tile, units, shift, keys, *sums))

    def _see_tables(self) -> None:
        dut = self.dut
        if dut.gelu_valid.value and dut.gelu_ready.value:
            words = ceil_div(1024, self.inputs)
            if self.table_words == 0:
                self.table = self.table ^ np.int8(0x55)  # half written
                self.table_due = None
            at = self.table_words * self.inputs
            data = np.frombuffer(int(dut.word.value).to_bytes(self.inputs, "little"), np.int8)[: 1024 - at]
            assert np.array_equal(data, self.tables[0][at : at + self.inputs]), "a word of the GELU table is wrong"
            self.table_words += 1
            if self.table_words == words:
                self.table_words = 0
                self.table = self.tables.popleft()
                self.table_due = self.cycle + self.dice.random.randrange(20)
        if dut.norm_valid.value and dut.norm_ready.value:
            assert self.norming is None, "the norm's table changes while it is busy"
            wanted = self.norms[0][0]
            assert self.norm_words < len(wanted), "a norm's table is overwritten before it has started"
            assert int(dut.word.value) == wanted[self.norm_words], "a word of the norm's table is wrong"
            self.norm_words += 1

    def _norm(self, starting: bool) -> None:
        """The unit starts when the engine waits for it, and writes a row now and then."""
        dut = self.dut
        self.starting = False
        if starting:
            self.norm_words, self.norm_rows = 0, 0
            self.norming = self.norms.popleft()[1]
            self.x[:] ^= 0x55
        elif self.norming is not None:
            if self.norm_rows == len(self.norming):
                if self._chance():
                    self.norming = None
            elif self._chance() if self.pace is None else self.dice.random.random() < self.pace:
                pitch = self.plan.pitch(self.norming.shape[1]) * self.inputs
                at = self.norm_rows * pitch
                self.x[at : at + self.norming.shape[1]] = self.norming[self.norm_rows]
                self.norm_rows += 1
        elif dut.norm_wait.value and dut.quiet.value and self.norms and self.norm_words == len(self.norms[0][0]):
            assert not self.arriving, "the norm starts before all results have come"
            self.starting = self._chance()

    def _see_result(self) -> None:
        dut = self.dut
        tag = fields(int(dut.out_tag.value), *TAG)
        _, _, dest_row, _, word, sub, pitch, dest, keys, _, _ = tag
        values = unpack(int(dut.out_value.value), 16, self.lanes, signed=True)
        seen = tag if dest != DST_LOGITS else (*tag[:4], 0, 0, 0, *tag[7:])
        self.results.check((*seen, *values))
        if dest not in (DST_GELU, DST_QKV, DST_ATTENTION):
            memory, data, at = self.x, np.zeros(0, np.int8), 0
        else:
            memory = {DST_GELU: self.h, DST_ATTENTION: self.x, DST_QKV: self.kv if keys else self.h}[dest]
            data = np.array(values, np.int64)
            data = (gelu(data, self.table) if dest == DST_GELU else data).astype(np.int8)
            at = (dest_row * pitch + word) * self.inputs + sub * self.lanes
        due = self.cycle + (1 if self.calm else self.dice.random.randrange(1, 7))
        self.arriving.append((max(due, self.arriving[-1][0] if self.arriving else 0), memory, at, data))


async def play(
    dut: Any, plan: Plan, name: str, stalls: tuple[float, float], limit: int, pace: float | None = None
) -> Bench:
    """Run a plan; stalls of the sources and of the output."""
    bench = Bench(dut, plan, Dice((name, "bench"), stalls[1]), calm=stalls == (0.0, 0.0), pace=pace)
    await start(dut, dut.cmd_valid, dut.weight_valid, dut.segment_valid, dut.norm_start, dut.out_ready, dut.gelu_loaded,
                dut.norm_busy, dut.norm_rows, dut.patches_ready, dut.factor_valid)  # fmt: skip
    serving = cocotb.start_soon(bench.run())
    ports = {
        "weight": (dut.weight, dut.weight_valid, dut.weight_ready),
        "segment": (dut.segment, dut.segment_valid, dut.segment_ready),
        "cmd": (dut.cmd, dut.cmd_valid, dut.cmd_ready),
    }
    for port, items in (("weight", plan.words), ("segment", plan.segments), ("cmd", plan.commands)):
        cocotb.start_soon(send(dut.clk_i, ports[port], items, Dice((name, port), stalls[0])))
    await until(dut.clk_i, serving.done, limit, "the last result")
    serving.result()
    bench.finish()
    await until(dut.clk_i, lambda: bool(dut.idle.value), 40, "idle")
    return bench


def shape(dut: Any) -> tuple[int, int]:
    """Lanes and groups."""
    return len(dut.out_value) // 16, len(dut.act) // 8 // UNIT


@cocotb.test()
@cocotb.parametrize(seed=range(4), stalls=[(0.0, 0.0), (0.5, 0.0), (0.05, 0.6), (0.2, 0.2)])
async def network(dut: Any, seed: int, stalls: tuple[float, float]) -> None:
    """A network of one layer of each kind with random sizes."""
    lanes, groups = shape(dut)
    rng = np.random.default_rng([seed, lanes, groups])
    plan = Plan(rng, lanes, groups)
    inputs = plan.inputs
    tokens = int(rng.choice([2, 3, 17, 33, inputs, inputs + 1, 40]))
    channels = UNIT * int(rng.integers(1, groups + 1))
    heads = int(rng.integers(1, 4))
    dim = heads * channels
    plan.patch_embed(tokens, dim, int(rng.integers(1, 3)) * 48)
    plan.attention(tokens, heads, channels, int(rng.integers(max(1, tokens // 3), tokens + 1)))
    plan.mlp(tokens, dim, inputs * int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    plan.moe(tokens, dim, inputs * int(rng.integers(1, 3)), int(rng.integers(2, 8)))
    plan.mlp(1, dim, inputs * int(rng.integers(1, 4)), 2)
    plan.head(tokens, dim, int(rng.integers(1, 80)))
    await play(dut, plan, f"network {seed} {stalls}", stalls, 60000)


@cocotb.test()
@cocotb.parametrize(rows=[2, 3])
async def short_passes(dut: Any, rows: int) -> None:
    """Passes of few rows, one of which waits for its norm until the next tile is there: the next pass waits as well."""
    lanes, groups = shape(dut)
    rng = np.random.default_rng([rows, lanes, groups])
    plan = Plan(rng, lanes, groups)
    for _ in range(12):
        plan.mlp(rows, UNIT * int(rng.integers(groups + 1, 3 * groups)), plan.inputs, 1)
    bench = await play(dut, plan, f"short passes {rows}", (0.0, 0.0), 20000, pace=0.5 / lanes)
    firsts = [bench.request_cycles[index] for index, work in enumerate(plan.works) if work.command["norm"]]
    late = [cycles for cycles in firsts if cycles[rows - 1] - cycles[0] > 2 * lanes]
    assert len(late) >= 3, "no row waits longer than a tile"


@cocotb.test()
async def long_passes(dut: Any) -> None:
    """Passes that are longer than a tile takes to load follow each other without a pause."""
    lanes, groups = shape(dut)
    rows = 2 * lanes + 16
    plan = Plan(np.random.default_rng([lanes, groups]), lanes, groups)
    plan.mlp(rows, UNIT * 2 * groups, 2 * plan.inputs, 3)
    bench = await play(dut, plan, "long passes", (0.0, 0.0), 20000)
    for index, work in enumerate(plan.works):
        cycles, fenced = bench.request_cycles[index], work.command["k_chunks"] - 1 if work.command["fence"] else 0
        pauses = [cycles[at] - cycles[at - 1] - 1 for at in range(rows, len(cycles), rows)]
        assert not any(pauses[fenced:]), f"command {index} pauses: {pauses}"
