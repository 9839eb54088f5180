# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit_attention against golden: blocks of query rows that follow each other as closely as the contract allows.

Shapes: R rows of a block, K keys, W words of INPUTS keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.arith import MAX_SHIFT, MULTIPLIER_BITS, round_half_up_shift, saturate
from m3vit.sim.golden.attention import probabilities, reciprocal
from m3vit.sim.golden.norm import fold_multiplier
from rtl.handshake import Dice, Scoreboard, fields, pack, start

UNITS = {"u_attention8": (8, 2, 24, 200), "u_attention32": (32, 3, 40, 300)}
"""Lanes, groups, query rows and keys of each instance."""
ACT_LATENCY, FACTOR_LATENCY = 5, 25
SCORE_LATENCY = 8
"""From a score to the first request that sees the maximum with it."""
APART = 4
"""Least distance between two tiles, or two words, of one row."""
SUM_BITS = 23
SUM_LIMIT = 1 << (SUM_BITS - 1)
Ints = npt.NDArray[np.int64]
Event = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """Sums of one block, and what becomes of them."""

    sum_RK: Ints
    units: int
    shift: int
    multiplier: int
    out_shift: int
    passes: int
    """How often the probabilities are asked for: tiles of output channels."""

    @property
    def rows(self) -> int:
        """Query rows."""
        return int(self.sum_RK.shape[0])

    @property
    def keys(self) -> int:
        """Keys that exist."""
        return int(self.sum_RK.shape[1])

    def probabilities(self) -> Ints:
        """Golden probabilities. Shape (R, K)."""
        return probabilities(saturate(round_half_up_shift(self.sum_RK, self.shift), 16))

    def factors(self) -> list[tuple[int, int]]:
        """Golden multiplier and shift of each row; a shift beyond the largest one counts as that."""
        mantissa, exponent = reciprocal(self.probabilities().sum(axis=1))
        shift = np.minimum(self.out_shift + exponent - MULTIPLIER_BITS, MAX_SHIFT)
        return list(zip(fold_multiplier(mantissa, self.multiplier).tolist(), shift.tolist(), strict=True))


