# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Image sizes and outputs of the two datasets of M3ViT's tables 1 and 2 (arXiv 2210.14793)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Dataset:
    """What a network sees and predicts.

    Attributes:
        name: as the tables name it.
        image_hw: height and width of the network's input, in pixels.
        outputs: channels of each task's prediction.
    """

    name: str
    image_hw: tuple[int, int]
    outputs: Mapping[str, int]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.outputs)

    def only(self, task: str) -> "Dataset":
        """The same images with one task."""
        return replace(self, outputs={task: self.outputs[task]})


PASCAL = Dataset(
    "PASCAL-Context",
    (512, 512),
    {"segmentation": 21, "parts": 7, "saliency": 1, "normals": 3, "edges": 1},
)
"""Five tasks; sizes of the survey's protocol (arXiv 2004.13379, section 4.1)."""
NYUD = Dataset("NYUD-v2", (480, 640), {"segmentation": 40, "depth": 1})
"""Two tasks."""
