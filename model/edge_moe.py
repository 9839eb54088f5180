# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Edge-MoE's dumps of a trained M3ViT (github.com/sharc-lab/Edge-MoE, commit 7359d5f, folder weights/): import, export.

A folder of `NAME.float32.bin`, little-endian float32 in C order without a header, named as in its testbench/e2e.cpp:
`lN_qkv_weight` and so on, gates `lN_w_gate_T_taskT` (E, D), experts `lN_htoh4_weight` (E, H, D) and `lN_h4toh_weight`
(E, D, H). Row 0 of `pos_embed` (N, D) already contains the class token. Pixels are 8-bit fractions, p / 256. There is
no final norm and no head. A folder may lack the experts' matrices; then the user must say what to put there.

Shapes: N tokens, D channels, E experts, H hidden channels of an expert.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m3vit.model.config import ModelConfig, TaskName
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.model.interchange import (
    PATCH_BIAS,
    PATCH_WEIGHT,
    PIXELS,
    Imported,
    Kept,
    new_state,
    patch_embedding,
    with_fields,
)
from m3vit.model.upstream import is_own

State = dict[str, Tensor]

SUFFIX = ".float32.bin"
POSITION, CLASS_TOKEN = "pos_embed", "cls_token"
DUMP_TASKS: tuple[TaskName, ...] = ("segmentation", "depth")
"""Tasks 0 and 1 of a dump: Cityscapes (Edge-MoE, arXiv 2305.18691)."""
MATRICES = ("htoh4_weight", "h4toh_weight")
EXPERTS_HELP = "zero, draw:SEED (normal, as spread as the dense MLP of the block before), or a folder that has them"


@dataclass(frozen=True)
class Dump:
    """Files of a folder, as flat float32 tensors by name without suffix."""

    folder: Path
    arrays: State

    def take(self, name: str, shape: Sequence[int]) -> Tensor:
        """A tensor of the given shape.

        Raises:
            UserError: its file is missing or has another size.
        """
        path, size = self.folder / (name + SUFFIX), int(np.prod(shape))
        if name not in self.arrays:
            raise UserError(f"cannot read {path}: no such file; copy the whole dump, or choose the model it is of")
        found = self.arrays[name].numel()
        if found != size:
            raise UserError(
                f"{path} has {4 * found:,} bytes where float32 of shape {tuple(shape)} has {4 * size:,}; copy it "
                "again, or choose the model it is of"
            )
        return self.arrays[name].reshape(*shape)


def read_dump(folder: Path) -> Dump:
    """Read all files of a dump.

    Raises:
        UserError: the folder holds none, or a file is no sequence of float32.
    """
    files = sorted(folder.glob("*" + SUFFIX))
    if not files:
        raise UserError(f"{folder} has no files *{SUFFIX}; pass the folder of an Edge-MoE dump")
    arrays = {}
    for file in files:
        data = read_file(file)
        if len(data) % 4:
            raise UserError(f"{file} has {len(data):,} bytes, which are no float32 values; copy it again")
        arrays[file.name.removesuffix(SUFFIX)] = torch.from_numpy(np.frombuffer(data, "<f4").copy())
    return Dump(folder, arrays)


def dump_name(name: str, tasks: Sequence[TaskName]) -> str:
    """Name, in a dump, of one of our tensors."""
    if match := re.fullmatch(r"blocks\.(\d+)\.mlp\.router\.gates\.(\w+)\.weight", name):
        return f"l{match[1]}_w_gate_T_task{tasks.index(match[2])}"
    name = re.sub(r"^blocks\.(\d+)\.(?:mlp\.)?", r"l\1_", name).replace("patch_embed.proj", "patch_embed")
    for ours, theirs in (("experts.fc1_", "htoh4_"), ("experts.fc2_", "h4toh_"), ("attn.qkv", "qkv")):
        name = name.replace(ours, theirs)
    return name.replace(".", "_")


def infer_config(dump: Dump, base: ModelConfig, tasks: Sequence[TaskName] | None) -> ModelConfig:
    """`base` with the layers and tasks that the dump has.

    Raises:
        UserError: it has no layers or gates, or another number of tasks was named.
    """
    layers = {int(match[1]) for name in dump.arrays if (match := re.match(r"l(\d+)_", name))}
    gates = {int(match[1]) for name in dump.arrays if (match := re.fullmatch(r"l\d+_w_gate_T_task(\d+)", name))}
    if not layers or not gates:
        raise UserError(f"{dump.folder} has no files l0_*{SUFFIX} or no gates; pass the folder of an Edge-MoE dump")
    named = tuple(tasks or DUMP_TASKS[: len(gates)])
    if len(named) != len(gates):
        raise UserError(f"{dump.folder} has gates of {len(gates)} tasks; name as many with --tasks")
    return with_fields(base, layers=max(layers) + 1, tasks=named, router="multi", dense=False)


