# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The linear engine against golden: shapes, fences, stalls on every side (m3vit_linear_engine and all it holds).

Shapes: N rows, K inputs, M outputs, C chunks of 64 inputs.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.linear import Linear, linear
from m3vit.sim.layout import pack_linear
from rtl.handshake import Dice, Scoreboard, fields, join, send, start, unpack, until, word_ints

ENGINES = {"u_engine8": 8, "u_engine16": 16}
MAX_ROWS = 40
ACT_LATENCY = 3
TOKENS, QUEUE, HIDDEN = 0, 1, 2
LOGITS, GELU, COMBINE = 0, 1, 2


@dataclass
class Work:
    """One command: its layer, where its rows come from and where they go."""

    layer: Linear
    x_NK: npt.NDArray[np.int8]
    source: int
    dest: int
    bank: int
    fence: bool

    @property
    def chunks(self) -> int:
        """64-wide input chunks."""
        return int(self.x_NK.shape[1]) // 64

    def tiles(self, lanes: int) -> int:
        """Output tiles."""
        return len(self.layer.weight_MK) // lanes

    def command(self, lanes: int) -> int:
        """command_t."""
        return join(
            (len(self.x_NK), 13), (self.chunks, 8), (self.tiles(lanes), 10), (self.source, 2), (self.dest, 2),
            (self.bank, 1), (self.fence, 1),
        )  # fmt: skip

    def requests(self, lanes: int) -> Iterator[tuple[int, ...]]:
        """act_req_t in the order of the loop nest."""
        for _ in range(self.tiles(lanes)):
            for chunk in range(self.chunks):
                for row in range(len(self.x_NK)):
                    yield self.source, self.bank, row, chunk, self.chunks

    def results(self, lanes: int) -> Iterator[tuple[int, ...]]:
        """(row, tile, dest, bank, last, values...) in the order of the loop nest."""
        out_NM = linear(self.x_NK, self.layer, 10 if self.dest == GELU else 16)
        rows, tiles = len(out_NM), self.tiles(lanes)
        for tile in range(tiles):
            for row in range(rows):
                last = int(tile == tiles - 1 and row == rows - 1)
                values = out_NM[row, tile * lanes : (tile + 1) * lanes].tolist()
                yield row, tile, self.dest, self.bank, last, *values


def draw_layer(rng: np.random.Generator, out_features: int, in_features: int) -> Linear:
    """Uniform weights, biases up to the accumulator's range, requantised to values that sometimes saturate."""
    shift_M = rng.integers(14, 24, out_features)
    return Linear(
        rng.choice([-127, 127, 0, 1, -1, 50], (out_features, in_features)).astype(np.int8)
        if rng.integers(0, 4) == 0
        else rng.integers(-127, 128, (out_features, in_features), np.int8),
        rng.integers(-(1 << 22), 1 << 22, out_features).astype(np.int32),
        rng.integers(1 << 15, 1 << 16, out_features).astype(np.uint16),
        shift_M.astype(np.uint8),
    )


def draw_x(rng: np.random.Generator, rows: int, channels: int) -> npt.NDArray[np.int8]:
    """Full-range activations, sometimes only extremes."""
    extremes = np.array([-128, 127], np.int8)
    return (
        rng.choice(extremes, (rows, channels))
        if rng.integers(0, 3) == 0
        else rng.integers(-128, 128, (rows, channels), np.int8)
    )


def draw_work(rng: np.random.Generator, lanes: int) -> list[Work]:
    """Commands of mixed shapes: single rows, many chunks, many tiles, and pairs whose second half is fenced."""
    works: list[Work] = []
    for rows, chunks, tiles in ((1, 1, 1), (1, 4, 3), (MAX_ROWS, 1, 1), (2, 3, 5), (33, 2, 2), (1, 1, 6), (9, 1, 4)):
        layer, x_NK = draw_layer(rng, tiles * lanes, 64 * chunks), draw_x(rng, rows, 64 * chunks)
        works.append(Work(layer, x_NK, TOKENS, LOGITS, 0, False))
    for rows, hidden_chunks in ((1, 1), (7, 2), (1, 3), (MAX_ROWS, 1), (3, 1), (1, 1)):
        bank, chunks = int(rng.integers(0, 2)), int(rng.integers(1, 3))
        first = Work(
            draw_layer(rng, 64 * hidden_chunks, 64 * chunks), draw_x(rng, rows, 64 * chunks), QUEUE, GELU, bank, False
        )
        hidden_NH = hide(linear(first.x_NK, first.layer, 10))
        second = Work(
            draw_layer(rng, int(rng.integers(1, 4)) * lanes, 64 * hidden_chunks), hidden_NH, HIDDEN, COMBINE, bank, True
        )
        works += [first, second]
    return works


