# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every fault that the accelerator must report instead of hanging, through the driver: a list, then random ones."""

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from m3vit.model.errors import UserError
from m3vit.sim.driver import AcceleratorError, Mode
from m3vit.sim.golden.arith import MAX_SHIFT
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.norm import MAX_COARSE
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import CHECK_WORD, MAX_OPS, OP_BYTES, Op, Opcode
from m3vit.sim.program_check import check_addresses, check_program, check_sizes
from m3vit.sim.regmap import Error, Status
from rtl.frames import DRAM_BYTES, FAULTS_VARIABLE, HARDWARE
from rtl.host import FRAME, IMAGES, PATIENCE, WORD, Host, on_host

SOON = 5_000
"""Cycles within which a fault must be reported that needs no computation."""
BEYOND = DRAM_BYTES + (1 << 20)
"""Address behind the end of the DRAM."""
BEATS = 4
"""Beats of 16 bytes in a DRAM word."""
COUNT = int(os.environ.get(FAULTS_VARIABLE, "0"))
"""Random corruptions; a tenth of it of the other kinds."""
ONLY_PYTHON = re.compile(r"has (an expert stride|stream words|(output )?(multiplier|shift) )")
"""Messages of the checks that only sim/program_check.py makes."""


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


def refusal(pathway: Pathway, index: int) -> str:
    """Why Python does not accept an operation and its neighbours; empty if it does."""
    hardware, size = pathway.config.hardware, pathway.image.size
    try:
        check_program(pathway.program)
        check_sizes(pathway.program[index], hardware, "it")
        check_addresses(pathway.program[index], hardware, size, "it")
    except UserError as error:
        return str(error)
    return ""


def is_sound(executor: Executor) -> bool:
    """Whether golden speaks for the hardware: weights that an operation finds elsewhere may be no weights at all.

    No sum may leave the accumulator, and shifts must lie within their range.
    """
    program, layers = executor.pathway.program, executor._layers.values()
    norms = [executor.norm(op).coarse_D.max() for op in program if op.opcode is Opcode.LAYER_NORM]
    shifts = [shift for layer in layers for shift in (layer.shift_M.min(), layer.shift_M.max())]
    within = min(shifts) >= 1 and max(shifts) <= MAX_SHIFT and max(norms) <= MAX_COARSE
    return within and all(layer.fits_accumulator() for layer in layers)


def check_result(host: Host, fault: Fault, data: bytes) -> str:
    """Compare what a changed operation did with golden, if golden can tell: "compared" or "unchecked"."""
    pathway = host.poked(fault.index, data)
    why = refusal(pathway, fault.index)
    if ONLY_PYTHON.search(why):
        return "unchecked"
    unread = pathway.program[fault.index].opcode is Opcode.MOE and "reads bytes" in why  # experts without tokens
    assert not why or unread, f"{fault}: the accelerator runs what Python refuses: {why}"
    executor = Executor(pathway)
    golden = executor.run(host.last.source).output_NC
    if not is_sound(executor):
        return "unchecked"
    differing = int((host.stored(pathway.program[-1]) != golden).sum())
    assert not differing, f"{fault}: {differing} of {golden.size} elements differ from golden"
    return "compared"


def check_fault(host: Host, fault: Fault) -> str:
    """Provoke a fault on top of the registers of the frame before, and mend it again.

    Returns:
        "error", "compared" or "unchecked".
    """
    host.dut._log.info(fault.name)
    before = {name: host.read(name) for name in fault.registers}
    if fault.data is not None:
        host.poke(fault.index, fault.data)
    for name, value in fault.registers.items():
        host.write(name, value)
    if fault.operations is not None:
        host.write_task(0, fault.operations)
    host.spoil()
    host.dram.order(**fault.orders)
    host.start()
    host.until_interrupt(fault.limit)
    status, error = host.status(), Error(host.read("ERROR_CODE"))
    if fault.may_run and (status, error) == (Status.DONE, Error.NONE):
        assert fault.data is not None
        outcome = check_result(host, fault, fault.data)
    else:
        assert (status, error in fault.errors) == (Status.ERROR, True), f"{fault}: {status!r}, {error!r}"
        outcome = "error"
    assert host.read("RUN_CYCLES") <= fault.limit, fault
    host.dram.order()
    for name, value in before.items():
        host.write(name, value)
    if fault.operations is not None:
        host.write_task(0, len(host.program))
    host.mend(fault.index)
    return outcome


