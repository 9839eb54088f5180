# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The board's side of the host driver inside a simulation: registers over AXI4-Lite, buffers in the shared DRAM file.

`m3vit.sim.driver.Accelerator` cannot tell them from PYNQ's MMIO and allocate. The driver is synchronous, so it runs in
a thread (`cocotb.bridge`), and every register access lets the simulation go on (`cocotb.resume`).
"""

import logging
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, ReadOnly, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from m3vit.sim.driver import Accelerator

PERIOD_NS = 10
"""Simulated clock period. Results are in cycles; the clock of the hardware is an assumption of the config."""
DRAM_VARIABLE = "M3VIT_DRAM"
RESET_CYCLES = 80
"""Longer than the longest pipeline without reset."""
PAGE = 4096
ORDERS = np.dtype(
    [
        (name, "<u8")
        for name in (
            "stall_percent", "jitter_cycles", "read_error", "write_error", "read_silence", "write_silence",
        )
    ]
)  # fmt: skip
"""Start of the DRAM file: what the simulated memory shall do to the accelerator (m3vit_dram.cpp).

stall_percent: chance that the memory withholds a handshake in a cycle; jitter_cycles: largest random extra latency of a
read burst; *_error: number of the beat of 16 bytes that is answered with an error, 1 is the next; *_silence: number of
the beat after which nothing is answered any more. Zero is none.
"""


class SimulatedBuffer(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy view of simulated DRAM with the calls of `pynq.Buffer`. Host and accelerator share it: no caches."""

    physical_address: int
    dram: "SimulatedDram"

    def flush(self) -> None:
        """Nothing to do: writes are visible at once."""

    def invalidate(self) -> None:
        """Nothing to do: reads see the latest data."""

    def freebuffer(self) -> None:
        """Give the range back."""
        self.dram.free(self.physical_address)


class SimulatedDram:
    """The DRAM file of the simulation, and an allocator of aligned buffers in it."""

    def __init__(self, path: Path) -> None:
        self.data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r+")
        self._orders = np.asarray(self.data)[: ORDERS.itemsize].view(ORDERS)
        self._used: dict[int, int] = {0: PAGE}  # start to end; no buffer lies in the first page

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> SimulatedBuffer:
        """Contiguous buffer, like `pynq.allocate`.

        Raises:
            MemoryError: the file is too small.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        start = 0
        for first, end in sorted(self._used.items()):
            if start + size <= first:
                break
            start = -(-end // PAGE) * PAGE
        if start + size > self.data.size:
            raise MemoryError(f"the simulated DRAM of {self.data.size} bytes is full")
        self._used[start] = start + size
        buffer = self.data[start : start + size].view(dtype).reshape(shape).view(SimulatedBuffer)
        buffer.physical_address, buffer.dram = start, self
        return buffer

    def order(self, **orders: int) -> None:
        """Tell the memory how to behave, see ORDERS; what is not named is cleared."""
        self._orders[0] = tuple(orders.pop(name, 0) for name in ORDERS.names or ())
        assert not orders, orders

    def ordered(self, name: str) -> int:
        """What is left of an order; 0 if an error has struck."""
        return int(self._orders[name][0])

    def free(self, start: int) -> None:
        """Make the range of a buffer available again."""
        del self._used[start]


class SimulatedRegisters:
    """The accelerator's registers with the calls of `pynq.MMIO`, for use inside `cocotb.bridge`."""

    def __init__(self, dut: Any) -> None:
        logging.getLogger(f"cocotb.{dut._name}.s_axi_ctrl").setLevel(logging.WARNING)
        self._bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_ctrl"), dut.aclk, dut.aresetn, False)

    def read(self, offset: int) -> int:
        """32-bit register at a byte offset."""

        async def access() -> int:
            return int(await self._bus.read_dword(offset))

        return cocotb.task.resume(access)()

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""

        async def access() -> None:
            await self._bus.write_dword(offset, value)

        cocotb.task.resume(access)()


async def reset(dut: Any) -> None:
    """Start the clock and reset for longer than the longest pipeline."""
    Clock(dut.aclk, PERIOD_NS, "ns", impl="gpi").start()
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, RESET_CYCLES)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)


def connect(dut: Any) -> tuple[Accelerator, SimulatedDram]:
    """The host driver on the simulated accelerator; waits on the interrupt instead of polling."""
    dram = SimulatedDram(Path(os.environ[DRAM_VARIABLE]))

    def pause(seconds: float) -> None:
        async def interrupt() -> None:
            await ReadOnly()
            if not dut.irq_o.value:
                await First(RisingEdge(dut.irq_o), Timer(max(1, round(seconds * 1e9)), "ns"))

        cocotb.task.resume(interrupt)()

    accelerator = Accelerator(SimulatedRegisters(dut), dram.allocate, pause, clock=lambda: get_sim_time("ns") * 1e-9)
    return accelerator, dram
