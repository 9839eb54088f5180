# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Weights to start from: a timm Vision Transformer, by name or from a file, or a checkpoint of our own.

The trunk keeps timm's tensor names, so weights move by name. Patch and position embeddings are resampled to the model's
patch and image size; a normalisation of the input other than ours is folded into the patch embedding. An MLP where the
model has experts is upcycled (`m3vit.model.upcycling`). Heads and routers are copied where they fit (a checkpoint of
ours) and keep their random start where they do not.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import load_state_dict
from torch import Tensor

from m3vit.model.checkpoint import FORMAT, read_checkpoint
from m3vit.model.config import ModelConfig
from m3vit.model.errors import UserError
from m3vit.model.upcycling import DenseMlp, upcycle

Weights = dict[str, Tensor]
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation of `normalise_image`."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
DROPPED = ("head.", "head_dist.", "fc_norm.", "heads.")
"""Classifiers, which no part of the model takes over."""


@dataclass(frozen=True)
class Source:
    """Weights of a Vision Transformer under timm's names."""

    label: str
    """Names it in messages."""
    tensors: Weights
    grid_hw: tuple[int, int]
    """Of the position embedding."""
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    """Normalisation of its input in [0, 1]."""


def pretrained_weights(name: str, config: ModelConfig, initial: Weights) -> Weights:
    """The state of a model that starts from other weights.

    Args:
        name: A timm model, a file (timm's, as safetensors or .pth, or a checkpoint of `m3vit train`), or `NAME@FILE`: a
            file with the weights of that timm model, whose normalisation of the input is then known.
        config: The model to start.
        initial: Its random initial state.

    Raises:
        UserError: the weights cannot be had, or a tensor does not fit; the message names the first one.
    """
    source = read_source(name)
    tensors = adapt_embeddings(source, config)
    result, used = {}, set()
    for key, start in initial.items():
        layer = _moe_layer(key, config)
        if layer is not None and f"blocks.{layer}.mlp.fc1.weight" in tensors:
            continue
        fits = key in tensors and tensors[key].shape == start.shape
        if not fits and not _may_start_random(key):
            raise _misfit(source, key, tensors.get(key), start.shape)
        result[key] = tensors[key] if fits else start
        used.add(key)
    for layer in config.moe_layers:
        mlp = f"blocks.{layer}.mlp."
        if f"{mlp}fc1.weight" in tensors:
            result |= upcycled_layer(source, tensors, layer, config, initial)
            used |= {key for key in tensors if key.startswith(mlp)}
    for key in tensors:
        if key not in used and not key.startswith(DROPPED) and ".router." not in key:
            raise UserError(f"{source.label} does not fit {config.name}: tensor {key} has no place in it")
    return {key: result[key].to(initial[key].dtype) for key in initial}


def upcycled_layer(source: Source, tensors: Weights, layer: int, config: ModelConfig, initial: Weights) -> Weights:
    """The MoE layer of one block from the source's MLP.

    Raises:
        UserError: the MLP's tensors do not have the model's sizes, or an expert is wider than the MLP.
    """
    block = f"blocks.{layer}."
    hidden, dim = config.mlp_hidden, config.dim
    shapes = {"fc1.weight": (hidden, dim), "fc1.bias": (hidden,), "fc2.weight": (dim, hidden), "fc2.bias": (dim,)}
    for name, shape in shapes.items():
        found = tensors.get(f"{block}mlp.{name}")
        if found is None or found.shape != shape:
            raise _misfit(source, f"{block}mlp.{name}", found, torch.Size(shape))
    if config.expert_hidden > hidden:
        raise UserError(
            f"an expert of {config.expert_hidden} hidden channels cannot start from an MLP of {hidden}; lower "
            f"model.expert_hidden or raise model.mlp_hidden"
        )
    mlp = DenseMlp(
        *(tensors[f"{block}mlp.{name}"] for name in shapes),
        *(tensors[f"{block}norm2.{name}"] for name in ("weight", "bias")),
    )
    prefix = f"{block}mlp.router."
    router = {key.removeprefix(prefix): tensor for key, tensor in initial.items() if key.startswith(prefix)}
    return {f"{block}mlp.{key}": tensor for key, tensor in upcycle(mlp, router, config).items()}


