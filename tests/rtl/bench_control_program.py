# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The program store and its check, m3vit_program and m3vit_op_check, against sim/program_check.py.

Python refuses a few things more, and `seen_by_hardware` lists them: they change numbers, never what is read or written.
"""

import random
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import xor
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from m3vit.model.config import UNIT_BYTES, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.layout import ceil_div
from m3vit.sim.program import CHECK_WORD, Op, Opcode, ProgramError
from m3vit.sim.program_check import FIRST, FOLLOWERS, check_same, check_sizes, key_words
from m3vit.sim.regmap import Error
from rtl.handshake import Dice, start
from rtl.programs import SHAPES, Author

Words = list[int]
FIELDS = [
    (0, 0, 8), (0, 8, 8), (0, 16, 8), (0, 24, 8), *((w, s, 16) for w in (1, 2, 3) for s in (0, 16)),
    *((w, 0, 32) for w in range(8, 13)), *((w, s, 16) for w in range(8, 13) for s in (0, 16)),
]  # fmt: skip
"""Word, first bit and width of what a forger changes."""


def seen_by_hardware(op: Op) -> Op:
    """An operation without what only Python refuses."""
    values = list(op.operands)
    match op.opcode:
        case Opcode.LAYER_NORM:  # any scale; its multiplier and shift are cut to their widths
            values[:2] = 0, 1
        case Opcode.ATTENTION if values[2] < 48:  # any shift that requantisation knows
            values[2] = 1
    return replace(op, operands=tuple(values))


def verdict(program: Sequence[Words], hardware: HardwareConfig) -> tuple[Error, str]:
    """Golden: the first error of a program, and why."""
    hardware = hardware.model_copy(update={"stream_words": 1 << 20})  # sizes the stream only, which may be shorter
    before: Op | None = None
    rows = dim = 0
    for index, words in enumerate(program):
        try:
            op = Op.decode(struct.pack("<16I", *words))
        except ProgramError as error:
            return Error.UNSUPPORTED if "Opcode" in str(error) else Error.OPERATION, str(error)
        allowed = FOLLOWERS[before.opcode] if before else FIRST
        if op.opcode not in allowed or (op.opcode is Opcode.STORE) != (index + 1 == len(program)):
            return Error.OPERATION, f"{op.opcode.name} at {index}"
        try:
            check_sizes(seen_by_hardware(op), hardware, "op")
            if before:
                check_same(seen_by_hardware(op), seen_by_hardware(before), rows, dim, "op")
            else:
                rows, dim = op.rows, op.in_features if op.opcode is Opcode.LOAD else op.out_features
        except UserError as error:
            return Error.SHAPE, f"{op}: {error}"
        before = op
    return Error.NONE, ""


def lends(program: Sequence[Op], hardware: HardwareConfig) -> bool:
    """Golden: keys, values and patches leave the lent words free."""
    first = program[0]
    dim = first.in_features if first.opcode is Opcode.LOAD else first.out_features
    words = max(ceil_div(2 * dim, hardware.inputs), ceil_div(first.in_features, hardware.inputs))
    return first.rows * words <= hardware.max_tokens * key_words(hardware) - hardware.lend_words


def edges(hardware: HardwareConfig) -> list[list[Op]]:
    """Programs that leave exactly the lent words free, and some that miss them by a row."""
    kept = hardware.max_tokens * key_words(hardware) - hardware.lend_words
    programs = []
    for words in range(1, key_words(hardware) + 1):
        dim = min(words * hardware.inputs // 2, hardware.max_dim) // UNIT_BYTES * UNIT_BYTES
        for rows in (kept // words, kept // words + 1):
            if 1 < rows <= hardware.max_tokens:
                load = Op(opcode=Opcode.LOAD, rows=rows, in_features=dim)
                programs.append([load, Op(opcode=Opcode.STORE, rows=rows, out_features=dim)])
    return programs


def mend(words: Words) -> Words:
    """With the right check word."""
    return [*words[:15], reduce(xor, words[:15], CHECK_WORD)]


def forge(program: list[Words], hardware: HardwareConfig, rng: random.Random) -> None:
    """Change one field of an operation, of one that uses many, to what may matter, and mend the checksum."""
    index = max(rng.sample(range(len(program)), min(2, len(program))), key=lambda i: len(set(program[i])))
    word, first, width = rng.choice(FIELDS)
    words, mask = program[index], (1 << width) - 1
    old = words[word] >> first & mask
    limits = [hardware.max_tokens, hardware.max_dim, hardware.max_hidden, hardware.max_top_k, hardware.max_block]
    wraps = [old + (1 << rng.randrange(16, 32)) for _ in range(2)]  # products that are right in 32 bits
    near = [old + d for d in (-64, -32, -8, -1, 1, 8, 32, 64)] + [old * 2, old * 3, old // 2, old | 1 << (width - 1)]
    other = rng.choice(program)
    copied = [other[w] >> s & mask for w, s, _ in FIELDS]
    wide = [0, 1, 2, 31, 32, 33, 47, 48, 63, 64, 255, 256, 1023, 1024, 1025, 2048, mask, rng.randrange(mask + 1)]
    value = rng.choice(rng.choice([near, near, copied, wraps, wide, [n + d for n in limits for d in (0, 1, 32)]]))
    words[word] = words[word] & ~(mask << first) | (value & mask) << first
    program[index] = mend(words)


def flip(program: list[Words], rng: random.Random) -> None:
    """Flip one bit of an operand, often where its value ends, and mend the checksum."""
    users = [words for words in program if any(words[8:13])]
    if users:
        words, at = rng.choice(users), rng.randrange(8, 13)
        words[at] ^= 1 << rng.choice([0, 1, 2, 3, 8, 16, 17, rng.randrange(32)])
        words[:] = mend(words)


def miss(program: list[Words], rng: random.Random) -> None:
    """Let a size miss by one what the others give: sizes of any operation, experts of a MoE layer for its top_k."""
    words = rng.choice([program[-1], *program])
    top_k = words[0] >> 16 & 0xFF
    if top_k and rng.random() < 0.5:
        words[3] = top_k - rng.randrange(2)
    else:
        at, first = rng.choice([(1, 0), (1, 16), (2, 0), (2, 16), (3, 0)])
        value = (words[at] >> first) + rng.choice([-1, 1]) & 0xFFFF
        words[at] = words[at] & ~(0xFFFF << first) | value << first
    words[:] = mend(words)


def rehead(program: list[Words], hardware: HardwareConfig, rng: random.Random) -> None:
    """Give attention other heads than its layer has, or a shift or block at the end of its range."""
    chosen = [words for words in program if words[0] & 0xFF == Opcode.ATTENTION]
    if chosen:
        words = rng.choice(chosen)
        dim, block = words[2] >> 16, hardware.max_block
        channels = rng.choice([n for n in range(UNIT_BYTES, dim + 1, UNIT_BYTES) if dim % n == 0])
        at, value = rng.choice(
            [(8, 31), (8, 32), (10, 47), (10, 48), (11, 0), (11, block), (11, block + 1), (12, channels)]
        )
        words[at] = value
        if at == 12:
            words[1] = words[1] & 0xFFFF | dim // channels << 16
        words[:] = mend(words)


def regrid(program: list[Words], rng: random.Random) -> None:
    """Give the image another grid of patches, whose number is right in 16 bits or nearly right."""
    words = program[0]
    if words[0] & 0xFF == Opcode.PATCH_EMBED:
        patches = (words[1] & 0xFFFF) - 1 + rng.choice([0, -1, 1, *[n << 16 for n in range(1, 12)]])
        columns = rng.choice([n for n in range(1, 1 << 11) if patches % n == 0])
        words[9:13] = patches // columns * words[8], columns * words[8], columns, patches // columns
        program[0] = mend(words)


def resize(program: list[Words], hardware: HardwareConfig, rng: random.Random) -> None:
    """Give all operations another number of tokens or channels, so that they agree with each other."""
    rows, dim = program[0][1] & 0xFFFF, program[-1][2] >> 16
    if rng.random() < 0.4:
        new = rng.choice([0, 1, 2, rows + 1, hardware.max_tokens, hardware.max_tokens + 1, 1 << 15])
        halves, changed = [(1, 0)], {rows: new, rows - 1: new - 1}
    else:
        new = rng.choice([0, 16, dim + 1, dim + 16, dim + 32, hardware.max_dim, hardware.max_dim + 32])
        halves, changed = [(2, 0), (2, 16)], {dim: new, 3 * dim: 3 * new}
        if rng.random() < 0.2:
            changed = {3 * dim: 3 * dim + rng.choice([-32, 1, 32])}
    for index, words in enumerate(program):
        for word, first in halves:
            old = words[word] >> first & 0xFFFF
            words[word] += (changed.get(old, old) % (1 << 16) - old) << first
        program[index] = mend(words)


def other_hardware(hardware: HardwareConfig, rng: random.Random) -> HardwareConfig:
    """A neighbour whose programs may be too large, or of the wrong granularity, for this one."""
    return hardware.model_copy(
        update={
            "lanes": rng.choice([8, 16, 32]), "groups": rng.choice([2, 3, 4]), "stream_words": 1 << 20,
            "max_tokens": hardware.max_tokens + rng.choice([0, 1, 40]),
            "max_dim": hardware.max_dim + rng.choice([0, 32, 128]),
            "max_hidden": hardware.max_hidden + rng.choice([0, 96, 384]),
            "max_top_k": rng.choice([hardware.max_top_k, hardware.max_top_k + 1, 32]),
            "max_block": hardware.max_block + rng.choice([0, 1, 100]),
        }
    )  # fmt: skip


def spoil(program: list[Words], hardware: HardwareConfig, rng: random.Random) -> str:
    """One of many ways to break a program, or not quite; returns its name."""
    common = ["resized", "flipped", "regrid", "rehead", "miss"] * 3 + ["foreign"] * 6 + ["forged"] * 10
    kind = rng.choice(["byte", "swap", "drop", "repeat", "cut", *common])
    index = rng.randrange(len(program))
    match kind:
        case "byte":
            program[index][rng.randrange(16)] ^= rng.randrange(1, 256) << 8 * rng.randrange(4)
        case "swap":
            other = rng.randrange(len(program))
            program[index], program[other] = program[other], program[index]
        case "drop":
            del program[index]
        case "repeat":
            program.insert(index, list(program[index]))
        case "cut":
            del program[index + 1 :]
        case "resized":
            resize(program, hardware, rng)
        case "flipped":
            flip(program, rng)
        case "regrid":
            regrid(program, rng)
        case "miss":
            miss(program, rng)
        case "rehead":
            rehead(program, hardware, rng)
        case "foreign":
            other = Author(other_hardware(hardware, rng), rng).program(2)
            program[:] = [op.words() for op in other]
        case _:
            for _ in range(rng.choice([1, 1, 2])):
                forge(program, hardware, rng)
    return kind


async def fetch(dut: Any, unit: Any, program: Sequence[Words], dice: Dice) -> None:
    """Clear the store and let a program arrive; it is complete two cycles after its last word, not before."""
    unit.clear.value, unit.word_valid.value, unit.count.value = 1, 0, len(program)
    await RisingEdge(dut.clk_i)
    unit.clear.value = 0
    for words in program:
        while dice.stalls():
            unit.word.value = dice.noise(512)
            await RisingEdge(dut.clk_i)
        unit.word.value = int.from_bytes(struct.pack("<16I", *words), "little")
        unit.word_valid.value = 1
        await RisingEdge(dut.clk_i)
        unit.word_valid.value = 0
        assert not unit.complete.value
    await RisingEdge(dut.clk_i)
    assert not unit.complete.value
    await RisingEdge(dut.clk_i)
    assert unit.complete.value


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES))
async def programs_are_read_back(dut: Any, shape: str) -> None:
    """Right programs are right; both readers see every operation, in any order; the lent words are told."""
    unit, hardware, dice = getattr(dut, f"u_program{shape}"), SHAPES[shape], Dice(("read", shape), 0.3)
    await start(dut, unit.word_valid, unit.clear)
    author, lent, length = Author(hardware, dice.random), Counter[bool](), 0
    programs = [author.program(20), *(author.program() for _ in range(39)), *edges(hardware)]
    for program in programs:
        await fetch(dut, unit, [op.words() for op in program], dice)
        assert unit.error.value == Error.NONE, [str(op) for op in program]
        assert bool(unit.lend.value) == lends(program, hardware)
        lent[lends(program, hardware)] += 1
        length = max(length, len(program))
        ints = [int.from_bytes(op.encode(), "little") for op in program]
        pairs = [(dice.random.randrange(len(ints)), dice.random.randrange(len(ints))) for _ in range(20)]
        for pair in pairs:
            unit.loader.value, unit.executor.value = pair
            await RisingEdge(dut.clk_i)
            unit.loader.value, unit.executor.value = (dice.noise(7) for _ in range(2))
            await RisingEdge(dut.clk_i)
            assert (int(unit.loader_op.value), int(unit.executor_op.value)) == (ints[pair[0]], ints[pair[1]])
    assert min(lent[True], lent[False]) >= 3, lent
    assert length > 40


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES))
async def verdicts(dut: Any, shape: str) -> None:
    """Spoiled programs, checksums mended: the same first error as in Python, and none where Python finds none."""
    unit, hardware, dice = getattr(dut, f"u_program{shape}"), SHAPES[shape], Dice(("verdicts", shape))
    await start(dut, unit.word_valid, unit.clear)
    author, seen = Author(hardware, dice.random), Counter[tuple[str, str]]()
    for _ in range(4000):
        ops = author.program(dice.random.choice([0, 1, 2, 2]))
        program = [op.words() for op in ops]
        kind = spoil(program, hardware, dice.random)
        if not program:
            continue
        await fetch(dut, unit, program, dice)
        (wanted, why), got = verdict(program, hardware), Error(int(unit.error.value))
        assert got == wanted, f"{kind}: {got.name}, not {wanted.name} ({why}): {[describe(words) for words in program]}"
        seen[kind, wanted.name] += 1
    cocotb.log.info("verdicts: %s", dict(seen))
    codes = Counter[str]()
    for (_, code), count in seen.items():
        codes[code] += count
    assert codes.keys() == {"NONE", "OPERATION", "UNSUPPORTED", "SHAPE"}
    assert min(codes["NONE"], codes["SHAPE"], codes["OPERATION"]) > 100, codes
    assert seen["byte", "OPERATION"] == sum(count for (kind, _), count in seen.items() if kind == "byte") > 30


def describe(words: Words) -> str:
    """An operation in a message."""
    try:
        return str(Op.decode(struct.pack("<16I", *words)))
    except ProgramError as error:
        return f"{error}: {words}"
