# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Host driver of both accelerators, RTL and HLS, for a board (PYNQ) and for the simulated accelerator alike.

Needs the standard library, NumPy and its neighbours `regmap`, `program`, `host_image` and `host_memory`; pynq only in
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

from m3vit.sim.host_image import AcceleratorError, Bytes, Capacity, Image, Task, read_image, result_bytes, source_format
from m3vit.sim.host_memory import ALIGNMENT, Allocate, Buffer, Memory
from m3vit.sim.program import PROGRAM_VERSION
from m3vit.sim.regmap import (
    ERROR_TEXT,
    HARDWARE_VERSION,
    ID_VALUE,
    NO_TASK,
    OFFSET,
    TASK_SLOTS,
    WINDOW_BYTES,
    Backend,
    Control,
    Error,
    Interrupt,
    Mode,
    counter_slot,
    task_entry,
)

__all__ = [
    "ALIGNMENT",
    "Accelerator",
    "AcceleratorError",
    "Backend",
    "Buffer",
    "Counters",
    "Image",
    "Memory",
    "Mode",
    "Registers",
    "result_bytes",
]

POLL_SECONDS = 50e-6
TIMEOUT = 10.0
"""Seconds; no run takes that long."""


class Registers(Protocol):
    """The register file; `pynq.MMIO` is one."""

    def read(self, offset: int, /) -> int:
        """The 32-bit register at a byte offset."""

    def write(self, offset: int, value: int, /) -> Any:
        """Write the 32-bit register at a byte offset."""


Pause = Callable[[float], Any]
"""Called between two looks at CONTROL with the seconds left: sleeps, or waits for the interrupt."""


