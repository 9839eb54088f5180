# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""An integer M3ViT as layers, and the compiler that lays it out as Pathways: one memory image, one program per task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from m3vit.model.config import Config, HardwareConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.capacity import block_rows, check_fits
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import Linear
from m3vit.sim.golden.moe import Expert
from m3vit.sim.golden.norm import Norm
from m3vit.sim.layout import align, pack_linear
from m3vit.sim.pathway import Block, Pathway, Pathways, Scales
from m3vit.sim.program import Flag, Op, Opcode

MAX_IMAGE_BYTES = 1 << 32
"""Offsets in operations have 32 bits."""


@dataclass(frozen=True)
class AttentionLayer:
    """Norm, query-key-value projection, attention, output projection."""

    norm: Norm
    qkv: Linear
    scales: AttentionScales
    proj: Linear


@dataclass(frozen=True)
class MlpLayer:
    """Norm and one MLP for all tokens, in slices of its hidden channels: the first has the bias of fc2."""

    norm: Norm
    slices: Sequence[Expert]
    table: npt.NDArray[np.int8]


@dataclass(frozen=True)
class MoeLayer:
    """Norm, one router per task, experts shared by all tasks, in ascending order."""

    norm: Norm
    routers: Mapping[TaskName, Linear]
    experts: Iterable[Expert]
    table: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Network:
    """All layers of a multi-task model."""

    patch: Linear
    position_ND: npt.NDArray[np.int16]
    blocks: Sequence[tuple[AttentionLayer, MlpLayer | MoeLayer]]
    norm: Norm
    heads: Mapping[TaskName, Linear]


