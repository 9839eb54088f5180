# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit_regs: the register map and its protocol, with every event at every distance from every access."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from m3vit.sim.program import PROGRAM_VERSION
from m3vit.sim.regmap import (
    COUNTER_SLOTS,
    COUNTER_WORDS,
    COUNTERS,
    HARDWARE_VERSION,
    ID_VALUE,
    NO_TASK,
    OFFSET,
    REGISTERS,
    SLOT_WORDS,
    TASK_SLOTS,
    TASK_TABLE,
    WINDOW_BYTES,
    Control,
    Error,
    Interrupt,
    counter_slot,
    task_entry,
)
from rtl.handshake import Dice, fields, pack, start

CYCLES = 60_000
NOTHING = Control(0)
RUN_FIELDS = (40, 32, 40, 40, 32, 16, 4)
"""Widths of run_t, highest first: memory, memory_bytes, source, result, program_offset, program_ops, mode."""
BITS = {
    "GLOBAL_IRQ": 1, "IRQ_ENABLE": 2, "MODE": 4, "MEMORY_LO": 32, "MEMORY_HI": 8, "MEMORY_BYTES": 32, "SOURCE_LO": 32,
    "SOURCE_HI": 8, "RESULT_LO": 32, "RESULT_HI": 8,
}  # fmt: skip
"""Bits of the registers that just keep what is written."""
ALWAYS = ("GLOBAL_IRQ", "IRQ_ENABLE")
"""Of these, those that a run does not lock."""
NAME = {offset: name for name, offset in OFFSET.items()}
CONSTANTS = {
    "ID": ID_VALUE,
    "VERSION": HARDWARE_VERSION | PROGRAM_VERSION << 8,
    "CAPACITY0": 8 | 2 << 8 | 80 << 16,
    "CAPACITY1": 128 | 128 << 16,
    "CAPACITY2": 8 | 80 << 16,
}
"""Of the default parameters."""


def counter_word(op: int, word: int) -> int:
    """What the bench answers for a counter of an operation."""
    return (op << 20 | word << 8 | 0x5A) if word < len(COUNTER_WORDS) else 0


def inside(address: int, first: int, size: int) -> bool:
    """Whether a word of a table lies at the address."""
    return first <= address < first + size


