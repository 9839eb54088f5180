# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""AXI4-Lite register map of both accelerators, RTL and HLS: the one table behind hardware, driver and documentation.

The first four registers are the block-control protocol that Vitis HLS generates for `ap_ctrl_hs` on `s_axilite`
(UG1399, "S_AXILITE Control Register Map"); the RTL implements the same. Outputs have a pitch of 8 bytes, because Vitis
HLS keeps a valid flag in the word behind each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Literal

ID_VALUE = 0x4D335631
"""ASCII M3V1."""
HARDWARE_VERSION = 4
ADDRESS_BITS = 14
WINDOW_BYTES = 1 << ADDRESS_BITS
"""Bytes of address space that the registers occupy."""
TASK_SLOTS = 16
COUNTER_SLOTS = 128
SLOT_WORDS = 16
"""32-bit words from the counters of one operation to those of the next."""
NO_TASK = 0xFFFFFFFF
"""A value of TASK that stands for no entry of the task table: a run of it ends at once with Error.TASK."""


class Backend(IntEnum):
    """Field BACKEND of VERSION: which executor the bitstream holds."""

    RTL = 0
    HLS = 1


class Control(IntFlag):
    """Bits of CONTROL. Bit 7, AUTO_RESTART of Vitis HLS, is not used."""

    START = 1
    """Write 1 to start; reads 1 until the run has ended. Writing 0, or 1 while it reads 1, does nothing."""
    DONE = 2
    """A run has ended, well or not; cleared by reading."""
    IDLE = 4
    READY = 8
    """START has fallen: another run may begin; cleared by reading."""
    INTERRUPT = 0x200
    """Level of the interrupt line."""


class Interrupt(IntFlag):
    """Bits of IRQ_ENABLE and IRQ_STATUS."""

    DONE = 1
    READY = 2


class Error(IntEnum):
    """Codes of ERROR_CODE."""

    NONE = 0
    TASK = 1
    OPERATION = 2
    UNSUPPORTED = 3
    SHAPE = 4
    ADDRESS = 5
    AXI_READ = 6
    AXI_WRITE = 7
    TIMEOUT = 8


class Mode(IntFlag):
    """Bits of MODE: schedules to compare with. All clear is the accelerator's own."""

    NO_PREFETCH = 1
    """Weights of an operation are loaded when the one before has ended."""
    NO_OVERLAP = 2
    """LayerNorm and softmax run while the linear engine waits."""
    TOKEN_ORDER = 4
    """MoE token by token, experts on demand in a small cache with first-in first-out replacement."""
    MULTIPASS_SOFTMAX = 8
    """Scores are computed three times: for the maximum, for the sum, for the probabilities."""


OWN_SCHEDULE = Mode(0)


ERROR_TEXT: dict[Error, str] = {
    Error.NONE: "no error",
    Error.TASK: "the selected task has no program or one that is too long",
    Error.OPERATION: "an operation's checksum or version is wrong, or it stands in the wrong place",
    Error.UNSUPPORTED: "an operation's opcode is unknown to this hardware",
    Error.SHAPE: "an operation's sizes exceed the hardware's capacity or contradict each other",
    Error.ADDRESS: "the program points outside the memory image or not to a whole word",
    Error.AXI_READ: "the memory answered a read with an error",
    Error.AXI_WRITE: "the memory answered a write with an error",
    Error.TIMEOUT: "nothing moved for too long: the memory does not answer",
}

Where = Literal["both", "RTL"]
"""Which backends have something. Where only the RTL has it, the HLS accelerator ignores writes and reads 0."""


@dataclass(frozen=True)
class Register:
    """32-bit registers.

    Attributes:
        name: of one register, or of a table.
        offset: in bytes.
        access: ro (writes are ignored), rw, or tow (a 1 written toggles the bit).
        where: which backends have it.
        meaning: in the documentation.
        size: in bytes; more than 4 is a table.
    """

    name: str
    offset: int
    access: Literal["ro", "rw", "tow"]
    where: Where
    meaning: str
    size: int = 4


