# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Queues and banked RAM: m3vit_fifo, m3vit_ram_fifo, m3vit_bank_ram."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from rtl.handshake import Dice, Scoreboard, pack, receive, send, start, unpack, until

FIFOS = {"u_fifo1": 1, "u_fifo3": 3, "u_fifo4": 4, "u_ram_fifo2": 2, "u_ram_fifo16": 16}


@cocotb.test()
@cocotb.parametrize(name=list(FIFOS), stalls=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
async def order(dut: Any, name: str, stalls: tuple[float, float]) -> None:
    """Everything comes out once, in order."""
    unit = getattr(dut, name)
    await start(dut, unit.in_valid, unit.out_ready)
    dice = Dice(name)
    items = [dice.noise(32) for _ in range(300)]
    board = Scoreboard(name)
    board.expect(*items)
    sink = (unit.out_data, unit.out_valid, unit.out_ready)
    cocotb.start_soon(receive(dut.clk_i, sink, board.check, Dice((name, "out"), stalls[1])))
    source = (unit.in_data, unit.in_valid, unit.in_ready)
    cocotb.start_soon(send(dut.clk_i, source, items, Dice((name, "in"), stalls[0])))
    cycles = await until(dut.clk_i, lambda: board.complete, 4000, "the last item")
    board.finish()
    if stalls == (0.0, 0.0) and FIFOS[name] > 2:
        assert cycles <= len(items) + 6, f"{cycles} cycles for {len(items)} items: not full throughput"
    for _ in range(8):
        await RisingEdge(dut.clk_i)
        assert not unit.out_valid.value


@cocotb.test()
@cocotb.parametrize(name=list(FIFOS))
async def capacity(dut: Any, name: str) -> None:
    """Takes exactly as much as it promises: its depth, and for the RAM queue the four words that are fetched ahead."""
    unit, taken = getattr(dut, name), 0
    await start(dut, unit.in_valid, unit.out_ready)
    unit.in_valid.value = 1
    for item in range(60):
        unit.in_data.value = item
        await RisingEdge(dut.clk_i)
        taken += bool(unit.in_ready.value)
    assert taken == FIFOS[name] + (4 if "ram" in name else 0)


@cocotb.test()
@cocotb.parametrize(name=["u_ram_fifo2", "u_ram_fifo16"], stall_in=[0.0, 0.4, 0.8])
async def level_promise(dut: Any, name: str, stall_in: float) -> None:
    """level_o words can be taken in successive cycles, whatever the source does then."""
    unit, dice = getattr(dut, name), Dice((name, "level", stall_in))
    await start(dut, unit.in_valid, unit.out_ready)
    source = (unit.in_data, unit.in_valid, unit.in_ready)
    cocotb.start_soon(send(dut.clk_i, source, range(1, 2000), Dice((name, "source"), stall_in)))
    promised = promises = best = 0
    wanted = 1
    for cycle in range(2500):
        unit.out_ready.value = ready = cycle % 100 > 20 and dice.random.random() < 0.7
        await RisingEdge(dut.clk_i)
        level, valid = int(unit.level.value), bool(unit.out_valid.value)
        best, promised = max(best, level), max(promised, level)
        if not ready:
            continue
        assert valid or not promised, f"cycle {cycle}: {promised} more words were promised"
        promises += promised > 0
        promised = max(promised - 1, 0)
        if valid:
            assert int(unit.out_data.value) == wanted
            wanted += 1
    assert best == 4
    assert promises > 100


@cocotb.test()
@cocotb.parametrize(shape=[("u_bank_ram1", 1, 5, 1, 1), ("u_bank_ram48", 4, 7, 4, 3), ("u_bank_ram8", 8, 3, 2, 8)])
async def bank_ram(dut: Any, shape: tuple[str, int, int, int, int]) -> None:
    """Any granule address on both ports; a read in the cycle of a write returns the old granules and is held."""
    name, banks, depth, reads, writes = shape
    await start(dut)
    unit, rng, size = getattr(dut, name), np.random.default_rng(5), banks * depth
    board, memory = Scoreboard(name), rng.integers(0, 1 << 16, size)
    unit.read.value = 0
    for first in range(size):  # known contents
        unit.write.value, unit.write_addr.value, unit.write_data.value = 1, first, int(memory[first])
        await RisingEdge(dut.clk_i)
    pending, unaligned = False, 0
    for _ in range(1500):
        write_addr, read_addr = int(rng.integers(0, size - writes + 1)), int(rng.integers(0, size - reads + 1))
        mask, data, read = int(rng.integers(0, 1 << writes)), rng.integers(0, 1 << 16, writes), bool(rng.integers(0, 2))
        unit.write.value, unit.write_addr.value, unit.write_data.value = mask, write_addr, pack(data, 16)
        unit.read.value, unit.read_addr.value = read, read_addr
        await RisingEdge(dut.clk_i)
        if pending:
            board.check(unpack(int(unit.read_data.value), 16, reads))
        if read:
            held = memory[read_addr : read_addr + reads].tolist()
            unaligned += read_addr % banks != 0
            pending = True
        if pending:
            board.expect(held)
        written = np.flatnonzero([mask >> granule & 1 for granule in range(writes)])
        memory[write_addr + written] = data[written]
    await RisingEdge(dut.clk_i)
    board.check(unpack(int(unit.read_data.value), 16, reads))
    board.finish()
    assert board.checked > 1400
    assert unaligned > 100 or banks == 1
