# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The embedded data set: procedural scenes by index, one at a time or a whole split at once.

`Scene` and `render` are in `m3vit.model.scene_render` and can be imported from here.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from m3vit.model.config import SEGMENTATION_CLASSES, SceneConfig
from m3vit.model.scene_render import Scene, render

__all__ = ["SEGMENTATION_CLASSES", "Scene", "SceneDataset", "Split", "load_split", "render", "scene_seed"]

Split = Literal["train", "val"]

_CHUNK = 64
_DTYPES: dict[str, torch.dtype] = {
    "image": torch.uint8,
    "segmentation": torch.uint8,
    "depth": torch.float32,
    "normals": torch.float16,
    "edges": torch.uint8,
    "saliency": torch.uint8,
}
_CHANNELS = {"image": 3, "segmentation": 0, "depth": 1, "normals": 3, "edges": 1, "saliency": 1}


def scene_seed(split: Split, seed: int, index: int) -> int:
    """Seed of one scene: even for training, odd for validation, so that no two configs can ever share one across.

    Raises:
        ValueError: the split is unknown, or seed or index is not in [0, 2^32).
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, not '{split}'")
    if not (0 <= seed < 2**32 and 0 <= index < 2**32):
        raise ValueError(f"scene seed {seed} and index {index} must be in [0, 2^32)")
    return ((seed << 32 | index) << 1) | (split == "val")


class SceneDataset(Dataset[dict[str, Tensor]]):
    """Scenes rendered on access; equal indices give equal scenes.

    Items: "image" uint8 (3, H, W), "segmentation" int64 (H, W), "depth" float32 (1, H, W) in metres, "normals" float32
    (3, H, W), "edges" and "saliency" float32 (1, H, W) in {0, 1}.
    """

    def __init__(self, split: Split, size: int, seed: int, image_hw: tuple[int, int]) -> None:
        scene_seed(split, seed, max(size - 1, 0))
        self._split: Split = split
        self._size = size
        self._seed = seed
        self._image_hw = image_hw

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self._size:
            raise IndexError(f"scene {index} of {self._size}")
        arrays = _channels_first(render(scene_seed(self._split, self._seed, index), self._image_hw))
        item = {name: torch.from_numpy(array) for name, array in arrays.items()}
        item["segmentation"] = item["segmentation"].long()
        for name in ("edges", "saliency"):
            item[name] = item[name].float()
        return item


def load_split(
    config: SceneConfig, image_hw: tuple[int, int], split: Split, progress: bool, workers: int | None = None
) -> dict[str, Tensor]:
    """Render a whole split into memory, in worker processes; the result does not depend on their number.

    Workers are forked and run NumPy only, so neither torch's threads nor a GPU context are touched in them.

    Args:
        config: Sizes and seed.
        image_hw: Rows and columns.
        split: "train" or "val".
        progress: Show a progress bar.
        workers: Processes; None takes one per available core.

    Returns:
        Stacked tensors of 16 bytes per pixel: "image" uint8 (N, 3, H, W), "segmentation" uint8 (N, H, W), "depth"
        float32 (N, 1, H, W) in metres, "normals" float16 (N, 3, H, W), "edges" and "saliency" uint8 (N, 1, H, W).
        Losses and metrics take them as they are. (6,144 scenes of 64 x 64 fill 400 MB, of 128 x 256 3.2 GB.)

    Raises:
        ValueError: the split is unknown or the seed is out of range.
    """
    size = config.train_size if split == "train" else config.val_size
    seeds = [scene_seed(split, config.seed, index) for index in range(size)]
    stacked = {
        name: torch.empty((size, channels, *image_hw) if channels else (size, *image_hw), dtype=_DTYPES[name])
        for name, channels in _CHANNELS.items()
    }
    count = workers if workers is not None else len(os.sched_getaffinity(0))
    chunks = [(seeds[start : start + _CHUNK], image_hw) for start in range(0, size, _CHUNK)]
    start = 0
    with tqdm(total=size, desc=f"scenes ({split})", unit="scene", disable=not progress) as bar:
        for chunk in _rendered(chunks, count):
            rendered = len(chunk["image"])
            for name, array in chunk.items():
                stacked[name][start : start + rendered] = torch.from_numpy(array)
            start += rendered
            bar.update(rendered)
    return stacked


_Chunk = tuple[list[int], tuple[int, int]]
_Arrays = dict[str, NDArray[np.generic]]


def _rendered(chunks: list[_Chunk], workers: int) -> Iterator[_Arrays]:
    """Chunks in order, rendered here if there is one worker or one chunk."""
    if min(workers, len(chunks)) <= 1:
        yield from map(_render_chunk, chunks)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        yield from pool.map(_render_chunk, chunks)


def _render_chunk(chunk: _Chunk) -> _Arrays:
    seeds, image_hw = chunk
    scenes = [_channels_first(render(seed, image_hw)) for seed in seeds]
    stacked = {name: np.stack([scene[name] for scene in scenes]) for name in _CHANNELS}
    stacked["normals"] = stacked["normals"].astype(np.float16)
    return stacked


def _channels_first(scene: Scene) -> _Arrays:
    return {
        "image": np.ascontiguousarray(np.moveaxis(scene.image, 2, 0)),
        "segmentation": scene.segmentation,
        "depth": scene.depth[None],
        "normals": np.ascontiguousarray(np.moveaxis(scene.normals, 2, 0)),
        "edges": scene.edges[None],
        "saliency": scene.saliency[None],
    }