class Driver:
    """Sends scores and requests, one event of each per cycle, and checks every answer in its cycle."""

    def __init__(self, dut: Any, name: str, dice: Dice) -> None:
        self.clock, self.unit, self.dice = dut.clk_i, getattr(dut, name), dice
        self.lanes, self.groups, self.max_block, self.max_keys = UNITS[name]
        self.inputs = 32 * self.groups
        self.cycle = 0
        self.acts = Scoreboard("word")
        self.due: dict[int, tuple[str, int]] = {}
        self.factors: list[tuple[int, tuple[int, int]]] = []
        """Cycle in which the engine takes it, and what it must be."""
        self.factors_checked = 0

    def score_events(self, block: Block) -> Iterator[Event]:
        """Tile by tile, row by row; what no key stands for is noise."""
        rng = np.random.default_rng(self.dice.random.getrandbits(32))
        apart = block.units == 1
        step = self.lanes * self.groups if apart else self.lanes
        for tile in range(ceil(block.keys / step)):
            for row in range(block.rows):
                sums = rng.integers(-SUM_LIMIT, SUM_LIMIT, self.lanes * self.groups)
                part = block.sum_RK[row, tile * step : (tile + 1) * step]
                sums[: len(part)] = part
                yield {
                    "row": row, "tile": tile, "units": block.units, "shift": block.shift, "keys": block.keys,
                    "sum": pack(sums, SUM_BITS),
                }  # fmt: skip

    def request_events(self, block: Block) -> Iterator[Event]:
        """Pass by pass, word by word, row by row."""
        words = ceil(block.keys / self.inputs)
        act_RK = np.zeros((block.rows, words * self.inputs), np.int64)
        act_RK[:, : block.keys] = block.probabilities() - 128
        factors = block.factors()
        for _ in range(block.passes):
            for word in range(words):
                for row in range(block.rows):
                    act = act_RK[row, word * self.inputs : (word + 1) * self.inputs]
                    yield {
                        "row": row, "word": word, "keys": block.keys, "last": word == words - 1,
                        "multiplier": block.multiplier, "shift": block.out_shift, "act": pack(act, 8),
                        "factor": factors[row],
                    }  # fmt: skip

    def drive(self, side: str, event: Event | None) -> None:
        """Put an event on the bus, or noise."""
        unit = self.unit
        getattr(unit, f"{side}_valid").value = event is not None
        names = ("row", "tile", "units", "shift", "keys", "sum") if side == "score" else (
            "row", "word", "keys", "last", "multiplier", "shift")  # fmt: skip
        for name in names:
            signal = getattr(unit, f"{side}_{name}")
            signal.value = self.dice.noise(len(signal)) if event is None else event[name]

    async def step(self, score: Event | None, request: Event | None) -> None:
        """One cycle."""
        self.drive("score", score)
        self.drive("req", request)
        take = bool(self.factors) and self.factors[0][0] == self.cycle
        self.unit.factor_ready.value = take
        if request is not None:
            self.due[self.cycle + ACT_LATENCY] = ("word", request["act"])
            self.acts.expect(request["act"])
            if request["last"]:
                self.factors.append((self.cycle + ACT_LATENCY + FACTOR_LATENCY, request["factor"]))
        await RisingEdge(self.clock)
        if self.cycle in self.due:
            self.due.pop(self.cycle)
            self.acts.check(int(self.unit.act.value))
        if take:
            _, wanted = self.factors.pop(0)
            assert self.unit.factor_valid.value, f"factor {self.factors_checked} is late"
            assert fields(int(self.unit.factor.value), 16, 6) == wanted, f"factor {self.factors_checked}"
            self.factors_checked += 1
        self.cycle += 1

    async def run(self, blocks: Sequence[Block], overlap: bool) -> None:
        """All blocks; with `overlap` the next block's scores follow a row's last request one cycle later."""
        score_at: dict[int, int] = {}
        request_at: dict[int, int] = {}
        scores: Iterator[Event] = self.score_events(blocks[0])
        waiting_score: Event | None = next(scores)
        for index, block in enumerate(blocks):
            while waiting_score is not None:  # the rest of this block's scores
                waiting_score = await self.one(scores, waiting_score, score_at)
            for _ in range(SCORE_LATENCY - 1):
                await self.step(None, None)
            following = blocks[index + 1] if index + 1 < len(blocks) else None
            scores = self.score_events(following) if following else iter(())
            waiting_score = next(scores, None)
            left = dict.fromkeys(range(block.rows), block.passes * ceil(block.keys / self.inputs))
            for event in self.request_events(block):
                row = event["row"]
                while self.dice.stalls() or self.cycle - request_at.get(row, -APART) < APART:
                    waiting_score = await self.one(scores, waiting_score, score_at, left, overlap)
                request_at[row] = self.cycle
                waiting_score = await self.one(scores, waiting_score, score_at, left, overlap, event)
                left[row] -= 1
        assert not self.unit.idle.value
        while self.factors or self.due:
            await self.step(None, None)
        await self.step(None, None)
        assert self.unit.idle.value
        self.acts.finish()

    async def one(
        self, scores: Iterator[Event], waiting: Event | None, score_at: dict[int, int],
        left: dict[int, int] | None = None, overlap: bool = True, request: Event | None = None,
    ) -> Event | None:  # fmt: skip
        """A cycle with a request, and a score if one may come; returns the score that waits after it."""
        send = waiting is not None and overlap and not self.dice.stalls()
        if waiting is not None and send:
            row = waiting["row"]
            send = (left is None or left.get(row, 0) == 0) and self.cycle - score_at.get(row, -APART) >= APART
        if waiting is None or not send:
            await self.step(None, request)
            return waiting
        score_at[waiting["row"]] = self.cycle
        await self.step(waiting, request)
        return next(scores, None)


