# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What follows the linear engine: the GELU table and the combination into the residual (m3vit_gelu, m3vit_combine)."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.linear import gelu
from m3vit.sim.golden.moe import combine
from rtl.handshake import Dice, Scoreboard, join, pack, receive, send, start, unpack, until, word_ints

GELU_LANES = 8
TOKENS = 6
COMBINES = {"u_combine8": (8, 64), "u_combine48": (48, 192), "u_combine64": (64, 128)}
"""Lanes and channels of each instance."""
LIMIT = 1 << 15


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def gelu_tables(dut: Any, stall: float) -> None:
    """Every entry on every lane, for three tables in turn; a table is complete only after its last word."""
    unit, rng, dice = dut.u_gelu, np.random.default_rng(7), Dice("gelu", stall)
    await start(dut, unit.in_valid, unit.valid, unit.new_table)
    for _ in range(3):
        table = rng.integers(-128, 128, 1024).astype(np.int8)
        unit.new_table.value = 1
        await RisingEdge(dut.clk_i)
        unit.new_table.value = 0
        await RisingEdge(dut.clk_i)
        # The last entry is asked for from now on, so in the first cycle in which the table is complete.
        unit.valid.value, unit.value.value = 1, pack([511] * GELU_LANES, 16)
        words = word_ints(table.view(np.uint8))
        loading = cocotb.start_soon(send(dut.clk_i, (unit.in_data, unit.in_valid, unit.in_ready), words, dice))
        while not loading.done():
            await RisingEdge(dut.clk_i)
            assert not unit.complete.value, "complete before its last word"
        await until(dut.clk_i, lambda: bool(unit.complete.value), 200, "the table")
        unit.valid.value = 0
        await RisingEdge(dut.clk_i)
        first = (bool(unit.out_valid.value), unpack(int(unit.out_value.value), 8, GELU_LANES, signed=True))
        assert first == (True, [int(table[-1])] * GELU_LANES)
        await RisingEdge(dut.clk_i)
        await look_up(dut, table, dice)


async def look_up(dut: Any, table: npt.NDArray[np.int8], dice: Dice) -> None:
    """Permutations of all pre-activations, with random pauses."""
    unit, board = dut.u_gelu, Scoreboard("gelu")
    rng = np.random.default_rng(8)
    value_CL = np.stack([rng.permutation(1024) - 512 for _ in range(GELU_LANES)], axis=1)
    sent = False
    for value_L in [*value_CL, None, None]:
        while value_L is not None and dice.stalls():
            unit.valid.value, unit.value.value = 0, dice.noise(128)
            await RisingEdge(dut.clk_i)
            check_hidden(dut, board, sent)
            sent = False
        unit.valid.value = value_L is not None
        if value_L is not None:
            unit.value.value = pack(value_L, 16)
            board.expect(gelu(value_L, table).tolist())
        await RisingEdge(dut.clk_i)
        check_hidden(dut, board, sent)
        sent = value_L is not None
    board.finish()


def check_hidden(dut: Any, board: Scoreboard, sent: bool) -> None:
    """Compare what was sent one cycle before."""
    assert bool(dut.u_gelu.out_valid.value) == sent
    if sent:
        board.check(unpack(int(dut.u_gelu.out_value.value), 8, GELU_LANES, signed=True))


