# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The notebook runs on the simulated board and, with one line changed, as on a board; its outputs fit its cells."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from m3vit.model.config import HARDWARE, MODELS, TaskName
from m3vit.sim import simulated_pynq
from m3vit.sim.pathway import write_pathways
from m3vit.sim.simulator import SimulationError
from m3vit.sim.synthetic import random_pathways

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PATH = NOTEBOOKS / "driver.ipynb"
TASKS: tuple[TaskName, ...] = ("segmentation", "normals")
MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": TASKS, "layers": 2})
KEYS = {
    "markdown": {"cell_type", "id", "metadata", "source"},
    "code": {"cell_type", "id", "metadata", "source", "execution_count", "outputs"},
    "stream": {"output_type", "name", "text"},
    "display_data": {"output_type", "data", "metadata"},
    "execute_result": {"output_type", "data", "metadata", "execution_count"},
}
"""Of cells and outputs, as nbformat 4.5 demands; errors are not among them."""
HERE_LINE = 'BITSTREAM = None  # on a ZCU104: "../output/m3vit.bit"'
BOARD_LINE = 'BITSTREAM = "../output/m3vit.bit"'
PATHWAY_LINE = 'PATHWAY = Path("../runs/demo/pathway")'


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        return __import__("execute")
    finally:
        sys.path.remove(str(NOTEBOOKS))


@pytest.fixture
def notebook() -> dict[str, Any]:
    return json.loads(PATH.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notebook") / "pathway"
    write_pathways(random_pathways(MODEL, HARDWARE["demo"]), path)
    return path


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    with mpl.rc_context():
        mpl.use("Agg")
        yield


def kinds(cell: dict[str, Any]) -> list[str]:
    """Kinds of a cell's outputs: stream names and MIME types."""
    return [output.get("name") or sorted(output["data"])[0] for output in cell["outputs"]]


def replaced(notebook: dict[str, Any], old: str, new: str) -> None:
    """Replace a text that occurs once in the code."""
    source = [line for cell in notebook["cells"] for line in cell["source"] if cell["cell_type"] == "code"]
    assert sum(old in line for line in source) == 1
    for cell in notebook["cells"]:
        cell["source"] = [line.replace(old, new) for line in cell["source"]]


def test_the_notebook_is_nbformat_4(notebook: dict[str, Any]) -> None:
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = notebook["cells"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cell["id"]) for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert set(cell) == KEYS[cell["cell_type"]]
        for output in cell.get("outputs", []):
            assert set(output) == KEYS[output["output_type"]]
            if "image/png" in output.get("data", {}):
                assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
    assert PATH.stat().st_size < 400_000


def test_the_notebook_carries_the_outputs_of_one_run(notebook: dict[str, Any], execute: ModuleType) -> None:
    cells = execute.code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in kinds(cell) for cell in cells) == 2
    assert "the next frame is exact: True\n" in cells[-2]["outputs"][-1]["text"]


def test_the_cells_run_on_the_simulated_board(
    notebook: dict[str, Any], execute: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [kinds(cell) for cell in execute.code_cells(notebook)]
    replaced(notebook, PATHWAY_LINE, f"PATHWAY = Path({str(folder)!r})")
    variables = execute.execute(notebook, NOTEBOOKS)
    assert [kinds(cell) for cell in execute.code_cells(notebook)] == wanted
    assert set(variables["frames"]) == {(task, scene) for task in TASKS for scene in range(execute.SCENES)}
    assert all(len(seen) <= 1 for seen in variables["cycles"].values())
    assert capsys.readouterr() == ("", "")
    with pytest.raises(SimulationError, match="is closed"):
        variables["board"].reset()


def test_one_line_makes_it_a_boards(notebook: dict[str, Any], execute: ModuleType, folder: Path) -> None:
    """In the host folder of a project, with the modules that lie there and nothing else of m3vit."""
    project = folder.parent / "project"
    command = [sys.executable, "-m", "m3vit.scripts.cli", "project", str(folder), "--backend", "rtl"]
    subprocess.run([*command, "--out", str(project)], check=True, capture_output=True)
    shutil.copy(NOTEBOOKS / "scenes.npz", project / "host")
    replaced(notebook, HERE_LINE, BOARD_LINE)
    script = project / "host" / "cells.py"
    sources = ["".join(cell["source"]) for cell in execute.code_cells(notebook)]
    script.write_text("\n".join([*sources, "import sys", "print('m3vit.sim.board' in sys.modules)"]))
    done = subprocess.run(
        [sys.executable, "-P", "-m", simulated_pynq.__name__, str(script)],  # -P: not the m3vit of this folder
        cwd=project / "host", env=os.environ | {"MPLBACKEND": "Agg"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["the next frame is exact: True", "False"]
    assert not any("ERROR_CODE" in line for line in lines)  # a board's memory cannot be told to fail


def test_a_cell_that_fails_fails(notebook: dict[str, Any], execute: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        execute.execute({"cells": [{"cell_type": "code", "source": ["open('none')\n"]}]}, tmp_path)
    cell = {"cell_type": "code", "source": ["print(1)\n", "6 * 7"]}
    execute.execute({"cells": [cell]}, tmp_path)
    assert kinds(cell) == ["stdout", "text/plain"]
    assert cell["outputs"][1]["data"] == {"text/plain": ["42"]}


def test_the_scenes_are_the_validation_scenes(execute: ModuleType) -> None:
    stored = np.load(NOTEBOOKS / "scenes.npz")
    rendered = execute.scenes()
    assert set(stored) == set(rendered)
    for name, array in rendered.items():
        assert stored[name].dtype == array.dtype
        assert np.mean(stored[name] == array) > 0.99, name  # another CPU may round a few values otherwise
