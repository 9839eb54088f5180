# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""An integer M3ViT as layers, and the compiler that lays it out as Pathways: one memory image, one program per task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from m3vit.model.config import Config, HardwareConfig, ModelConfig, QuantConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.capacity import block_rows, check_fits, mlp_slices
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import GELU_INDEX_BITS, Linear
from m3vit.sim.golden.moe import Expert
from m3vit.sim.golden.norm import Norm, Requant
from m3vit.sim.layout import align, linear_bytes, pack_linear
from m3vit.sim.pathway import Block, Pathway, Pathways, Scales
from m3vit.sim.program import Flag, Op, Opcode
from m3vit.sim.program_check import expert_stride

MAX_IMAGE_BYTES = 1 << 32
"""Offsets in operations have 32 bits."""
INT8 = QuantConfig()
"""Experts with 8-bit weights."""


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


Pack = Callable[[], npt.NDArray[np.uint8]]
"""Makes the bytes of a block."""


class Planner:
    """Places named blocks, each aligned to a stripe; does not make their bytes."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.end = 0

    def add(self, name: str, size: int, pack: Pack) -> int:
        """Append a block of `size` bytes and return its offset."""
        block = Block(self.end, size)
        self.blocks[name] = block
        self.end += align(size)
        return block.offset


class ImageBuilder(Planner):
    """Collects the bytes of the blocks, too."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[npt.NDArray[np.uint8]] = []

    def add(self, name: str, size: int, pack: Pack) -> int:
        """Append a block of `size` bytes and return its offset."""
        data = pack()
        assert data.size == size, name
        self._parts += [data, np.zeros(align(size) - size, np.uint8)]
        return super().add(name, size, pack)

    def image(self) -> npt.NDArray[np.uint8]:
        """All blocks in order, read-only.

        Raises:
            UserError: the model is too large for 32-bit offsets.
        """
        if self.end >= MAX_IMAGE_BYTES:
            raise UserError(f"the memory image needs {self.end} bytes, more than 4 GiB; use fewer or smaller experts")
        image = np.concatenate(self._parts)
        image.flags.writeable = False
        return image


