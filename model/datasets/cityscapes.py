# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cityscapes as its authors distribute it (mcordts/cityscapesScripts, README and helpers/labels.py).

The packages leftImg8bit, gtFine, disparity and camera are unpacked into one folder. Segmentation maps the label ids to
the 19 train ids of the benchmark. Depth is baseline x focal length / disparity, with disparity = (p - 1) / 256 of the
16-bit picture and p = 0 for no measurement. Files of one image share the name CITY_SEQUENCE_FRAME.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3vit.model.config import TaskName
from m3vit.model.datasets.info import CITYSCAPES, IGNORE
from m3vit.model.datasets.reading import (
    Array,
    Files,
    check_labels,
    clean_depth,
    read_image,
    read_json,
    read_picture,
)
from m3vit.model.datasets.record import Arrays, Record
from m3vit.model.errors import UserError
from m3vit.model.scenes import Split as SplitName

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids of the train ids 0 to 18; all others count as no label."""
IDS = 34
IMAGE = "_leftImg8bit.png"
CAMERA = "camera"


class Cityscapes:
    """Layout of Cityscapes, see the module."""

    info = CITYSCAPES

    def records(self, files: Files, split: SplitName, tasks: Sequence[TaskName]) -> list[Record]:
        """Every image of a split, by city and name, with the files of some tasks.

        Raises:
            UserError: a file is missing.
        """
        folder = files.root / "leftImg8bit" / split
        images = sorted(folder.glob(f"*/*{IMAGE}"))
        if not images:
            raise UserError(f"{folder}/CITY/*{IMAGE} is missing; {self.info.expects()}")
        return [self._record(files, split, path, tasks) for path in images]

    def _record(self, files: Files, split: SplitName, image: Path, tasks: Sequence[TaskName]) -> Record:
        name = image.name.removesuffix(IMAGE)
        below = f"{split}/{image.parent.name}/{name}"
        places: dict[TaskName, dict[str, str]] = {
            "segmentation": {"segmentation": f"gtFine/{below}_gtFine_labelIds.png"},
            "depth": {"depth": f"disparity/{below}_disparity.png", CAMERA: f"camera/{below}_camera.json"},
        }
        return Record(name, image, {key: files.find(path) for task in tasks for key, path in places[task].items()})

    def read(self, record: Record, tasks: Sequence[TaskName]) -> Arrays:
        """Image and targets as they are stored; see `Arrays`.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        arrays: Arrays = {"image": read_image(record.image)}
        if "segmentation" in tasks:
            path = record.files["segmentation"]
            arrays["segmentation"] = train_ids(check_labels(read_picture(path), IDS, path))
        if "depth" in tasks:
            depth = disparity_to_depth(read_picture(record.files["depth"]), baseline_focal(record.files[CAMERA]))
            arrays["depth"] = clean_depth(depth, self.info.depth_limit_m)
        return arrays


def train_ids(labels: Array) -> Array:
    """Label ids to the benchmark's train ids, uint8; 255 where the benchmark counts none."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return table[labels]


def disparity_to_depth(picture: Array, baseline_focal_m: float) -> Array:
    """Metres from the 16-bit picture of disparities; 0 where there is no measurement."""
    disparity = (picture.astype(np.float64) - 1) / 256
    return np.divide(baseline_focal_m, disparity, out=np.zeros_like(disparity), where=disparity > 0)


def baseline_focal(path: Path) -> float:
    """Baseline times focal length of a camera file, in metres x pixels.

    Raises:
        UserError: the file is damaged or lacks them.
    """
    camera = read_json(path)
    try:
        return float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} has no extrinsic.baseline and intrinsic.fx; download the dataset again") from error
