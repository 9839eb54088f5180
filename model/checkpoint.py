# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Checkpoints: one safetensors file each, written atomically, so a kill at any moment leaves the old or the new one.

Tensors are named `model.NAME`; in training also `optim.NAME.STATE`, `average.NAME` (moving average of weights) and
`extra.NAME` (learned task weights, loss scale); after calibration `quant.NAME`. The header's metadata holds the format
version, the step and the whole config. `model.safetensors` (a finished run) has no optimiser state; apart from that it
and `resume.safetensors` have the same layout, and both can be exported.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from m3vit.model.config import Config, config_from_dict
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.model.vit import M3ViT

FORMAT = "m3vit-checkpoint"
VERSION = 1
MODEL, OPTIMISER, AVERAGE, EXTRA, QUANT = "model.", "optim.", "average.", "extra.", "quant."


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file."""

    config: Config
    step: int
    """Optimiser updates done."""
    model: dict[str, Tensor]
    """The model's state dict."""
    optimiser: dict[str, Tensor]
    """`PARAMETER.STATE` to tensor; empty in a finished run's file."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """Moving average of the parameters, if the recipe keeps one; a finished run's file has it as `model`."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Other state of the training."""
    quant: dict[str, Tensor] = field(default_factory=dict)
    """Units of the integer model (`m3vit.model.units`); empty if it was never calibrated."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises:
        UserError: the folder cannot be written.
    """
    tensors = {MODEL + name: tensor for name, tensor in checkpoint.model.items()}
    tensors |= {OPTIMISER + name: tensor for name, tensor in checkpoint.optimiser.items()}
    tensors |= {AVERAGE + name: tensor for name, tensor in checkpoint.average.items()}
    tensors |= {EXTRA + name: tensor for name, tensor in checkpoint.extra.items()}
    tensors |= {QUANT + name: tensor for name, tensor in checkpoint.quant.items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "step": str(checkpoint.step),
        "config": checkpoint.config.model_dump_json(),
    }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save_tensors(contiguous, metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: the file is missing, truncated, not ours, of another version, or holds an invalid config.
    """
    data = read_file(path)
    try:
        tensors = load_tensors(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} is not a complete safetensors file ({error}); train again or copy it again") from error
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is not an m3vit checkpoint; pass a file that `m3vit train` wrote")
    if metadata.get("version") != str(VERSION):
        raise UserError(
            f"{path} has checkpoint version {metadata.get('version')}, this m3vit reads version {VERSION}; train again"
        )
    try:
        step, tree = int(metadata["step"]), json.loads(metadata["config"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} has a damaged header ({error}); train again or copy it again") from error
    config = config_from_dict(tree, str(path))
    prefixes = (MODEL, OPTIMISER, AVERAGE, EXTRA, QUANT)
    model, optimiser, average, extra, quant = (_with_prefix(tensors, prefix) for prefix in prefixes)
    return Checkpoint(config, step, model, optimiser, average=average, extra=extra, quant=quant)


def _metadata(data: bytes) -> dict[str, str]:
    """The string map in a safetensors header, which `safetensors.torch.load` does not return."""
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_fit(model: M3ViT, checkpoint: Checkpoint, path: Path) -> None:
    """Compare a checkpoint's weights with a model's.

    Raises:
        UserError: names or shapes do not fit the config in the file's header; `path` names the file in the message.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.model.items()}
    if expected != found:
        name = sorted(expected.items() ^ found.items())[0][0]
        raise UserError(
            f"{path} does not fit its own config: tensor {name} is {found.get(name, 'missing')}, expected "
            f"{expected.get(name, 'none')}; train again"
        )


def restore_model(model: M3ViT, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights into a model.

    Raises:
        UserError: as `check_fit`.
    """
    check_fit(model, checkpoint, path)
    model.load_state_dict(checkpoint.model)


def load_checkpoint(path: Path) -> tuple[Config, M3ViT]:
    """Read a trained model, in evaluation mode on the CPU.

    Args:
        path: `model.safetensors` or `resume.safetensors` as `m3vit train` wrote it. Of a run with a moving average the
            second gives the latest weights, not the average.

    Raises:
        UserError: the file is missing, truncated, not a checkpoint, or does not fit its own config.
    """
    checkpoint = read_checkpoint(path)
    with torch.device("meta"):
        model = M3ViT(checkpoint.config.model)
    model = model.to_empty(device="cpu")
    restore_model(model, checkpoint, path)
    return checkpoint.config, model.eval()
