# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Pictures of scenes and of their ground truth: `python -m m3vit.model.pictures docs/images`."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from m3vit.model.config import SEGMENTATION_CLASSES
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.scene_geometry import Float
from m3vit.model.scene_render import Scene, render

CLASS_COLOURS = ("#c9c2b4", "#7d93a8", "#d1603d", "#3c8d6e", "#8a5aa8")
_COLUMNS = ("image", "segmentation", "depth (m)", "normals", "edges", "saliency")
_SHEET_SEEDS = (3, 8, 12, 20)
_SHEET_HW = (128, 256)


def normals_to_rgb(normals_HW3: Float) -> Float:
    """The usual colours of camera-frame normals: right is red, up is green, towards the viewer is blue; in [0, 1]."""
    flipped: Float = normals_HW3 * np.array((1, -1, -1), np.float32)
    return np.clip((flipped + 1) / 2, 0, 1)


def scene_sheet(seeds: Sequence[int], image_hw: tuple[int, int]) -> Figure:
    """A row per seed, a column for the image and each task's ground truth, and a legend of the classes."""
    height, width = image_hw
    figure = Figure(figsize=(len(_COLUMNS) * 2.0, len(seeds) * 2.0 * height / width + 0.55), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(seeds), len(_COLUMNS), squeeze=False)
    for row, seed in zip(grid, seeds, strict=True):
        _draw_row(row, render(seed, image_hw))
    for axes, title in zip(grid[0], _COLUMNS, strict=True):
        axes.set_title(title, fontsize=9)
    handles = [Patch(color=c, label=name) for c, name in zip(CLASS_COLOURS, SEGMENTATION_CLASSES, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def _draw_row(row: Sequence[Axes], scene: Scene) -> None:
    image, segmentation, depth, normals, edges, saliency = row
    image.imshow(scene.image)
    last = len(CLASS_COLOURS) - 1
    segmentation.imshow(scene.segmentation, ListedColormap(CLASS_COLOURS), vmin=0, vmax=last, interpolation="nearest")
    shown = depth.imshow(scene.depth, "viridis_r")
    bar = depth.figure.colorbar(shown, ax=depth, fraction=0.03, pad=0.02)
    bar.ax.tick_params(labelsize=6)
    normals.imshow(normals_to_rgb(scene.normals))
    edges.imshow(scene.edges, "gray_r", vmin=0, vmax=1)
    saliency.imshow(scene.saliency, "gray", vmin=0, vmax=1)
    for axes in row:
        axes.set_xticks([])
        axes.set_yticks([])


def main(folder: Path) -> None:
    """Write `scenes.png` into the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    data = io.BytesIO()
    scene_sheet(_SHEET_SEEDS, _SHEET_HW).savefig(data, format="png", dpi=110, metadata={"Software": None})
    write_atomically(folder / "scenes.png", data.getvalue())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m m3vit.model.pictures FOLDER")
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
