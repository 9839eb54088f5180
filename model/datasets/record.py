# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What a dataset's layout offers: the files of each image, and their content at the size they are stored in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from m3vit.model.config import TaskName
from m3vit.model.datasets.info import DatasetInfo
from m3vit.model.datasets.reading import Array, Files
from m3vit.model.scenes import Split as SplitName

Arrays = dict[str, Array]
"""One image and its targets at their stored size: "image" uint8 (H, W, 3), "segmentation", "human_parts", "edges" and
"saliency" uint8 (H, W) with 255 for no value, "depth" float32 (H, W) in metres with 0 for no value, "normals" float32
(H, W, 3) with the zero vector for no value."""


@dataclass(frozen=True)
class Record:
    """One image of a dataset.

    Attributes:
        name: Its name in the split.
        image: Its picture.
        files: Other files by a name that the layout chooses.
    """

    name: str
    image: Path
    files: Mapping[str, Path]


class Layout(Protocol):
    """How one dataset lies on disk."""

    @property
    def info(self) -> DatasetInfo:
        """Facts about the dataset."""

    def records(self, files: Files, split: SplitName, tasks: Sequence[TaskName]) -> list[Record]:
        """Every image of a split, with the files that some tasks need; UserError if one is missing."""

    def read(self, record: Record, tasks: Sequence[TaskName]) -> Arrays:
        """Image and targets of some tasks; UserError if a file is damaged or holds what it must not."""
