# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The host's side of the frame benches: the driver, its golden model, and access below the driver."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from m3vit.sim import cosim
from m3vit.sim.driver import Counters, result_bytes
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import Pathway, read_pathways
from m3vit.sim.program import OP_BYTES, Op, Opcode
from m3vit.sim.regmap import OFFSET, Control, Error, task_entry
from m3vit.sim.synthetic import random_image, random_residual
from rtl.frames import FOLDER_VARIABLE

FRAME = 200_000
"""Cycles within which any frame of these tests must end, whatever the memory does short of silence."""
PATIENCE = 70_000
"""Cycles of silence after which the accelerator must give up."""
WORD = 64
IMAGES = 8
"""Different inputs per task; their golden results are kept."""
ENDED = Control.DONE | Control.IDLE | Control.READY | Control.INTERRUPT
"""CONTROL at the end of a run, with the interrupt enabled; DONE and READY only in the first look."""
SEEN = Control.IDLE | Control.INTERRUPT
"""CONTROL in the looks after that."""


@dataclass(frozen=True, eq=False)
class Golden:
    """An input and what golden makes of it."""

    source: npt.NDArray[Any]
    steps: list[Step]
    result: npt.NDArray[np.int16]


class Host:
    """The driver with one pathway folder loaded, its golden model, and access below the driver."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.accelerator, self.dram = cosim.connect(dut)
        self._goldens: dict[tuple[str, str, int], Golden] = {}
        self._case = ""
        self.last: Golden  # of the last frame that ran clean

    def load(self, case: str) -> None:
        """Load a pathway folder."""
        folder = Path(os.environ[FOLDER_VARIABLE]) / case
        if case != self._case:
            self._case, self.pathways = case, read_pathways(folder)
            self.executors = {task: Executor(pathway) for task, pathway in self.pathways.tasks.items()}
        self.dram.order()
        self.accelerator.load(folder)
        self.accelerator.enable_interrupt()

    @property
    def pathway(self) -> Pathway:
        """The first task's."""
        return self.pathways.first

    @property
    def program(self) -> tuple[Op, ...]:
        """The first task's."""
        return self.pathway.program

    def read(self, name: str) -> int:
        """A register."""
        return self.accelerator._registers.read(OFFSET[name])

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.accelerator._registers.write(OFFSET[name], value)

    def write_task(self, slot: int, operations: int) -> None:
        """Change the length of a program in the task table."""
        self.accelerator._registers.write(task_entry(slot) + 4, operations)

    def control(self) -> Control:
        """CONTROL; clears DONE and READY."""
        return Control(self.read("CONTROL"))

    def error(self) -> Error:
        """ERROR_CODE."""
        return Error(self.read("ERROR_CODE"))

    def irq(self) -> bool:
        """Level of the interrupt."""

        async def look() -> bool:
            await FallingEdge(self.dut.aclk)  # settled, and signals may be written
            return bool(self.dut.irq_o.value)

        level: bool = cocotb.task.resume(look)()
        return level

    def wait(self, cycles: int) -> None:
        """Let the simulation go on."""

        async def sleep() -> None:
            await ClockCycles(self.dut.aclk, cycles)

        cocotb.task.resume(sleep)()

    def reset(self) -> None:
        """Pull the reset line."""

        async def pulse() -> None:
            self.dut.aresetn.value = 0
            await ClockCycles(self.dut.aclk, cosim.RESET_CYCLES)
            self.dut.aresetn.value = 1
            await ClockCycles(self.dut.aclk, 2)

        cocotb.task.resume(pulse)()

    def start(self) -> None:
        """START with whatever the registers hold."""
        self.accelerator._start()

    def until_interrupt(self, limit: int) -> None:
        """Wait for the interrupt.

        Raises:
            AssertionError: it does not come within `limit` cycles.
        """

        async def edge() -> None:
            await First(RisingEdge(self.dut.irq_o), Timer(limit * cosim.PERIOD_NS, "ns"))

        if not self.irq():
            cocotb.task.resume(edge)()
        assert self.irq(), f"no interrupt within {limit} cycles: CONTROL {self.control()!r}"

    def golden(self, task: str = "", seed: int = 0) -> Golden:
        """Golden's frame of one of a few random inputs."""
        task, seed = task or self.pathway.task, seed % IMAGES
        key = (self._case, task, seed)
        if key not in self._goldens:
            model, steps = self.pathway.config.model, list[Step]()
            loads = self.program[0].opcode is Opcode.LOAD
            source = random_residual(model, seed) if loads else random_image(model, seed)
            result = self.executors[task].run(source, steps.append).output_NC
            self._goldens[key] = Golden(source, steps, result)
        return self._goldens[key]

    def clean(self, task: str = "", seed: int = 0, limit: int = FRAME) -> int:
        """Run one frame and compare every element; its cycles."""
        task = task or self.pathway.task
        golden = self.golden(task, seed)
        self.last = golden
        got = self.accelerator.run(task, golden.source, timeout=limit * cosim.PERIOD_NS * 1e-9)
        assert got.shape == golden.result.shape
        differing = int((got != golden.result).sum())
        assert not differing, f"{self._case}, {task}: {differing} of {got.size} elements differ from golden"
        assert (self.control(), self.error()) == (SEEN, Error.NONE)
        return self.accelerator.run_cycles()

    def repeat(self, times: int, limit: int = FRAME) -> None:
        """Run the frame before again, each time at once after the end, without the driver's pause, and compare."""
        for _ in range(times):
            self.spoil()
            self.start()
            self.until_interrupt(limit)
            assert (self.control(), self.error()) == (ENDED, Error.NONE)
            got = self.stored(self.last.steps[-1].op)
            assert np.array_equal(got, self.last.result), f"{self._case}: differs from golden"

    def counters(self, task: str = "") -> list[Counters]:
        """Counters of every operation of the last run."""
        return [
            self.accelerator.counters(index)
            for index in range(len(self.pathways.task(task or self.pathway.task).program))
        ]

    def poke(self, index: int, data: bytes) -> None:
        """Overwrite an operation of the first task's program in the DRAM."""
        start = self.read("MEMORY_LO") + self.pathway.program_offset + OP_BYTES * index
        self.dram.data[start : start + OP_BYTES] = np.frombuffer(data, np.uint8)

    def mend(self, index: int) -> None:
        """Undo `poke`."""
        self.poke(index, self.program[index].encode())

    def poked(self, index: int, data: bytes) -> Pathway:
        """The first task's pathway with an overwritten operation."""
        program, image = list(self.program), self.pathway.image.copy()
        program[index] = Op.decode(data)
        start = self.pathway.program_offset + OP_BYTES * index
        image[start : start + OP_BYTES] = np.frombuffer(data, np.uint8)
        return replace(self.pathway, program=tuple(program), image=image)

    def spoil(self) -> None:
        """Forget the last result."""
        self.accelerator._blocks["result"].data[:] = 0x5A

    def stored(self, store: Op) -> npt.NDArray[Any]:
        """What lies where a STORE of the last run has put it."""
        rows_NC = self.accelerator._blocks["result"].fetch(result_bytes(store)).view("<i2").reshape(store.rows, -1)
        return rows_NC[:, : store.out_features]


def on_host(body: Callable[[Host], None]) -> Any:
    """A cocotb test around a synchronous function that talks to the accelerator like a host."""

    async def test(dut: Any) -> None:
        for channel in ("awvalid", "wvalid", "bready", "arvalid", "rready"):  # until the driver takes over
            getattr(dut, f"s_axi_ctrl_{channel}").value = 0
        await cosim.reset(dut)
        await cocotb.task.bridge(lambda: body(Host(dut)))()

    test.__name__ = test.__qualname__ = body.__name__
    test.__module__, test.__doc__ = body.__module__, body.__doc__
    return cocotb.test(test)
