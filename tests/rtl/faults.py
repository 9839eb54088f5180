# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What can be wrong with a run: damaged operations, wrong order, shapes, addresses and tasks, one `Fault` each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from m3vit.sim.program import CHECK_WORD, MAX_OPS, Op, Opcode
from m3vit.sim.regmap import Error
from rtl.frames import DRAM_BYTES, HARDWARE
from rtl.host import FRAME, WORD

SOON = 5_000
"""Cycles within which a fault must be reported that needs no computation."""
BEYOND = DRAM_BYTES + (1 << 20)
"""Address behind the end of the DRAM."""


@dataclass(frozen=True)
class Fault:
    """What is wrong and what the accelerator must say.

    Attributes:
        name: for the message.
        errors: codes that are right.
        index: operation that is replaced by `data`.
        data: its bytes; None leaves the program as it is.
        registers: changed for the run.
        operations: length of the program in the task table.
        orders: for the memory.
        limit: cycles.
        may_run: the run may also end well, with golden's result of the operation in `data`.
    """

    name: str
    errors: tuple[Error, ...]
    index: int = 0
    data: bytes | None = None
    registers: dict[str, int] = field(default_factory=dict)
    operations: int | None = None
    orders: dict[str, int] = field(default_factory=dict)
    limit: int = SOON
    may_run: bool = False


def reseal(words: list[int]) -> bytes:
    """Encode an operation from raw words with a right checksum."""
    check = CHECK_WORD
    for word in words[:15]:
        check ^= word
    return b"".join(word.to_bytes(4, "little") for word in [*words[:15], check])


def encoding_faults(index: int, op: Op) -> Iterator[Fault]:
    """An operation that is damaged, of another version, or of another kind."""
    words, wrong = op.words(), (Error.OPERATION,)
    yield Fault(f"checksum of {index}", wrong, index, bytes([*op.encode()[:-1], op.encode()[-1] ^ 0x80]))
    for word in range(15):
        damaged = [value ^ (1 << 7 if place == word else 0) for place, value in enumerate(words)]
        data = b"".join(value.to_bytes(4, "little") for value in damaged)
        yield Fault(f"bit in word {word} of {index}", wrong, index, data)
    for version in (0, 1, 255):
        yield Fault(f"version {version}", wrong, index, reseal([words[0] & 0xFFFFFF | version << 24, *words[1:]]))
    for opcode in (0, 11, 99, 255):
        data = reseal([words[0] & ~0xFF | opcode, *words[1:]])
        yield Fault(f"opcode {opcode}", (Error.UNSUPPORTED,), index, data)


def order_faults(program: tuple[Op, ...]) -> Iterator[Fault]:
    """Operations where they must not be."""
    for index, op in enumerate(program):
        for opcode in Opcode:
            first = opcode in (Opcode.PATCH_EMBED, Opcode.LOAD)
            same_place = {op.opcode, Opcode.MOE, Opcode.MLP, Opcode.LINEAR, Opcode.HEAD} if index else {op.opcode}
            if opcode in same_place or first == (index == 0) or opcode is Opcode.LAYER_NORM:
                continue
            name = f"{opcode.name} in place of operation {index} {op.opcode.name}"
            yield Fault(name, (Error.OPERATION,), index, replace(op, opcode=opcode).encode())


def wrong_sizes(op: Op) -> Iterator[tuple[str, int]]:
    """(field or operand, value): zero, just beyond the capacity, the largest, not a multiple of what it must be."""
    hardware = HARDWARE
    rows = {0, op.rows - 1, op.rows + 1, hardware.max_tokens + 1, 0xFFFF}
    wide = {0, op.out_features - 8, op.out_features + 16, hardware.max_dim + 32, 0xFFE0}
    narrow = {0, op.in_features - 8, op.in_features + 16, hardware.max_dim + 32, 0xFFE0}
    tables: dict[Opcode, dict[str, set[int]]] = {
        Opcode.PATCH_EMBED: {
            "in_features": narrow,
            "out_features": wide,
            "operand 0": {0, 4, op.operands[0] + 8, 256, 1 << 31},
            "operand 1": {0, op.operands[1] + 8, 65536},
            "operand 2": {0, op.operands[2] + 8, 65536} if op.operands else set(),
            "operand 3": {0, 65536},
            "operand 4": {0, op.operands[4] + 1, 65536} if op.opcode is Opcode.PATCH_EMBED else set(),
        } if op.opcode is Opcode.PATCH_EMBED else {},
        Opcode.LOAD: {"in_features": narrow},
        Opcode.LAYER_NORM: {"in_features": narrow},
        Opcode.LINEAR: {
            "in_features": narrow,
            "out_features": wide,
            "heads": {0, op.heads + 1},
            "operand 0": {0, 16, 48},
        },
        Opcode.ATTENTION: {
            "in_features": narrow,
            "out_features": wide,
            "heads": {0, op.heads + 1},
            "operand 0": {32, 1 << 31},
            "operand 1": {1 << 16},
            "operand 2": {48},
            "operand 3": {0, hardware.max_block + 1, 1 << 16},
            "operand 4": {0, 16, 48},
        },
        Opcode.LINEAR_RESIDUAL: {"in_features": narrow, "out_features": wide},
        Opcode.MLP: {"in_features": narrow, "out_features": {0, 32, hardware.max_hidden + 64, 0xFFC0}, "experts": {0}},
        Opcode.MOE: {
            "in_features": narrow,
            "out_features": {0, 32, hardware.max_hidden + 64, 0xFFC0},
            "experts": {0, op.top_k - 1, 1025, 0xFFFF},
            "top_k": {0, op.experts + 1, hardware.max_top_k + 1, 255},
        },
        Opcode.HEAD: {"in_features": narrow, "out_features": {0, hardware.max_dim + 1, 0xFFFF}},
        Opcode.STORE: {"out_features": {0, op.out_features - 1, op.out_features + 1}},
    }  # fmt: skip
    for name, values in ({"rows": rows} | tables[op.opcode]).items():
        yield from ((name, value) for value in sorted(values) if value >= 0)