@on_host
def listed_faults(host: Host) -> None:
    """Each fault is reported with its code, in time, with an interrupt, and the next frame is exact."""
    host.load("least")
    program, seen = host.program, set[Error]()
    host.clean()
    encodings = [fault for index in (0, len(program) - 1) for fault in encoding_faults(index, program[index])]
    all_faults = [
        *encodings, *order_faults(program), *shape_faults(program),
        *address_faults(program, host.pathway.image.size), *task_faults(len(program)),
    ]  # fmt: skip
    for number, fault in enumerate(all_faults):
        check_fault(host, fault)
        assert host.read("OPS_DONE") == 0 or fault.limit == FRAME, fault
        seen.update(fault.errors)
        host.clean(seed=number)
    assert seen == set(Error) - {Error.NONE, Error.TIMEOUT}


@on_host
def faults_of_a_program_with_load(host: Host) -> None:
    """The same for programs that take a residual stream."""
    host.load("narrow")
    host.clean()
    program = host.program
    for number, fault in enumerate([*shape_faults(program), *order_faults(program)]):
        check_fault(host, fault)
        if number % 8 == 0:
            host.clean(seed=number)


def beats(host: Host) -> tuple[int, int]:
    """Beats that are read and written at least, whatever the image."""
    reads, writes = [], []
    for seed in range(IMAGES):
        host.clean(seed=seed)
        counts = host.counters()
        reads.append(BEATS * (sum(count.read_words for count in counts) + len(host.program)))
        writes.append(BEATS * sum(count.write_words for count in counts))
    return min(reads), min(writes)


