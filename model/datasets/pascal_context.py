# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""PASCAL-Context as the multi-task packaging `PASCAL_MT` stores it.

The tree and what is made of it follow facebookresearch/astmt (fblib/dataloaders/pascal_context.py) and
SimonVandenhende/Multi-Task-Learning-PyTorch (data/pascal_context.py):

- segmentation is PASCAL VOC's 21 classes, from `semseg/VOC12` or else `semseg/pascal-context`;
- human parts are six groups of PASCAL-Part's parts, of all persons in the image; an image without has no value at all;
- normals are distilled (predicted by a network) and count where PASCAL-Context's 459 labels name a thing that NYUD-v2
  names too, for the network learned them there;
- saliency is distilled, too, and thresholded at one half;
- edges lie where the 459 labels change. Here an edge pixel differs from its right or its lower neighbour, which makes
  lines of one pixel; upstream marks both sides and thins them, so the two differ by a pixel at most.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3vit.model.config import TaskName
from m3vit.model.datasets.info import IGNORE, PASCAL_CONTEXT
from m3vit.model.datasets.pascal_labels import LABELS, NORMALS_LABELS, PART_CLASSES, PERSON
from m3vit.model.datasets.reading import (
    Array,
    Files,
    check_labels,
    picture_normals,
    read_image,
    read_matlab,
    read_picture,
    unit_normals,
)
from m3vit.model.datasets.record import Arrays, Record
from m3vit.model.errors import UserError
from m3vit.model.scenes import Split as SplitName

CONTEXT = "context"
"""Key of the file with the 459 labels, from which edges and the mask of the normals come."""


class PascalContext:
    """Layout of PASCAL-Context, see the module."""

    info = PASCAL_CONTEXT

    def records(self, files: Files, split: SplitName, tasks: Sequence[TaskName]) -> list[Record]:
        """Every image of a split with the files of some tasks.

        Raises:
            UserError: a file is missing.
        """
        return [self._record(files, name, tasks) for name in files.lines(f"ImageSets/Context/{split}.txt")]

    def _record(self, files: Files, name: str, tasks: Sequence[TaskName]) -> Record:
        image = files.find(f"JPEGImages/{name}.jpg")
        candidates = {key: paths for key, paths in _candidates(name).items() if key in tasks}
        if "edges" in tasks or "normals" in tasks:
            candidates[CONTEXT] = (f"pascal-context/trainval/{name}.mat",)
        return Record(name, image, {key: files.find(*paths) for key, paths in candidates.items()})

    def read(self, record: Record, tasks: Sequence[TaskName]) -> Arrays:
        """Image and targets as they are stored; see `Arrays`.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        arrays: Arrays = {"image": read_image(record.image)}
        if CONTEXT in record.files:
            path = record.files[CONTEXT]
            labels = _check_context(np.asarray(read_matlab(path, "LabelMap")), record)
            arrays |= {"edges": label_edges(labels)} if "edges" in tasks else {}
            arrays |= {"normals": self._normals(record, labels)} if "normals" in tasks else {}
        for task in ("segmentation", "human_parts", "saliency"):
            if task in tasks:
                arrays[task] = self._target(record, task, arrays["image"].shape[:2])
        return arrays

    def _normals(self, record: Record, labels: Array) -> Array:
        path = record.files["normals"]
        vectors = picture_normals(read_picture(path))
        if vectors.shape[:2] != labels.shape:
            raise UserError(f"{path} has another size than {record.files[CONTEXT]}; download the dataset again")
        return unit_normals(np.where(np.isin(labels, list(NORMALS_LABELS.values()))[..., None], vectors, 0))

    def _target(self, record: Record, task: TaskName, image_hw: tuple[int, ...]) -> Array:
        path = record.files[task]
        if task == "segmentation":
            return check_labels(read_picture(path), len(self.info.classes), path)
        if task == "saliency":
            return (read_picture(path) > 127).astype(np.uint8)
        return human_parts(read_matlab(path, "anno"), image_hw, record)


def _candidates(name: str) -> dict[str, tuple[str, ...]]:
    """Places of each task's ground truth."""
    return {
        "segmentation": (f"semseg/VOC12/{name}.png", f"semseg/pascal-context/{name}.png"),
        "human_parts": (f"human_parts/{name}.mat",),
        "normals": (f"normals_distill/{name}.png",),
        "saliency": (f"sal_distill/{name}.png",),
    }


def _check_context(labels: Array, record: Record) -> Array:
    wrong = labels[(labels < 0) | (labels > LABELS)] if labels.ndim == 2 else labels.ravel()[:1]
    if wrong.size:
        raise UserError(f"{record.files[CONTEXT]} holds label {wrong[0]}; allowed are 0 to {LABELS} in a map (H, W)")
    return labels


def label_edges(labels: Array) -> Array:
    """1 where a label differs from its right or its lower neighbour's, uint8 (H, W)."""
    edges = np.zeros(labels.shape, np.uint8)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def human_parts(annotation: Any, image_hw: tuple[int, ...], record: Record) -> Array:
    """Part classes of all persons of an image, uint8 (H, W); 255 everywhere if no person has parts.

    Args:
        annotation: PASCAL-Part's structure `anno`: `objects`, each with `class_ind` and `parts`, each of those with
            `part_name` and `mask`.
        image_hw: Size of the image.
        record: For messages.

    Raises:
        UserError: a part's name is unknown, or a mask has another size than the image.
    """
    target = np.zeros(image_hw, np.uint8)
    persons = [entry for entry in _as_list(annotation["objects"]) if int(entry["class_ind"]) == PERSON]
    for part in (part for person in persons for part in _as_list(person["parts"])):
        name, mask = str(part["part_name"]), np.asarray(part["mask"], bool)
        if name not in PART_CLASSES or mask.shape != target.shape:
            raise UserError(
                f"{record.files['human_parts']} holds part '{name}' of size {mask.shape}; allowed are "
                f"{', '.join(PART_CLASSES)} of the image's size {tuple(image_hw)}"
            )
        target[mask] = PART_CLASSES[name]
    return target if target.any() else np.full_like(target, IGNORE)


def _as_list(value: Any) -> list[Any]:
    """SciPy gives one structure as a dict, several as a list or an array, none as an empty array."""
    return [value] if isinstance(value, dict) else list(value)
