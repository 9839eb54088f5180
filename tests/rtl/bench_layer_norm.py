# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit_layer_norm against golden: every granule in its cycle, and one granule per cycle.

Shapes: N rows, D channels.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.norm import MAX_COARSE, Norm, Requant, layer_norm
from rtl.handshake import Dice, Scoreboard, pack, send, start, word_ints

UNITS = {"u_layer_norm8": (8, 2, 128), "u_layer_norm32": (32, 3, 384)}
"""Lanes, groups and channels of each instance."""
MAX_ROWS = 64
LARGEST_SHIFT = 36
"""With the largest exponent and coarse factor the shift is 62, the last one that golden can do in 64 bits."""
FIRST_WRITE = 27
"""From the start to the write of a first granule whose row has one."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A norm and what comes out."""

    residual_ND: Ints
    norm: Norm

    def granules(self, lanes: int, groups: int) -> list[tuple[int, int, int, int, int]]:
        """(row, word, sub, pitch, bytes) of the x buffer in the order of the writes."""
        x_ND = layer_norm(self.residual_ND, self.norm)
        slots, pitch = 32 * groups // lanes, ceil(x_ND.shape[1] / (32 * groups))
        return [
            (row, tile // slots, tile % slots, pitch, pack(x_ND[row, tile * lanes : (tile + 1) * lanes], 8))
            for row in range(x_ND.shape[0])
            for tile in range(x_ND.shape[1] // lanes)
        ]


def rows_of(rng: np.random.Generator, rows: int, dim: int) -> Ints:
    """Rows of all kinds: normal ones of any size, constant, extremes, one outlier, two values."""
    residual = np.empty((rows, dim), np.int64)
    for row in range(rows):
        kind, values = rng.integers(0, 8), np.empty(dim)
        if kind < 3:
            values[:] = rng.normal(rng.normal(0, 2000), 2.0 ** rng.uniform(-1, 14), dim)
        elif kind == 3:
            values[:] = rng.choice(np.array([-32768, 32767, 0, int(rng.integers(-32768, 32768))]))
        elif kind == 4:
            values[:] = rng.choice([-32768, 32767], dim)
        elif kind == 5:
            values[:] = np.where(np.arange(dim) == rng.integers(dim), rng.choice([-32768, 32767, 1]), 0)
        elif kind == 6:
            values[:] = np.where(
                np.arange(dim) == rng.integers(dim), rng.choice([-32768, 32767]), rng.normal(0, 30, dim)
            )
        else:
            values[:] = rng.integers(0, 2, dim) + rng.integers(-32768, 32767)
        residual[row] = np.clip(np.round(values), -32768, 32767)
    return residual


def case(rng: np.random.Generator, rows: int, dim: int) -> Case:
    """Mostly factors that give outputs of all sizes; some that saturate everything or leave nothing."""
    residual = rows_of(rng, rows, dim)
    shift = int(rng.integers(8, 16)) if rng.random() < 0.7 else int(rng.integers(1, LARGEST_SHIFT + 1))
    multiplier = int(rng.integers(1 << 15, 1 << 16)) if rng.random() < 0.9 else int(rng.choice(np.array([0, 1, 65535])))
    coarse = rng.integers(0, MAX_COARSE + 1, dim).astype(np.uint8)
    return Case(residual, Norm(Requant(multiplier, shift), coarse))


class Driver:
    """Loads the residual, gives tables, starts norms, checks writes."""

    def __init__(self, dut: Any, name: str, dice: Dice) -> None:
        self.clock, self.unit, self.dice = dut.clk_i, getattr(dut, name), dice
        self.lanes, self.groups, self.max_dim = UNITS[name]

    async def load(self, residual_ND: Ints) -> None:
        """Write the residual."""
        tiles = residual_ND.shape[1] // self.lanes
        self.unit.load_valid.value = 1
        for index, granule in enumerate(residual_ND.reshape(-1, self.lanes)):
            self.unit.load_addr.value = index
            self.unit.load_data.value = pack(granule, 16)
            await RisingEdge(self.clock)
        self.unit.load_valid.value = 0
        assert index + 1 == len(residual_ND) * tiles

    def offer(self, table: Norm) -> Any:
        """Start to send the coarse bytes of the next norm."""
        coarse = np.zeros(ceil(len(table.coarse_D) / (32 * self.groups)) * 32 * self.groups, np.uint8)
        coarse[: len(table.coarse_D)] = table.coarse_D
        words = word_ints(coarse, 32 * self.groups)
        port = (self.unit.table_word, self.unit.table_valid, self.unit.table_ready)
        self.unit.table_words.value = len(words)
        return cocotb.start_soon(send(self.clock, port, words, self.dice))

    async def run(self, work: Case, following: Norm | None) -> Any:
        """One norm, whose table is already there; the next one's table is offered from the start on."""
        unit, board = self.unit, Scoreboard("granule")
        rows, dim = work.residual_ND.shape
        tiles = dim // self.lanes
        board.expect(*work.granules(self.lanes, self.groups))
        assert unit.table_loaded.value
        assert not unit.busy.value
        scale = work.norm.scale
        values = {"rows": rows, "tiles": tiles, "dim": dim, "pitch": ceil(dim / (32 * self.groups))}
        for name, value in (values | {"multiplier": scale.multiplier, "shift": scale.shift}).items():
            getattr(unit, f"cmd_{name}").value = value
        unit.start.value = 1
        await RisingEdge(self.clock)
        unit.start.value = 0
        for name in (*values, "multiplier", "shift"):
            signal = getattr(unit, f"cmd_{name}")
            signal.value = self.dice.noise(len(signal))
        sending = self.offer(following) if following else None
        written = 0
        for cycle in range(1, FIRST_WRITE + tiles - 1 + rows * tiles):
            await RisingEdge(self.clock)
            assert unit.busy.value
            assert not unit.table_loaded.value
            assert int(unit.rows.value) == written // tiles
            due = FIRST_WRITE + tiles - 1 <= cycle
            assert bool(unit.write_valid.value) == due, f"cycle {cycle}"
            if due:
                place = [int(getattr(unit, f"write_{name}").value) for name in ("row", "word", "sub", "pitch", "data")]
                board.check(tuple(place))
                written += 1
        await RisingEdge(self.clock)
        assert not unit.busy.value
        assert not unit.write_valid.value
        assert int(unit.rows.value) == rows
        board.finish()
        return sending


@cocotb.test()
@cocotb.parametrize(name=list(UNITS), stall=[0.0, 0.5])
async def norms(dut: Any, name: str, stall: float) -> None:
    """Norms of every number of channels, one after another."""
    dice = Dice((name, stall), stall)
    driver = Driver(dut, name, dice)
    unit = driver.unit
    await start(dut, unit.load_valid, unit.start, unit.table_valid)
    rng = np.random.default_rng(dice.random.getrandbits(32))
    dims = [
        *range(32, driver.max_dim + 1, 32),
        *[32 * int(rng.integers(1, driver.max_dim // 32 + 1)) for _ in range(6)],
    ]
    rng.shuffle(dims)
    cases = [case(rng, int(rng.choice(np.array([1, 2, 3, int(rng.integers(4, 24)), 24]))), dim) for dim in dims]
    cases.append(case(rng, MAX_ROWS, driver.max_dim))
    sending = driver.offer(cases[0].norm)
    for index, work in enumerate(cases):
        assert not unit.table_loaded.value
        while not sending.done():
            assert not unit.table_loaded.value
            await RisingEdge(dut.clk_i)
        await driver.load(work.residual_ND)
        following = cases[index + 1].norm if index + 1 < len(cases) else None
        sending = await driver.run(work, following)
