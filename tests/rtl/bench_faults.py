# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Faults, counters, resets and memories of the whole accelerator on the frame bench, through the host driver."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import ClockCycles, First, ReadOnly, RisingEdge, Timer

from m3vit.sim import cosim
from m3vit.sim.driver import AcceleratorError, Counters
from m3vit.sim.golden.executor import Executor, State, Step
from m3vit.sim.layout import linear_bytes
from m3vit.sim.pathway import Pathway, read_pathways
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_bytes
from m3vit.sim.regmap import OFFSET, Control, Error, Status, task_entry
from m3vit.sim.synthetic import random_tokens
from rtl.frames import DRAM_BYTES, HARDWARE

SOON = 5_000
"""Cycles within which a fault must be reported that needs no computation."""
FRAME = 40_000
"""Cycles within which any frame of these tests must end."""
WORD = 64
BEYOND = DRAM_BYTES + (1 << 20)
"""Address behind the end of the DRAM."""


class Host:
    """The driver with one pathway folder loaded, its golden model, and access below the driver."""

    def __init__(self, dut: HierarchyObject, case: str) -> None:
        self.dut = dut
        self.accelerator, self.dram = cosim.connect(dut)
        self.load(case)

    def load(self, case: str) -> None:
        """Load a pathway folder."""
        folder = Path(os.environ["M3VIT_CASES"]) / case
        self.pathways = read_pathways(folder)
        self.executors = {task: Executor(pathway) for task, pathway in self.pathways.tasks.items()}
        self.accelerator.load(folder)
        self.accelerator.enable_interrupt()

    @property
    def pathway(self) -> Pathway:
        """The first task's."""
        return self.pathways.first

    def read(self, name: str) -> int:
        """A register."""
        return self.accelerator._registers.read(OFFSET[name])

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.accelerator._registers.write(OFFSET[name], value)

    def status(self) -> Status:
        """STATUS."""
        return Status(self.read("STATUS"))

    def irq(self) -> bool:
        """Level of the interrupt."""

        async def look() -> bool:
            await ReadOnly()
            return bool(self.dut.irq_o.value)

        level: bool = cocotb.task.resume(look)()
        return level

    def wait(self, cycles: int) -> None:
        """Let the simulation go on."""
        cocotb.task.resume(partial(ClockCycles, self.dut.aclk, cycles))() if cycles else None

    def start(self) -> None:
        """START with whatever the registers hold."""
        self.write("CONTROL", Control.CLEAR)
        self.write("CONTROL", Control.START)

    def until_interrupt(self, limit: int) -> None:
        """Wait for the interrupt.

        Raises:
            AssertionError: it does not come within `limit` cycles.
        """

        async def edge() -> None:
            await First(RisingEdge(self.dut.irq_o), Timer(limit * cosim.PERIOD_NS, "ns"))

        if not self.irq():
            cocotb.task.resume(edge)()
        assert self.irq(), f"no interrupt within {limit} cycles: STATUS {self.status()!r}"

    def golden(self, task: str, index: int, seed: int) -> Step:
        """The golden operation on random tokens."""
        x_ND, residual_ND = random_tokens(self.pathway.config.model, seed)
        return self.executors[task].step(index, State.of(x_ND=x_ND, residual_ND=residual_ND))

    def clean(self, task: str = "", index: int = 0, seed: int = 0) -> tuple[Step, Counters]:
        """Run one operation and compare every element."""
        step = self.golden(task or self.pathway.task, index, seed)
        got = self.accelerator.run_moe(task or self.pathway.task, index, step.x_ND, step.residual_ND, timeout=FRAME * 1e-8)
        differing = int((got != step.result).sum())
        assert not differing, f"{differing} of {got.size} elements differ from golden"
        return step, self.accelerator.counters(index)

    def poke_operation(self, data: bytes, index: int = 0) -> None:
        """Overwrite an operation in the DRAM."""
        start = self.read("MEMORY_LO") + self.pathway.program_offset + WORD * index
        self.dram.data[start : start + WORD] = np.frombuffer(data, np.uint8)


