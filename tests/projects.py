# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Project folders for tests, and ways to change and to run them."""

import os
import stat
import subprocess
from pathlib import Path

from m3vit.model.config import DEMO, HardwareConfig, ModelConfig
from m3vit.scripts.project_folder import Backend, replace_folder, write_project
from m3vit.scripts.tcl_check import STEPS, STUBS, interpreter, run_step
from m3vit.sim.pathway import write_pathways
from m3vit.sim.resources import check_board
from m3vit.sim.synthetic import random_pathways

ROOT = Path(__file__).resolve().parents[1]


def model_for(hardware: HardwareConfig) -> ModelConfig:
    """The demo model; on the array of zcu104 with hidden channels that fill it."""
    return DEMO.model.model_copy(update={"expert_hidden": 2 * hardware.inputs, "mlp_hidden": 2 * hardware.inputs})


def make_pathway(folder: Path, hardware: HardwareConfig = DEMO.hardware) -> Path:
    """A pathway of a small model with random weights."""
    write_pathways(random_pathways(model_for(hardware), hardware), folder)
    return folder


def make_project(folder: Path, backend: Backend, hardware: HardwareConfig = DEMO.hardware) -> Path:
    """A project of a small model with random weights."""
    pathways = random_pathways(model_for(hardware), hardware)
    with replace_folder(folder) as new:
        write_project(pathways, backend, check_board(hardware) if backend is Backend.rtl else None, new)
    return folder


def replace_in(folder: Path, name: str, old: str, new: str) -> None:
    """Change the first place in a file of a project."""
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def run_scripts(folder: Path, backend: Backend, scenario: str = "board", log: Path | None = None) -> str | None:
    """Run the steps of a build in the folder itself. Returns what stopped it, None if nothing did."""
    command = interpreter()
    assert command
    for tool, script in STEPS[backend]:
        result = run_step(command, folder, tool, script, scenario, log)
        if result.returncode:
            return result.stderr
    return None


def put_tool(folder: Path, name: str, stand_in: str, script: str, scenario: str = "board") -> None:
    """An executable that looks like a vendor's tool and runs the stand-ins.

    Args:
        folder: where to put it.
        name: of the executable.
        stand_in: tool of stubs.tcl.
        script: shell expression for the script that it is given.
        scenario: of stubs.tcl.
    """
    command = interpreter()
    assert command
    words = " ".join(f"'{word}'" for word in [*command, str(STUBS), stand_in])
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>calls.txt\nexec {words} "{script}" {scenario}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run_clean(*command: str | Path, cwd: Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this checkout in its environment."""
    keep = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=keep | {"PATH": path, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
