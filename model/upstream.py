# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Checkpoints of the M3ViT authors' code (github.com/VITA-Group/M3ViT, commit d953279): import and export.

Names as in its `models/vision_transformer_moe.py`, `models/custom_moe_layer.py` and `models/gate_funs/`: the backbone
is timm's; an expert layer has `mlp.experts.htoh4` (E, H, D) and `h4toh` (E, D, H) as fastmoe's linear layers have them,
and gates `mlp.gate.w_gate` (D, E), or `mlp.gate.I.w_gate` for the task of index I. A task-conditioned gate reads the
token and `gate_task_represent` of the one-hot task: one MLP with a norm for all blocks, imported as its values. A gate
with `w_noise` (NoisyGate) takes the softmax of the chosen logits alone, which is our `renormalise`; one without
(NoisyGate_VMoE) that of all.
Training wraps the names in `module.` and `backbone.`; the convolutional heads are `decoders.TASK.*`.

The backbone there has no final norm, and its heads are others: our `norm` and `heads` travel as `m3vit.NAME`, which
upstream ignores (it loads with strict=False), as do our exact patch embedding's weights.

Shapes: D channels, E experts, H hidden channels of an expert, T width of the task embedding.
"""

import io
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from m3vit.model.config import ModelConfig, TaskName
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.model.interchange import (
    PATCH_BIAS,
    PATCH_WEIGHT,
    PIXELS,
    Imported,
    Kept,
    PixelsName,
    check_tensor,
    new_state,
    patch_embedding,
    with_fields,
)
from m3vit.model.vit import NORM_EPS

State = dict[str, Tensor]

OWN = "m3vit."
"""Prefix of our tensors that have no counterpart upstream."""
UPSTREAM_TASKS: dict[str, TaskName] = {
    "semseg": "segmentation",
    "human_parts": "human_parts",
    "sal": "saliency",
    "normals": "normals",
    "edge": "edges",
    "depth": "depth",
}
"""In the order of upstream's `utils/config.py`, which is the order of its gates."""
REPRESENT = "gate_task_represent."
WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the tensors."""


def read_upstream(path: Path) -> State:
    """All tensors of a checkpoint, or of a folder of `RANK.pth` files whose experts are divided among the ranks.

    Raises:
        UserError: a file is missing, holds no tensors, or needs more than tensors to be loaded.
    """
    if not path.is_dir():
        return _read_file(path)
    files = sorted(path.glob("*.pth"), key=lambda file: (len(file.stem), file.stem))
    if not files or [file.stem for file in files] != [str(rank) for rank in range(len(files))]:
        raise UserError(f"{path} has no files 0.pth, 1.pth, ... as M3ViT writes them; pass its checkpoint file")
    states = [_read_file(file) for file in files]
    whole = states[0]
    for name in (name for name in whole if re.search(r"mlp\.experts\.(htoh4|h4toh)\.", name)):
        missing = next((file for file, state in zip(files, states, strict=True) if name not in state), None)
        if missing is not None:
            raise UserError(f"{missing} has no tensor {name}; copy the whole folder again")
        whole[name] = torch.cat([state[name] for state in states])
    return whole


def _read_file(path: Path) -> State:
    data = read_file(path)
    try:
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a file of tensors alone, and code in a pickle is never run here; if you trust the file, "
            "save its state_dict by itself with torch.save"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a complete PyTorch file; copy it again") from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; pass a checkpoint with a state_dict")
    return tensors


def find_prefix(state: State, path: Path) -> str:
    """What stands before the backbone's names, such as `module.backbone.`.

    Raises:
        UserError: there is no backbone, or more than one.
    """
    found = [name.removesuffix(PATCH_WEIGHT) for name in state if re.search(rf"(^|\.){re.escape(PATCH_WEIGHT)}$", name)]
    found = [prefix for prefix in found if not prefix.endswith(OWN)]
    if len(found) != 1:
        raise UserError(
            f"{path} is not an M3ViT checkpoint: it has {len(found) or 'no'} tensors named {PATCH_WEIGHT}, not one"
        )
    return found[0]


def infer_config(
    state: State, prefix: str, base: ModelConfig, tasks: Sequence[TaskName] | None, path: Path
) -> ModelConfig:
    """`base` with the tasks, the kind of gates, and the numbers of classes and experts that the tensors show.

    Raises:
        UserError: the tasks are neither given nor named by decoders, or the number of gates is another.
    """
    heads = {match[1] for name in state if (match := re.search(r"(?:^|\.)decoders\.(\w+?)\.", name))}
    found = tasks or [ours for theirs, ours in UPSTREAM_TASKS.items() if theirs in heads]
    if not found:
        raise UserError(f"{path} has no decoders that name its tasks; name them with --tasks in upstream's order")
    fields: dict[str, object] = {"tasks": tuple(found)}
    gates = {int(match[1]) for name in state if (match := re.search(r"\.mlp\.gate\.(\d+)\.w_gate$", name))}
    if gates:
        if len(gates) != len(found):
            raise UserError(f"{path} has {len(gates)} gates per block for the {len(found)} tasks {', '.join(found)}")
        fields["router"] = "multi"
    elif (represent := state.get(f"{prefix}{REPRESENT}fc2.weight")) is not None:
        fields |= {"router": "task_conditioned", "task_embedding": len(represent)}
    elif any(name.endswith(".mlp.gate.w_gate") for name in state):
        fields["router"] = "single"
    else:
        fields["dense"] = True
    if any(name.endswith(".w_noise") for name in state):
        fields["renormalise"] = True
    fields |= _expert_sizes(state, prefix)
    classes = [len(t) for n, t in state.items() if re.search(r"(^|\.)decoders\.semseg\.conv_\d\.weight$", n)]
    if classes:
        fields["classes"] = classes[-1]
    return with_fields(base, **fields)


def _expert_sizes(state: State, prefix: str) -> dict[str, int]:
    """Number and hidden channels of the first block's experts, whose ratio upstream's configs choose freely."""
    pattern = rf"{re.escape(prefix)}blocks\.\d+\.mlp\.experts\.htoh4\.weight"
    shape = next((tensor.shape for name, tensor in state.items() if re.fullmatch(pattern, name)), ())
    return {"experts": shape[0], "expert_hidden": shape[1]} if len(shape) == 3 else {}


def their_name(name: str, tasks: Sequence[TaskName]) -> str:
    """Upstream's name of one of our backbone's tensors."""
    for ours, theirs in (("fc1", "htoh4"), ("fc2", "h4toh")):
        name = name.replace(f"mlp.experts.{ours}_", f"mlp.experts.{theirs}.")
    if match := re.fullmatch(r"(blocks\.\d+\.mlp)\.router\.gates\.(\w+)\.weight", name):
        return f"{match[1]}.gate.{tasks.index(match[2])}.w_gate"
    return name.replace("mlp.router.gate.weight", "mlp.gate.w_gate")


def is_own(name: str) -> bool:
    """Whether one of our tensors has no counterpart upstream."""
    return name.startswith(("norm.", "heads."))


def task_embedding(represent: State, task: int) -> Tensor:
    """What `gate_task_represent` gives for a task's one-hot vector, (T): fc2(GELU(fc1)), then the norm."""
    weights = {name: tensor.double() for name, tensor in represent.items()}
    hidden = functional.gelu(weights["fc1.weight"][:, task] + weights["fc1.bias"])
    out = weights["fc2.weight"] @ hidden + weights["fc2.bias"]
    normed = functional.layer_norm(out, out.shape, weights["norm.weight"], weights["norm.bias"], NORM_EPS)
    return normed.float()


