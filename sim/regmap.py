# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""AXI4-Lite register map of the accelerator: the one table behind RTL package, host driver and documentation."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Literal

ID_VALUE = 0x4D335631
"""ASCII M3V1."""
HARDWARE_VERSION = 2
TASK_SLOTS = 16
COUNTER_SLOTS = 128


class Control(IntFlag):
    """Bits of CONTROL; each is a pulse."""

    START = 1
    CLEAR = 2


class Status(IntFlag):
    """Bits of STATUS."""

    BUSY = 1
    DONE = 2
    ERROR = 4


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


@dataclass(frozen=True)
class Register:
    """A 32-bit register: name, byte offset, access (ro, rw, wo) and meaning."""

    name: str
    offset: int
    access: Literal["ro", "rw", "wo"]
    meaning: str


REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x000, "ro", "ID_VALUE"),
    Register("VERSION", 0x004, "ro", "HARDWARE_VERSION [7:0], PROGRAM_VERSION [15:8]"),
    Register("CAPACITY0", 0x008, "ro", "lanes [7:0], groups [15:8], max_tokens [31:16]"),
    Register("CAPACITY1", 0x00C, "ro", "max_dim [15:0], max_hidden [31:16]"),
    Register("CAPACITY2", 0x010, "ro", "max_top_k [7:0], max_block [31:16]"),
    Register(
        "CONTROL", 0x014, "wo", "START [0] runs the program of the selected task, CLEAR [1] clears DONE and ERROR"
    ),
    Register("STATUS", 0x018, "ro", "BUSY [0], DONE [1], ERROR [2]"),
    Register("ERROR_CODE", 0x01C, "ro", "reason of the last ERROR, see Error"),
    Register("IRQ_ENABLE", 0x020, "rw", "bit 0: interrupt while DONE or ERROR is set"),
    Register("TASK", 0x024, "rw", "entry of the task table that START runs"),
    Register("MODE", 0x028, "rw", "schedules to compare with, see Mode; 0 in normal use"),
    Register("MEMORY_LO", 0x030, "rw", "address of the memory image, multiple of 1024"),
    Register("MEMORY_HI", 0x034, "rw", "idem, bits [39:32]"),
    Register("MEMORY_BYTES", 0x038, "rw", "size of the memory image; the program may read nothing beyond"),
    Register("SOURCE_LO", 0x040, "rw", "address of the image or of the residual stream (LOAD), multiple of 1024"),
    Register("SOURCE_HI", 0x044, "rw", "idem, bits [39:32]"),
    Register("RESULT_LO", 0x048, "rw", "address of the result, multiple of 1024"),
    Register("RESULT_HI", 0x04C, "rw", "idem, bits [39:32]"),
    Register("RUN_CYCLES", 0x050, "ro", "cycles from START to DONE of the last run"),
    Register("OPS_DONE", 0x054, "ro", "operations begun in the last run"),
    Register("COUNTER_OP", 0x058, "rw", "operation (modulo COUNTER_SLOTS) whose counters follow"),
    Register("OP_CYCLES", 0x060, "ro", "cycles in which the operation was the linear engine's oldest"),
    Register("OP_COMPUTE", 0x064, "ro", "of these, cycles in which the engine multiplied"),
    Register("OP_READ_WORDS", 0x068, "ro", "64-byte words read from DRAM for the operation, at any time"),
    Register("OP_WRITE_WORDS", 0x06C, "ro", "64-byte words written to DRAM"),
    Register("OP_STALL_WEIGHT", 0x070, "ro", "cycles in which the engine waited for weights"),
    Register("OP_STALL_INPUT", 0x074, "ro", "cycles in which the engine waited for rows: norm, routing, draining"),
    Register("OP_STALL_OUTPUT", 0x078, "ro", "cycles in which the engine waited for its consumer"),
    Register("OP_EXPERTS", 0x07C, "ro", "experts computed (MOE)"),
    Register("OP_LOADS", 0x080, "ro", "experts read from DRAM (MOE)"),
)
"""Fixed registers. The task table follows at TASK_TABLE."""

TASK_TABLE = 0x100
"""Entry t: byte offset of the program in the memory image at TASK_TABLE + 8 t, number of operations at + 4. rw."""

OFFSET: dict[str, int] = {register.name: register.offset for register in REGISTERS}


def task_entry(task: int) -> int:
    """Offset of the entry of task slot `task`.

    Raises:
        ValueError: no such slot.
    """
    if not 0 <= task < TASK_SLOTS:
        raise ValueError(f"task slot {task} must be in 0..{TASK_SLOTS - 1}")
    return TASK_TABLE + 8 * task


def markdown() -> str:
    """The map as a Markdown table for the documentation."""
    rows = [f"| `0x{r.offset:03X}` | `{r.name}` | {r.access} | {r.meaning} |" for r in REGISTERS]
    last = TASK_TABLE + 8 * TASK_SLOTS - 1
    table = f"{TASK_SLOTS} entries of 8 bytes: program offset, operations"
    rows.append(f"| `0x{TASK_TABLE:03X}`-`0x{last:03X}` | `TASK_TABLE` | rw | {table} |")
    return "\n".join(["| offset | name | access | meaning |", "|---|---|---|---|", *rows])