def adapt_embeddings(source: Source, config: ModelConfig) -> Weights:
    """The source's tensors with patch and position embedding as the model's image and patch size need them."""
    tensors = dict(source.tensors)
    patches, bias, positions = "patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"
    if patches in tensors and bias in tensors and tensors[patches].ndim == 4 and tensors[patches].shape[1] == 3:
        kernel_DCHW = resample_patch_embed(tensors[patches].float(), [config.patch, config.patch])
        tensors[patches], tensors[bias] = fold_normalisation(kernel_DCHW, tensors[bias].float(), source)
    if positions in tensors and tensors[positions].shape[1:2] == (math.prod(source.grid_hw) + 1,):
        tensors[positions] = resample_abs_pos_embed(
            tensors[positions].float(), list(config.grid_hw), list(source.grid_hw), num_prefix_tokens=1
        )
    return tensors


def fold_normalisation(kernel_DCHW: Tensor, bias_D: Tensor, source: Source) -> tuple[Tensor, Tensor]:
    """Patch embedding for inputs (x - 0.5) / 0.5 from one for inputs (x - mean) / std."""
    mean_C11, std_C11 = (torch.tensor(value)[:, None, None] for value in (source.mean, source.std))
    shift_D = (kernel_DCHW * (0.5 - mean_C11) / std_C11).sum((1, 2, 3))
    return kernel_DCHW * (0.5 / std_C11), bias_D + shift_D


def read_source(name: str) -> Source:
    """Find out what a name means and read it.

    Raises:
        UserError: it is no timm model, no readable file, or the hub cannot be reached.
    """
    model, _, file = name.rpartition("@")
    if model:
        known = known_model(model)
        return timm_source(name, read_tensors(Path(file)), known.mean, known.std)
    path = Path(name)
    if path.suffix in SUFFIXES or path.exists():
        return own_source(path) if is_own(path) else timm_source(name, read_tensors(path), HALF, HALF)
    known = known_model(name)
    return timm_source(name, download(name), known.mean, known.std)


@dataclass(frozen=True)
class Normalisation:
    """What a timm model expects of its input."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def known_model(name: str) -> Normalisation:
    """A timm model's normalisation.

    Raises:
        UserError: timm has no such model.
    """
    if not timm.is_model(name):
        raise UserError(
            f"train.pretrained '{name}' is neither a file nor a timm model; timm.list_models('vit_*') names those"
        )
    facts = timm.get_pretrained_cfg(name)
    return Normalisation(tuple(facts.mean), tuple(facts.std)) if facts else Normalisation(HALF, HALF)


def download(name: str) -> Weights:
    """Weights of a timm model from the hub or its cache.

    Raises:
        UserError: they cannot be had.
    """
    try:
        weights: Weights = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises its transport's own exceptions
        raise UserError(
            f"the pretrained weights of {name} cannot be downloaded ({type(error).__name__}); pass --pretrained "
            f"{name}@FILE with a file that you have, or --pretrained none"
        ) from error
    return weights


def read_tensors(path: Path) -> Weights:
    """A state dict from safetensors or from torch's format, of which only tensors are read.

    Raises:
        UserError: the file is missing or is not a state dict.
    """
    if not path.is_file():
        raise UserError(f"cannot read {path}: there is no such file; check train.pretrained")
    try:
        loaded = load_state_dict(str(path), weights_only=True)
        return {str(key): tensor.detach() for key, tensor in loaded.items()}
    except Exception as error:  # each of torch's readers has its own exceptions
        raise UserError(
            f"{path} is not a state dict of tensors ({type(error).__name__}); save one as safetensors"
        ) from error


def timm_source(label: str, tensors: Weights, mean: tuple[float, ...], std: tuple[float, ...]) -> Source:
    """A source with a square grid, as timm's are."""
    positions = tensors["pos_embed"].shape[1] - 1 if "pos_embed" in tensors else 0
    side = math.isqrt(max(0, positions))
    return Source(label, tensors, (side, side), mean, std)


def is_own(path: Path) -> bool:
    """Whether `m3vit train` wrote the file."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except SafetensorError:
        return False


def own_source(path: Path) -> Source:
    """A checkpoint of ours; of an unfinished run with a moving average, the average."""
    checkpoint = read_checkpoint(path)
    return Source(str(path), checkpoint.model | checkpoint.average, checkpoint.config.model.grid_hw)


def _moe_layer(key: str, config: ModelConfig) -> int | None:
    """The layer whose experts or router a tensor belongs to."""
    parts = key.split(".")
    is_part = parts[0] == "blocks" and parts[2] == "mlp" and config.is_moe(int(parts[1]))
    return int(parts[1]) if is_part else None


def _may_start_random(key: str) -> bool:
    return key.startswith("heads.") or ".router." in key


def _misfit(source: Source, key: str, found: Tensor | None, expected: torch.Size) -> UserError:
    shape = "missing" if found is None else str(tuple(found.shape))
    return UserError(f"{source.label} does not fit the model: tensor {key} is {shape}, expected {tuple(expected)}")