@on_host
def silence(host: Host) -> None:
    """A memory that answers no more: TIMEOUT is reported while it is silent; it goes on when the memory does."""
    host.load("least")
    host.clean()
    reads, writes = beats(host)
    silences = [("read_silence", beat) for beat in (1, reads // 3, reads - 1)]
    silences += [("write_silence", beat) for beat in (1, writes // 2)]
    for number, (name, beat) in enumerate(silences):
        host.dram.order(**{name: beat})
        host.start()
        host.until_interrupt(FRAME + PATIENCE)
        assert (host.status(), host.read("ERROR_CODE")) == (Status.ERROR | Status.BUSY, Error.TIMEOUT), name
        with pytest.raises(AcceleratorError, match="busy"):
            host.accelerator.run(host.pathway.task, host.golden().source)
        host.dram.order()
        host.wait(SOON)
        assert host.status() == Status.ERROR, name
        host.clean(seed=number)
    host.dram.order(read_error=reads // 3, read_silence=reads // 3 + 1)  # another error, and bursts that do not end
    host.start()
    host.until_interrupt(FRAME + PATIENCE)
    assert (host.status(), host.read("ERROR_CODE")) == (Status.ERROR | Status.BUSY, Error.AXI_READ)
    host.dram.order()
    host.wait(SOON)
    assert host.status() == Status.ERROR
    host.clean()
    host.dram.order(read_silence=1)
    host.start()
    host.until_interrupt(FRAME + PATIENCE)
    host.reset()  # the other way out
    host.load("least")
    host.clean()


@on_host
def driver_reports_the_code(host: Host) -> None:
    """The driver turns an error into an exception with its code."""
    host.load("least")
    host.clean()
    host.write_task(0, 0)
    with pytest.raises(AcceleratorError) as caught:
        host.clean()
    assert caught.value.code is Error.TASK
    host.load("least")
    host.clean()


Kinds = tuple[Callable[[], Fault | None], ...]


class Chaos:
    """Draws faults at random.

    Attributes:
        corruptions: single bytes of the program, half of them with a right checksum.
        responses: AXI error responses.
        others: cut images, wrong addresses and lengths, resets.
        reads, writes: beats of a clean frame.
        cycles: of a clean frame.
    """

    def __init__(self, host: Host, seed: int) -> None:
        self.rng, self.host = random.Random(seed), host
        self.reads, self.writes = beats(host)
        self.cycles = host.clean()
        self.corruptions: Kinds = (self.byte, self.sealed_byte)
        self.responses: Kinds = (self.read_error, self.read_error, self.write_error)
        self.others: Kinds = (self.word, self.cut, self.address, self.length, self.reset)

    def byte(self) -> Fault:
        """One damaged byte anywhere in the program: always an error."""
        index, place, flip = self.place()
        data = bytearray(self.host.program[index].encode())
        data[place] ^= flip
        return Fault(f"byte {place} of {index}: {data[place]}", (Error.OPERATION,), index, bytes(data))

    def sealed_byte(self) -> Fault:
        """The same with a right checksum."""
        index, place, flip = self.place()
        words = self.host.program[index].words()
        words[place // 4 % 15] ^= flip << 8 * (place % 4)
        return self.sealed(index, words)

    def word(self) -> Fault:
        """Any word of an operation, with a right checksum."""
        index, place, _ = self.place()
        words = self.host.program[index].words()
        words[place // 4 % 15] = self.rng.getrandbits(32)
        return self.sealed(index, words)

    def place(self) -> tuple[int, int, int]:
        """Operation, byte of it, and what to flip in the byte."""
        return self.rng.randrange(len(self.host.program)), self.rng.randrange(OP_BYTES), self.rng.randrange(1, 256)

    def sealed(self, index: int, words: list[int]) -> Fault:
        """An operation with a right checksum: may be legal, must end."""
        errors = (Error.OPERATION, Error.UNSUPPORTED, Error.SHAPE, Error.ADDRESS)
        return Fault(f"{words} at {index}", errors, index, reseal(words), limit=2 * FRAME, may_run=True)

    def read_error(self) -> Fault:
        """An AXI read error at any beat of the frame."""
        beat = self.rng.randrange(1, self.reads + 1)
        return Fault(f"read beat {beat}", (Error.AXI_READ,), orders=self.memory(read_error=beat), limit=2 * FRAME)

    def write_error(self) -> Fault:
        """An AXI write error at any beat of the frame."""
        beat = self.rng.randrange(1, self.writes + 1)
        return Fault(f"write beat {beat}", (Error.AXI_WRITE,), orders=self.memory(write_error=beat), limit=2 * FRAME)

    def memory(self, **orders: int) -> dict[str, int]:
        """Orders together with stalls and jitter."""
        slow = self.rng.random() < 0.3
        stalls = {"stall_percent": self.rng.randrange(60) * slow, "jitter_cycles": self.rng.randrange(200) * slow}
        return stalls | orders

    def cut(self) -> Fault:
        """A memory image that ends before the end of the program."""
        end = self.host.pathway.program_offset + OP_BYTES * len(self.host.program)
        registers = {"MEMORY_BYTES": self.rng.randrange(end)}
        return Fault(f"{registers}", (Error.ADDRESS,), registers=registers)

    def address(self) -> Fault:
        """Image, source or result behind the end of the DRAM."""
        name = self.rng.choice(("MEMORY", "SOURCE", "RESULT"))
        where = BEYOND + 1024 * self.rng.randrange(1 << 14)
        errors = (Error.AXI_WRITE,) if name == "RESULT" else (Error.AXI_READ,)
        return Fault(f"{name} at {where}", errors, registers={f"{name}_LO": where}, limit=FRAME)

    def length(self) -> Fault:
        """A program of another length."""
        count = len(self.host.program)
        operations = self.rng.choice([n for n in (*range(MAX_OPS + 3), self.rng.randrange(1 << 16)) if n != count])
        errors = (Error.OPERATION, Error.ADDRESS) if 0 < operations <= MAX_OPS else (Error.TASK,)
        return Fault(f"{operations} operations", errors, operations=operations)

    def reset(self) -> None:
        """A reset at any moment of a frame, sometimes of an uncommon one."""
        self.host.accelerator.mode = Mode(self.rng.randrange(16) if self.rng.random() < 0.3 else 0)
        self.host.dram.order(**self.memory())
        self.host.start()
        self.host.wait(self.rng.randrange(1, self.cycles + 50))
        self.host.reset()
        self.host.load("least")


def play(host: Host, kinds: str, number: int) -> Counter[str]:
    """Random faults of some kinds: each ends in time with the right code or result, and the next frame is exact.

    Returns:
        How often `check_fault` gave which answer.
    """
    host.load("least")
    chaos, outcomes = Chaos(host, seed=1), Counter[str]()
    for seed in range(number):
        fault = chaos.rng.choice(getattr(chaos, kinds))()
        if fault is not None:  # else it has already been played
            outcomes[check_fault(host, fault)] += 1
        host.clean(seed=seed)
    host.dut._log.info(f"{kinds}: {dict(outcomes)}")
    return outcomes


@on_host
def random_corruptions(host: Host) -> None:
    """Single bytes of the program; at least a tenth of those with a right checksum run and equal golden."""
    outcomes = play(host, "corruptions", COUNT)
    assert COUNT < 100 or outcomes["compared"] >= COUNT // 20, outcomes


@on_host
def random_responses(host: Host) -> None:
    """AXI error responses at any beat of a frame, also on a slow memory."""
    play(host, "responses", COUNT // 10)


@on_host
def random_others(host: Host) -> None:
    """Everything else."""
    play(host, "others", COUNT // 10)
