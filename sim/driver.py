# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Host driver of the accelerator, for a board (PYNQ) and for the simulated accelerator alike.

Needs the standard library, NumPy and its neighbours `regmap`, `program` and `host_image`; pynq only in
`Accelerator.from_overlay`. Works with Python 3.10, which PYNQ images bring. All calls are synchronous.
Shapes: N tokens, D channels.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from m3vit.sim.host_image import AcceleratorError, Bytes, Capacity, Image, Task, read_image
from m3vit.sim.program import PROGRAM_VERSION, Opcode
from m3vit.sim.regmap import (
    COUNTER_SLOTS,
    ERROR_TEXT,
    HARDWARE_VERSION,
    ID_VALUE,
    OFFSET,
    TASK_SLOTS,
    Control,
    Error,
    Status,
    task_entry,
)

__all__ = ["ALIGNMENT", "Accelerator", "AcceleratorError", "Buffer", "Counters", "Image", "Memory", "Registers"]

ALIGNMENT = 1024
"""The accelerator addresses memory in stripes of this many bytes."""
POLL_SECONDS = 50e-6
MAX_ADDRESS = 1 << 40


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
    """What one operation did; cycles of the accelerator's clock and 64-byte DRAM words (registers OP_*)."""

    cycles: int
    compute: int
    read_words: int
    write_words: int
    stall_weight: int
    stall_input: int
    stall_output: int
    experts: int


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
        return Capacity(first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16, third & 0xFF)

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
        """
        self._write("TASK", self.image.task(task).slot)

    def run(
        self, task: str, first_op: int, op_count: int, source: Bytes, result_bytes: int, timeout: float = 10.0
    ) -> Bytes:
        """Run operations of a task.

        Args:
            task: its name.
            first_op: index of the first operation.
            op_count: how many; 0 means all that follow.
            source: uint8, the input activations.
            result_bytes: size of the result.
            timeout: seconds of `clock`.

        Returns:
            The result, uint8 of `result_bytes`.

        Raises:
            AcceleratorError: the accelerator is busy, reports an error or does not finish in time.
        """
        self._check_idle()
        source_block, result_block = self._block("source", source.size), self._block("result", result_bytes)
        source_block.fill(source)
        result_block.flush()
        self.select(task)
        self._write("FIRST_OP", first_op)
        self._write("OP_COUNT", op_count)
        self._write_address("SOURCE", source_block.address)
        self._write_address("RESULT", result_block.address)
        self._write("CONTROL", Control.CLEAR)
        self._write("CONTROL", Control.START)
        self.wait(timeout)
        return result_block.fetch(result_bytes)

    def run_moe(
        self,
        task: str,
        op_index: int,
        x_ND: npt.NDArray[np.int8],
        residual_ND: npt.NDArray[np.int16],
        timeout: float = 10.0,
    ) -> npt.NDArray[np.int16]:
        """Run one Mixture-of-Experts operation: residual + combine(experts(x)).

        Args:
            task: its name; chooses the router.
            op_index: index of the operation in the task's program.
            x_ND: normalised tokens, int8.
            residual_ND: residual stream, int16.
            timeout: seconds of `clock`.

        Returns:
            The new residual stream, int16 (N, D).

        Raises:
            AcceleratorError: see `run`.
            ValueError: not a MoE operation, or the arrays are not of its shape and type.
        """
        op = self.image.operation(task, op_index)
        shape = (op.rows, op.in_features)
        if op.opcode is not Opcode.MOE:
            raise ValueError(f"operation {op_index} of task '{task}' is {op.opcode.name}, not MOE")
        for name, array, kind in (("x", x_ND, np.int8), ("residual", residual_ND, np.int16)):
            if array.shape != shape or array.dtype != kind:
                wanted, got = f"{shape} {np.dtype(kind)}", f"{array.shape} {array.dtype}"
                raise ValueError(f"{name} of operation {op_index} of task '{task}' must be {wanted}, not {got}")
        source = np.concatenate([_as_bytes(x_ND), _as_bytes(residual_ND.astype("<i2"))])
        result = self.run(task, op_index, 1, source, 2 * x_ND.size, timeout)
        return result.view("<i2").astype(np.int16).reshape(shape)

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
        """Counters of an operation of the last run."""
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


def _as_bytes(array: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
