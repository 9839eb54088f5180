# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The top module on four AxiRam of cocotbext-axi that share one memory and pause on every channel; AXI rules."""

import mmap
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge, Timer
from cocotb.types import LogicArray
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiRam

from m3vit.sim import cosim
from m3vit.sim.driver import Accelerator
from m3vit.sim.golden.executor import Executor
from m3vit.sim.pathway import read_pathways
from m3vit.sim.synthetic import random_image
from rtl.handshake import Dice

PORTS = 4
BEAT = 16
PAGE = 4096
IDENTIFIERS = ("_awid", "_bid", "_arid", "_rid")
PAYLOAD = {
    "ar": ("araddr", "arlen", "arsize", "arburst", "arcache", "arprot"),
    "aw": ("awaddr", "awlen", "awsize", "awburst", "awcache", "awprot"),
    "w": ("wdata", "wstrb", "wlast"),
}


class NoSignal:
    """Stands for a pin that the accelerator does not have: cocotbext-axi insists on identifiers."""

    value = LogicArray("0")

    def __len__(self) -> int:
        return 1

    def setimmediatevalue(self, value: object) -> None:
        """Ignored."""


class WithIdentifiers:
    """The top module plus identifier pins that are not there."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._name = dut._name

    def __getattr__(self, name: str) -> Any:
        return NoSignal() if name.endswith(IDENTIFIERS) else getattr(self._dut, name)

    def __dir__(self) -> list[str]:
        return [*dir(self._dut), *(f"m_axi_hp{port}{name}" for port in range(PORTS) for name in IDENTIFIERS)]


class PausingRegisters(cosim.SimulatedRegisters):
    """AXI4-Lite accesses whose five channels pause at random."""

    def __init__(self, dut: Any, stall: float) -> None:
        super().__init__(dut)
        write, read = self._bus.write_if, self._bus.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for number, channel in enumerate(channels):
            channel.set_pause_generator(pauses(Dice(("lite", number), stall)))


def pauses(dice: Dice) -> Iterator[bool]:
    """Random pauses for ever."""
    while True:
        yield dice.stalls()


class PortMonitor:
    """Checks the AXI rules that the accelerator must keep on one port, every cycle.

    Valid stays until ready, with the same payload; bursts are INCR of full beats inside 4 KiB; WLAST marks the last
    beat of each burst and no other.
    """

    def __init__(self, dut: Any, port: int) -> None:
        self._clock, self._prefix = dut.aclk, f"m_axi_hp{port}_"
        names = [name for pins in PAYLOAD.values() for name in pins]
        names += [f"{channel}{flag}" for channel in PAYLOAD for flag in ("valid", "ready")]
        self._pins = {name: getattr(dut, self._prefix + name) for name in names}
        self._waiting: dict[str, tuple[int, ...] | None] = dict.fromkeys(PAYLOAD)
        self._lengths: deque[int] = deque()  # of accepted write bursts whose data is not complete
        self._early: deque[int] = deque()  # lengths of complete data whose address is not accepted
        self._beats = 0
        self.read_beats = self.write_beats = self.stalled = 0

    def _pin(self, name: str) -> int:
        return int(self._pins[name].value)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await RisingEdge(self._clock)
            for channel in PAYLOAD:
                self._handshake(channel)

    def _handshake(self, channel: str) -> None:
        valid = bool(self._pin(f"{channel}valid"))
        payload = tuple(self._pin(name) for name in PAYLOAD[channel]) if valid else None
        before = self._waiting[channel]
        assert before is None or payload == before, f"{self._prefix}{channel}: {before} became {payload} before READY"
        taken = valid and bool(self._pin(f"{channel}ready"))
        self._waiting[channel] = None if taken else payload
        self.stalled += valid and not taken
        if taken and payload is not None:
            self._beat(payload) if channel == "w" else self._burst(channel, payload)

    def _burst(self, channel: str, payload: tuple[int, ...]) -> None:
        address, length, size, burst, _, _ = payload
        beats = length + 1
        assert (1 << size, burst) == (BEAT, 1)
        assert address % BEAT == 0
        assert address % PAGE + beats * BEAT <= PAGE, f"burst of {beats} beats at 0x{address:X} crosses 4 KiB"
        if channel == "ar":
            self.read_beats += beats
        else:
            self._lengths.append(beats)
            self._match()

    def _beat(self, payload: tuple[int, ...]) -> None:
        _, strobe, last = payload
        assert strobe == (1 << BEAT) - 1
        self._beats += 1
        self.write_beats += 1
        if last:
            self._early.append(self._beats)
            self._beats = 0
            self._match()

    def _match(self) -> None:
        while self._lengths and self._early:
            wanted, got = self._lengths.popleft(), self._early.popleft()
            assert got == wanted, f"WLAST after {got} beats of a burst of {wanted}"

    @property
    def quiet(self) -> bool:
        """No burst is half done."""
        return not (self._lengths or self._early or self._beats or any(self._waiting.values()))


def memory_ports(dut: Any, path: Path, stall: float) -> list[AxiRam]:
    """Four ports on one memory, each channel pausing at random."""
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
    rams = []
    for port in range(PORTS):
        bus = AxiBus.from_prefix(WithIdentifiers(dut), f"m_axi_hp{port}")
        ram = AxiRam(bus, dut.aclk, dut.aresetn, reset_active_level=False, mem=shared)
        write, read = ram.write_if, ram.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for number, channel in enumerate(channels):
            channel.log.setLevel("WARNING")
            channel.set_pause_generator(pauses(Dice((port, number), stall)))
        write.log.setLevel("WARNING")
        read.log.setLevel("WARNING")
        rams.append(ram)
    return rams


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.4])
async def whole_frames(dut: Any, stall: float) -> None:
    """Frames of every task of a small model equal golden, every beat is accounted for, and every AXI rule is kept."""
    path, folder = Path(os.environ["M3VIT_DRAM"]), Path(os.environ["M3VIT_CASES"]) / "least"
    memory_ports(dut, path, stall)
    await cosim.reset(dut)
    monitors = [PortMonitor(dut, port) for port in range(PORTS)]
    for monitor in monitors:
        cocotb.start_soon(monitor.run())
    dram = cosim.SimulatedDram(path)

    def pause(_: float) -> None:
        async def sleep() -> None:
            await Timer(500 * cosim.PERIOD_NS, "ns")

        cocotb.task.resume(sleep)()

    accelerator = Accelerator(PausingRegisters(dut, stall), dram.allocate, pause, lambda: get_sim_time("ns") * 1e-9)
    pathways = read_pathways(folder)

    def host() -> None:
        accelerator.load(folder)
        for seed, (task, pathway) in enumerate(pathways.tasks.items()):
            image_HW3 = random_image(pathway.config.model, seed)
            expected_RC = Executor(pathway).run(image_HW3).output_NC
            before = [(m.read_beats, m.write_beats) for m in monitors]
            got_RC = accelerator.run(task, image_HW3, timeout=1e-2)
            assert (got_RC == expected_RC).all(), f"{(got_RC != expected_RC).sum()} of {got_RC.size} elements differ"
            counts = [accelerator.counters(index) for index in range(len(pathway.program))]
            reads = [m.read_beats - r for m, (r, _) in zip(monitors, before, strict=True)]
            writes = [m.write_beats - w for m, (_, w) in zip(monitors, before, strict=True)]
            fetched = len(pathway.program)  # words of the program belong to no operation
            assert sum(reads) == 4 * (fetched + sum(count.read_words for count in counts))
            assert sum(writes) == 4 * sum(count.write_words for count in counts)
            assert min(reads) > sum(reads) // 8, f"ports are not used evenly: {reads}"

    await cocotb.task.bridge(host)()
    assert all(monitor.quiet for monitor in monitors)
    assert stall == 0.0 or min(monitor.stalled for monitor in monitors) > 20
