# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A register file in Python behind which golden runs: both accelerators as the driver sees them, for its error paths.

Host and accelerator see different copies of a buffer until `flush` or `invalidate`, as with a non-coherent cache.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.executor import Executor, source_format
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import PROGRAM_VERSION
from m3vit.sim.regmap import (
    COUNTERS,
    HARDWARE_VERSION,
    ID_VALUE,
    OFFSET,
    REGISTERS,
    SLOT_WORDS,
    TASK_SLOTS,
    TASK_TABLE,
    Backend,
    Control,
    Error,
    task_entry,
)

WRITABLE = {r.offset for r in REGISTERS if r.access == "rw"} | set(range(TASK_TABLE, TASK_TABLE + 8 * TASK_SLOTS, 4))


class FakeBuffer(np.ndarray[Any, np.dtype[np.uint8]]):
    """The host's copy; `dram` is what the accelerator sees."""

    physical_address: int
    dram: npt.NDArray[np.uint8]
    freed: bool

    def flush(self) -> None:
        self.dram[:] = np.asarray(self)

    def invalidate(self) -> None:
        np.asarray(self)[:] = self.dram

    def freebuffer(self) -> None:
        assert not self.freed
        self.freed = True


@dataclass
class FakeMemory:
    """Hands out buffers at addresses that are never a multiple of 1024."""

    next_address: int = 0x1_2345_6010
    buffers: list[FakeBuffer] = field(default_factory=list)

    def allocate(self, shape: tuple[int], dtype: Any) -> FakeBuffer:
        buffer = np.full(shape, 0xEE, dtype).view(FakeBuffer)
        buffer.physical_address, buffer.freed = self.next_address, False
        buffer.dram = np.full(shape, 0xDD, np.uint8)
        self.next_address += (buffer.size // 16 + 1) * 16 * 3
        self.buffers.append(buffer)
        return buffer

    def dirty(self) -> bool:
        """Whether the host still holds writes that may fall on the accelerator's at any time."""
        return any(not buffer.freed and (np.asarray(buffer) != buffer.dram).any() for buffer in self.buffers)

    def at(self, address: int, size: int) -> npt.NDArray[np.uint8]:
        """What the accelerator sees at an address."""
        for buffer in self.buffers:
            start = address - buffer.physical_address
            if not buffer.freed and start >= 0 and start + size <= buffer.size:
                return buffer.dram[start : start + size]
        raise AssertionError(f"the accelerator touched 0x{address:X}, which nobody allocated")


class FakeAccelerator:
    """Registers of an accelerator that runs the programs of `pathways` with golden, after `delay` looks at CONTROL.

    Attributes:
        fail_with: ERROR_CODE of the next runs.
        hang: runs do not end.
        writes: all writes, in order.
        control: START and what has happened since CONTROL was read.
    """

    def __init__(self, pathways: Pathways, memory: FakeMemory, delay: int = 2, backend: Backend = Backend.RTL) -> None:
        hardware = pathways.first.config.hardware
        self.pathways, self.memory, self.delay, self.backend = pathways, memory, delay, backend
        self.fail_with: Error | int | None = None
        self.hang = False
        self.writes: list[tuple[int, int]] = []
        self.control = Control(0)
        self.words = dict.fromkeys(OFFSET.values(), 0)
        self.words |= dict.fromkeys(range(TASK_TABLE, TASK_TABLE + 8 * TASK_SLOTS, 4), 0xBAD)
        self.identity = {
            "ID": ID_VALUE,
            "VERSION": HARDWARE_VERSION | PROGRAM_VERSION << 8 | backend << 16,
            "CAPACITY0": hardware.lanes | hardware.groups << 8 | hardware.max_tokens << 16,
            "CAPACITY1": hardware.max_dim | hardware.max_hidden << 16,
            "CAPACITY2": hardware.max_top_k | hardware.max_block << 16,
        }
        if backend is Backend.RTL:  # HLS writes its outputs in the first run
            self.set(**self.identity)
        self._left = 0

    def set(self, **registers: int) -> None:
        """Change registers from inside."""
        for name, value in registers.items():
            self.words[OFFSET[name]] = value

    def get(self, name: str) -> int:
        """A register without side effects."""
        return self.words[OFFSET[name]]

    @property
    def interrupt(self) -> bool:
        """Level of the interrupt line."""
        return bool(self.get("GLOBAL_IRQ") and self.get("IRQ_STATUS"))

    def read(self, offset: int) -> int:
        if COUNTERS <= offset < COUNTERS + (1 << 13):
            op, word = divmod((offset - COUNTERS) // 4, SLOT_WORDS)
            return 1000 * op + word
        return self.words[offset] if offset else self._read_control()

    def _read_control(self) -> int:
        if Control.START in self.control and not self.hang:
            self._left -= 1
            if self._left <= 0:
                self._finish()
        idle = 0 if Control.START in self.control else Control.IDLE
        value = self.control | idle | (Control.INTERRUPT if self.interrupt else 0)
        self.control &= Control.START
        return int(value)

    def write(self, offset: int, value: int) -> None:
        assert type(value) is int
        assert 0 <= value < 1 << 32
        self.writes.append((offset, value))
        if offset == OFFSET["CONTROL"]:
            self._start(value)
        elif offset == OFFSET["IRQ_STATUS"]:
            self.words[offset] ^= value
        else:
            assert offset in WRITABLE, f"0x{offset:X} is not to be written"
            self.words[offset] = value

    def _start(self, value: int) -> None:
        assert (value, self.control) == (Control.START, 0), "the driver forgets the last run, then starts"
        assert not self.interrupt
        assert not self.memory.dirty()
        self._left = self.delay
        self.control = Control.START
        if self.backend is Backend.RTL:  # HLS writes no output before it runs
            self.set(ERROR_CODE=0)

    def address(self, name: str) -> int:
        """An address from its two registers."""
        value = self.get(f"{name}_LO") | self.get(f"{name}_HI") << 32
        assert value % 1024 == 0
        return value

    def end(self) -> None:
        """The end of a run."""
        self.control = Control.DONE | Control.READY
        self.set(IRQ_STATUS=self.get("IRQ_STATUS") | self.get("IRQ_ENABLE"))

    def _finish(self) -> None:
        self.set(**self.identity)
        if self.fail_with is None and self.get("TASK") < TASK_SLOTS:
            self._run()
            self.set(ERROR_CODE=0, RUN_CYCLES=4711)
        else:
            self.set(ERROR_CODE=int(Error.TASK if self.fail_with is None else self.fail_with))
        self.end()

    def _run(self) -> None:
        entry = task_entry(self.get("TASK"))
        offset, count = self.words[entry], self.words[entry + 4]
        pathway = next(p for p in self.pathways.tasks.values() if p.program_offset == offset)
        image = self.memory.at(self.address("MEMORY"), self.get("MEMORY_BYTES"))
        assert np.array_equal(image, pathway.image)
        assert count == len(pathway.program)
        shape, kind = source_format(pathway.program[0])
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        source = self.memory.at(self.address("SOURCE"), size).view(kind).reshape(shape)
        result_RC = Executor(pathway).run(source.copy()).output_NC
        rows, channels = result_RC.shape
        pitch = -(-channels // 32) * 32
        stored = self.memory.at(self.address("RESULT"), 2 * rows * pitch).view("<i2").reshape(rows, pitch)
        stored[:, :channels], stored[:, channels:] = result_RC, 0x7777