def represent_of(state: State, prefix: str, config: ModelConfig, path: Path) -> State:
    """The tensors of `gate_task_represent`, by their own names.

    Raises:
        UserError: one is missing or misshapen.
    """
    width, count = config.task_embedding, len(config.tasks)
    shapes: dict[str, tuple[int, ...]] = {"fc1.weight": (width, count), "fc2.weight": (width, width)}
    shapes |= dict.fromkeys(("fc1.bias", "fc2.bias", "norm.weight", "norm.bias"), (width,))
    return {
        name: check_tensor(_get(state, f"{prefix}{REPRESENT}{name}", path), shape, REPRESENT + name, path, config.name)
        for name, shape in shapes.items()
    }


def _get(state: State, name: str, path: Path) -> Tensor:
    if name not in state:
        raise UserError(f"{path} has no tensor {name}; choose the model that the file was trained as")
    return state[name]


class _Reader:
    """Takes tensors out of an upstream state and remembers which."""

    def __init__(self, state: State, prefix: str, config: ModelConfig, path: Path) -> None:
        self.state, self.prefix, self.config, self.path = state, prefix, config, path
        self.used: set[str] = set()

    def take(self, name: str, like: Tensor, own: bool = False) -> Tensor:
        """The tensor for one of ours of the shape of `like`; gates are transposed."""
        theirs = (OWN + name) if own else self.prefix + their_name(name, self.config.tasks)
        self.used.add(theirs)
        tensor, turned = _get(self.state, theirs, self.path), theirs.endswith("w_gate")
        shape = tuple(like.shape)[::-1] if turned else tuple(like.shape)
        tensor = check_tensor(tensor, shape, theirs, self.path, self.config.name)
        return tensor.T.contiguous() if turned else tensor