def on_host(body: Callable[[Host], None], case: str = "base") -> Callable[[HierarchyObject], Any]:
    """A cocotb test around a synchronous function that talks to the accelerator like a host."""

    async def test(dut: HierarchyObject) -> None:
        await cosim.reset(dut)
        await cocotb.task.bridge(lambda: body(Host(dut, case)))()

    test.__name__ = test.__qualname__ = body.__name__
    test.__module__, test.__doc__ = body.__module__, body.__doc__
    return cocotb.test(test)


@dataclass(frozen=True)
class Fault:
    """What is wrong and what the accelerator must say."""

    name: str
    error: Error
    op: bytes | None = None
    registers: dict[str, int] = field(default_factory=dict)
    limit: int = SOON


def reseal(words: list[int]) -> bytes:
    """Encode an operation from raw words with a right checksum."""
    check = 0x4D335649
    for word in words[:15]:
        check ^= word
    return b"".join(word.to_bytes(4, "little") for word in [*words[:15], check])


def operation_faults(op: Op) -> Iterator[Fault]:
    """Operations that are damaged, of another version, or of another kind."""
    words = op.words()
    yield Fault("checksum", Error.OPERATION, bytes([*op.encode()[:-1], op.encode()[-1] ^ 0x80]))
    for word in range(15):
        damaged = [value ^ (1 << 7 if index == word else 0) for index, value in enumerate(words)]
        yield Fault(f"bit in word {word}", Error.OPERATION, b"".join(value.to_bytes(4, "little") for value in damaged))
    for version in (0, 2, 255):
        yield Fault(f"version {version}", Error.OPERATION, reseal([words[0] & 0xFFFFFF | version << 24, *words[1:]]))
    for opcode in (0, 9, 99, 255):
        yield Fault(f"opcode {opcode}", Error.UNSUPPORTED, reseal([words[0] & ~0xFF | opcode, *words[1:]]))
    yield Fault("not in this hardware", Error.UNSUPPORTED, replace(op, opcode=Opcode.MLP).encode())


def shape_faults(op: Op) -> Iterator[Fault]:
    """Every size at zero, just beyond the capacity, at its largest, and not a multiple of what it must be."""
    sizes = {
        "rows": (0, HARDWARE.max_tokens + 1, 0xFFFF),
        "in_features": (0, 32, HARDWARE.max_dim + 8, HARDWARE.max_dim + 64, 0xFFC0),
        "out_features": (0, 32, 72, HARDWARE.max_hidden + 64, 0xFFC0),
        "experts": (0, op.top_k - 1, 1025, 0xFFFF),
        "top_k": (0, HARDWARE.max_top_k + 1, 255),
    }
    for name, values in sizes.items():
        for value in values:
            changed = {name: value} | ({"experts": 1024} if name == "top_k" else {})
            yield Fault(f"{name} {value}", Error.SHAPE, replace(op, **changed).encode())
    yield Fault("top_k beyond experts", Error.SHAPE, replace(op, top_k=8, experts=7).encode())


def address_faults(op: Op, image_bytes: int) -> Iterator[Fault]:
    """Offsets behind the image, across its end, and not aligned to words; memory that does not answer."""
    end = image_bytes
    for name, early in (("weights", True), ("table", True), ("expert_base", False)):
        limit = SOON if early else FRAME
        for value in (end, end - WORD, 0xFFFFFFC0, getattr(op, name) + 4):
            yield Fault(f"{name} {value}", Error.ADDRESS, replace(op, **{name: value}).encode(), limit=limit)
    yield Fault("stride", Error.ADDRESS, replace(op, expert_stride=end, expert_base=WORD).encode(), limit=FRAME)
    yield Fault("image of no bytes", Error.ADDRESS, registers={"MEMORY_BYTES": 0})
    yield Fault("image cut inside the router", Error.ADDRESS, registers={"MEMORY_BYTES": op.weights + WORD})
    yield Fault("source", Error.AXI_READ, registers={"SOURCE_LO": BEYOND})
    yield Fault("source, high bits", Error.AXI_READ, registers={"SOURCE_HI": 0xFF})
    yield Fault("source across the end", Error.AXI_READ, registers={"SOURCE_LO": DRAM_BYTES - 1024})
    yield Fault("image", Error.AXI_READ, registers={"MEMORY_LO": BEYOND})
    yield Fault("result", Error.AXI_WRITE, registers={"RESULT_LO": BEYOND}, limit=FRAME)
    yield Fault("result across the end", Error.AXI_WRITE, registers={"RESULT_LO": DRAM_BYTES - 4096}, limit=FRAME)