@dataclass
class Model:
    """The registers after some accesses and events."""

    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BITS, 0))
    table: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(TASK_TABLE, TASK_TABLE + 128, 4), 0))
    task: int = 0
    run: int = 0
    """START: 1 in the cycle of start_o and while busy."""
    since_read: Control = NOTHING
    pending: int = 0
    """IRQ_STATUS."""
    code: int = 0
    cycles: int = 0
    ops: int = 0

    @property
    def irq(self) -> bool:
        """The line."""
        return bool(self.kept["GLOBAL_IRQ"] and self.pending)

    def read(self, address: int) -> int:
        """Value of a register, without side effects."""
        if inside(address, COUNTERS, WINDOW_BYTES - COUNTERS) and address % 4 == 0:
            return counter_word(*divmod((address - COUNTERS) // 4, SLOT_WORDS))
        name = NAME.get(address, "")
        idle, line = Control.IDLE * (not self.run), Control.INTERRUPT * self.irq
        live = {
            "CONTROL": self.since_read | Control.START * self.run | idle | line, "IRQ_STATUS": self.pending,
            "TASK": self.task, "ERROR_CODE": self.code, "OPS_DONE": self.ops, "RUN_CYCLES": self.cycles,
        }  # fmt: skip
        return int((CONSTANTS | self.kept | live).get(name, self.table.get(address, 0)))

    def write(self, address: int, data: int) -> bool:
        """Take a write, but for IRQ_STATUS; whether it starts a run."""
        name = NAME.get(address, "")
        if name in ALWAYS or (name in BITS and not self.run):
            self.kept[name] = data & ((1 << BITS[name]) - 1)
        if name == "TASK" and not self.run:
            self.task = min(data, TASK_SLOTS)
        if address in self.table and not self.run:
            self.table[address] = data & (0xFFFF if address % 8 else 0xFFFFFFFF)
        return name == "CONTROL" and bool(data & 1) and not self.run

    def settings(self) -> tuple[int, ...]:
        """run_o."""
        known = self.task < TASK_SLOTS
        offset = self.table[task_entry(self.task % TASK_SLOTS)]
        operations = self.table[task_entry(self.task) + 4] if known else 0
        memory, source, result = (
            self.kept[f"{name}_LO"] | self.kept[f"{name}_HI"] << 32 for name in ("MEMORY", "SOURCE", "RESULT")
        )
        return memory, self.kept["MEMORY_BYTES"], source, result, offset, operations, self.kept["MODE"]


class Host:
    """Random accesses, one write and one read at a time, with random pauses on every channel."""

    def __init__(self, unit: Any, dice: Dice) -> None:
        self.unit, self.dice = unit, dice
        self.read_address = self.write_address = 0

    def address(self) -> int:
        """Registers and their neighbours, the tables and their ends, anything; CONTROL often."""
        rng = self.dice.random
        kinds = (
            lambda: rng.choice([OFFSET["CONTROL"], OFFSET["CONTROL"], OFFSET["IRQ_STATUS"], OFFSET["IRQ_ENABLE"]]),
            lambda: rng.choice(REGISTERS).offset,
            lambda: task_entry(rng.randrange(TASK_SLOTS)) + 4 * rng.randrange(2),
            lambda: counter_slot(rng.choice([0, 1, COUNTER_SLOTS - 1, rng.randrange(128)])) + 4 * rng.randrange(16),
            lambda: rng.choice([TASK_TABLE - 4, TASK_TABLE + 128, COUNTERS - 4, WINDOW_BYTES - 4, 0x14, 0x64]),
            lambda: 4 * rng.randrange(WINDOW_BYTES // 4),
        )
        return rng.choices(kinds, (6, 6, 3, 2, 1, 1))[0]()

    def data(self) -> int:
        """Small numbers, so that START and toggles are common, or any."""
        rng = self.dice.random
        return rng.choice([0, 1, 1, 2, 3, rng.randrange(TASK_SLOTS + 2), NO_TASK, rng.getrandbits(32)])

    def drive(self) -> None:
        """Inputs of the next cycle; a valid stays until its ready."""
        unit, rng = self.unit, self.dice.random
        if unit.awready.value or not unit.awvalid.value:
            unit.awaddr.value, unit.awvalid.value = self.address(), rng.random() < 0.6
        if unit.wready.value or not unit.wvalid.value:
            unit.wdata.value, unit.wvalid.value = self.data(), rng.random() < 0.6
            unit.wstrb.value = rng.choice([15, 15, 15, rng.randrange(16)])
        if unit.arready.value or not unit.arvalid.value:
            unit.araddr.value, unit.arvalid.value = self.address(), rng.random() < 0.6
        unit.bready.value, unit.rready.value = rng.random() < 0.7, rng.random() < 0.7


class Sequencer:
    """Runs of random length that end well, fail, or fail first and end later."""

    def __init__(self, unit: Any, dice: Dice) -> None:
        self.unit, self.dice = unit, dice
        self.left = 0
        self.report = -1

    def drive(self, started: bool) -> None:
        """Signals of the next cycle."""
        unit, rng = self.unit, self.dice.random
        self.left = rng.choice([1, 2, 3, 8, 40]) if started else max(self.left - 1, 0)
        if started:
            self.report = rng.choice([0, 0, 0, rng.randrange(self.left)])
        last, report = self.left == 1, self.left > 0 and self.report == self.left - 1
        failed = report and (not last or rng.random() < 0.4)
        unit.busy.value, unit.ready.value = self.left > 0, last
        unit.done.value, unit.error.value = report and not failed, failed
        unit.error_code.value = rng.choice(list(Error)[1:])
        unit.op_begin.value = self.left > 1 and rng.random() < 0.2


class Answers:
    """What the host has asked for: responses to writes, and read data two cycles after the address."""

    def __init__(self, unit: Any) -> None:
        self.unit = unit
        self.address = self.data = -1
        self.response = False

    def check(self, model: Model) -> None:
        """The answers of a cycle; each asked for comes once, and nothing else."""
        unit = self.unit
        assert bool(unit.bvalid.value) == self.response
        assert bool(unit.rvalid.value) == (self.data >= 0)
        if unit.rvalid.value:
            assert int(unit.rdata.value) == self.data
        self.response &= not unit.bready.value
        self.data = -1 if unit.rready.value else self.data
        if self.address >= 0:
            self.data = model.read(self.address)

    def ask(self) -> None:
        """Accesses that were taken in this cycle."""
        unit = self.unit
        assert unit.awready.value == unit.wready.value
        self.response |= bool(unit.awready.value)
        self.address = int(unit.araddr.value) if unit.arvalid.value and unit.arready.value else -1


@cocotb.test()
async def regs(dut: Any) -> None:
    """Random accesses while runs come and go: every register, every output, every cycle as the model says."""
    unit, dice = dut.u_regs, Dice("regs")
    low = (unit.awvalid, unit.wvalid, unit.arvalid, unit.busy, unit.done, unit.error, unit.ready, unit.op_begin)
    await start(dut, *low)
    model, host, sequencer = Model(), Host(unit, dice), Sequencer(unit, dice)
    answers, seen = Answers(unit), Counter[str]()
    for _ in range(CYCLES):
        await RisingEdge(dut.clk_i)
        check_outputs(model, unit)
        answers.check(model)
        event, looked = events(unit), answers.address == OFFSET["CONTROL"]
        toggled = advance(model, unit, event, looked)
        answers.ask()
        words = [counter_word(int(unit.counter_op.value), word) for word in range(len(COUNTER_WORDS))]
        unit.counters.value = pack(words, 32) if answers.address >= COUNTERS else dice.noise(32 * len(words))
        seen[NAME.get(answers.address, "other" if answers.address >= 0 else "none")] += 1
        seen["run"] += bool(unit.start.value)
        seen["event while CONTROL is read"] += bool(event and looked)
        seen["event while IRQ_STATUS toggles"] += bool(event and toggled and model.pending)
        sequencer.drive(bool(unit.start.value))
        host.drive()
    least = {**dict.fromkeys(OFFSET, 100), "other": 500, "run": 500}
    least |= {"event while CONTROL is read": 20, "event while IRQ_STATUS toggles": 20}
    assert all(seen[name] > count for name, count in least.items()), seen


def check_outputs(model: Model, unit: Any) -> None:
    """The interrupt and what goes to the sequencer."""
    assert bool(unit.irq.value) == model.irq
    assert bool(unit.start.value) == (bool(model.run) and not unit.busy.value)
    if unit.start.value or unit.busy.value:
        assert fields(int(unit.run.value), *RUN_FIELDS) == model.settings()


def events(unit: Any) -> Control:
    """What CONTROL must report of this cycle."""
    ended = Control.DONE if unit.done.value or unit.error.value else NOTHING
    return ended | (Control.READY if unit.ready.value else NOTHING)


def advance(model: Model, unit: Any, event: Control, looked: bool) -> int:
    """Let one cycle pass in the model; the bits that it toggled."""
    data = sum(int(unit.wdata.value) & 0xFF << 8 * b for b in range(4) if int(unit.wstrb.value) >> b & 1)
    address, wrote = int(unit.awaddr.value), bool(unit.awready.value)
    toggled = data & 3 if wrote and address == OFFSET["IRQ_STATUS"] else 0
    raised = Interrupt.DONE * (Control.DONE in event) | Interrupt.READY * (Control.READY in event)
    model.pending = (model.pending ^ toggled) | (raised & model.kept["IRQ_ENABLE"])
    model.since_read = (NOTHING if looked else model.since_read) | event
    model.cycles += model.run
    model.ops += int(unit.op_begin.value)
    if unit.error.value:
        model.code = int(unit.error_code.value)
    if wrote and model.write(address, data):
        model.run, model.code, model.cycles, model.ops = 1, 0, 0, 0
    elif unit.ready.value:
        model.run = 0
    return toggled
