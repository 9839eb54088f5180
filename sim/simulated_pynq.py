# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A simulated board in the shape of the `pynq` package, and host scripts of project folders on it.

`python -m m3vit.sim.simulated_pynq PROJECT/host/run.py` runs the self-test of a project folder, unchanged and with its
own copy of the driver, on the simulated accelerator of that project.
"""

import json
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from pydantic import ValidationError

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.rtl.accelerator import SLAVE

if TYPE_CHECKING:
    from m3vit.sim.board import Board

BASE = 0xA000_0000
WINDOW = 1 << next(width for name, width, *_ in SLAVE if name == "awaddr")
"""Bytes of the register file."""
CELL = "m3vit_accelerator_0"
POLL_SECONDS = 50e-6
"""The driver's pause between two looks at a register that it polls."""


class SimulatedMMIO:
    """`pynq.MMIO`. A register that is read again and again is being polled: simulated time passes in between."""

    def __init__(self, board: "Board", base_addr: int, length: int) -> None:
        if (base_addr, length) != (BASE, WINDOW):
            raise ValueError(f"the simulated board has {WINDOW} bytes of registers at 0x{BASE:X} and nothing else")
        self._board = board
        self._polled: int | None = None

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset."""
        if offset == self._polled:
            self._board.pause(POLL_SECONDS)
        self._polled = offset
        return self._board.registers.read(offset)

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        self._polled = None
        self._board.registers.write(offset, value)


class SimulatedOverlay:
    """`pynq.Overlay`: resets the accelerator, as configuring the FPGA does. The bitstream need not exist.

    Attributes:
        ip_dict: the accelerator's cell, as PYNQ reads it from the block design.
    """

    def __init__(self, board: "Board", bitstream: str) -> None:
        if Path(bitstream).suffix != ".bit":
            raise ValueError(f"{bitstream} is not the name of a bitstream")
        board.reset()
        self.ip_dict = {CELL: {"phys_addr": BASE, "addr_range": WINDOW}}


def pynq_module(board: "Board") -> ModuleType:
    """A module with `Overlay`, `MMIO` and `allocate` of a board."""

    def overlay(bitfile_name: str) -> SimulatedOverlay:
        return SimulatedOverlay(board, bitfile_name)

    def mmio(base_addr: int, length: int = 4) -> SimulatedMMIO:
        return SimulatedMMIO(board, base_addr, length)

    def allocate(shape: int | tuple[int, ...], dtype: npt.DTypeLike = "u4") -> Any:
        return board.allocate((shape,) if isinstance(shape, int) else shape, dtype)

    module = ModuleType("pynq", "A simulated board.")
    vars(module).update(Overlay=overlay, MMIO=mmio, allocate=allocate)
    return module


@contextmanager
def installed(board: "Board") -> Iterator[None]:
    """`import pynq` gives the board inside this block, and afterwards what it gave before."""
    with _modules("pynq"):
        sys.modules["pynq"] = pynq_module(board)
        yield


def run_script(board: "Board", script: Path, arguments: Sequence[str] = ()) -> None:
    """Run a host script on a board, with the packages that lie beside the script, as `python script` does.

    Raises:
        SystemExit: the script calls `sys.exit`.
    """
    argv, path = sys.argv, sys.path
    with installed(board), _modules("m3vit"):
        sys.argv, sys.path = [str(script), *arguments], [str(script.parent.resolve()), *path]
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            sys.argv, sys.path = argv, path


@contextmanager
def _modules(package: str) -> Iterator[None]:
    """Forget a package inside this block and what replaced it afterwards."""

    def forget() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == package]
        return {name: sys.modules.pop(name) for name in names}

    before = forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(before)


def project_board(project: Path) -> "Board":
    """The simulated accelerator of a project folder: the RTL in Verilator, or the HLS one in C-simulation.

    Raises:
        UserError: it is not a project folder, or a tool is missing.
        SimulationError: the simulation does not start.
    """
    from m3vit.hls.csim import HlsBoard
    from m3vit.sim.board import SimulatedBoard

    boards: dict[str, Callable[[HardwareConfig], Board]] = {"rtl": SimulatedBoard, "hls": HlsBoard}
    try:
        facts = json.loads((project / "project.json").read_text())
        board, hardware = boards[facts["backend"]], HardwareConfig.model_validate(facts["hardware"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{project} is not a project folder; make one with 'm3vit project'") from error
    return board(hardware)


def main(arguments: Sequence[str]) -> None:
    """Run a project's host script on the simulated accelerator of that project."""
    from m3vit.sim.simulator import SimulationError

    if not arguments:
        sys.exit("usage: python -m m3vit.sim.simulated_pynq PROJECT/host/run.py [ARGUMENT ...]")
    script = Path(arguments[0]).resolve()
    try:
        with project_board(script.parents[1]) as board:
            run_script(board, script, arguments[1:])
    except (UserError, SimulationError) as error:
        print(f"simulated_pynq: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