def task_faults(pathway: Pathway) -> Iterator[Fault]:
    """Tasks and ranges that do not exist."""
    count = len(pathway.program)
    for task in (3, 15, 16, 17, 0xFFFFFFFF):  # empty slots, and slots that do not exist
        yield Fault(f"task {task}", Error.TASK, registers={"TASK": task})
    for first, ops in ((count, 1), (count, 0), (0, count + 1), (1, count), (0xFFFF, 1), (0xFFFF, 0xFFFF)):
        yield Fault(f"operations {first} + {ops}", Error.TASK, registers={"FIRST_OP": first, "OP_COUNT": ops})


@on_host
def faults(host: Host) -> None:
    """Each fault is reported with its code, in time, with an interrupt, and the next frame is exact."""
    op, pathway, seen = host.pathway.program[0], host.pathway, set()
    host.clean()
    all_faults = [
        *operation_faults(op), *shape_faults(op), *address_faults(op, pathway.image.size), *task_faults(pathway),
    ]  # fmt: skip
    for number, fault in enumerate(all_faults):
        check_fault(host, fault, op)
        seen.add(fault.error)
        host.clean(seed=number % 3)
    assert seen == set(Error) - {Error.NONE}


def check_fault(host: Host, fault: Fault, op: Op) -> None:
    """Provoke a fault on top of the registers of the frame before, and mend it again."""
    before = {name: host.read(name) for name in fault.registers}
    if fault.op is not None:
        host.poke_operation(fault.op)
    for name, value in fault.registers.items():
        host.write(name, value)
    host.start()
    host.until_interrupt(fault.limit)
    got = (host.status(), Error(host.read("ERROR_CODE")))
    assert got == (Status.ERROR, fault.error), f"{fault.name}: {got}, expected {fault.error!r}"
    assert host.read("OPS_DONE") == 0
    assert host.read("RUN_CYCLES") <= fault.limit, fault.name
    for name, value in before.items():
        host.write(name, value)
    host.poke_operation(op.encode())


@on_host
def driver_reports_the_code(host: Host) -> None:
    """The driver turns an error into an exception with its code."""
    step, _ = host.clean()
    host.accelerator._registers.write(task_entry(0) + 4, 0)  # task table: no program
    try:
        host.clean()
    except AcceleratorError as error:
        assert error.code is Error.TASK
    else:
        raise AssertionError("no error was raised")
    host.load("base")
    host.clean()
    assert step.queues


@on_host
def start_and_clear(host: Host) -> None:
    """START while busy is ignored; CLEAR clears DONE and the interrupt and nothing else."""
    host.clean()
    cycles = host.accelerator.run_cycles()
    host.start()
    for pause in (3, 40, 400, 1500):
        host.wait(pause)
        assert host.status() == Status.BUSY
        host.write("CONTROL", Control.START)
    host.write("CONTROL", Control.CLEAR)
    host.until_interrupt(FRAME)
    assert host.status() == Status.DONE
    assert (host.read("OPS_DONE"), host.accelerator.run_cycles()) == (1, cycles)
    host.accelerator.clear()
    assert not host.irq()
    assert (host.status(), host.read("RUN_CYCLES")) == (Status(0), cycles)
    host.accelerator.enable_interrupt(False)
    host.start()
    host.wait(cycles + 100)
    assert host.status() == Status.DONE
    assert not host.irq()


def words_read(op: Op, step: Step) -> int:
    """64-byte words that an operation needs: itself, router, tokens, residual, table, the experts with tokens."""
    lanes, data = HARDWARE.lanes, op.rows * op.in_features
    each = expert_bytes(op.in_features, op.out_features, lanes)
    router = linear_bytes(op.experts, op.in_features, lanes)
    return (WORD + router + 3 * data + GELU_BYTES + len(step.queues) * each) // WORD