class ImageBuilder:
    """Collects named blocks, each aligned to a stripe."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self._parts: list[npt.NDArray[np.uint8]] = []
        self._end = 0

    def add(self, name: str, data: npt.NDArray[Any]) -> int:
        """Append a block and return its offset."""
        data_bytes = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.blocks[name] = Block(self._end, data_bytes.size)
        offset, padded = self._end, align(data_bytes.size)
        self._parts += [data_bytes, np.zeros(padded - data_bytes.size, np.uint8)]
        self._end += padded
        return offset

    def image(self) -> npt.NDArray[np.uint8]:
        """All blocks in order, read-only.

        Raises:
            UserError: the model is too large for 32-bit offsets.
        """
        if self._end >= MAX_IMAGE_BYTES:
            raise UserError(f"the memory image needs {self._end} bytes, more than 4 GiB; use fewer or smaller experts")
        image = np.concatenate(self._parts)
        image.flags.writeable = False
        return image


def pack_expert(expert: Expert, hardware: HardwareConfig) -> npt.NDArray[np.uint8]:
    """fc1 directly followed by fc2, padded to a stripe."""
    packed = np.concatenate([pack_linear(expert.fc1, hardware), pack_linear(expert.fc2, hardware)])
    return np.concatenate([packed, np.zeros(align(packed.size) - packed.size, np.uint8)])


class Compiler:
    """Turns layers into blocks of the image and operations of the programs."""

    def __init__(self, config: Config) -> None:
        self._model, self._hardware = config.model, config.hardware
        self.builder = ImageBuilder()
        self.ops: list[Op | dict[TaskName, Op]] = []
        """In order; routers and heads give each task an operation of its own."""

    def _add_linear(self, name: str, layer: Linear) -> int:
        return self.builder.add(name, pack_linear(layer, self._hardware))

    def patch_embed(self, layer: Linear, position_ND: npt.NDArray[np.int16]) -> None:
        """Pixels to the residual stream."""
        out_features, in_features = layer.weight_MK.shape
        self.ops.append(
            Op(
                opcode=Opcode.PATCH_EMBED, rows=self._model.tokens, in_features=in_features, out_features=out_features,
                table=self.builder.add("position", position_ND.astype("<i2")),
                weights=self._add_linear("patch_embed", layer),
                operands=(self._model.patch, *self._model.image_hw, *self._model.grid_hw[::-1]),
            )
        )  # fmt: skip

    def load(self) -> None:
        """Source to the residual stream."""
        self.ops.append(Op(opcode=Opcode.LOAD, rows=self._model.tokens, in_features=self._model.dim))

    def store(self) -> None:
        """Residual stream to the result."""
        self.ops.append(Op(opcode=Opcode.STORE, rows=self._model.tokens, out_features=self._model.dim))

    def layer_norm(self, name: str, norm: Norm) -> None:
        """Residual stream to x."""
        operands = (norm.scale.multiplier, norm.scale.shift)
        table = self.builder.add(name, norm.coarse_D)
        dim, tokens = self._model.dim, self._model.tokens
        self.ops.append(Op(opcode=Opcode.LAYER_NORM, rows=tokens, in_features=dim, table=table, operands=operands))

    def attention(self, name: str, layer: AttentionLayer) -> None:
        """One attention layer with its norm and residual connection."""
        dim, tokens, heads = self._model.dim, self._model.tokens, self._model.heads
        output, channels = layer.scales.output, dim // heads
        self.layer_norm(f"{name}.norm1", layer.norm)
        self.ops += [
            Op(
                opcode=Opcode.LINEAR, rows=tokens, heads=heads, in_features=dim, out_features=3 * dim,
                weights=self._add_linear(f"{name}.qkv", layer.qkv), operands=(channels,),
            ),
            Op(
                opcode=Opcode.ATTENTION, rows=tokens, heads=heads, in_features=3 * dim, out_features=dim,
                operands=(
                    layer.scales.score, output.multiplier, output.shift, block_rows(tokens, self._hardware), channels,
                ),
            ),
            Op(
                opcode=Opcode.LINEAR_RESIDUAL, rows=tokens, in_features=dim, out_features=dim,
                weights=self._add_linear(f"{name}.proj", layer.proj),
            ),
        ]  # fmt: skip

    def mlp(self, name: str, layer: MlpLayer) -> None:
        """One dense MLP with its norm and residual connection."""
        self.layer_norm(f"{name}.norm2", layer.norm)
        table = self.builder.add(f"{name}.gelu", layer.table)
        count, hidden = len(layer.slices), len(layer.slices[0].fc1.weight_MK)
        base, stride = self._add_experts(f"{name}.mlp", layer.slices, count)
        self.ops.append(
            Op(
                opcode=Opcode.MLP, rows=self._model.tokens, in_features=self._model.dim, out_features=hidden,
                experts=count, table=table, expert_base=base, expert_stride=stride,
            )
        )  # fmt: skip

    def _add_experts(self, name: str, experts: Iterable[Expert], count: int) -> tuple[int, int]:
        """Offset of expert 0, and bytes from one expert to the next."""
        packed = np.concatenate([pack_expert(expert, self._hardware) for expert in experts])
        return self.builder.add(name, packed), packed.size // count

    def moe(self, name: str, layer: MoeLayer) -> None:
        """One MoE layer with its norm and residual connection."""
        self.layer_norm(f"{name}.norm2", layer.norm)
        model = self._model
        table = self.builder.add(f"{name}.gelu", layer.table)
        routers = {task: self._add_linear(f"{name}.router.{task}", layer.routers[task]) for task in layer.routers}
        base, stride = self._add_experts(f"{name}.experts", layer.experts, model.experts)
        op = Op(
            opcode=Opcode.MOE, flags=Flag.RENORMALISE if model.renormalise else Flag.NONE, top_k=model.top_k,
            rows=model.tokens, in_features=model.dim, out_features=model.expert_hidden, experts=model.experts,
            table=table, expert_base=base, expert_stride=stride,
        )  # fmt: skip
        self.ops.append({task: replace(op, weights=weights) for task, weights in routers.items()})

    def head(self, norm: Norm, heads: Mapping[TaskName, Linear]) -> None:
        """Final norm, the task's head, and its output to the result."""
        self.layer_norm("norm", norm)
        self.ops.append(
            {
                task: Op(
                    opcode=Opcode.HEAD, rows=self._model.tokens, in_features=self._model.dim,
                    out_features=len(head.weight_MK), weights=self._add_linear(f"head.{task}", head),
                )
                for task, head in heads.items()
            }
        )  # fmt: skip
        self.ops.append(
            {
                task: Op(opcode=Opcode.STORE, rows=self._model.tokens - 1, out_features=len(head.weight_MK))
                for task, head in heads.items()
            }
        )

    def link(self, config: Config, scales: Mapping[TaskName, Scales]) -> Pathways:
        """Place the encoded programs and close the image."""
        programs = {
            task: tuple(op if isinstance(op, Op) else op[task] for op in self.ops) for task in config.model.tasks
        }
        offsets = {
            task: self.builder.add(f"program.{task}", np.frombuffer(b"".join(op.encode() for op in program), np.uint8))
            for task, program in programs.items()
        }
        image = self.builder.image()
        return Pathways(
            {
                task: Pathway(
                    workload=config.model.name, task=task, task_slot=slot, program=program,
                    program_offset=offsets[task], image=image, scales=scales[task], config=config,
                    blocks=dict(self.builder.blocks),
                )
                for slot, (task, program) in enumerate(programs.items())
            }
        )  # fmt: skip


def compile_network(network: Network, config: Config, scales: Mapping[TaskName, Scales]) -> Pathways:
    """Lay a whole network out.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(config.model, config.hardware)
    compiler = Compiler(config)
    compiler.patch_embed(network.patch, network.position_ND)
    for index, (attention, mlp) in enumerate(network.blocks):
        name = f"blocks.{index}"
        compiler.attention(name, attention)
        if isinstance(mlp, MoeLayer):
            compiler.moe(name, mlp)
        else:
            compiler.mlp(name, mlp)
    compiler.head(network.norm, network.heads)
    return compiler.link(config, scales)


def compile_moe(layer: MoeLayer, config: Config, scales: Mapping[TaskName, Scales]) -> Pathways:
    """Lay a single MoE layer with its norm out, as programs that take a residual stream and store it.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(config.model, config.hardware)
    compiler = Compiler(config)
    compiler.load()
    compiler.moe("blocks.1", layer)
    compiler.store()
    return compiler.link(config, scales)
