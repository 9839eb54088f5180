# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Images of a dataset on disk, read by worker processes; what they yield does not depend on the workers' number."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from m3vit.model.config import Config
from m3vit.model.datasets.augment import Changes, draw_changes, transform
from m3vit.model.datasets.info import DatasetInfo, Split
from m3vit.model.datasets.reading import Files
from m3vit.model.datasets.record import Layout, Record
from m3vit.model.errors import UserError
from m3vit.model.sampling import AUGMENT, batch_indices, rank_share, seeded

Key = tuple[int, int | None]
"""Index of a record, and the image's position in the run, which seeds its changes; None leaves it unchanged."""


class Images(Dataset[Split | UserError]):
    """Records by key. An error of the user's is an item, for the loader would wrap an exception in a traceback.

    Args:
        layout: How the dataset lies on disk.
        records: Images of one split.
        config: Tasks, image size, augmentation and seed.
    """

    def __init__(self, layout: Layout, records: list[Record], config: Config) -> None:
        self._layout, self._records, self._config = layout, records, config

    def __getitem__(self, key: Key) -> Split | UserError:
        index, position = key
        config = self._config
        try:
            arrays = self._layout.read(self._records[index], config.model.tasks)
        except UserError as error:
            return error
        changes = Changes()
        if position is not None:
            changes = draw_changes(config.data, seeded(config.train.seed, AUGMENT, position))
        return transform(arrays, config.model.image_hw, changes)


def stack(items: list[Split | UserError]) -> Split | UserError:
    """One batch of single images, or the first error among them."""
    samples = [item for item in items if not isinstance(item, UserError)]
    if len(samples) < len(items):
        return next(item for item in items if isinstance(item, UserError))
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


class OnDisk:
    """A dataset in a folder; see `m3vit.model.datasets.Data`.

    Args:
        layout: How it lies there.
        root: The folder.
        config: Model, augmentation and workers.

    Raises:
        UserError: the folder or a file is missing.
    """

    def __init__(self, layout: Layout, root: Path, config: Config) -> None:
        self.info: DatasetInfo = layout.info
        self._config = config
        files, tasks = Files(root, layout.info), config.model.tasks
        self._layout = layout
        self._train = layout.records(files, "train", tasks)
        self._val = layout.records(files, "val", tasks)

    @property
    def size(self) -> int:
        """Training images."""
        return len(self._train)

    def train(self, config: Config, first_step: int, rank: int = 0, world: int = 1) -> Iterator[Split]:
        """This process's share of the batches of update `first_step` and all that follow.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        return self._load(self._train, config, _training_keys(config, self.size, first_step, rank, world))

    def val(self, batch: int) -> Iterator[Split]:
        """All validation images in order, unchanged but for their size.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        return self._load(self._val, self._config, _ordered_keys(len(self._val), batch))

    def targets(self, count: int) -> Split:
        """The first `count` training images (all, if there are fewer), unchanged but for their size.

        Raises:
            UserError: a file is damaged or a label out of range.
        """
        parts = list(self._load(self._train, self._config, _ordered_keys(min(count, self.size), 16)))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _load(self, records: list[Record], config: Config, batches: Iterator[list[Key]]) -> Iterator[Split]:
        loader = DataLoader(
            Images(self._layout, records, config),
            batch_sampler=_Batches(batches),
            num_workers=config.data.workers,
            collate_fn=stack,
            generator=torch.Generator(),  # otherwise the loader draws from the global one
        )
        for part in loader:
            if isinstance(part, UserError):
                raise part
            yield part


class _Batches(torch.utils.data.Sampler[list[Key]]):
    """Batches of keys from an iterator, which may be endless."""

    def __init__(self, batches: Iterator[list[Key]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        return self._batches


def _training_keys(config: Config, size: int, first_step: int, rank: int, world: int) -> Iterator[list[Key]]:
    step, share = first_step, rank_share(config.train.batch, rank, world)
    while True:
        indices = batch_indices(config.train, size, step).tolist()
        first = step * config.train.batch
        keys: list[Key] = [(index, first + place) for place, index in enumerate(indices)]
        yield keys[share]
        step += 1


def _ordered_keys(size: int, batch: int) -> Iterator[list[Key]]:
    for start in range(0, size, batch):
        yield [(index, None) for index in range(start, min(start + batch, size))]