def row_chunks(op: Op, step: Step) -> int:
    """Cycles in which the array must multiply: one per row, chunk and tile."""
    chunks, hidden_chunks, lanes = op.in_features // 64, op.out_features // 64, HARDWARE.lanes
    queued = sum(len(queue.token_Q) for queue in step.queues)
    routed = op.rows * chunks * -(-op.experts // lanes)
    return routed + queued * (chunks * op.out_features + hidden_chunks * op.in_features) // lanes


@on_host
def counters(host: Host) -> None:
    """Nothing is read, written or multiplied twice."""
    for task in host.pathways.tasks:
        for index in (0, 1):
            step, count = host.clean(task, index, seed=index)
            op = host.pathways.task(task).program[index]
            assert count.read_words == words_read(op, step)
            assert count.write_words == 2 * op.rows * op.in_features // WORD
            assert (count.experts, count.compute) == (len(step.queues), row_chunks(op, step))
            stalls = count.stall_weight + count.stall_input + count.stall_output
            assert abs(count.cycles - count.compute - stalls) <= 16  # the engine multiplies or says why not
            assert count.cycles <= host.accelerator.run_cycles() <= count.cycles + 8


@on_host
def two_operations_in_one_run(host: Host) -> None:
    """Both layers in one run: the second must not use the first one's GELU table; both have counters."""
    task = host.pathway.task
    for seed in range(2):
        steps = [host.golden(task, index, seed) for index in (0, 1)]
        assert (steps[0].result != steps[1].result).any()
        source = np.concatenate([steps[0].x_ND.reshape(-1).view(np.uint8), steps[0].residual_ND.reshape(-1).view(np.uint8)])
        got = host.accelerator.run(task, 0, 0, source, 2 * steps[0].x_ND.size, timeout=2 * FRAME * 1e-8)
        assert (got.view("<i2") == steps[1].result.reshape(-1)).all()
        assert host.read("OPS_DONE") == 2
        for index in (0, 1):
            assert host.accelerator.counters(index).experts == len(steps[index].queues)
        for index in (1, 0, 1):
            host.clean(task, index, seed)


@on_host
def switching_tasks_is_free(host: Host) -> None:
    """Tasks with equal routing: AAAA, BBBB and ABAB take the same cycles to the last one."""
    first, second, third = host.pathways.tasks
    host.clean(third, 0, 1)

    def cycles(tasks: str) -> list[int]:
        taken = []
        for letter in tasks:
            host.clean({"A": first, "B": second}[letter], 0, 5)
            taken.append(host.accelerator.run_cycles())
        return taken

    same, other, mixed = cycles("AAAA"), cycles("BBBB"), cycles("ABAB")
    assert same == other == mixed, f"AAAA {same}, BBBB {other}, ABAB {mixed}"


@on_host
def reset_in_mid_frame(host: Host) -> None:
    """Reset at many moments of a frame; registers return to their defaults, and the next frame is exact."""
    host.clean()
    cycles = host.accelerator.run_cycles()

    async def pulse(dut: HierarchyObject) -> None:
        dut.aresetn.value = 0
        await ClockCycles(dut.aclk, 40)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 2)

    for moment in [*range(5, cycles, max(cycles // 9, 1)), cycles - 60]:
        host.start()
        host.wait(moment)
        cocotb.task.resume(pulse)(host.dut)
        assert (host.status(), host.read("ERROR_CODE"), host.read("TASK")) == (Status(0), 0, 0)
        assert not host.irq()
        host.load("base")
        host.clean(seed=moment % 4)


def any_experts(host: Host) -> None:
    """The same hardware runs layers of 16 and of 256 experts."""
    for case, experts in (("sixteen", 16), ("many", 256), ("sixteen", 16)):
        host.load(case)
        step, count = host.clean(seed=experts)
        assert host.pathway.config.model.experts == experts
        assert count.experts == len(step.queues) > experts // 8


any_number_of_experts = on_host(any_experts, "sixteen")


@on_host
def frames(host: Host) -> None:
    """Exact results of every task and layer; run on memories of different speed."""
    for task in host.pathways.tasks:
        for index in (0, 1):
            host.clean(task, index, seed=index)
