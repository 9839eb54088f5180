# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Boards that are simulated: the host driver runs on them as on a ZCU104, from any Python program or a notebook.

```python
with SimulatedBoard.for_pathway("runs/demo/pathway") as board:
    accelerator = board.accelerator()
    accelerator.load("runs/demo/pathway")
    depth_RC = accelerator.run("depth", image_HW3)
```

To the driver, a board is four things: `registers` (`m3vit.sim.driver.Registers`), `allocate` (makes buffers that are
both NumPy arrays and `m3vit.sim.driver.Buffer`), `pause` (lets the accelerator work) and `clock` (seconds as the
accelerator counts them). A subclass of `Board` brings these and gets `accelerator` and `as_pynq`. A board whose START
runs the whole program at once, such as a C-simulation, has a `pause` that does nothing and `time.monotonic` as its
clock.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from m3vit.model.config import HardwareConfig
from m3vit.sim.board_process import BoardProcess
from m3vit.sim.cosim import SimulatedBuffer, SimulatedDram
from m3vit.sim.driver import Accelerator, Registers
from m3vit.sim.pathway import read_pathways
from m3vit.sim.simulated_pynq import installed

DRAM_BYTES = 1 << 30
SLICE_SECONDS = 1e-3
"""Longest simulated time per request, 100,000 cycles: after Ctrl-C the next call waits for the rest, under a second."""


class Board(ABC):
    """A simulated board; see the module docstring for what a subclass provides.

    Attributes:
        registers: the accelerator's registers.
    """

    registers: Registers

    @abstractmethod
    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """Contiguous buffer in the board's memory, as `pynq.allocate` makes them."""

    @abstractmethod
    def pause(self, seconds: float) -> None:
        """Let the accelerator work until its interrupt rises, for `seconds` of `clock` at most."""

    @abstractmethod
    def clock(self) -> float:
        """Seconds, for time-outs."""

    @abstractmethod
    def reset(self) -> None:
        """What configuring the FPGA does: every register returns to its initial value."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; the board cannot be used any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accelerator(self) -> Accelerator:
        """The host driver on this board; it waits for the interrupt instead of polling."""
        accelerator = Accelerator(self.registers, self.allocate, self.pause, self.clock, keep=self)
        accelerator.enable_interrupt()
        return accelerator

    @contextmanager
    def as_pynq(self) -> Iterator[None]:
        """Let `import pynq` find this board: `Accelerator.from_overlay` and host scripts run unchanged inside."""
        with installed(self):
            yield


class SimulatedBoard(Board):
    """The RTL in Verilator, in a process of its own (`m3vit.sim.board_process`); see `Board`.

    Simulated time goes on only during register accesses and `pause`, at 100 MHz: seconds of `clock` are 10^8 cycles.
    After an exception, Ctrl-C included, the board is as usable as a real one: a run that was under way goes on.

    Args:
        hardware: the accelerator to simulate. Its model is compiled if it is not in the cache: about a minute.
        dram_bytes: size of the simulated memory.

    Attributes:
        dram: the simulated memory; `dram.order(...)` makes it slow or faulty.

    Raises:
        UserError: a tool is missing, or there is no place for temporary files.
        SimulationError: the model does not build or start. Every call raises it if the simulation has died.
    """

    def __init__(self, hardware: HardwareConfig, *, dram_bytes: int = DRAM_BYTES) -> None:
        self._process = BoardProcess(hardware, dram_bytes)
        self.dram: SimulatedDram = self._process.dram
        self.registers = _Registers(self._process)

    @classmethod
    def for_pathway(cls, folder: str | Path) -> Self:
        """A board with the hardware that a pathway was exported for.

        Raises:
            UserError: the folder is missing or damaged, or as for the class.
        """
        return cls(read_pathways(Path(folder)).first.config.hardware)

    @property
    def pid(self) -> int:
        """Process group of the simulation."""
        return self._process.pid

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> SimulatedBuffer:
        """Contiguous buffer in simulated DRAM.

        Raises:
            MemoryError: the DRAM is full.
        """
        return self.dram.allocate(shape, dtype)

    def pause(self, seconds: float) -> None:
        """Simulate until the interrupt rises, for `seconds` or SLICE_SECONDS of simulated time at most."""
        self._process.ask("wait", min(seconds, SLICE_SECONDS))

    def clock(self) -> float:
        """Simulated seconds at the last register access or pause."""
        return self._process.seconds

    def reset(self) -> None:
        """Pull the accelerator's reset line."""
        self._process.ask("reset")

    def close(self) -> None:
        """End the simulation; its buffers stay readable. A second call does nothing."""
        self._process.close()


class _Registers:
    """The register file at the other end of the socket."""

    def __init__(self, process: BoardProcess) -> None:
        self._process = process

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset."""
        return self._process.ask("read", offset)

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        self._process.ask("write", offset, value)