def as_bytes(data: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """The bytes of an array in C order."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def pack_expert(expert: Expert, hardware: HardwareConfig, bits: int) -> npt.NDArray[np.uint8]:
    """fc1 directly followed by fc2, with weights of 4 or 8 `bits`, padded to a stripe."""
    packed = np.concatenate([pack_linear(expert.fc1, hardware, bits), pack_linear(expert.fc2, hardware, bits)])
    return np.concatenate([packed, np.zeros(align(packed.size) - packed.size, np.uint8)])


class Compiler:
    """Turns layers into blocks of the image and operations of the programs.

    Args:
        config: sizes of model and hardware.
        planner: places the blocks.
    """

    def __init__(self, config: Config, planner: Planner) -> None:
        self._model, self._hardware, self._planner = config.model, config.hardware, planner
        self._expert_bits = config.quant.expert_bits
        self.ops: list[Op | dict[TaskName, Op]] = []
        """In order; routers and heads give each task an operation of its own."""

    def _add_linear(self, name: str, layer: Linear) -> int:
        out_features, in_features = layer.weight_MK.shape
        size = linear_bytes(out_features, in_features, self._hardware)
        return self._planner.add(name, size, lambda: pack_linear(layer, self._hardware))

    def _add_array(self, name: str, data: npt.NDArray[np.generic]) -> int:
        return self._planner.add(name, data.nbytes, lambda: as_bytes(data))

    def patch_embed(self, layer: Linear, position_ND: npt.NDArray[np.int16]) -> None:
        """Pixels to the residual stream."""
        out_features, in_features = layer.weight_MK.shape
        self.ops.append(
            Op(
                opcode=Opcode.PATCH_EMBED, rows=self._model.tokens, in_features=in_features, out_features=out_features,
                table=self._add_array("position", position_ND.astype("<i2")),
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
        table = self._add_array(name, norm.coarse_D)
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
        table = self._add_array(f"{name}.gelu", layer.table)
        count, hidden = len(layer.slices), len(layer.slices[0].fc1.weight_MK)
        base, stride = self._add_experts(f"{name}.mlp", layer.slices, count, hidden, 8)
        self.ops.append(
            Op(
                opcode=Opcode.MLP, rows=self._model.tokens, in_features=self._model.dim, out_features=hidden,
                experts=count, table=table, expert_base=base, expert_stride=stride,
            )
        )  # fmt: skip

    def _add_experts(self, name: str, experts: Iterable[Expert], count: int, hidden: int, bits: int) -> tuple[int, int]:
        """Offset of expert 0, and bytes from one expert to the next."""
        stride = expert_stride(self._model.dim, hidden, self._hardware, bits)
        base = self._planner.add(
            name,
            count * stride,
            lambda: np.concatenate([pack_expert(expert, self._hardware, bits) for expert in experts]),
        )
        return base, stride

    def moe(self, name: str, layer: MoeLayer) -> None:
        """One MoE layer with its norm and residual connection."""
        self.layer_norm(f"{name}.norm2", layer.norm)
        model = self._model
        table = self._add_array(f"{name}.gelu", layer.table)
        routers = {task: self._add_linear(f"{name}.router.{task}", layer.routers[task]) for task in layer.routers}
        bits = self._expert_bits
        base, stride = self._add_experts(f"{name}.experts", layer.experts, model.experts, model.expert_hidden, bits)
        flags = Flag.RENORMALISE if model.renormalise else Flag.NONE
        op = Op(
            opcode=Opcode.MOE, flags=flags | (Flag.EXPERTS_4BIT if bits == 4 else Flag.NONE), top_k=model.top_k,
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

    def network(self, network: Network) -> None:
        """All layers in order."""
        self.patch_embed(network.patch, network.position_ND)
        for index, (attention, mlp) in enumerate(network.blocks):
            self.attention(f"blocks.{index}", attention)
            if isinstance(mlp, MoeLayer):
                self.moe(f"blocks.{index}", mlp)
            else:
                self.mlp(f"blocks.{index}", mlp)
        self.head(network.norm, network.heads)

    def programs(self) -> dict[TaskName, tuple[Op, ...]]:
        """The operations of every task."""
        tasks = self._model.tasks
        return {task: tuple(op if isinstance(op, Op) else op[task] for op in self.ops) for task in tasks}


class ImageCompiler(Compiler):
    """A compiler that makes the memory image, too."""

    def __init__(self, config: Config) -> None:
        self._config, self._image = config, ImageBuilder()
        super().__init__(config, self._image)

    def link(self, scales: Mapping[TaskName, Scales]) -> Pathways:
        """Place the encoded programs behind the blocks and close the image."""
        programs, offsets = self.programs(), {}
        for task, program in programs.items():
            encoded = np.frombuffer(b"".join(op.encode() for op in program), np.uint8)
            offsets[task] = self._image.add(f"program.{task}", encoded.size, partial(as_bytes, encoded))
        image = self._image.image()
        return Pathways(
            {
                task: Pathway(
                    workload=self._config.model.name, task=task, task_slot=slot, program=program,
                    program_offset=offsets[task], image=image, scales=scales[task], config=self._config,
                    blocks=dict(self._image.blocks),
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
    compiler = ImageCompiler(config)
    compiler.network(network)
    return compiler.link(scales)


def compile_moe(layer: MoeLayer, config: Config, scales: Mapping[TaskName, Scales]) -> Pathways:
    """Lay a single MoE layer with its norm out, as programs that take a residual stream and store it.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(config.model, config.hardware)
    compiler = ImageCompiler(config)
    compiler.load()
    compiler.moe("blocks.1", layer)
    compiler.store()
    return compiler.link(scales)


def blank_linear(out_features: int, in_features: int) -> Linear:
    """A layer that has a shape only: zeros that take no memory."""
    return Linear(
        np.broadcast_to(np.int8(0), (out_features, in_features)),
        np.broadcast_to(np.int32(0), out_features),
        np.broadcast_to(np.uint16(0), out_features),
        np.broadcast_to(np.uint8(0), out_features),
    )


def blank_network(model: ModelConfig, slices: int) -> Network:
    """A network that has shapes only; its dense MLPs have that many slices."""
    dim, hidden = model.dim, model.mlp_hidden // slices
    norm, table = Norm(Requant(1, 1), np.zeros(dim, np.uint8)), np.zeros(1 << GELU_INDEX_BITS, np.int8)
    scales = AttentionScales(0, Requant(1, 1))
    attention = AttentionLayer(norm, blank_linear(3 * dim, dim), scales, blank_linear(dim, dim))
    mlp = MlpLayer(norm, [Expert(blank_linear(hidden, dim), blank_linear(dim, hidden))] * slices, table)
    moe = MoeLayer(norm, dict.fromkeys(model.tasks, blank_linear(model.experts, dim)), (), table)
    return Network(
        patch=blank_linear(dim, 3 * model.patch**2),
        position_ND=np.zeros((model.tokens, dim), np.int16),
        blocks=[(attention, moe if model.is_moe(layer) else mlp) for layer in range(model.layers)],
        norm=norm,
        heads={task: blank_linear(model.channels(task) * model.head_grid**2, dim) for task in model.tasks},
    )


def plan_programs(
    model: ModelConfig, hardware: HardwareConfig, quant: QuantConfig = INT8
) -> dict[TaskName, tuple[Op, ...]]:
    """The programs of every task, with the offsets that the memory image would have, without any weights.

    What depends on the weights' scales (multipliers and shifts) is not meaningful.

    Args:
        model: what runs.
        hardware: what it is laid out for.
        quant: gives the width of the experts' weights.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(model, hardware)
    compiler = Compiler(Config(model=model, hardware=hardware, quant=quant), Planner())
    compiler.network(blank_network(model, mlp_slices(model, hardware)))
    return compiler.programs()
