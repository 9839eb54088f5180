# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The weight stream: words, back-pressure, promises, skips, and its use as a cache (m3vit_stream, m3vit_gearbox)."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from rtl.handshake import Dice, send, start, until, word_ints

STREAMS = {"u_stream2": 2, "u_stream3": 3, "u_stream4": 4}
WORDS, LENT = 32, 8


class Stream:
    """Jobs of random lengths for one m3vit_stream, and what must come out."""

    def __init__(self, dut: Any, name: str, seed: object, stall: float) -> None:
        self.unit, self.clock, self.inputs = getattr(dut, name), dut.clk_i, 32 * STREAMS[name]
        self.rng, self.dice = np.random.default_rng(3), Dice((name, seed), stall)

    def job(self, words: int) -> tuple[list[int], list[int]]:
        """DRAM words with their end mark, and stream words; the rest of the last DRAM word is garbage."""
        data = self.rng.integers(0, 256, -(-words * self.inputs // 64) * 64).astype(np.uint8)
        source = word_ints(data)
        source[-1] |= 1 << 512
        return source, word_ints(data[: words * self.inputs], self.inputs)

    def jobs(self, total: int) -> tuple[list[int], list[int]]:
        """Jobs of 1 to 40 words."""
        source: list[int] = []
        wanted: list[int] = []
        while len(wanted) < total:
            more = self.job(int(self.rng.choice([1, 2, 3, 5, 16, int(self.rng.integers(1, 41))])))
            source += more[0]
            wanted += more[1]
        return source, wanted

    async def reset(self, dut: Any, *, lend: bool) -> None:
        """Start with everything idle."""
        unit = self.unit
        unit.lend.value = lend
        await start(dut, unit.in_valid, unit.out_ready, unit.skip, unit.seek, unit.cache)

    async def feed(self, source: list[int]) -> None:
        """All DRAM words."""
        await send(self.clock, (self.unit.in_data, self.unit.in_valid, self.unit.in_ready), source, self.dice)


@cocotb.test()
@cocotb.parametrize(name=list(STREAMS), stalls=[(0.0, 0.0), (0.6, 0.0), (0.0, 0.5), (0.3, 0.3)], lend=[False, True])
async def words(dut: Any, name: str, stalls: tuple[float, float], lend: bool) -> None:
    """Every word once, in order; level_o words follow each other whatever the source does then."""
    stream = Stream(dut, name, ("words", lend), stalls[0])
    unit, dice = stream.unit, Dice((name, "sink"), stalls[1])
    await stream.reset(dut, lend=lend)
    source, wanted = stream.jobs(600)
    cocotb.start_soon(stream.feed(source))
    position = promised = best = cycle = 0
    while position < len(wanted):
        cycle += 1
        assert cycle < 8000
        unit.out_ready.value = ready = cycle % 200 > 80 and not dice.stalls()
        await RisingEdge(dut.clk_i)
        level, valid = int(unit.level.value), bool(unit.out_valid.value)
        best, promised = max(best, level), max(promised, level)
        if ready:
            assert valid or not promised, f"cycle {cycle}: {promised} more words were promised"
            promised = max(promised - 1, 0)
        if valid:
            assert int(unit.out_data.value) == wanted[position], f"word {position}"
            position += ready
    assert best == 7
    unit.out_ready.value = 0
    for _ in range(12):
        await RisingEdge(dut.clk_i)
        assert not unit.out_valid.value


@cocotb.test()
@cocotb.parametrize(name=list(STREAMS), lend=[False, True])
async def ring_capacity(dut: Any, name: str, lend: bool) -> None:
    """Takes exactly as many words as the ring has, then goes on at full rate in both directions."""
    stream = Stream(dut, name, "capacity", 0.0)
    unit, depth = stream.unit, WORDS + (LENT if lend else 0)
    await stream.reset(dut, lend=lend)
    source, wanted = stream.job(4 * depth)
    feeding = cocotb.start_soon(stream.feed(source))
    taken = 0
    for _ in range(3 * depth):
        await RisingEdge(dut.clk_i)
        taken += bool(unit.in_valid.value and unit.in_ready.value)
    assert taken == -(-(depth + 1) * stream.inputs // 64) - 1, "DRAM words that do not complete one word more"
    assert unit.level.value == 7
    unit.out_ready.value = 1
    for position in range(depth):  # what has come follows without a gap, and the promise holds the last words of a tile
        await RisingEdge(dut.clk_i)
        assert unit.out_valid.value, f"word {position}"
        assert int(unit.out_data.value) == wanted[position]
        assert int(unit.level.value) >= min(5, depth - position)
    cycles, position = 0, depth
    while position < len(wanted):
        await RisingEdge(dut.clk_i)
        cycles += 1
        if unit.out_valid.value:
            assert int(unit.out_data.value) == wanted[position]
            position += 1
    assert cycles <= 3 * depth * stream.inputs // 64 + 6, f"{cycles} cycles: the input is not taken at full rate"
    assert feeding.done()


@cocotb.test()
@cocotb.parametrize(name=list(STREAMS), stall=[0.0, 0.3, 0.9], lend=[False, True])
async def skips(dut: Any, name: str, stall: float, lend: bool) -> None:
    """Skips from none to several rings of words, before and after they have come; a jump, not word by word."""
    stream = Stream(dut, name, ("skips", lend), stall)
    unit, rng = stream.unit, np.random.default_rng(17)
    await stream.reset(dut, lend=lend)
    source, wanted = stream.jobs(2500)
    cocotb.start_soon(stream.feed(source))
    position = count = jumps = 0
    while True:
        for _ in range(int(rng.choice([0, 1, 2, 90]))):  # time for the ring to fill
            unit.out_ready.value = 0
            await RisingEdge(dut.clk_i)
        skip = int(rng.choice([0, 1, 2, 3, 7, 8, 9, 20, 31, 32, 39, 40, 41, 200], p=[0.07] * 13 + [0.09]))
        if position + skip + 12 > len(wanted):
            break
        present = not unit.in_ready.value and skip + 1 < WORDS  # the ring is full
        unit.skip.value, unit.skip_words.value, unit.out_ready.value = 1, skip, 0
        await RisingEdge(dut.clk_i)
        while not unit.skip_ready.value:  # an earlier one waits for its words
            await RisingEdge(dut.clk_i)
        unit.skip.value, unit.skip_words.value = 0, stream.dice.noise(26)
        position, count = position + skip, count + 1
        await RisingEdge(dut.clk_i)
        assert not unit.out_valid.value, "valid in the cycle after a skip"
        assert unit.level.value == 0
        for taken in range(int(rng.choice([0, 1, 5, 12]))):
            word, cycles = await take(stream)
            assert word == wanted[position], f"word {position}"
            position += 1
            if present and taken == 0:
                assert cycles <= 3, f"{cycles} cycles for a jump of {skip}"
                jumps += 1
    assert count > 20
    assert jumps > 3 or stall > 0


@cocotb.test()
@cocotb.parametrize(name=list(STREAMS), stall=[0.0, 0.4], lend=[False, True])
async def cache(dut: Any, name: str, stall: float, lend: bool) -> None:
    """Slots are loaded one by one and read in any order and as often as wanted; then the ring works again."""
    stream = Stream(dut, name, "cache", stall)
    unit, rng, depth = stream.unit, np.random.default_rng(23), WORDS + (LENT if lend else 0)
    await stream.reset(dut, lend=lend)
    for size in (3, 5, 1):
        source, wanted = stream.jobs(30)
        feeding = cocotb.start_soon(stream.feed(source))
        for word in wanted:
            assert (await take(stream))[0] == word
        assert feeding.done()
        unit.cache.value = 1
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
        slots: dict[int, list[int]] = {}
        for _ in range(25):
            slot = int(rng.integers(0, depth // size))
            source, contents = stream.job(size)
            unit.load_base.value = slot * size
            feeding = cocotb.start_soon(stream.feed(source))
            await until(dut.clk_i, lambda: bool(unit.job_done.value), 500, "the end of the job")
            assert feeding.done()
            slots[slot] = contents
            for asked in [slot, *rng.choice(list(slots), 2).tolist()]:
                unit.seek.value, unit.seek_base.value = 1, asked * size
                await RisingEdge(dut.clk_i)
                unit.seek.value, unit.seek_base.value = 0, stream.dice.noise(26)
                await RisingEdge(dut.clk_i)
                assert not unit.out_valid.value
                for word in slots[asked][: int(rng.integers(1, size + 1))]:
                    assert (await take(stream))[0] == word
            assert not unit.job_done.value
        unit.cache.value = 0
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
        assert not unit.out_valid.value


async def take(stream: Stream) -> tuple[int, int]:
    """Take one word; returns it and the number of cycles. One call after the other takes a word per cycle."""
    stream.unit.out_ready.value = 1
    for cycle in range(1, 6000):
        await RisingEdge(stream.clock)
        if stream.unit.out_valid.value:
            stream.unit.out_ready.value = 0
            return int(stream.unit.out_data.value), cycle
    raise AssertionError("no word came")
