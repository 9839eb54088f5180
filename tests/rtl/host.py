# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The host's side of the frame benches: the driver, its golden model, and access below the driver."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, First, ReadOnly, RisingEdge, Timer

from m3vit.sim import cosim
from m3vit.sim.driver import Counters
from m3vit.sim.golden.executor import Executor, State, Step
from m3vit.sim.pathway import Pathway, read_pathways
from m3vit.sim.regmap import OFFSET, Control, Status
from m3vit.sim.synthetic import random_tokens

FRAME = 40_000
"""Cycles within which any frame of these tests must end."""
WORD = 64


class Host:
    """The driver with one pathway folder loaded, its golden model, and access below the driver."""

    def __init__(self, dut: Any, case: str) -> None:
        self.dut = dut
        self.accelerator, self.dram = cosim.connect(dut)
        self.load(case)

    def load(self, case: str) -> None:
        """Load a pathway folder."""
        folder = Path(os.environ["M3VIT_CASES"]) / case
        self.pathways = read_pathways(folder)
        self.executors: dict[str, Executor] = {task: Executor(pathway) for task, pathway in self.pathways.tasks.items()}
        self.accelerator.load(folder)
        self.accelerator.enable_interrupt()

    @property
    def pathway(self) -> Pathway:
        """The first task's."""
        return self.pathways.first

    def read(self, name: str) -> int:
        """A register."""
        return self.accelerator._registers.read(OFFSET[name])

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.accelerator._registers.write(OFFSET[name], value)

    def status(self) -> Status:
        """STATUS."""
        return Status(self.read("STATUS"))

    def irq(self) -> bool:
        """Level of the interrupt."""

        async def look() -> bool:
            await ReadOnly()
            return bool(self.dut.irq_o.value)

        level: bool = cocotb.task.resume(look)()
        return level

    def wait(self, cycles: int) -> None:
        """Let the simulation go on."""

        async def sleep() -> None:
            await ClockCycles(self.dut.aclk, cycles)

        cocotb.task.resume(sleep)()

    def start(self) -> None:
        """START with whatever the registers hold."""
        self.write("CONTROL", Control.CLEAR)
        self.write("CONTROL", Control.START)

    def until_interrupt(self, limit: int) -> None:
        """Wait for the interrupt.

        Raises:
            AssertionError: it does not come within `limit` cycles.
        """

        async def edge() -> None:
            await First(RisingEdge(self.dut.irq_o), Timer(limit * cosim.PERIOD_NS, "ns"))

        if not self.irq():
            cocotb.task.resume(edge)()
        assert self.irq(), f"no interrupt within {limit} cycles: STATUS {self.status()!r}"

    def golden(self, task: str, index: int, seed: int) -> Step:
        """The golden operation on random tokens."""
        x_ND, residual_ND = random_tokens(self.pathway.config.model, seed)
        return self.executors[task].step(index, State.of(x_ND=x_ND, residual_ND=residual_ND))

    def clean(self, task: str = "", index: int = 0, seed: int = 0) -> tuple[Step, Counters]:
        """Run one operation and compare every element."""
        step = self.golden(task or self.pathway.task, index, seed)
        got = self.accelerator.run_moe(
            task or self.pathway.task, index, step.x_ND, step.residual_ND, timeout=FRAME * 1e-8
        )
        differing = int((got != step.result).sum())
        assert not differing, f"{differing} of {got.size} elements differ from golden"
        return step, self.accelerator.counters(index)

    def poke_operation(self, data: bytes, index: int = 0) -> None:
        """Overwrite an operation in the DRAM."""
        start = self.read("MEMORY_LO") + self.pathway.program_offset + WORD * index
        self.dram.data[start : start + WORD] = np.frombuffer(data, np.uint8)


def on_host(body: Callable[[Host], None]) -> Any:
    """A cocotb test around a synchronous function that talks to the accelerator like a host."""

    async def test(dut: Any) -> None:
        for channel in ("awvalid", "wvalid", "bready", "arvalid", "rready"):  # until the driver takes over
            getattr(dut, f"s_axi_ctrl_{channel}").value = 0
        await cosim.reset(dut)
        await cocotb.task.bridge(lambda: body(Host(dut, "base")))()

    test.__name__ = test.__qualname__ = body.__name__
    test.__module__, test.__doc__ = body.__module__, body.__doc__
    return cocotb.test(test)
