# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Small control modules: m3vit_expert_set, m3vit_expert_cache, m3vit_counters, m3vit_read_check."""

from collections import Counter
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from rtl.expert_cache import Cache
from rtl.handshake import Dice, fields, join, pack, start, until

MAX_EXPERTS, MAX_OPS = 1024, 128
SETS = {"u_expert_set4": 4, "u_expert_set16": 16}
CACHES = {"u_expert_cache64": 64, "u_expert_cache8192": 8192}
EVENTS = ("compute", "read_words", "write_words", "stall_weight", "stall_input", "stall_output", "experts", "loads")
"""Bits of events_t, highest first."""
COUNTERS = (
    "loads", "experts", "stall_output", "stall_input", "stall_weight", "write_words", "read_words", "compute", "cycles",
)  # fmt: skip
"""Fields of counters_t, highest first."""
JOB_FIELDS = (1, 40, 26, 2, 7)
"""Widths of read_job_t, highest first: relative, address, words, destination, operation."""


@cocotb.test()
@cocotb.parametrize(name=list(SETS))
async def expert_set(dut: Any, name: str) -> None:
    """Tokens insert the first top_k experts of their list, those that are valid."""
    unit, depth, dice = getattr(dut, name), SETS[name], Dice(name)
    await start(dut, unit.insert, unit.clear)
    rng, answers = dice.random, Counter[bool]()
    for _ in range(12):
        unit.clear.value, unit.insert.value = 1, rng.random() < 0.5
        await RisingEdge(dut.clk_i)
        unit.clear.value = 0
        used: set[int] = set()
        experts, top_k = rng.choice([3, 40, MAX_EXPERTS]), rng.randint(1, depth)
        unit.top_k.value = top_k
        for _ in range(rng.choice([1, 5, 30])):
            chosen = [(rng.random() < 0.8, rng.randrange(experts)) for _ in range(depth)]
            words = [join((valid, 1), (expert, 10), (dice.noise(16), 16)) for valid, expert in chosen]
            unit.list.value = pack(words, 27)
            unit.insert.value = insert = rng.random() < 0.7
            await RisingEdge(dut.clk_i)
            if insert:
                used |= {expert for valid, expert in chosen[:top_k] if valid}
        unit.insert.value = 0
        for expert in rng.sample(range(MAX_EXPERTS), 60) + sorted(used)[:60] + [0, MAX_EXPERTS - 1]:
            unit.expert.value = expert
            await RisingEdge(dut.clk_i)
            assert bool(unit.used.value) == (expert in used), f"expert {expert}"
            answers[expert in used] += 1
    assert min(answers[True], answers[False]) > 100


