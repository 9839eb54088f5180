# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What follows the linear engine: the GELU table and the residual stream (m3vit_gelu, m3vit_residual)."""

from collections import deque
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.linear import gelu
from m3vit.sim.golden.moe import combine
from rtl.handshake import Dice, Scoreboard, join, pack, receive, send, start, unpack, until, word_ints

GELUS = {"u_gelu8": (8, 64), "u_gelu32": (32, 96), "u_gelu16": (16, 128)}
"""Lanes and bytes of a stream word."""
RESIDUALS = {"u_residual8": 8, "u_residual16": 16, "u_residual32": 32}
"""Lanes."""
TOKENS, MAX_DIM = 6, 96
DST_COMBINE, DST_RESIDUAL, DST_OUTPUT = 3, 4, 5
SAFE_CYCLES = 3
"""Least distance of two rows that add to the same granule."""
LIMIT = 1 << 15


@cocotb.test()
@cocotb.parametrize(name=list(GELUS), stall=[0.0, 0.5])
async def gelu_tables(dut: Any, name: str, stall: float) -> None:
    """Every entry on every lane, for three tables in turn; a table is complete only after its last word."""
    unit, rng, dice = getattr(dut, name), np.random.default_rng(7), Dice("gelu", stall)
    lanes, inputs = GELUS[name]
    await start(dut, unit.in_valid, unit.valid)
    assert not unit.loaded.value
    for _ in range(3):
        table = rng.integers(-128, 128, 1024).astype(np.int8)
        padding = rng.integers(-128, 128, -1024 % inputs).astype(np.int8)
        # The last entry is asked for from now on, so in the first cycle in which the table is complete.
        unit.value.value = pack([511] * lanes, 16)
        words = word_ints(np.concatenate([table, padding]).view(np.uint8), inputs)
        await send(dut.clk_i, (unit.in_data, unit.in_valid, unit.in_ready), words[:1], Dice("first"))
        unit.valid.value = 1
        loading = cocotb.start_soon(send(dut.clk_i, (unit.in_data, unit.in_valid, unit.in_ready), words[1:], dice))
        cycles = 0
        while not loading.done():
            await RisingEdge(dut.clk_i)
            cycles += 1
            assert not unit.loaded.value, "complete before its last word"
        assert stall or cycles == len(words), "the queue does not take the words at full rate"
        await until(dut.clk_i, lambda: bool(unit.loaded.value), 200, "the table")
        unit.valid.value = 0
        await RisingEdge(dut.clk_i)
        first = (bool(unit.out_valid.value), unpack(int(unit.out_value.value), 8, lanes, signed=True))
        assert first == (True, [int(table[-1])] * lanes)
        await RisingEdge(dut.clk_i)
        await look_up(dut, name, table, dice)


async def look_up(dut: Any, name: str, table: npt.NDArray[np.int8], dice: Dice) -> None:
    """Permutations of all pre-activations, with random pauses."""
    unit, board, lanes = getattr(dut, name), Scoreboard("gelu"), GELUS[name][0]
    rng = np.random.default_rng(8)
    value_CL = np.stack([rng.permutation(1024) - 512 for _ in range(lanes)], axis=1)
    sent = False
    for value_L in [*value_CL, None, None]:
        while value_L is not None and dice.stalls():
            unit.valid.value, unit.value.value = 0, dice.noise(16 * lanes)
            await RisingEdge(dut.clk_i)
            check_hidden(unit, lanes, board, sent)
            sent = False
        unit.valid.value = value_L is not None
        if value_L is not None:
            unit.value.value = pack(value_L, 16)
            board.expect(gelu(value_L, table).tolist())
        await RisingEdge(dut.clk_i)
        check_hidden(unit, lanes, board, sent)
        sent = value_L is not None
    board.finish()


def check_hidden(unit: Any, lanes: int, board: Scoreboard, sent: bool) -> None:
    """Compare what was sent one cycle before."""
    assert bool(unit.out_valid.value) == sent
    if sent:
        board.check(unpack(int(unit.out_value.value), 8, lanes, signed=True))