class Combiner:
    """Drives one m3vit_combine as the MoE layer does."""

    def __init__(self, dut: Any, name: str, dice: Dice) -> None:
        self.unit, self.dice, self.clock = getattr(dut, name), dice, dut.clk_i
        self.lanes, self.dim = COMBINES[name]
        self.unit.pitch.value = self.dim // 64
        self.unit.store_words.value = TOKENS * self.dim * 2 // 64

    async def pause(self) -> None:
        """Random idle cycles."""
        while self.dice.stalls():
            await RisingEdge(self.clock)

    async def load(self, residual_ND: npt.NDArray[np.int16]) -> None:
        """The residual, word by word."""
        for word in word_ints(residual_ND.view(np.uint8)):
            await self.pause()
            self.unit.load_valid.value, self.unit.load_word.value = 1, word
            await RisingEdge(self.clock)
            self.unit.load_valid.value = 0

    async def fill_queue(self, bank: int, token_Q: npt.NDArray[np.int64], gate_Q: npt.NDArray[np.int64]) -> None:
        """One queue, entry by entry."""
        for index, (token, gate) in enumerate(zip(token_Q, gate_Q, strict=True)):
            self.unit.queue_write.value, self.unit.queue_bank.value, self.unit.queue_index.value = 1, bank, index
            self.unit.queue_entry.value = join((token, 13), (gate, 16))
            await RisingEdge(self.clock)
        self.unit.queue_write.value = 0

    async def add(self, bank: int, value_QD: npt.NDArray[np.int64]) -> None:
        """Expert outputs, tile by tile; ends when the last row has arrived."""
        for tile in range(self.dim // self.lanes):
            for row, value_D in enumerate(value_QD):
                await self.pause()
                self.unit.valid.value = 1
                self.unit.tag.value = join((row, 13), (tile, 10), (2, 2), (bank, 1), (0, 1))
                self.unit.value.value = pack(value_D[tile * self.lanes : (tile + 1) * self.lanes], 16)
                await RisingEdge(self.clock)
                self.unit.valid.value = 0
                self.unit.tag.value = self.dice.noise(27)
        await RisingEdge(self.clock)
        await until(self.clock, lambda: not self.unit.busy.value, 20, "the last row")

    async def store(self, wanted_ND: npt.NDArray[np.int16]) -> None:
        """Stream the residual out and compare."""
        board = Scoreboard("residual word")
        board.expect(*word_ints(wanted_ND.view(np.uint8)))
        port = (self.unit.out_data, self.unit.out_valid, self.unit.out_ready)
        self.unit.store.value = 1
        taking = cocotb.start_soon(receive(self.clock, port, board.check, self.dice))
        await until(self.clock, lambda: board.complete, 2000, "the last word")
        taking.cancel()
        self.unit.store.value = self.unit.out_ready.value = 0
        board.finish()
        await RisingEdge(self.clock)
        await RisingEdge(self.clock)


@cocotb.test()
@cocotb.parametrize(name=list(COMBINES), stall=[0.0, 0.4])
async def combination(dut: Any, name: str, stall: float) -> None:
    """Several frames of experts whose outputs saturate the residual on both sides."""
    unit = getattr(dut, name)
    await start(dut, unit.load_valid, unit.queue_write, unit.valid, unit.store, unit.out_ready)
    dice, rng = Dice(("combine", name), stall), np.random.default_rng(9)
    combiner, saturated = Combiner(dut, name, dice), 0
    for frame in range(3):
        residual_ND = rng.integers(-LIMIT, LIMIT, (TOKENS, combiner.dim)).astype(np.int16)
        await combiner.load(residual_ND)
        out_ND = residual_ND.astype(np.int64)
        for expert in range(5):
            token_Q = np.sort(rng.permutation(TOKENS)[: rng.integers(1, TOKENS + 1)])
            gate_Q = rng.choice([0, 1, 16384, 32767, 32768, int(rng.integers(0, 32769))], len(token_Q))
            value_QD = rng.choice([-LIMIT, -1, 0, 1, LIMIT - 1], (len(token_Q), combiner.dim))
            if expert % 2:
                value_QD = rng.integers(-LIMIT, LIMIT, value_QD.shape)
            await combiner.fill_queue((frame + expert) % 2, token_Q, gate_Q)
            await combiner.add((frame + expert) % 2, value_QD)
            out_ND[token_Q] = combine(out_ND[token_Q], value_QD, gate_Q)
            saturated += int(np.isin(out_ND[token_Q], (-LIMIT, LIMIT - 1)).sum())
        await combiner.store(out_ND.astype(np.int16))
    assert saturated > 100
