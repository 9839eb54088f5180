# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Host driver of the accelerator, for a board (PYNQ) and for the simulated accelerator alike.

Needs the standard library, NumPy and its neighbours `regmap`, `program` and `host_image`; pynq only in
`Accelerator.from_overlay`. Works with Python 3.10, which PYNQ images bring. All calls are synchronous.
Shapes: H x W pixels, N tokens, D channels of the residual stream, R rows and C channels of the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from m3vit.sim.host_image import AcceleratorError, Bytes, Capacity, Image, Task, read_image
from m3vit.sim.program import PROGRAM_VERSION, Op, Opcode
from m3vit.sim.regmap import (
    COUNTER_SLOTS,
    ERROR_TEXT,
    HARDWARE_VERSION,
    ID_VALUE,
    OFFSET,
    TASK_SLOTS,
    Control,
    Error,
    Mode,
    Status,
    task_entry,
)

__all__ = [
    "ALIGNMENT",
    "Accelerator",
    "AcceleratorError",
    "Buffer",
    "Counters",
    "Image",
    "Memory",
    "Mode",
    "Registers",
    "result_bytes",
]

ALIGNMENT = 1024
"""The accelerator addresses memory in stripes of this many bytes."""
POLL_SECONDS = 50e-6
MAX_ADDRESS = 1 << 40
UNIT = 32
"""Rows of residual stream and result have a pitch of a multiple of this many channels."""


class Registers(Protocol):
    """The register file; `pynq.MMIO` is one."""

    def read(self, offset: int, /) -> int:
        """The 32-bit register at a byte offset."""

    def write(self, offset: int, value: int, /) -> Any:
        """Write the 32-bit register at a byte offset."""


class Buffer(Protocol):
    """Physically contiguous memory that NumPy can index; `pynq.Buffer` is one."""

    @property
    def physical_address(self) -> int:
        """Address of the first byte as the accelerator sees it."""

    def flush(self) -> Any:
        """Make the host's writes visible to the accelerator."""

    def invalidate(self) -> Any:
        """Make the accelerator's writes visible to the host."""

    def freebuffer(self) -> Any:
        """Give the memory back."""


Allocate = Callable[[tuple[int], Any], Any]
"""`allocate(shape, dtype)` returns a NumPy array that is also a `Buffer`; `pynq.allocate` does."""
Pause = Callable[[float], Any]
"""Called between two looks at STATUS with the seconds left: sleeps, or waits for the interrupt."""


@dataclass(frozen=True)
class Counters:
    """What one operation did; cycles of the accelerator's clock and 64-byte DRAM words (registers OP_*).

    Each cycle of a run belongs to one operation, so `cycles` of all operations add up to the run. Words count for the
    operation that needs them, whenever they are read.
    """

    cycles: int
    compute: int
    read_words: int
    write_words: int
    stall_weight: int
    stall_input: int
    stall_output: int
    experts: int
    loads: int


class Memory:
    """An aligned block inside a larger contiguous buffer."""

    def __init__(self, allocate: Allocate, size: int) -> None:
        self._buffer: Buffer = allocate((size + ALIGNMENT,), np.uint8)
        skip = -self._buffer.physical_address % ALIGNMENT
        self.address = self._buffer.physical_address + skip
        self.data: Bytes = np.asarray(self._buffer)[skip : skip + size]
        if self.address + size > MAX_ADDRESS:
            raise AcceleratorError(f"the buffer at 0x{self.address:X} lies beyond the accelerator's 40-bit addresses")

    def fill(self, data: Bytes) -> None:
        """Copy bytes to the start of the block, visible to the accelerator."""
        self.data[: data.size] = data
        self._buffer.flush()

    def flush(self) -> None:
        """Give the block to the accelerator: no stale line of the host may overwrite it."""
        self._buffer.flush()

    def fetch(self, size: int) -> Bytes:
        """A copy of the first bytes as the accelerator left them."""
        self._buffer.invalidate()
        return self.data[:size].copy()

    def free(self) -> None:
        """Give the memory back."""
        self._buffer.freebuffer()