@dataclass(frozen=True)
class Counters:
    """What one operation did, in the order of `regmap.COUNTER_WORDS`: cycles of the accelerator's clock, 64-byte words.

    Each cycle of a run belongs to one operation, so `cycles` of all operations add up to the run. Words count for the
    operation that needs them, whenever they are read. The HLS accelerator counts words, experts and loads only; the
    others are 0.
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
            name: cell of the accelerator in the block design, the same for both backends.

        Raises:
            AcceleratorError: the bitstream is not one of ours.
        """
        import pynq

        overlay = pynq.Overlay(str(bitstream))
        entry = overlay.ip_dict.get(name)
        if entry is None or entry["addr_range"] < WINDOW_BYTES:
            raise AcceleratorError(
                f"{bitstream} has no cell {name} with {WINDOW_BYTES} bytes of registers; "
                "use a bitstream that was built from a project of the m3vit that made this driver"
            )
        return cls(pynq.MMIO(entry["phys_addr"], entry["addr_range"]), pynq.allocate, keep=overlay)

    @property
    def backend(self) -> Backend:
        """Which of the two accelerators the bitstream holds.

        Raises:
            AcceleratorError: none that this driver knows.
        """
        self._identify()
        return Backend(self._read("VERSION") >> 16 & 0xFF)

    @property
    def capacity(self) -> Capacity:
        """Capacity of the bitstream, from its registers.

        Raises:
            AcceleratorError: there is no accelerator that this driver knows.
        """
        self._identify()
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
        """Schedule of the next runs; no flag is the accelerator's own, the others are there to compare with.

        Raises:
            AcceleratorError: the accelerator is busy, or is the HLS one, which has no other schedules.
        """
        return Mode(self._read("MODE") & 0xF)

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._check_idle()
        if mode and self.backend is not Backend.RTL:
            raise AcceleratorError(f"the {self.backend.name} accelerator has one schedule; leave mode at 0")
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
        if not (capacity := self.capacity).runs(image.capacity):
            raise AcceleratorError(
                f"the pathway was exported for hardware with {image.capacity}, but the bitstream has {capacity}; "
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

    def run(self, task: str, source: npt.NDArray[Any], timeout: float = TIMEOUT) -> npt.NDArray[np.int16]:
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
        shape, kind = source_format(first)
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
        self._start()
        self.wait(timeout)
        result = result_block.fetch(size).view("<i2").reshape(last.rows, -1)
        return np.ascontiguousarray(result[:, : last.out_features], np.int16)

    def wait(self, timeout: float = TIMEOUT) -> None:
        """Wait for the end of a run; returns at once if none is under way.

        Raises:
            AcceleratorError: the run failed, or `timeout` seconds passed; then the accelerator still owns its buffers.
        """
        if error := self._wait(timeout):
            raise _failure(error)

    def counters(self, op_index: int) -> Counters:
        """Counters of an operation of the last run; zeros for one that had no cycle and read nothing.

        Raises:
            ValueError: no such operation.
        """
        slot = counter_slot(op_index)
        count = len(Counters.__dataclass_fields__)
        return Counters(*(int(self._registers.read(slot + 4 * word)) for word in range(count)))

    def run_cycles(self) -> int:
        """Cycles from start to end of the last run; 0 from the HLS accelerator, which cannot count them."""
        return self._read("RUN_CYCLES")

    def enable_interrupt(self, enabled: bool = True) -> None:
        """Raise the interrupt line at the end of each run, until `clear` or the next run."""
        self._write("IRQ_ENABLE", Interrupt.DONE if enabled else 0)
        self._write("GLOBAL_IRQ", int(enabled))

    def clear(self) -> None:
        """Forget the end of the last run, which also lowers the interrupt line; errors and counters stay."""
        self._read("CONTROL")  # clears DONE
        self._write("IRQ_STATUS", self._read("IRQ_STATUS"))  # toggles what is set

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

    def _identify(self) -> None:
        """Check what is there. Outputs of an HLS kernel read 0 until it has run once, so it runs without a task."""
        error = self._run_nothing() if self._read("ID") == 0 else Error.TASK
        found, version = self._read("ID"), self._read("VERSION")
        if found != ID_VALUE:
            raise AcceleratorError(
                f"there is no m3vit accelerator at this address: ID reads 0x{found:08X} instead of 0x{ID_VALUE:08X}"
            )
        wanted = HARDWARE_VERSION | PROGRAM_VERSION << 8
        if version & 0xFFFF != wanted or version >> 16 not in set(Backend):
            raise AcceleratorError(
                f"the bitstream has VERSION 0x{version:06X}, but this driver needs 0x{wanted:06X} or another BACKEND; "
                "build the project again with the m3vit that made this driver"
            )
        if error != Error.TASK:
            raise AcceleratorError(f"a run without a task ended with ERROR_CODE {error}; configure the FPGA again")

    def _run_nothing(self) -> int:
        """ERROR_CODE of a run of no task."""
        self._check_idle()
        self._write("TASK", NO_TASK)
        self._start()
        return self._wait()

    def _start(self) -> None:
        self.clear()
        self._write("CONTROL", Control.START)

    def _wait(self, timeout: float = TIMEOUT) -> int:
        """ERROR_CODE at the end of a run."""
        deadline = self._clock() + timeout
        while Control.START in (control := self._control()) and Control.DONE not in control:
            left = deadline - self._clock()
            if left <= 0:
                raise AcceleratorError(f"the accelerator did not finish within {timeout:g} s (CONTROL {control!r})")
            self._pause(left)
        return self._read("ERROR_CODE")

    def _check_idle(self) -> None:
        if Control.START in self._control():
            raise AcceleratorError("the accelerator is busy; wait for the run to end or configure the FPGA again")

    def _control(self) -> Control:
        """CONTROL; the accelerator clears DONE and READY when they are read."""
        return Control(self._read("CONTROL"))

    def _read(self, name: str) -> int:
        return int(self._registers.read(OFFSET[name]))

    def _write(self, name: str, value: int) -> None:
        self._registers.write(OFFSET[name], int(value))

    def _write_address(self, name: str, address: int) -> None:
        self._write(f"{name}_LO", address & 0xFFFFFFFF)
        self._write(f"{name}_HI", address >> 32)


def _as_bytes(array: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _failure(number: int) -> AcceleratorError:
    if number not in set(Error):
        return AcceleratorError(f"the run failed with the unknown error code {number}")
    code = Error(number)
    return AcceleratorError(f"the run failed: {ERROR_TEXT[code]} (ERROR_CODE {number})", code)
