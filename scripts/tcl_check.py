# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Runs a project folder's Tcl against stand-ins for Vivado and Vitis HLS (templates/vivado_stubs).

This finds unknown commands, options, values, properties and pins, a wrong number of arguments, wrong order, unconnected
pins, unbalanced brackets and register offsets that differ from the map. It does not find what only the tools know:
whether the design synthesises, fits or meets timing.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

STUBS = Path(__file__).resolve().parent / "templates" / "vivado_stubs" / "stubs.tcl"
STEPS = {
    "rtl": (("vivado", "tcl/build.tcl"),),
    "hls": (("vitis_hls", "tcl/hls.tcl"), ("vivado", "tcl/build.tcl")),
}
"""Tool and script of each step of a build, as in build.sh."""
GOOD = ("board", "no_board", "slow")
"""With and without board files, and timing missed: the build ends well."""
BAD = {
    "broken": ("vivado", r"synth_1 ended with 'synth_design ERROR'; see [^][]+/synth_1/runme\.log"),
    "csim": ("vitis_hls", "ERROR: csim_design: the test bench returned 1"),
    "offset": ("vitis_hls", "ERROR: register RESULT_DATA lies at 0x0050 .* but the driver expects it at 0x0048"),
    "missing": ("vitis_hls", "ERROR: register OPS_DONE_DATA is missing in the synthesised design, .*"),
    "extra": ("vitis_hls", "ERROR: the synthesised design has registers that the driver does not know: EXTRA_DATA"),
}
"""What goes wrong, the tool in which it does, and the line with which the build must stop (a regular expression)."""
READ_PARTS = ("src", "constraints", "test", "pathway")
"""What scripts read and do not write."""
TKINTER = """
import os, sys, tkinter
tcl = tkinter.Tcl()
tcl.createcommand("exit", lambda code: os._exit(int(code)))
tcl.call("set", "argv", tcl.call("list", *sys.argv[2:]))
tcl.evalfile(sys.argv[1])
"""
"""Stands in for tclsh with the Tcl interpreter inside Python; needs no display."""


class TclError(Exception):
    """The scripts are wrong; the message is the interpreter's."""


def interpreter() -> list[str] | None:
    """Command line that runs a Tcl file with arguments: tclsh, else Python's own Tcl, else None."""
    tclsh = shutil.which("tclsh")
    if tclsh:
        return [tclsh]
    python = [sys.executable, "-c", TKINTER]
    probe = subprocess.run([sys.executable, "-c", "import tkinter; tkinter.Tcl()"], capture_output=True, check=False)
    return python if probe.returncode == 0 else None


def check_project(folder: Path, backend: str) -> bool:
    """Run all scripts of a project folder in every scenario, on copies whose path has a space.

    Args:
        folder: the project.
        backend: rtl or hls.

    Returns:
        False when this machine has no Tcl interpreter; nothing was checked then.

    Raises:
        TclError: a script is wrong.
    """
    command = interpreter()
    if command is None:
        return False
    tools = [tool for tool, _ in STEPS[backend]]
    for scenario in (*GOOD, *(name for name, (tool, _) in BAD.items() if tool in tools)):
        with tempfile.TemporaryDirectory() as temporary:
            _run_steps(command, _copy(folder, Path(temporary) / "a project"), backend, scenario)
    return True


def _copy(folder: Path, target: Path) -> Path:
    """A folder with the same scripts, which find their sources through links and their own place without."""
    shutil.copytree(folder / "tcl", target / "tcl")
    for part in READ_PARTS:
        if (folder / part).is_dir():
            (target / part).symlink_to((folder / part).absolute())
    return target


def _run_steps(command: list[str], folder: Path, backend: str, scenario: str) -> None:
    """Run the steps of a build one after the other; a bad scenario must end it with its message."""
    tool_to_fail, message = BAD.get(scenario, ("", ""))
    for tool, script in STEPS[backend]:
        result = run_step(command, folder, tool, script, scenario)
        if tool == tool_to_fail:
            if result.returncode == 0:
                raise TclError(f"scenario {scenario}: the build went on after a failed run")
            if not re.fullmatch(message, result.stderr.partition("\n")[0]):
                raise TclError(result.stderr.strip())
            return
        if result.returncode:
            raise TclError(result.stderr.strip())


def run_step(
    command: list[str], folder: Path, tool: str, script: str, scenario: str, log: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one script in a project folder as its tool would.

    Args:
        command: the Tcl interpreter.
        folder: the project; the script leaves its products there.
        tool: vivado or vitis_hls.
        script: path in the folder.
        scenario: see stubs.tcl.
        log: file to which used commands and options are added.
    """
    (folder / "build").mkdir(exist_ok=True)
    arguments = [str(STUBS), tool, f"../{script}", scenario, *([str(log)] if log else [])]
    return subprocess.run(
        [*command, *arguments], cwd=folder / "build", capture_output=True, text=True, check=False, timeout=60
    )
