# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Runs notebooks without Jupyter: what their cells print, return and draw becomes their outputs.

`.venv/bin/python notebooks/execute.py` renews the outputs of driver.ipynb, on the simulated board with the pathway that
`make demo` leaves, and scenes.npz. Jupyter does the same to the notebook; the tests do it to keep it working.
"""

import ast
import base64
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

Notebook = dict[str, Any]
Output = dict[str, Any]
HERE = Path(__file__).resolve().parent
SCENES = 2
DOTS_PER_INCH = 72


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    """The cells to execute, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def execute(notebook: Notebook, folder: Path) -> dict[str, Any]:
    """Run all code cells in a folder and replace their outputs; the variables that they leave."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for number, cell in enumerate(code_cells(notebook), 1):
            cell["outputs"], cell["execution_count"] = _run("".join(cell["source"]), number, variables), number
    finally:
        os.chdir(before)
    return variables


def _run(source: str, number: int, variables: dict[str, Any]) -> list[Output]:
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value, text = None, io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(compile(tree, f"cell {number}", "exec"), variables)
        if last is not None:
            value = eval(compile(last, f"cell {number}", "eval"), variables)
    outputs: list[Output] = []
    if text.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": text.getvalue().splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs + [_picture(figure) for figure in plt.get_fignums()]


def _picture(number: int) -> Output:
    """A figure as PNG; closes it, as the inline backend does."""
    image = io.BytesIO()
    plt.figure(number).savefig(image, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(number)
    data = {"image/png": base64.b64encode(image.getvalue()).decode() + "\n", "text/plain": ["<Figure>"]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def scenes() -> dict[str, npt.NDArray[np.generic]]:
    """The first validation scenes of the demo and their ground truth, channels last, in small types."""
    from m3vit.model.config import DEMO
    from m3vit.model.scenes import SceneDataset

    data = SceneDataset("val", SCENES, DEMO.scenes.seed, DEMO.model.image_hw)
    stacked = {name: np.stack([data[index][name].numpy() for index in range(SCENES)]) for name in data[0]}
    last = {name: np.moveaxis(array, 1, -1) if array.ndim == 4 else array for name, array in stacked.items()}
    kinds = {"depth": np.float16, "normals": np.float16}
    return {name: array.astype(kinds.get(name, np.uint8)) for name, array in last.items()}


def main() -> None:
    """Renew scenes.npz and the outputs of driver.ipynb."""
    mpl.use("Agg")
    np.savez_compressed(HERE / "scenes.npz", allow_pickle=False, **scenes())
    path = HERE / "driver.ipynb"
    notebook = json.loads(path.read_text())
    execute(notebook, HERE)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