def with_field(op: Op, name: str, value: int) -> Op:
    """The operation with another value of a field or an operand."""
    if name.startswith("operand "):
        place = int(name.removeprefix("operand "))
        return replace(op, operands=(*op.operands[:place], value, *op.operands[place + 1 :]))
    changed: dict[str, Any] = {name: value}
    return replace(op, **changed)


def shape_faults(program: tuple[Op, ...]) -> Iterator[Fault]:
    """Wrong sizes of one operation of each kind."""
    for index, op in first_of_each(program):
        for name, value in wrong_sizes(op):
            where = f"{op.opcode.name}: {name} {value}"
            yield Fault(where, (Error.SHAPE,), index, with_field(op, name, value).encode())


def first_of_each(program: tuple[Op, ...]) -> list[tuple[int, Op]]:
    """The first operation of each kind, with its index."""
    seen: dict[Opcode, tuple[int, Op]] = {}
    for index, op in enumerate(program):
        seen.setdefault(op.opcode, (index, op))
    return list(seen.values())


def address_faults(program: tuple[Op, ...], image_bytes: int) -> Iterator[Fault]:
    """Offsets behind the image, across its end, and not aligned to words; memory that does not answer."""
    wrong, end = (Error.ADDRESS,), image_bytes
    reads = {
        Opcode.PATCH_EMBED: ("weights", "table"), Opcode.LAYER_NORM: ("table",), Opcode.LINEAR: ("weights",),
        Opcode.LINEAR_RESIDUAL: ("weights",), Opcode.HEAD: ("weights",), Opcode.MLP: ("table", "expert_base"),
        Opcode.MOE: ("table", "weights", "expert_base"),
    }  # fmt: skip
    for index, op in first_of_each(program):
        for name in reads.get(op.opcode, ()):
            for value in (end, 0xFFFFFFC0, getattr(op, name) + 4):
                where = f"{op.opcode.name}: {name} {value}"
                yield Fault(where, wrong, index, with_field(op, name, value).encode(), limit=FRAME)
        if op.opcode in (Opcode.MOE, Opcode.MLP) and op.experts > 1:
            data = replace(op, expert_stride=end).encode()
            yield Fault(f"{op.opcode.name}: stride", wrong, index, data, limit=FRAME)
    yield Fault("image of no bytes", wrong, registers={"MEMORY_BYTES": 0})
    cut = {"MEMORY_BYTES": program[2].weights + WORD}
    yield Fault("image without programs", wrong, registers=cut)
    yield Fault("source", (Error.AXI_READ,), registers={"SOURCE_LO": BEYOND}, limit=FRAME)
    yield Fault("source, high bits", (Error.AXI_READ,), registers={"SOURCE_HI": 0xFF}, limit=FRAME)
    yield Fault("source across the end", (Error.AXI_READ,), registers={"SOURCE_LO": DRAM_BYTES - WORD}, limit=FRAME)
    yield Fault("image", (Error.AXI_READ,), registers={"MEMORY_LO": BEYOND})
    yield Fault("result", (Error.AXI_WRITE,), registers={"RESULT_LO": BEYOND}, limit=FRAME)
    yield Fault("result across the end", (Error.AXI_WRITE,), registers={"RESULT_LO": DRAM_BYTES - WORD}, limit=FRAME)


def task_faults(count: int) -> Iterator[Fault]:
    """Tasks that do not exist, programs that are too short and too long."""
    for task in (3, 15, 16, 17, 0xFFFFFFFF):  # empty slots, and slots that do not exist
        yield Fault(f"task {task}", (Error.TASK,), registers={"TASK": task})
    for operations in (0, MAX_OPS + 1, 0x8000, 0xFFFF):
        yield Fault(f"{operations} operations", (Error.TASK,), operations=operations)
    for operations in (1, count - 1, count + 1, MAX_OPS):
        yield Fault(f"{operations} operations", (Error.OPERATION, Error.ADDRESS), operations=operations)
