# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""C-simulation of the HLS accelerator: compiles its top function with g++ and lets the host driver run it.

The program behind it (hls/tb/m3vit_csim.cpp) answers register accesses as the s_axilite adapter of Vitis HLS would, so
`m3vit.sim.driver.Accelerator` drives it like a board. It runs in a process of its own: a crash or a sanitizer's report
becomes an exception here.
"""

import hashlib
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy.typing as npt

from m3vit.hls.headers import CONFIG_HEADER, config_header
from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.board import DRAM_BYTES, Board
from m3vit.sim.board_process import make_folder
from m3vit.sim.board_server import DRAM
from m3vit.sim.cosim import SimulatedBuffer, SimulatedDram
from m3vit.sim.pathway import read_pathways
from m3vit.sim.simulator import SimulationError, cache_folder

HLS = Path(__file__).resolve().parent
KERNELS = HLS / "kernels"
BENCH = HLS / "tb" / "m3vit_csim.cpp"
OPTIMISED = ("-O2",)
UNOPTIMISED = ("-O0",)
SANITISED = (
    "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-sanitize=shift-base",
    "-ftrivial-auto-var-init=pattern",
)  # fmt: skip
"""Stops at the first wrong access or undefined operation; what nobody set holds a pattern, not a lucky zero.

Left shifts of negative numbers, defined since C++20, are the idiom of ap_types for sign extension.
"""
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label")
UNSET = ("-Wno-uninitialized", "-Wno-maybe-uninitialized")
"""ap_types leave default values unset and g++ reports that; the pattern of SANITISED looks for real cases."""


def ap_types() -> Path:
    """Folder of the open arbitrary-precision types and streams (Apache-2.0) that hls4ml brings; Vitis HLS has its own.

    Raises:
        UserError: hls4ml is not installed.
    """
    package = find_spec("hls4ml")  # found, not imported: hls4ml loads its plug-ins, which load this module
    if package is None or package.origin is None:
        raise UserError("hls4ml is not installed; install it, for example with 'pip install hls4ml'")
    return Path(package.origin).parent / "templates" / "vivado" / "ap_types"


def kernel_files() -> list[Path]:
    """All C++ files of the accelerator."""
    return sorted(path for pattern in ("*.h", "*.inc", "*.cpp") for path in KERNELS.glob(pattern))


def compile_kernels(
    hardware: HardwareConfig, sources: Sequence[Path], name: str, flags: Sequence[str] = OPTIMISED
) -> Path:
    """Compile C++ that includes the kernels, or reuse the cached result. Returns the executable or library `name`.

    Raises:
        UserError: there is no g++.
        SimulationError: the compiler refuses the code; the message names its log.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise UserError("g++ is not installed; install it, for example with 'apt-get install g++'")
    config = config_header(hardware)
    digest = hashlib.sha256(repr((config, tuple(flags), version("hls4ml"))).encode())
    for path in (*kernel_files(), *sources):
        digest.update(path.read_bytes())
    folder = cache_folder() / f"hls-{hardware.name}-{digest.hexdigest()[:16]}"
    result = folder / name
    if result.exists():
        return result
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        (Path(work) / CONFIG_HEADER).write_text(config)
        command = [compiler, "-std=c++17", *flags, *WARNINGS, *UNSET, "-I", str(KERNELS), "-I", work]
        command += ["-isystem", str(ap_types()), *map(str, sources), "-o", str(Path(work) / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (folder / "build.log").write_text(done.stderr)
        if done.returncode:
            raise SimulationError(f"g++ refuses the HLS kernels; see {folder / 'build.log'}")
        (Path(work) / name).replace(result)
    return result


def build(hardware: HardwareConfig, flags: Sequence[str] = OPTIMISED) -> Path:
    """Compile the C-simulation, or reuse the cached one. Returns the executable.

    Raises:
        UserError: there is no g++.
        SimulationError: the compiler refuses the code; the message names its log.
    """
    return compile_kernels(hardware, [BENCH, KERNELS / "m3vit_accelerator.cpp"], "m3vit_csim", flags)


class HlsBoard(Board):
    """The HLS accelerator in C-simulation, in a process of its own; see `Board`.

    A write of START returns when the run has ended, so `pause` has nothing to do. Cycle counters read 0: C++ does not
    know them. A crash, a sanitizer's report included, is a SimulationError.

    Args:
        hardware: shape of the accelerator. Its C-simulation is compiled if it is not in the cache: seconds.
        flags: of the compiler, for example SANITISED.
        dram_bytes: size of the simulated memory.

    Attributes:
        dram: the simulated memory.

    Raises:
        UserError: g++ is missing, or there is no place for temporary files.
        SimulationError: the kernels do not compile. Every call raises it if the C-simulation has died.
    """

    def __init__(
        self, hardware: HardwareConfig, flags: Sequence[str] = OPTIMISED, *, dram_bytes: int = DRAM_BYTES
    ) -> None:
        with ExitStack() as stack:
            memory = make_folder(stack, dram_bytes) / DRAM
            self.dram = SimulatedDram(memory)
            self._process = _Registers(build(hardware, flags), memory)
            self.registers = self._process
            stack.callback(self._process.close)
            self._close = weakref.finalize(self, stack.pop_all().close)

    @classmethod
    def for_pathway(cls, folder: str | Path, flags: Sequence[str] = OPTIMISED) -> Self:
        """A board with the hardware that a pathway was exported for.

        Raises:
            UserError: the folder is missing or damaged, or as for the class.
        """
        return cls(read_pathways(Path(folder)).first.config.hardware, flags)

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> SimulatedBuffer:
        """Contiguous buffer in simulated DRAM.

        Raises:
            MemoryError: the DRAM is full.
        """
        return self.dram.allocate(shape, dtype)

    def pause(self, seconds: float) -> None:
        """Nothing to wait for."""

    def clock(self) -> float:
        """Seconds of the host."""
        return time.monotonic()

    def reset(self) -> None:
        """Start the C-simulation anew: registers return to their initial values."""
        self._process.restart()

    def close(self) -> None:
        """End the C-simulation; buffers stay readable. A second call does nothing."""
        self._close()


class _Registers:
    """The register file of a C-simulation, at the other end of two pipes."""

    def __init__(self, program: Path, dram: Path) -> None:
        self._command = [str(program), str(dram)]
        self._start()

    def _start(self) -> None:
        pipe = subprocess.PIPE
        # A session of its own, so that Ctrl-C in the terminal does not reach it.
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def restart(self) -> None:
        """End the process and start another."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset."""
        return self._ask(f"r {offset:x}")

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset; START returns when the run has ended."""
        self._ask(f"w {offset:x} {value & 0xFFFFFFFF:x}")

    def _ask(self, request: str) -> int:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        answer = ""
        with suppress(OSError, ValueError):  # it has died, or was closed
            print(request, file=requests, flush=True)
            answer = answers.readline()
        if not answer:
            raise SimulationError(f"the C-simulation stopped: {self._last_words()}; make a new board")
        return int(answer, 16)

    def _last_words(self) -> str:
        """Why the process died: a sanitizer's first line, or its exit code."""
        errors = self._process.stderr
        text = errors.read() if errors is not None and not errors.closed else ""
        lines = [line.strip() for line in text.splitlines() if "error" in line.lower()]
        return lines[0] if lines else f"exit code {self._process.wait()}"
