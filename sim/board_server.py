# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Far side of a simulated board: a process that simulates the accelerator and does what the host asks over a socket.

`m3vit.sim.board_process` starts `main`, which runs the Verilator model under cocotb; `serve` runs inside it. A request
is a line of JSON: ["read", offset], ["write", offset, value], ["wait", seconds] (for the interrupt) or ["reset"]. Its
answer is the line [value, simulated seconds]. Simulated time stands still between requests. The end of the connection
ends the simulation, also when the host was killed.
"""

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, First, ReadOnly, RisingEdge, Timer
from cocotb.utils import get_sim_time

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim import cosim
from m3vit.sim.simulator import SimulationError, frame_bench, run

MODULE = "m3vit.sim.board_server"
SOCKET_VARIABLE = "M3VIT_BOARD_SOCKET"
DRAM, SOCKET = "dram.bin", "socket"
"""Files in the folder that both sides share."""


class Server:
    """Answers requests, inside `cocotb.bridge`."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._registers = cosim.SimulatedRegisters(dut)

    def answer(self, action: str, *arguments: Any) -> int:
        """Do what a request says; the value that was read, else 0."""
        match action:
            case "read":
                return self._registers.read(*arguments)
            case "write":
                self._registers.write(*arguments)
            case "wait":
                cocotb.task.resume(self._interrupt)(*arguments)
            case "reset":
                cocotb.task.resume(self._reset)()
            case _:
                raise ValueError(f"unknown request '{action}'")
        return 0

    async def _interrupt(self, seconds: float) -> None:
        await ReadOnly()
        if not self._dut.irq_o.value:
            await First(RisingEdge(self._dut.irq_o), Timer(max(1, round(seconds * 1e9)), "ns"))

    async def _reset(self) -> None:
        await RisingEdge(self._dut.aclk)  # the request before may have ended where nothing can be written
        self._dut.aresetn.value = 0
        await ClockCycles(self._dut.aclk, cosim.RESET_CYCLES)
        self._dut.aresetn.value = 1
        await ClockCycles(self._dut.aclk, 2)


@cocotb.test()
async def serve(dut: Any) -> None:
    """Answer requests until the host hangs up."""
    await cosim.reset(dut)
    server = Server(dut)

    def host() -> None:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(os.environ[SOCKET_VARIABLE])
            lines = peer.makefile("rw")
            try:
                for line in lines:
                    value = server.answer(*json.loads(line))
                    print(json.dumps([value, get_sim_time("ns") * 1e-9]), file=lines, flush=True)
            except ConnectionError:
                cocotb.log.info("the host is gone")

    await cocotb.task.bridge(host)()


def main(folder: Path, hardware: HardwareConfig) -> None:
    """Simulate until the host hangs up; remove the folder if the host can no longer do it."""
    host = os.getppid()
    env = {cosim.DRAM_VARIABLE: str(folder / DRAM), SOCKET_VARIABLE: str(folder / SOCKET)}
    try:
        run(frame_bench(hardware), MODULE, work=folder, env=env)
    except (UserError, SimulationError) as error:
        sys.exit(str(error))
    finally:
        if os.getppid() != host:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), HardwareConfig.model_validate_json(sys.argv[2]))