REGISTERS: tuple[Register, ...] = (
    Register(
        "CONTROL",
        0x000,
        "rw",
        "both",
        "START [0]: write 1 to start, reads 1 until the run has ended; DONE [1]: a run has ended, cleared by reading; "
        "IDLE [2]: no run is under way; READY [3]: START has fallen, cleared by reading; INTERRUPT [9]: interrupt line",
    ),
    Register("GLOBAL_IRQ", 0x004, "rw", "both", "[0] the interrupt line is high while a bit of IRQ_STATUS is set"),
    Register("IRQ_ENABLE", 0x008, "rw", "both", "[0] DONE sets IRQ_STATUS [0], [1] READY sets IRQ_STATUS [1]"),
    Register(
        "IRQ_STATUS", 0x00C, "tow", "both", "[0] DONE, [1] READY; writing 1 toggles a bit, so it clears one that is set"
    ),
    Register("TASK", 0x010, "rw", "both", "entry of the task table that START runs"),
    Register("MODE", 0x018, "rw", "RTL", "schedules to compare with, see below; 0 in normal use"),
    Register("MEMORY_LO", 0x020, "rw", "both", "address of the memory image, multiple of 1024"),
    Register("MEMORY_HI", 0x024, "rw", "both", "idem, bits [39:32]"),
    Register("MEMORY_BYTES", 0x030, "rw", "both", "size of the memory image; the program may read nothing beyond"),
    Register(
        "SOURCE_LO", 0x038, "rw", "both", "address of the image or of the residual stream (LOAD), multiple of 1024"
    ),
    Register("SOURCE_HI", 0x03C, "rw", "both", "idem, bits [39:32]"),
    Register("RESULT_LO", 0x048, "rw", "both", "address of the result, multiple of 1024"),
    Register("RESULT_HI", 0x04C, "rw", "both", "idem, bits [39:32]"),
    Register("ID", 0x060, "ro", "both", f"0x{ID_VALUE:08X}"),
    Register(
        "VERSION", 0x068, "ro", "both", "HARDWARE_VERSION [7:0], PROGRAM_VERSION [15:8], BACKEND [23:16]: 0 RTL, 1 HLS"
    ),
    Register("CAPACITY0", 0x070, "ro", "both", "lanes [7:0], groups [15:8], max_tokens [31:16]"),
    Register("CAPACITY1", 0x078, "ro", "both", "max_dim [15:0], max_hidden [31:16]"),
    Register("CAPACITY2", 0x080, "ro", "both", "max_top_k [7:0], max_block [31:16]"),
    Register("ERROR_CODE", 0x088, "ro", "both", "why the last run failed, see below; 0 if it ended well"),
    Register("OPS_DONE", 0x090, "ro", "both", "operations begun in the last run"),
    Register("RUN_CYCLES", 0x098, "ro", "RTL", "cycles from START to the end of the last run"),
)
"""Single registers."""

TASK_TABLE = 0x100
COUNTERS = 0x2000
TABLES: tuple[Register, ...] = (
    Register(
        "TASK_TABLE",
        TASK_TABLE,
        "rw",
        "both",
        f"{TASK_SLOTS} entries of 8 bytes: program's offset in the memory image, number of operations",
        8 * TASK_SLOTS,
    ),
    Register(
        "COUNTERS",
        COUNTERS,
        "ro",
        "both",
        f"of the last run: {COUNTER_SLOTS} operations of {4 * SLOT_WORDS} bytes, see below",
        4 * SLOT_WORDS * COUNTER_SLOTS,
    ),
)
"""Ranges of registers."""


@dataclass(frozen=True)
class Counter:
    """One word of the counters of an operation."""

    name: str
    where: Where
    meaning: str


COUNTER_WORDS: tuple[Counter, ...] = (
    Counter("cycles", "RTL", "cycles in which the operation was the linear engine's oldest"),
    Counter("compute", "RTL", "of these, cycles in which the engine multiplied"),
    Counter("read_words", "both", "64-byte words read from DRAM for the operation, at any time"),
    Counter("write_words", "both", "64-byte words written to DRAM"),
    Counter("stall_weight", "RTL", "cycles in which the engine waited for weights"),
    Counter("stall_input", "RTL", "cycles in which the engine waited for rows: norm, routing, draining"),
    Counter("stall_output", "RTL", "cycles in which the engine waited for its consumer"),
    Counter("experts", "both", "experts computed (MOE)"),
    Counter("loads", "both", "experts read from DRAM (MOE)"),
)
"""In the order of their words; the rest of a slot is reserved and reads 0."""

OFFSET: dict[str, int] = {register.name: register.offset for register in REGISTERS}


def task_entry(task: int) -> int:
    """Offset of the entry of task slot `task`.

    Raises:
        ValueError: no such slot.
    """
    if not 0 <= task < TASK_SLOTS:
        raise ValueError(f"task slot {task} must be in 0..{TASK_SLOTS - 1}")
    return TASK_TABLE + 8 * task


def counter_slot(op_index: int) -> int:
    """Offset of the counters of operation `op_index`.

    Raises:
        ValueError: no such slot.
    """
    if not 0 <= op_index < COUNTER_SLOTS:
        raise ValueError(f"operation {op_index} must be in 0..{COUNTER_SLOTS - 1}")
    return COUNTERS + 4 * SLOT_WORDS * op_index


def markdown() -> str:
    """The map as Markdown tables for the documentation."""
    registers = _table(("offset", "name", "access", "in", "meaning"), _register_rows())
    counters = _table(("byte", "counter", "in", "meaning"), _counter_rows())
    return "\n".join([*registers, "", *counters])


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *(f"| {' | '.join(row)} |" for row in rows)]


def _register_rows() -> Iterator[tuple[str, ...]]:
    for register in REGISTERS + TABLES:
        last = register.offset + register.size - 1
        place = f"`0x{register.offset:04X}`" + (f"-`0x{last:04X}`" if register.size > 4 else "")
        yield place, f"`{register.name}`", register.access, register.where, register.meaning


def _counter_rows() -> Iterator[tuple[str, ...]]:
    for index, counter in enumerate(COUNTER_WORDS):
        yield f"`0x{4 * index:02X}`", f"`{counter.name}`", counter.where, counter.meaning
