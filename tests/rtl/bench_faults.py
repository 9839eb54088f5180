# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every fault that the accelerator must report instead of hanging, through the driver: a list, then random ones."""

import os
import random
import re
from collections import Counter
from collections.abc import Callable

import pytest

from m3vit.model.errors import UserError
from m3vit.sim.driver import AcceleratorError, Mode
from m3vit.sim.golden.arith import MAX_SHIFT
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.norm import MAX_COARSE
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import MAX_OPS, OP_BYTES, Opcode
from m3vit.sim.program_check import check_addresses, check_program, check_sizes
from m3vit.sim.regmap import Control, Error
from rtl.faults import (
    BEYOND,
    SOON,
    Fault,
    address_faults,
    encoding_faults,
    order_faults,
    reseal,
    shape_faults,
    task_faults,
)
from rtl.frames import FAULTS_VARIABLE
from rtl.host import ENDED, FRAME, IMAGES, PATIENCE, SEEN, Host, on_host

BEATS = 4
"""Beats of 16 bytes in a DRAM word."""
REPORTED = Control.START | Control.DONE | Control.INTERRUPT
"""CONTROL when an error has been reported while the memory still owes bursts."""
COUNT = int(os.environ.get(FAULTS_VARIABLE, "0"))
"""Random corruptions; a tenth of it of the other kinds."""
ONLY_PYTHON = re.compile(r"has (an expert stride|stream words|(output )?(multiplier|shift) )")
"""Messages of the checks that only sim/program_check.py makes."""


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
    control, error = host.control(), host.error()
    assert control == ENDED, f"{fault}: {control!r}"
    if fault.may_run and error is Error.NONE:
        assert fault.data is not None
        outcome = check_result(host, fault, fault.data)
    else:
        assert error in fault.errors, f"{fault}: {error!r}"
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
        assert (host.control(), host.error()) == (REPORTED, Error.TIMEOUT), name
        with pytest.raises(AcceleratorError, match="busy"):
            host.accelerator.run(host.pathway.task, host.golden().source)
        host.dram.order()
        host.wait(SOON)
        assert (host.control(), host.error()) == (SEEN | Control.READY, Error.TIMEOUT), name
        host.clean(seed=number)
    host.dram.order(read_error=reads // 3, read_silence=reads // 3 + 1)  # another error, and bursts that do not end
    host.start()
    host.until_interrupt(FRAME + PATIENCE)
    assert (host.control(), host.error()) == (REPORTED, Error.AXI_READ)
    host.dram.order()
    host.wait(SOON)
    assert host.control() == SEEN | Control.READY
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
