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
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from m3vit.hls.headers import CONFIG_HEADER, config_header
from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
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


class CSimRegisters:
    """Register file of a C-simulation, with the calls of `pynq.MMIO`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests: IO[str] = process.stdin
        self._answers: IO[str] = process.stdout

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset.

        Raises:
            SimulationError: the C-simulation has died.
        """
        return self._ask(f"r {offset:x}")

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset; a write of START returns when the run has ended.

        Raises:
            SimulationError: the C-simulation has died.
        """
        self._ask(f"w {offset:x} {value & 0xFFFFFFFF:x}")

    def _ask(self, request: str) -> int:
        try:
            print(request, file=self._requests, flush=True)
            answer = self._answers.readline()
        except OSError:
            answer = ""
        if not answer:
            errors = self._process.communicate()[1]
            lines = [line for line in errors.splitlines() if "ERROR" in line or "error" in line] or errors.splitlines()
            reason = lines[0].strip() if lines else f"exit code {self._process.returncode}"
            raise SimulationError(f"the C-simulation died: {reason}")
        return int(answer, 16)
