# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Runs a project folder's Tcl against stand-ins for Vivado's commands (templates/vivado_stubs).

This finds unknown commands, options, properties and pins, wrong order, unconnected pins and unbalanced brackets. It
does not find what only Vivado knows: whether the design synthesises, fits or meets timing.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

STUBS = Path(__file__).resolve().parent / "templates" / "vivado_stubs" / "stubs.tcl"
SCENARIOS = ("board", "no_board", "slow", "broken")
"""With and without board files, timing missed, and a failing run, which must stop the build."""
EXPECTED_FAILURE = "synth_1 ended with 'synth_design ERROR'"
CHECKED_PARTS = ("tcl", "src", "constraints")
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


def check_project(folder: Path) -> bool:
    """Run all scripts of a project folder in every scenario, on copies.

    Returns:
        False when this machine has no Tcl interpreter; nothing was checked then.

    Raises:
        TclError: a script is wrong.
    """
    command = interpreter()
    if command is None:
        return False
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as temporary:
            for part in CHECKED_PARTS:
                shutil.copytree(folder / part, Path(temporary) / part)
            _run([*command, str(STUBS), temporary, scenario], scenario)
    return True


def _run(command: list[str], scenario: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if scenario == "broken" and result.returncode and result.stderr.startswith(EXPECTED_FAILURE):
        return
    if scenario == "broken" or result.returncode:
        raise TclError(result.stderr.strip() or f"scenario {scenario}: the build went on after a failed run")