def import_dump(
    folder: Path, base: ModelConfig, tasks: Sequence[TaskName] | None, experts: str | None, seed: int
) -> Imported:
    """Read a dump as one of our models.

    Args:
        folder: of the dump.
        base: sizes; the number of layers comes from the dump.
        tasks: names of its tasks, by default segmentation and depth.
        experts: where the experts' matrices come from if the dump lacks them, see EXPERTS_HELP.
        seed: of our heads, which a dump lacks.

    Raises:
        UserError: a file is missing or has the wrong size.
    """
    dump = read_dump(folder)
    config = infer_config(dump, base, tasks)
    ours = new_state(config, seed)
    names = {name: dump_name(name, config.tasks) for name in ours if not is_own(name) and name != CLASS_TOKEN}
    absent = {name for name, theirs in names.items() if theirs.endswith(MATRICES) and theirs not in dump.arrays}
    for name in names.keys() - absent:
        ours[name] = dump.take(names[name], ours[name].shape)
    ours |= _matrices(dump, {name: names[name] for name in sorted(absent)}, ours, experts)
    ours[CLASS_TOKEN] = torch.zeros_like(ours[CLASS_TOKEN])
    ours[PATCH_WEIGHT], ours[PATCH_BIAS] = PIXELS["edge_moe"].fold(ours[PATCH_WEIGHT], ours[PATCH_BIAS])
    left = tuple(sorted(dump.arrays.keys() - set(names.values())))
    kept = {name: dump.arrays[name] for name in (*left, "patch_embed_weight", "patch_embed_bias")}
    origin = (experts or "file") if absent else "file"
    fresh = tuple(name for name in ours if is_own(name))
    return Imported(config, ours, Kept("edge_moe", "edge_moe", kept, experts=origin), fresh, left)


def _matrices(dump: Dump, absent: dict[str, str], ours: State, experts: str | None) -> State:
    """Values of the experts' matrices that the dump lacks.

    Raises:
        UserError: it was not said what to do about them.
    """
    if not absent:
        return {}
    if experts is None:
        first = next(iter(absent.values()))
        raise UserError(
            f"{dump.folder} lacks {first}{SUFFIX} and other experts' matrices; pass --experts {EXPERTS_HELP}"
        )
    if experts == "zero":
        return {name: torch.zeros_like(ours[name]) for name in absent}
    if match := re.fullmatch(r"draw:(\d+)", experts):
        generator = torch.Generator().manual_seed(int(match[1]))
        return {name: _drawn(name, ours, generator) for name in absent}
    other = read_dump(Path(experts))
    return {name: other.take(theirs, ours[name].shape) for name, theirs in absent.items()}


def _drawn(name: str, ours: State, generator: torch.Generator) -> Tensor:
    """Normal values with the standard deviation of the same layer of the dense MLP in the block before."""
    match = re.fullmatch(r"blocks\.(\d+)\.mlp\.experts\.(fc[12])_weight", name)
    assert match is not None
    std = float(ours[f"blocks.{int(match[1]) - 1}.mlp.{match[2]}.weight"].std())
    return std * torch.randn(ours[name].shape, generator=generator)


def export_dump(config: ModelConfig, state: State, kept: Kept | None, folder: Path) -> tuple[str, ...]:
    """Write a model as a dump; it has no place for the final norm and the heads.

    Args:
        config: of the model.
        state: its state dict.
        kept: what its import kept, if it was imported from a dump.
        folder: to write into.

    Returns:
        Our tensors that are not in it.

    Raises:
        UserError: the router is not one gate per task, or the folder cannot be written.
    """
    if config.router != "multi" or config.dense:
        raise UserError(f"{config.name} has no gate per task, which Edge-MoE's files need; train with router multi")
    old = kept if kept is not None and kept.source == "edge_moe" else Kept("edge_moe", "edge_moe", {})
    own = state[PATCH_WEIGHT], state[PATCH_BIAS]
    weight, bias = old.tensors.get("patch_embed_weight"), old.tensors.get("patch_embed_bias")
    before = None if weight is None or bias is None else (weight.reshape(own[0].shape), bias)
    patch = dict(zip((PATCH_WEIGHT, PATCH_BIAS), patch_embedding(old.pixels, own, before), strict=True))
    inside = {name: tensor for name, tensor in (state | patch).items() if not is_own(name) and name != CLASS_TOKEN}
    inside[POSITION] = _with_class_token(state[POSITION], state[CLASS_TOKEN])
    files = old.tensors | {dump_name(name, config.tasks): tensor for name, tensor in inside.items()}
    for name, tensor in files.items():
        write_atomically(folder / (name + SUFFIX), tensor.detach().cpu().numpy().astype("<f4").tobytes())
    return tuple(name for name in state if is_own(name))


def _with_class_token(position_1ND: Tensor, token_11D: Tensor) -> Tensor:
    """The positions with the class token added to row 0; bit by bit the same if it is zero (a sum turns -0 into 0)."""
    if not token_11D.any():
        return position_1ND
    return torch.cat((position_1ND[:, :1] + token_11D, position_1ND[:, 1:]), dim=1)