def sums(rng: np.random.Generator, kind: str, rows: int, keys: int, shift: int) -> Ints:
    """Sums whose scores are realistic or at the limits."""
    if kind == "equal":
        return np.broadcast_to(rng.integers(-SUM_LIMIT, SUM_LIMIT, (rows, 1)), (rows, keys)).astype(np.int64)
    if kind == "limits":
        return rng.choice([-SUM_LIMIT, SUM_LIMIT - 1], (rows, keys), p=[0.9, 0.1])
    if kind == "lowest":
        return np.full((rows, keys), -SUM_LIMIT)
    if kind == "any":
        return rng.integers(-SUM_LIMIT, SUM_LIMIT, (rows, keys))
    spread = rng.choice([20, 300, 800, 3000], (rows, 1)) * 2.0**shift
    return np.clip(rng.normal(rng.normal(0, spread), spread, (rows, keys)), -SUM_LIMIT, SUM_LIMIT - 1).astype(np.int64)


def blocks_of(name: str, rng: np.random.Generator) -> list[Block]:
    """Blocks of every kind with the numbers of keys where words and tiles end, and random ones."""
    lanes, groups, max_block, max_keys = UNITS[name]
    inputs = 32 * groups
    edges = [1, 2, lanes - 1, lanes, lanes + 1, lanes * groups, lanes * groups + 1, inputs - 1, inputs, inputs + 1]
    blocks = []
    for index, keys in enumerate([*edges, 2 * inputs, 2 * inputs + 1, max_keys, *rng.integers(1, max_keys, 12)]):
        kind = ("normal", "any", "equal", "normal", "limits", "normal", "lowest")[index % 7]
        shift = int(rng.integers(0, 12)) if kind == "normal" else int(rng.integers(0, 32))
        rows = max_block if index % 3 == 0 else int(rng.integers(1, max_block + 1))
        blocks.append(
            Block(
                sum_RK=sums(rng, kind, rows, int(keys), shift),
                units=1 + index % groups,
                shift=shift,
                multiplier=int(rng.choice(np.array([0, 1, 32768, 65535, int(rng.integers(1 << 15, 1 << 16))]))),
                out_shift=int(rng.integers(0, MAX_SHIFT + 1)),
                passes=int(rng.integers(1, 4)),
            )
        )
    return blocks


@cocotb.test()
@cocotb.parametrize(name=list(UNITS), stall=[0.0, 0.3], overlap=[False, True])
async def blocks(dut: Any, name: str, stall: float, overlap: bool) -> None:
    """Every byte and every factor, each in its cycle."""
    dice = Dice((name, stall, overlap), stall)
    driver = Driver(dut, name, dice)
    await start(dut, driver.unit.score_valid, driver.unit.req_valid, driver.unit.factor_ready)
    work = blocks_of(name, np.random.default_rng(dice.random.getrandbits(32)))
    await driver.run(work, overlap)
    assert driver.factors_checked == sum(block.rows * block.passes for block in work)


@cocotb.test()
@cocotb.parametrize(name=list(UNITS))
async def idle_covers_all(dut: Any, name: str) -> None:
    """Not idle from the cycle after a score until the maximum is kept, and from a request until its factor is taken."""
    driver = Driver(dut, name, Dice(name))
    unit = driver.unit
    await start(dut, unit.score_valid, unit.req_valid, unit.factor_ready)
    block = Block(np.array([[5]]), 1, 0, 40000, 10, 1)
    for event in driver.score_events(block):
        await driver.step(event, None)
    for _ in range(SCORE_LATENCY):
        await driver.step(None, None)
        assert not unit.idle.value
    await driver.step(None, None)
    assert unit.idle.value
    for event in driver.request_events(block):
        await driver.step(None, event)
    while driver.factors:
        await driver.step(None, None)
        assert not unit.idle.value
    await driver.step(None, None)
    assert unit.idle.value
