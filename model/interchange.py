# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What importing from and exporting to other implementations has in common.

A tensor of the other side that has no counterpart in our model, or whose counterpart is rounded (a patch embedding in
which another pixel normalisation was folded), is kept in a file beside the checkpoint. The export puts it back as long
as it still corresponds to the model, so a round trip is exact.

Shapes: D channels, P x P pixels of a patch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from m3vit.model.config import ModelConfig, one_sentence
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.vit import M3ViT

PixelsName = Literal["imagenet", "unit", "edge_moe", "m3vit"]
SourceName = Literal["m3vit", "edge_moe"]
PATCH_WEIGHT, PATCH_BIAS = "patch_embed.proj.weight", "patch_embed.proj.bias"
KEPT_FORMAT = "m3vit-kept"


@dataclass(frozen=True)
class Pixels:
    """What a network takes for a pixel p of 0..255, colour by colour: (p / 255 - mean) / std. Ours has 0.5 and 0.5."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def _factors(self) -> tuple[Tensor, Tensor]:
        """This input = scale * our input + offset, both (3, 1, 1)."""
        mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (self.mean, self.std))
        return 0.5 / std, (0.5 - mean) / std

    def fold(self, weight_D3PP: Tensor, bias_D: Tensor) -> tuple[Tensor, Tensor]:
        """A patch embedding of these pixels as one of ours."""
        scale, offset = self._factors()
        weight = weight_D3PP.double()
        return (weight * scale).float(), (bias_D.double() + (weight * offset).sum((1, 2, 3))).float()

    def unfold(self, weight_D3PP: Tensor, bias_D: Tensor) -> tuple[Tensor, Tensor]:
        """One of our patch embeddings as one of these pixels."""
        scale, offset = self._factors()
        weight = weight_D3PP.double() / scale
        return weight.float(), (bias_D.double() - (weight * offset).sum((1, 2, 3))).float()


PIXELS: dict[PixelsName, Pixels] = {
    "imagenet": Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "edge_moe": Pixels((0.0, 0.0, 0.0), (256 / 255,) * 3),
    "m3vit": Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""M3ViT's NYUD and PASCAL loaders; its Cityscapes loader; Edge-MoE's 8-bit fractions, p / 256; our own."""


@dataclass(frozen=True)
class Kept:
    """What a checkpoint was imported from, and the tensors of it that the export needs again."""

    source: SourceName
    pixels: PixelsName
    tensors: dict[str, Tensor]
    """By their full names on the other side."""
    prefix: str = ""
    """What stood before the names of the backbone."""
    experts: str = "file"
    """Where the experts' matrices came from."""


@dataclass(frozen=True)
class Imported:
    """A model from elsewhere."""

    config: ModelConfig
    state: dict[str, Tensor]
    """Of our `M3ViT`, complete."""
    kept: Kept
    fresh: tuple[str, ...]
    """Our tensors that the source lacks; they have the values of a new model."""
    left: tuple[str, ...]
    """The source's tensors that have no counterpart."""


def new_state(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """State dict of an untrained model; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return M3ViT(config).state_dict()


def patch_embedding(
    config_pixels: PixelsName, ours: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Weight and bias for the other side: the kept ones if ours still are what they were folded into."""
    pixels = PIXELS[config_pixels]
    if kept is not None and _equal(pixels.fold(*kept), ours):
        return kept
    return pixels.unfold(*ours)


def _equal(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def kept_path(checkpoint: Path) -> Path:
    """Where the kept tensors of a checkpoint are."""
    return checkpoint.with_suffix(".kept.safetensors")


def write_kept(checkpoint: Path, kept: Kept) -> Path:
    """Write the kept tensors beside a checkpoint and return the file.

    Raises:
        UserError: the folder cannot be written.
    """
    metadata = {
        "format": KEPT_FORMAT,
        "source": kept.source,
        "pixels": kept.pixels,
        "prefix": kept.prefix,
        "experts": kept.experts,
    }
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in kept.tensors.items()}
    path = kept_path(checkpoint)
    write_atomically(path, save_tensors(tensors, metadata))
    return path


def read_kept(checkpoint: Path) -> Kept | None:
    """The tensors kept beside a checkpoint; None if there are none.

    Raises:
        UserError: the file is damaged or is something else.
    """
    path = kept_path(checkpoint)
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); import again or remove it") from error
    source, pixels = metadata.get("source"), metadata.get("pixels")
    if metadata.get("format") != KEPT_FORMAT or source not in get_args(SourceName) or pixels not in PIXELS:
        raise UserError(f"{path} does not hold what an import keeps; import again or remove it")
    return Kept(source, pixels, tensors, metadata.get("prefix", ""), metadata.get("experts", "file"))  # type: ignore[arg-type]


def with_fields(config: ModelConfig, **fields: object) -> ModelConfig:
    """A config with other fields, validated.

    Raises:
        UserError: they do not fit together.
    """
    try:
        return ModelConfig.model_validate(config.model_dump() | fields)
    except ValidationError as error:
        raise UserError(f"the file's sizes do not fit {config.name}: {one_sentence(error)}") from error


def check_tensor(tensor: Tensor, shape: tuple[int, ...], name: str, path: Path, model: str) -> Tensor:
    """The tensor, if it has the right type and shape.

    Raises:
        UserError: it has not.
    """
    if tuple(tensor.shape) != shape:
        raise UserError(
            f"{path}: tensor {name} has shape {tuple(tensor.shape)} where {model} needs {shape}; choose the model that "
            "the file was trained as"
        )
    if tensor.dtype != torch.float32:
        raise UserError(f"{path}: tensor {name} is {tensor.dtype}, not float32; convert the file to float32 first")
    return tensor.contiguous()
