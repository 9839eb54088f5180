# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""NYUD-v2 as the multi-task packaging `NYUD_MT` stores it.

Three distributions with one tree but other file types are read:

- ASTMT (facebookresearch/astmt, fblib/dataloaders/nyud.py): segmentation and depth in MATLAB files, normals in JPEG,
  edges in PNG;
- MTI-Net and M3ViT (SimonVandenhende/Multi-Task-Learning-PyTorch and VITA-Group/M3ViT, data/nyud.py): segmentation in
  PNG, depth, normals and edges in NumPy files;
- ATRC and what followed it (e.g. EnVision-Research/MTMamba, data/nyud.py): images, normals and edges in PNG.

Segmentation stores 0 for no label and 1 to 40 for the classes; here they are 255 and 0 to 39 (ASTMT itself trained 41
classes, the others 40).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3vit.model.config import TaskName
from m3vit.model.datasets.info import IGNORE, NYUD
from m3vit.model.datasets.reading import (
    Array,
    Files,
    check_labels,
    clean_depth,
    picture_normals,
    read_any,
    read_image,
    unit_normals,
)
from m3vit.model.datasets.record import Arrays, Record
from m3vit.model.scenes import Split as SplitName

FOLDERS: dict[TaskName, tuple[str, tuple[str, ...]]] = {
    "segmentation": ("segmentation", (".png", ".mat")),
    "depth": ("depth", (".npy", ".mat")),
    "normals": ("normals", (".npy", ".png", ".jpg")),
    "edges": ("edge", (".npy", ".png")),
}
"""Folder and file types of each task's ground truth; the first type found counts."""


class Nyud:
    """Layout of NYUD-v2, see the module."""

    info = NYUD

    def records(self, files: Files, split: SplitName, tasks: Sequence[TaskName]) -> list[Record]:
        """Every image of a split with the files of some tasks.

        Raises:
            UserError: a file is missing.
        """
        return [self._record(files, name, tasks) for name in files.lines(f"gt_sets/{split}.txt")]

    def _record(self, files: Files, name: str, tasks: Sequence[TaskName]) -> Record:
        targets = {task: FOLDERS[task] for task in tasks}
        found: dict[str, Path] = {
            task: files.find_suffix(f"{folder}/{name}", kinds) for task, (folder, kinds) in targets.items()
        }
        return Record(name, files.find_suffix(f"images/{name}", (".jpg", ".png")), found)

    def read(self, record: Record, tasks: Sequence[TaskName]) -> Arrays:
        """Image and targets as they are stored; see `Arrays`.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        return {"image": read_image(record.image)} | {task: self._target(record, task) for task in tasks}

    def _target(self, record: Record, task: TaskName) -> Array:
        path = record.files[task]
        values = read_any(path, task)
        if task == "segmentation":
            labels = check_labels(values, len(self.info.classes) + 1, path)
            return np.where((labels == 0) | (labels == IGNORE), IGNORE, labels - 1).astype(np.uint8)
        if task == "depth":
            return clean_depth(values, self.info.depth_limit_m)
        if task == "normals":
            return unit_normals(values if path.suffix == ".npy" else picture_normals(values))
        return (values > (0.5 if path.suffix == ".npy" else 127)).astype(np.uint8)