class Accelerator:
    """One accelerator behind its registers.

    Args:
        registers: the register file, for example `pynq.MMIO`.
        allocate: makes contiguous buffers, for example `pynq.allocate`.
        pause: see `Pause`; default sleeps 50 microseconds.
        clock: seconds; a simulation gives simulated time.
        keep: kept alive as long as the accelerator (the PYNQ overlay).
    """

    def __init__(
        self,
        registers: Registers,
        allocate: Allocate,
        pause: Pause | None = None,
        clock: Callable[[], float] = time.monotonic,
        keep: object = None,
    ) -> None:
        self._registers = registers
        self._allocate = allocate
        self._pause = pause or (lambda left: time.sleep(min(left, POLL_SECONDS)))
        self._clock = clock
        self._keep = keep
        self._memory: Memory | None = None
        self._image: Image | None = None
        self._blocks: dict[str, Memory] = {}

    @classmethod
    def from_overlay(cls, bitstream: str | Path, name: str = "m3vit_accelerator_0") -> "Accelerator":
        """Configure the FPGA through PYNQ and take the accelerator of the block design.

        Args:
            bitstream: `m3vit.bit`, with `m3vit.hwh` beside it.
            name: cell of the accelerator in the block design.
        """
        import pynq

        overlay = pynq.Overlay(str(bitstream))
        entry = overlay.ip_dict[name]
        return cls(pynq.MMIO(entry["phys_addr"], entry["addr_range"]), pynq.allocate, keep=overlay)

    @property
    def capacity(self) -> Capacity:
        """Capacity of the bitstream, from its registers."""
        first, second, third = (self._read(f"CAPACITY{i}") for i in range(3))
        return Capacity(
            lanes=first & 0xFF,
            groups=first >> 8 & 0xFF,
            max_tokens=first >> 16,
            max_dim=second & 0xFFFF,
            max_hidden=second >> 16,
            max_top_k=third & 0xFF,
            max_block=third >> 16,
        )

    @property
    def mode(self) -> Mode:
        """Schedule of the next runs; no flag is the accelerator's own, the others are there to compare with."""
        return Mode(self._read("MODE") & 0xF)

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._check_idle()
        self._write("MODE", mode)

    @property
    def image(self) -> Image:
        """The loaded pathway.

        Raises:
            ValueError: `load` has not been called.
        """
        if self._image is None:
            raise ValueError("no pathway is loaded; call load first")
        return self._image

    def load(self, folder: Path | str) -> Image:
        """Put a pathway into memory and fill the task table.

        Raises:
            AcceleratorError: the folder is damaged or does not fit this bitstream, or the accelerator is busy.
        """
        image = read_image(Path(folder))
        self._check_identity()
        if not self.capacity.runs(image.capacity):
            raise AcceleratorError(
                f"the pathway was exported for hardware with {image.capacity}, but the bitstream has {self.capacity}; "
                "use the bitstream that was built from this pathway's project or export for this hardware"
            )
        self._check_idle()
        self.close()
        self._memory = Memory(self._allocate, image.data.size)
        self._memory.fill(image.data)
        self._write_address("MEMORY", self._memory.address)
        self._write("MEMORY_BYTES", image.data.size)
        self._fill_task_table(image)
        self._image = image
        return image

    def select(self, task: str) -> None:
        """Switch to a task: one register write, nothing is loaded.

        Raises:
            ValueError: no such task.
            AcceleratorError: a run is under way; the registers would ignore it.
        """
        slot = self.image.task(task).slot
        self._check_idle()
        self._write("TASK", slot)

    def run(self, task: str, source: npt.NDArray[Any], timeout: float = 10.0) -> npt.NDArray[np.int16]:
        """Run the whole program of a task on one input.

        Args:
            task: its name.
            source: uint8 image (H, W, 3); for a program that begins with LOAD the int16 residual stream (N, D).
            timeout: seconds of `clock`.

        Returns:
            What the program stores: the head's output of every patch, int16 (R, C); a program without HEAD stores the
            residual stream (N, D).

        Raises:
            AcceleratorError: the accelerator is busy, reports an error or does not finish in time.
            ValueError: no such task, or the source is not of the program's shape and type.
        """
        entry = self.image.task(task)
        first, last = self.image.operation(task, 0), self.image.operation(task, entry.operations - 1)
        shape, kind = _source_format(first)
        if source.shape != shape or source.dtype != kind:
            wanted, got = f"{shape} {np.dtype(kind)}", f"{source.shape} {source.dtype}"
            raise ValueError(f"the input of task '{task}' must be {wanted}, not {got}")
        self._check_idle()
        size = result_bytes(last)
        source_block, result_block = self._block("source", source.nbytes), self._block("result", size)
        source_block.fill(_as_bytes(source))
        result_block.flush()
        self.select(task)
        self._write_address("SOURCE", source_block.address)
        self._write_address("RESULT", result_block.address)
        self._write("CONTROL", Control.CLEAR)
        self._write("CONTROL", Control.START)
        self.wait(timeout)
        result = result_block.fetch(size).view("<i2").reshape(last.rows, -1)
        return np.ascontiguousarray(result[:, : last.out_features], np.int16)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait for the end of a run.

        Raises:
            AcceleratorError: the run failed, or `timeout` seconds passed; then the accelerator still owns its buffers.
        """
        deadline = self._clock() + timeout
        while not (status := Status(self._read("STATUS") & 7)) & (Status.DONE | Status.ERROR):
            left = deadline - self._clock()
            if left <= 0:
                raise AcceleratorError(f"the accelerator did not finish within {timeout:g} s (STATUS {status!r})")
            self._pause(left)
        if Status.ERROR in status:
            raise self._failure()

    def counters(self, op_index: int) -> Counters:
        """Counters of an operation of the last run; zeros for one that had no cycle and read nothing."""
        self._write("COUNTER_OP", op_index % COUNTER_SLOTS)
        return Counters(**{name: self._read(f"OP_{name.upper()}") for name in Counters.__dataclass_fields__})

    def run_cycles(self) -> int:
        """Cycles from start to end of the last run."""
        return self._read("RUN_CYCLES")

    def enable_interrupt(self, enabled: bool = True) -> None:
        """Raise the interrupt line while a run has ended and its status is not cleared."""
        self._write("IRQ_ENABLE", int(enabled))

    def clear(self) -> None:
        """Clear DONE and ERROR, which also lowers the interrupt line."""
        self._write("CONTROL", Control.CLEAR)

    def close(self) -> None:
        """Free all buffers.

        Raises:
            AcceleratorError: the accelerator is busy and may still use them.
        """
        if self._memory is not None or self._blocks:
            self._check_idle()
        for block in (*self._blocks.values(), *([self._memory] if self._memory else [])):
            block.free()
        self._blocks, self._memory, self._image = {}, None, None

    def _block(self, name: str, size: int) -> Memory:
        block = self._blocks.get(name)
        if block is None or block.data.size < size:
            if block is not None:
                del self._blocks[name]
                block.free()
            block = self._blocks[name] = Memory(self._allocate, size)
        return block

    def _fill_task_table(self, image: Image) -> None:
        used = {task.slot: task for task in image.tasks.values()}
        for slot in range(TASK_SLOTS):
            task = used.get(slot, Task(slot, 0, 0))
            self._registers.write(task_entry(slot), task.program_offset)
            self._registers.write(task_entry(slot) + 4, task.operations)

    def _check_identity(self) -> None:
        found, version = self._read("ID"), self._read("VERSION")
        if found != ID_VALUE:
            raise AcceleratorError(
                f"there is no m3vit accelerator at this address: ID reads 0x{found:08X} instead of 0x{ID_VALUE:08X}"
            )
        if version & 0xFFFF != (wanted := HARDWARE_VERSION | PROGRAM_VERSION << 8):
            raise AcceleratorError(
                f"the bitstream has VERSION 0x{version & 0xFFFF:04X}, but this driver needs 0x{wanted:04X}; "
                "build the project again with the m3vit that made this driver"
            )

    def _check_idle(self) -> None:
        if self._read("STATUS") & Status.BUSY:
            raise AcceleratorError("the accelerator is busy; wait for the run to end or configure the FPGA again")

    def _failure(self) -> AcceleratorError:
        number = self._read("ERROR_CODE") & 0xFF
        if number not in set(Error):
            return AcceleratorError(f"the run failed with the unknown error code {number}")
        code = Error(number)
        return AcceleratorError(f"the run failed: {ERROR_TEXT[code]} (ERROR_CODE {number})", code)

    def _read(self, name: str) -> int:
        return int(self._registers.read(OFFSET[name]))

    def _write(self, name: str, value: int) -> None:
        self._registers.write(OFFSET[name], int(value))

    def _write_address(self, name: str, address: int) -> None:
        self._write(f"{name}_LO", address & 0xFFFFFFFF)
        self._write(f"{name}_HI", address >> 32)


def result_bytes(store: Op) -> int:
    """Bytes that a STORE operation writes: int16 rows, their channels rounded up to whole units."""
    return 2 * store.rows * -(-store.out_features // UNIT) * UNIT


def _source_format(first: Op) -> tuple[tuple[int, ...], type[np.generic]]:
    """Shape and type of what a program whose first operation is `first` takes in."""
    if first.opcode is Opcode.LOAD:
        return (first.rows, first.in_features), np.int16
    return (first.operands[1], first.operands[2], 3), np.uint8


def _as_bytes(array: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
