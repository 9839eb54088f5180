# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""From an image and its targets at their stored size to the model's image size, with or without random changes.

The image is scaled to fit into the model's size without distortion, times a random factor in training; then it is
cropped, or padded with "no value". The literature stretches instead (`FixedResize`), which bends normals and edges.
The first, constant factor only changes the resolution. The random one is a zoom: it divides the depth, as in ASTMT
(facebookresearch/astmt, fblib/dataloaders/custom_transforms.py, ScaleNRotate), because an object that looks s times as
large stands s times as near. Flipping negates the horizontal component of normals; no dataset here labels left and
right. There is no rotation.

Images are resampled bilinearly with antialiasing; targets take the nearest pixel, so that nothing is averaged across an
edge or with "no value".

Shapes: C channels, H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from m3vit.model.config import DataConfig
from m3vit.model.datasets.info import IGNORE, Split
from m3vit.model.datasets.reading import Array
from m3vit.model.datasets.record import Arrays

PADDING = {"image": 127, "segmentation": IGNORE, "human_parts": IGNORE, "edges": IGNORE, "saliency": IGNORE}
"""Values outside the image: grey, which the model's input maps to zero, and no label. Depth and normals pad with 0."""
LABEL_MAPS = ("segmentation", "human_parts")
"""Targets without a channel axis."""


@dataclass(frozen=True)
class Changes:
    """Random changes of one image.

    Attributes:
        zoom: Factor of the size.
        flip: Mirror left and right.
        place: Where the crop (or the image in its padding) lies, down and across, in [0, 1]; 0.5 is the middle.
        colour: Factors of brightness, contrast and saturation.
    """

    zoom: float = 1.0
    flip: bool = False
    place: tuple[float, float] = (0.5, 0.5)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


def draw_changes(config: DataConfig, generator: torch.Generator) -> Changes:
    """Changes of a training image; a function of the config and the generator's state."""
    zoom, flip, down, across, *colour = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    smallest, largest = config.scale
    brightness, contrast, saturation = (max(0.0, 1 + config.colour_jitter * (2 * u - 1)) for u in colour)
    return Changes(
        zoom=smallest + (largest - smallest) * zoom,
        flip=config.flip and flip < 0.5,
        place=(down, across),
        colour=(brightness, contrast, saturation),
    )


def transform(arrays: Arrays, image_hw: tuple[int, int], changes: Changes) -> Split:
    """An image and its targets at the model's size.

    Args:
        arrays: At their stored size; targets of another size than the image are brought to it.
        image_hw: Rows and columns.
        changes: `Changes()` for validation.

    Returns:
        "image" uint8 (3, H, W), "segmentation" and "human_parts" uint8 (H, W), "depth" float32 (1, H, W), "normals"
        float16 (3, H, W), "edges" and "saliency" uint8 (1, H, W).
    """
    height, width = arrays["image"].shape[:2]
    factor = min(image_hw[0] / height, image_hw[1] / width) * changes.zoom
    scaled_hw = max(1, round(height * factor)), max(1, round(width * factor))
    sample = {name: _place(name, _to_tensor(array), scaled_hw, image_hw, changes) for name, array in arrays.items()}
    sample["image"] = _colour(sample["image"], changes.colour)
    if "depth" in sample:
        sample["depth"] = sample["depth"] / changes.zoom
    if "normals" in sample:
        sample["normals"] = sample["normals"].half()
    return {name: x_CHW[0] if name in LABEL_MAPS else x_CHW for name, x_CHW in sample.items()}


def _to_tensor(array: Array) -> Tensor:
    """(H, W) or (H, W, C) to (C, H, W)."""
    channels_last = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(channels_last, 2, 0)))


def _place(name: str, x_CHW: Tensor, scaled_hw: tuple[int, int], image_hw: tuple[int, int], changes: Changes) -> Tensor:
    """Scale, mirror, and cut to the model's size."""
    mode = InterpolationMode.BILINEAR if name == "image" else InterpolationMode.NEAREST_EXACT
    scaled: Tensor = functional.resize(x_CHW, list(scaled_hw), interpolation=mode, antialias=name == "image")
    if changes.flip:
        scaled = functional.horizontal_flip(scaled)
        if name == "normals":
            scaled = scaled * torch.tensor((-1.0, 1.0, 1.0)).view(3, 1, 1)
    return _cut(scaled, image_hw, changes.place, PADDING.get(name, 0))


def _cut(x_CHW: Tensor, image_hw: tuple[int, int], place: tuple[float, float], fill: int) -> Tensor:
    """Crop an axis that is too long, pad one that is too short."""
    spare = [size - wanted for size, wanted in zip(x_CHW.shape[1:], image_hw, strict=True)]
    top, left = (round(at * abs(length)) for at, length in zip(place, spare, strict=True))
    height, width = (min(size, wanted) for size, wanted in zip(x_CHW.shape[1:], image_hw, strict=True))
    down, across = (start if length > 0 else 0 for start, length in zip((top, left), spare, strict=True))
    out = x_CHW.new_full((len(x_CHW), *image_hw), fill)
    row, column = top - down, left - across
    out[:, row : row + height, column : column + width] = x_CHW[:, down : down + height, across : across + width]
    return out


def _colour(image_CHW: Tensor, factors: tuple[float, float, float]) -> Tensor:
    """Change brightness, contrast and saturation of a uint8 image; factors of 1 leave it as it is."""
    changed = image_CHW
    for change, factor in zip(
        (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation), factors, strict=True
    ):
        changed = change(changed, factor) if factor != 1 else changed
    return changed