@cocotb.test()
@cocotb.parametrize(name=list(CACHES))
async def expert_cache(dut: Any, name: str) -> None:
    """Random layers: hits and misses, places and replacement as in the golden cache; nothing else is asked for."""
    unit, size, dice = getattr(dut, name), CACHES[name], Dice(name, 0.3)
    await start(dut, unit.clear, unit.needed, unit.load_ready, unit.loaded)
    rng, seen = dice.random, Counter[str]()
    for layer in range(30):
        words = rng.choice([1, 3, size // 20, size // 16, size // 15, size // 5, size // 2, size // 2 + 1, size])
        words = max(words, 1)
        unit.expert_words.value, unit.clear.value = words, 1
        await RisingEdge(dut.clk_i)
        unit.clear.value = 0
        cache, experts = Cache(size, words), rng.choice([1, 2, 8, 15, 16, 17, 40])
        popular = rng.sample(range(MAX_EXPERTS), experts)
        for _ in range(60):
            expert = rng.choice(popular)
            while dice.stalls():
                unit.expert.value, unit.loaded.value = dice.noise(10), 0
                await RisingEdge(dut.clk_i)
                assert not any(signal.value for signal in (unit.ready, unit.load_valid, unit.seek_valid))
            unit.expert.value, unit.needed.value = expert, 1
            base = cache.find(expert)
            if base is None:
                base = cache.load(expert)
                await load(dut, unit, base, dice)
                seen["miss"] += 1
            else:
                seen["hit"] += 1
            await until(dut.clk_i, lambda: bool(unit.seek_valid.value), 4, f"layer {layer}: the seek")
            assert not any(signal.value for signal in (unit.ready, unit.load_valid))
            assert int(unit.seek_base.value) == base, f"expert {expert} of {words} words"
            assert base + words <= size
            await RisingEdge(dut.clk_i)
            assert not unit.seek_valid.value
            assert unit.ready.value
            unit.needed.value = 0
            await RisingEdge(dut.clk_i)
            assert not unit.ready.value
    assert min(seen["miss"], seen["hit"]) > 300, seen


async def load(dut: Any, unit: Any, base: int, dice: Dice) -> None:
    """A miss: take the request late, then let the expert arrive late."""
    await until(dut.clk_i, lambda: bool(unit.load_valid.value), 4, "the request")
    while dice.stalls():
        assert unit.load_valid.value
        await RisingEdge(dut.clk_i)
    unit.load_ready.value = 1
    await RisingEdge(dut.clk_i)
    assert unit.load_valid.value
    assert int(unit.load_base.value) == base
    unit.load_ready.value = 0
    await RisingEdge(dut.clk_i)
    while dice.stalls():
        assert not any(signal.value for signal in (unit.ready, unit.load_valid, unit.seek_valid))
        await RisingEdge(dut.clk_i)
    unit.loaded.value = 1
    await RisingEdge(dut.clk_i)
    unit.loaded.value = 0
    await RisingEdge(dut.clk_i)


@cocotb.test()
async def counters(dut: Any) -> None:
    """Random runs; afterwards every operation has what happened in its cycles, and those without any read zero."""
    unit, dice = dut.u_counters, Dice("counters")
    await start(dut, unit.start, unit.running)
    rng = dice.random
    for run in range(25):
        unit.start.value, unit.running.value, unit.events.value = 1, rng.random() < 0.5, dice.noise(8)
        await RisingEdge(dut.clk_i)
        unit.start.value = 0
        wanted = [dict.fromkeys(COUNTERS, 0) for _ in range(MAX_OPS)]
        owner = {"op": rng.choice([0, 0, 5]), "word_op": 0, "load_op": rng.choice([0, 3])}
        cycles = 1 if run == 0 else rng.choice([1, 2, 40, 600])
        for _ in range(cycles):
            running = rng.random() < 0.95
            for name in owner:
                if rng.random() < 0.1:
                    owner[name] = min(owner[name] + rng.choice([1, 1, 1, 9]), MAX_OPS - 1)
                getattr(unit, name).value = owner[name]
            events = [rng.random() < 0.5 for _ in EVENTS]
            unit.running.value, unit.events.value = running, join(*((bit, 1) for bit in events))
            await RisingEdge(dut.clk_i)
            if running:
                count(wanted, owner, events)
        unit.running.value, unit.events.value = 0, dice.noise(8)
        unit.op.value, unit.word_op.value, unit.load_op.value = (dice.noise(7) for _ in range(3))
        await RisingEdge(dut.clk_i)
        for op in rng.sample(range(MAX_OPS), MAX_OPS):
            unit.read_op.value = op
            await RisingEdge(dut.clk_i)
            unit.read_op.value = dice.noise(7)
            await RisingEdge(dut.clk_i)
            got = dict(zip(COUNTERS, fields(int(unit.counters.value), *[32] * len(COUNTERS)), strict=True))
            assert got == wanted[op], f"run {run} of {cycles} cycles, operation {op}"


def count(wanted: list[dict[str, int]], owner: dict[str, int], events: list[bool]) -> None:
    """Golden: a cycle's events go to their owners."""
    wanted[owner["op"]]["cycles"] += 1
    for name, happened in zip(EVENTS, events, strict=True):
        whose = {"read_words": "word_op", "loads": "load_op"}.get(name, "op")
        wanted[owner[whose]][name] += happened


@cocotb.test()
async def read_check(dut: Any) -> None:
    """Jobs inside the image pass with their address, jobs that leave it or are not aligned raise the error."""
    unit, dice = dut.u_read_check, Dice("read check")
    await start(dut)
    rng, seen = dice.random, Counter[tuple[bool, bool]]()
    for _ in range(3000):
        size, memory = 64 * rng.choice([1, 2, 1000, (1 << 26) - 2]), 64 * rng.randrange(1 << 33)
        words = rng.choice([0, 1, 2, size // 64, size // 64 + 1, rng.randrange(1 << 26)])
        addr = rng.choice([0, max(size - 64 * words, 0), max(size - 64 * words, 0) + 64, 64 * rng.randrange(1 << 26)])
        addr += rng.choice([0, 0, 0, 0, 1, 32])
        relative, valid, ready = (rng.random() < share for share in (0.8, 0.8, 0.5))
        dest, op = rng.randrange(4), rng.randrange(MAX_OPS)
        unit.memory.value, unit.memory_bytes.value = memory, size
        unit.job.value = join(*zip((relative, addr, words, dest, op), JOB_FIELDS, strict=True))
        unit.job_valid.value, unit.passed_ready.value = valid, ready
        await RisingEdge(dut.clk_i)
        inside = not relative or (addr % 64 == 0 and words > 0 and addr + 64 * words <= size)
        assert bool(unit.error.value) == (valid and not inside)
        assert bool(unit.passed_valid.value) == (valid and inside)
        if valid:
            assert bool(unit.job_ready.value) == (ready and inside)
            seen[relative, inside] += 1
        if valid and inside:
            absolute = (addr + memory if relative else addr) % (1 << 40)
            assert fields(int(unit.passed_job.value), *JOB_FIELDS) == (relative, absolute, words, dest, op)
    assert min(seen[True, True], seen[True, False], seen[False, True]) > 300, seen