class Residual:
    """Drives one m3vit_residual as the core does."""

    def __init__(self, dut: Any, name: str, dim: int, dice: Dice) -> None:
        self.unit, self.dice, self.clock = getattr(dut, name), dice, dut.clk_i
        self.lanes, self.dim, self.units = RESIDUALS[name], dim, dim // 32
        self.recent: deque[tuple[int, int] | None] = deque([None] * (SAFE_CYCLES - 1), SAFE_CYCLES - 1)
        self.closest = 0

    async def edge(self, place: tuple[int, int] | None = None) -> None:
        """Next cycle, in which a row for `place` is presented."""
        await RisingEdge(self.clock)
        self.recent.append(place)

    async def pause(self) -> None:
        """Random idle cycles."""
        while self.dice.stalls():
            await self.edge()

    async def load(self, residual_ND: npt.NDArray[np.int16]) -> None:
        """The residual, word by word, after a reset."""
        self.unit.clear.value = 1
        await self.edge()
        self.unit.clear.value = 0
        for word in word_ints(residual_ND.view(np.uint8)):
            await self.pause()
            self.unit.load_valid.value, self.unit.load_word.value = 1, word
            await self.edge()
            self.unit.load_valid.value = 0
            self.unit.load_word.value = self.dice.noise(512)

    async def fill_queue(self, bank: int, token_Q: npt.NDArray[np.int64], gate_Q: npt.NDArray[np.int64]) -> None:
        """One queue, entry by entry."""
        for index, (token, gate) in enumerate(zip(token_Q, gate_Q, strict=True)):
            self.unit.queue_write.value, self.unit.queue_bank.value, self.unit.queue_index.value = 1, bank, index
            self.unit.queue_entry.value = join((token, 13), (gate, 16))
            await self.edge()
        self.unit.queue_write.value = 0

    async def add(self, dest: int, bank: int, token_Q: npt.NDArray[np.int64], value_QD: npt.NDArray[np.int64]) -> None:
        """Rows of one command, tile by tile; does not wait for the last row."""
        unit, per_unit = self.unit, 32 // self.lanes
        for tile in range(self.dim // self.lanes):
            for row, value_D in enumerate(value_QD):
                await self.pause()
                place = (int(token_Q[row]), tile)
                while place in self.recent:
                    await self.edge()
                    self.closest += 1
                unit.valid.value = 1
                dest_row = int(self.dice.noise(13)) if dest == DST_COMBINE else token_Q[row]
                place_fields = [(tile // per_unit, 8), (tile % per_unit, 4), (self.units, 8)]
                noise = [(self.dice.noise(bits), bits) for bits in (7, 10)]
                rows = [(row, 13), (dest_row, 13)]
                unit.tag.value = join(noise[0], *rows, noise[1], *place_fields, (dest, 3), (0, 1), (bank, 1), (0, 1))
                unit.value.value = pack(value_D[tile * self.lanes : (tile + 1) * self.lanes], 16)
                await self.edge(place)
                unit.valid.value = 0
                unit.tag.value = self.dice.noise(68)

    async def settle(self) -> None:
        """Until the last row has arrived."""
        await self.edge()
        await until(self.clock, lambda: not self.unit.busy.value, 20, "the last row")

    async def norm(self, wanted_ND: npt.NDArray[np.int16]) -> None:
        """Read every granule in random order, as the LayerNorm unit does."""
        rng, per_unit = np.random.default_rng(1), 32 // self.lanes
        pending: deque[list[int] | None] = deque([None, None])
        places = [(row, tile) for row in range(TOKENS) for tile in range(self.dim // self.lanes)]
        order: list[tuple[int, int] | None] = [places[i] for i in rng.permutation(len(places))]
        for place in [*order, None, None, None]:
            while place is not None and self.dice.stalls():
                await self.read(None, pending)
            self.unit.norm_read.value = place is not None
            wanted = None
            if place is not None:
                row, tile = place
                self.unit.norm_place.value = join(
                    (row, 13), (tile // per_unit, 8), (tile % per_unit, 4), (self.units, 8)
                )
                wanted = wanted_ND[row, tile * self.lanes : (tile + 1) * self.lanes].tolist()
            await self.read(wanted, pending)

    async def read(self, wanted: list[int] | None, pending: deque[list[int] | None]) -> None:
        """A cycle of LayerNorm reads."""
        await self.edge()
        self.unit.norm_read.value, self.unit.norm_place.value = 0, self.dice.noise(33)
        pending.append(wanted)
        due = pending.popleft()
        if due is not None:
            assert unpack(int(self.unit.norm_data.value), 16, self.lanes, signed=True) == due

    async def store(self, wanted_ND: npt.NDArray[np.int16]) -> None:
        """Stream the residual out and compare."""
        board = Scoreboard("residual word")
        board.expect(*word_ints(wanted_ND.view(np.uint8)))
        port = (self.unit.out_data, self.unit.out_valid, self.unit.out_ready)
        self.unit.store.value, self.unit.store_words.value = 1, board.expected
        taking = cocotb.start_soon(receive(self.clock, port, board.check, self.dice))
        cycles = await until(self.clock, lambda: board.complete, 2000, "the last word")
        assert self.dice.stall or cycles <= board.expected + 4, "does not store at full rate"
        taking.cancel()
        self.unit.store.value = self.unit.out_ready.value = 0
        board.finish()
        await self.edge()
        await self.edge()
        assert not self.unit.out_valid.value


@cocotb.test()
@cocotb.parametrize(name=list(RESIDUALS), dim=[32, 96], stall=[0.0, 0.4])
async def residual(dut: Any, name: str, dim: int, stall: float) -> None:
    """Several runs of experts, residual layers and heads in random order, saturating on both sides."""
    unit = getattr(dut, name)
    await start(
        dut, unit.load_valid, unit.queue_write, unit.valid, unit.store, unit.out_ready, unit.norm_read, unit.clear
    )
    dice, rng = Dice(("residual", name), stall), np.random.default_rng(9)
    driver, saturated = Residual(dut, name, dim, dice), 0
    for _ in range(3):
        residual_ND = rng.integers(-LIMIT, LIMIT, (TOKENS, dim)).astype(np.int16)
        await driver.load(residual_ND)
        out_ND = residual_ND.astype(np.int64)
        for command in range(14):
            dest, bank = int(rng.choice([DST_COMBINE, DST_COMBINE, DST_RESIDUAL, DST_OUTPUT])), command % 2
            token_Q = rng.permutation(TOKENS)[: rng.integers(1, TOKENS + 1)]
            value_QD = rng.choice([-LIMIT, -1, 0, 1, LIMIT - 1], (len(token_Q), dim))
            if command % 3:
                value_QD = rng.integers(-LIMIT, LIMIT, value_QD.shape)
            if dest == DST_COMBINE:
                gate_Q = rng.choice([0, 1, 16384, 32767, 32768, int(rng.integers(0, 32769))], len(token_Q))
                await driver.fill_queue(bank, token_Q, gate_Q)
                out_ND[token_Q] = combine(out_ND[token_Q], value_QD, gate_Q)
            elif dest == DST_RESIDUAL:
                out_ND[token_Q] = saturate(out_ND[token_Q] + value_QD, 16)
            else:
                out_ND[token_Q] = value_QD
            await driver.add(dest, bank, token_Q, value_QD)
            saturated += int(np.isin(out_ND[token_Q], (-LIMIT, LIMIT - 1)).sum())
            if command % 5 == 4:
                await driver.settle()
                await driver.norm(out_ND.astype(np.int16))
        await driver.settle()
        await driver.store(out_ND.astype(np.int16))
    assert saturated > 100
    assert driver.closest > 0 or stall or dim > 32 or driver.lanes < 32
