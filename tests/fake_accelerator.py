# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A register file in Python behind which golden runs: the accelerator as the driver sees it, for its error paths.

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
    HARDWARE_VERSION,
    ID_VALUE,
    OFFSET,
    TASK_TABLE,
    Control,
    Error,
    Status,
    task_entry,
)

COUNTERS = [name for name in OFFSET if name.startswith("OP_")]


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
    """Registers of an accelerator that runs the programs of `pathways` with golden, after `delay` looks at STATUS."""

    def __init__(self, pathways: Pathways, memory: FakeMemory, delay: int = 2) -> None:
        hardware = pathways.first.config.hardware
        self.pathways, self.memory, self.delay = pathways, memory, delay
        self.fail_with: Error | int | None = None
        self.hang = False
        self.writes: list[tuple[int, int]] = []
        self.words = dict.fromkeys(OFFSET.values(), 0)
        self.words |= dict.fromkeys(range(TASK_TABLE, TASK_TABLE + 128, 4), 0xBAD)
        self.set(
            ID=ID_VALUE,
            VERSION=HARDWARE_VERSION | PROGRAM_VERSION << 8,
            CAPACITY0=hardware.lanes | hardware.groups << 8 | hardware.max_tokens << 16,
            CAPACITY1=hardware.max_dim | hardware.max_hidden << 16,
            CAPACITY2=hardware.max_top_k | hardware.max_block << 16,
        )
        self._left = 0

    def set(self, **registers: int) -> None:
        """Change registers from inside."""
        for name, value in registers.items():
            self.words[OFFSET[name]] = value

    def get(self, name: str) -> int:
        """A register without side effects."""
        return self.words[OFFSET[name]]

    def read(self, offset: int) -> int:
        if offset == OFFSET["STATUS"] and self.get("STATUS") == Status.BUSY and not self.hang:
            self._left -= 1
            if self._left <= 0:
                self._finish()
        if offset in [OFFSET[name] for name in COUNTERS]:
            return 1000 * self.get("COUNTER_OP") + offset
        return self.words[offset]

    def write(self, offset: int, value: int) -> None:
        assert type(value) is int
        assert 0 <= value < 1 << 32
        self.writes.append((offset, value))
        if offset != OFFSET["CONTROL"]:
            self.words[offset] = value
        elif value == Control.CLEAR:
            self.set(STATUS=0, ERROR_CODE=0)
        elif value == Control.START:
            assert self.get("STATUS") == 0
            assert not self.memory.dirty()
            self._left = self.delay
            self.set(STATUS=int(Status.BUSY))

    def address(self, name: str) -> int:
        """An address from its two registers."""
        value = self.get(f"{name}_LO") | self.get(f"{name}_HI") << 32
        assert value % 1024 == 0
        return value

    def _finish(self) -> None:
        if self.fail_with is not None:
            self.set(STATUS=int(Status.ERROR), ERROR_CODE=int(self.fail_with))
            return
        self._run()
        self.set(STATUS=int(Status.DONE), RUN_CYCLES=4711)

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
