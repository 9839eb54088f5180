# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Where images and targets come from: the procedural scenes in memory, or a dataset on disk. See docs/datasets.md."""

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

from m3vit.model import scenes
from m3vit.model.config import Config, DatasetName
from m3vit.model.datasets.cityscapes import Cityscapes
from m3vit.model.datasets.info import CITYSCAPES, IGNORE, INFOS, NYUD, PASCAL_CONTEXT, SCENES, DatasetInfo, Split
from m3vit.model.datasets.info import find_info as find_info
from m3vit.model.datasets.nyud import Nyud
from m3vit.model.datasets.on_disk import OnDisk
from m3vit.model.datasets.pascal_context import PascalContext
from m3vit.model.datasets.record import Layout
from m3vit.model.errors import UserError
from m3vit.model.sampling import batch_indices, rank_share

__all__ = [
    "CITYSCAPES",
    "IGNORE",
    "INFOS",
    "LAYOUTS",
    "NYUD",
    "PASCAL_CONTEXT",
    "SCENES",
    "Data",
    "DatasetInfo",
    "SceneData",
    "Split",
    "find_info",
    "open_data",
]

LAYOUTS: dict[DatasetName, Layout] = {layout.info.name: layout for layout in (Nyud(), PascalContext(), Cityscapes())}
"""Datasets on disk."""


class Data(Protocol):
    """Images with targets for the model's tasks.

    A `Split` holds `image` uint8 (B, 3, H, W), `segmentation` and `human_parts` uint8 (B, H, W), `depth` float32
    (B, 1, H, W) in metres, `normals` float16 (B, 3, H, W), `edges` and `saliency` uint8 (B, 1, H, W). Pixels without a
    value hold 255, depth 0, normals the zero vector.
    """

    info: DatasetInfo

    @property
    def size(self) -> int:
        """Training images."""

    def train(self, config: Config, first_step: int, rank: int = 0, world: int = 1) -> Iterator[Split]:
        """Training batches without end.

        Element i is the contiguous share that process `rank` of `world` has of the batch of update first_step + i; the
        shares of all processes in order are the batch of one process. It is a pure function of the seed, the step, rank
        and world, whatever the number of workers.
        """

    def val(self, batch: int) -> Iterator[Split]:
        """All validation images in order, `batch` at a time."""

    def targets(self, count: int) -> Split:
        """The first `count` training images without augmentation, for the predictors that ignore the image."""


class SceneData:
    """The procedural scenes, rendered into memory when they are first needed and never augmented; see `Data`.

    Args:
        config: Sizes, seed and image size.
        progress: Show progress bars while rendering.
    """

    def __init__(self, config: Config, progress: bool) -> None:
        self.info = SCENES
        self._config, self._progress = config, progress

    @cached_property
    def train_split(self) -> Split:
        """All training scenes."""
        return scenes.load_split(self._config.scenes, self._config.model.image_hw, "train", self._progress)

    @cached_property
    def val_split(self) -> Split:
        """All validation scenes."""
        return scenes.load_split(self._config.scenes, self._config.model.image_hw, "val", self._progress)

    @property
    def size(self) -> int:
        """Training scenes."""
        return self._config.scenes.train_size

    def train(self, config: Config, first_step: int, rank: int = 0, world: int = 1) -> Iterator[Split]:
        """This process's share of the batches of update `first_step` and all that follow."""
        step, share = first_step, rank_share(config.train.batch, rank, world)
        while True:
            indices = batch_indices(config.train, self.size, step)[share]
            yield {name: tensor[indices] for name, tensor in self.train_split.items()}
            step += 1

    def val(self, batch: int) -> Iterator[Split]:
        """All validation scenes in order."""
        for start in range(0, self._config.scenes.val_size, batch):
            yield {name: tensor[start : start + batch] for name, tensor in self.val_split.items()}

    def targets(self, count: int) -> Split:
        """The first `count` training scenes, alone if no others were needed yet."""
        if "train_split" in vars(self):
            return {name: tensor[:count] for name, tensor in self.train_split.items()}
        few = self._config.scenes.model_copy(update={"train_size": min(count, self.size)})
        return scenes.load_split(few, self._config.model.image_hw, "train", self._progress)


def open_data(config: Config, progress: bool) -> Data:
    """The dataset that a config names, checked: its folder, its files, and whether the model fits it.

    Args:
        config: Dataset, root, model.
        progress: Show progress bars.

    Raises:
        UserError: the folder or a file is missing, or tasks or classes of the model are not the dataset's.
    """
    info = find_info(config)
    info.check_model(config.model)
    if config.data.dataset == "scenes":
        return SceneData(config, progress)
    if config.data.root is None:
        raise UserError(f"the dataset {info.name} needs a folder; set data.root or pass --data; {info.expects()}")
    return OnDisk(LAYOUTS[config.data.dataset], config.data.root, config)