def import_upstream(
    path: Path, base: ModelConfig, tasks: Sequence[TaskName] | None, pixels: PixelsName, seed: int
) -> Imported:
    """Read an upstream checkpoint as one of our models.

    Args:
        path: file, or folder of one file per rank.
        base: sizes.
        tasks: in the order of upstream's gates; by default from the names of its decoders.
        pixels: what it was trained on.
        seed: of our heads, if the file has none.

    Raises:
        UserError: the file is not such a checkpoint, or does not fit the sizes.
    """
    state = read_upstream(path)
    prefix = find_prefix(state, path)
    config = infer_config(state, prefix, base, tasks, path)
    _check_blocks(state, prefix, config, path)
    reader, ours = _Reader(state, prefix, config, path), new_state(config, seed)
    derived: set[str] = {name for name in ours if ".router.embedding." in name}
    if derived:
        represent = represent_of(state, prefix, config, path)
        for name in derived:
            ours[name] = task_embedding(represent, config.tasks.index(name.rpartition(".")[2]))
    fresh = tuple(name for name in ours if is_own(name) and OWN + name not in state)
    for name in ours.keys() - derived - set(fresh):
        ours[name] = reader.take(name, ours[name], is_own(name))
    theirs = ours[PATCH_WEIGHT], ours[PATCH_BIAS]
    ours[PATCH_WEIGHT], ours[PATCH_BIAS] = _own_patch(state, pixels, theirs, reader)
    left = tuple(name for name in state if name not in reader.used)
    kept = {name: state[name] for name in (*left, prefix + PATCH_WEIGHT, prefix + PATCH_BIAS)}
    return Imported(config, ours, Kept("m3vit", pixels, kept, prefix), fresh, left)


def _own_patch(
    state: State, pixels: PixelsName, theirs: tuple[Tensor, Tensor], reader: _Reader
) -> tuple[Tensor, Tensor]:
    """Our patch embedding: the exact one that our export put in the file if it still corresponds, else folded."""
    names = [OWN + name for name in (PATCH_WEIGHT, PATCH_BIAS)]
    reader.used.update(names)
    if all(name in state and state[name].shape == like.shape for name, like in zip(names, theirs, strict=True)):
        weight, bias = (state[name] for name in names)
        if all(map(torch.equal, PIXELS[pixels].unfold(weight, bias), theirs)):
            return weight, bias
    return PIXELS[pixels].fold(*theirs)


def _check_blocks(state: State, prefix: str, config: ModelConfig, path: Path) -> None:
    blocks = {int(match[1]) for name in state if (match := re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", name))}
    if len(blocks) != config.layers:
        raise UserError(
            f"{path} has {len(blocks)} blocks where {config.name} has {config.layers}; choose another model"
        )


def export_upstream(config: ModelConfig, state: State, kept: Kept | None, pixels: PixelsName, plain: bool) -> State:
    """A model's tensors under upstream's names.

    Args:
        config: of the model.
        state: its state dict.
        kept: what its import kept, if it was imported.
        pixels: what upstream is to take as input, if the model was not imported.
        plain: without our own tensors (`m3vit.*`).

    Raises:
        UserError: the router is task-conditioned and not the one that was imported.
    """
    old = kept if kept is not None and kept.source == "m3vit" else Kept("m3vit", pixels, {}, "module.backbone.")
    out: State = {}
    for name, tensor in state.items():
        if is_own(name):
            out |= {} if plain else {OWN + name: tensor}
        elif ".router.embedding." in name:
            _check_embedding(config, name, tensor, old)
        else:
            theirs = old.prefix + their_name(name, config.tasks)
            out[theirs] = tensor.T.contiguous() if theirs.endswith("w_gate") else tensor
    names, own = [old.prefix + PATCH_WEIGHT, old.prefix + PATCH_BIAS], (state[PATCH_WEIGHT], state[PATCH_BIAS])
    before = (old.tensors[names[0]], old.tensors[names[1]]) if set(names) <= old.tensors.keys() else None
    out |= dict(zip(names, patch_embedding(old.pixels, own, before), strict=True))
    if not plain:
        out |= {OWN + PATCH_WEIGHT: own[0], OWN + PATCH_BIAS: own[1]}
    return {name: tensor for name, tensor in old.tensors.items() if name not in out} | out


def _check_embedding(config: ModelConfig, name: str, ours: Tensor, kept: Kept) -> None:
    start = kept.prefix + REPRESENT
    represent = {n.removeprefix(start): t for n, t in kept.tensors.items() if n.startswith(start)}
    index = config.tasks.index(name.rpartition(".")[2])
    if not represent or not torch.equal(task_embedding(represent, index), ours):
        raise UserError(
            f"{name} is a learned task embedding, which upstream computes with one MLP for all blocks; only an "
            "imported model whose embeddings did not change can be exported, so train with another router"
        )


def write_upstream(path: Path, state: State) -> None:
    """Write a checkpoint as upstream's scripts do, `{"state_dict": ...}`.

    Raises:
        UserError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"state_dict": {name: tensor.detach().clone() for name, tensor in state.items()}}, buffer)
    write_atomically(path, buffer.getvalue())