def hide(pre: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Stands for the GELU table: 10 bits to 8."""
    return (pre >> 2).astype(np.int8)


class Bench:
    """Answers activation requests, takes results, and keeps the hidden buffer between fenced commands."""

    def __init__(self, dut: Any, name: str, works: list[Work], dice: Dice) -> None:
        self.clock, self.unit, self.lanes, self.dice = dut.clk_i, getattr(dut, name), ENGINES[name], dice
        self.requests, self.results = Scoreboard("request"), Scoreboard("result")
        self.owners: deque[tuple[Work, int, int]] = deque()  # command, row and chunk of each request
        for work in works:
            asked = list(work.requests(self.lanes))
            self.requests.expect(*asked)
            self.results.expect(*work.results(self.lanes))
            self.owners.extend((work, row, chunk) for _, _, row, chunk, _ in asked)
        self.hidden = np.full((MAX_ROWS, 256), 85, np.int8)
        self.answers: deque[int | None] = deque([None] * (ACT_LATENCY - 1))
        self.arriving: deque[tuple[int, int, int, list[int]]] = deque()  # due, row, tile, values on the way to hidden
        self.loaded = 0
        self.cycle = 0

    async def run(self) -> None:
        """Serve until all results have come."""
        unit = self.unit
        while not (self.results.complete and self.requests.complete):
            unit.rows_loaded.value = self.loaded
            unit.out_ready.value = ready = not self.dice.stalls()
            unit.consumer_idle.value = not self.arriving
            await RisingEdge(self.clock)
            self.cycle += 1
            self._see_request()
            unit.act.value = self._answer()
            if ready and unit.out_valid.value:
                self._see_result()
            while self.arriving and self.arriving[0][0] <= self.cycle:
                _, row, tile, values = self.arriving.popleft()
                self.hidden[row, tile * self.lanes : (tile + 1) * self.lanes] = hide(np.array(values))
            self.loaded = min(self.loaded + int(self.dice.random.random() < 0.3), MAX_ROWS)

    def _see_request(self) -> None:
        unit = self.unit
        if not unit.act_valid.value:
            self.answers.append(None)
            return
        request = fields(int(unit.act_req.value), 2, 1, 13, 8, 8)
        self.requests.check(request)
        work, row, chunk = self.owners.popleft()
        if work.source == TOKENS:
            assert row < int(unit.rows_loaded.value), "a token is read before it is there"
        x_K = (self.hidden if work.source == HIDDEN else work.x_NK)[row, 64 * chunk : 64 * (chunk + 1)]
        self.answers.append(int.from_bytes(x_K.tobytes(), "little"))

    def _answer(self) -> int:
        """The word that belongs to this cycle, noise otherwise."""
        word = self.answers.popleft()
        return self.dice.noise(512) if word is None else word

    def _see_result(self) -> None:
        unit = self.unit
        tag = fields(int(unit.out_tag.value), 13, 10, 2, 1, 1)
        values = unpack(int(unit.out_value.value), 16, self.lanes, signed=True)
        self.results.check((*tag, *values))
        if tag[2] == GELU:
            self.arriving.append((self.cycle + self.dice.random.randrange(1, 4), tag[0], tag[1], values))


@cocotb.test()
@cocotb.parametrize(name=list(ENGINES), stalls=[(0.0, 0.0), (0.5, 0.0), (0.05, 0.6), (0.2, 0.2)])
async def engine(dut: Any, name: str, stalls: tuple[float, float]) -> None:
    """A run of commands back to back: every request and every result, in order."""
    lanes, unit = ENGINES[name], getattr(dut, name)
    await start(dut, unit.cmd_valid, unit.weight_valid, unit.out_ready, unit.rows_loaded)
    rng = np.random.default_rng([10, lanes])
    works = draw_work(rng, lanes)
    rng.shuffle(works[:7])
    bench = Bench(dut, name, works, Dice((name, "engine"), stalls[1]))
    words = [word for work in works for word in word_ints(pack_linear(work.layer, lanes))]
    commands = [work.command(lanes) for work in works]
    serving = cocotb.start_soon(bench.run())
    weights = (unit.weight, unit.weight_valid, unit.weight_ready)
    cocotb.start_soon(send(dut.clk_i, weights, words, Dice((name, "weights"), stalls[0])))
    cocotb.start_soon(send(dut.clk_i, (unit.cmd, unit.cmd_valid, unit.cmd_ready), commands, Dice((name, "cmd"), 0.1)))
    await until(dut.clk_i, serving.done, 40000, "the last result")
    bench.requests.finish()
    bench.results.finish()
    await until(dut.clk_i, lambda: bool(unit.idle.value), 10, "idle")
