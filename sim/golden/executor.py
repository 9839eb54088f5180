# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Interprets a Pathway's program on one image. Every parameter is unpacked from the memory image: it is the truth.

Shapes: H x W pixels, N tokens (class token first), D channels of the residual stream, M = 3 D, C output channels.
After a HEAD, residual stream and result have N - 1 rows of C; a program without one stores N rows of D.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.attention import AttentionScales, attention
from m3vit.sim.golden.embed import linear_residual, patch_embed
from m3vit.sim.golden.linear import Linear, linear
from m3vit.sim.golden.moe import Expert, Queue, mlp, moe, route
from m3vit.sim.golden.norm import Norm, Requant, layer_norm
from m3vit.sim.layout import linear_bytes, unpack_linear
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import Flag, Op, Opcode
from m3vit.sim.program_check import GELU_BYTES


@dataclass
class State:
    """What operations read and write; empty arrays before the first one."""

    image_HW3: npt.NDArray[np.uint8]
    source_ND: npt.NDArray[np.int16]
    residual_ND: npt.NDArray[np.int16]
    x_ND: npt.NDArray[np.int8]
    qkv_NM: npt.NDArray[np.int8]
    output_NC: npt.NDArray[np.int16]
    queues: tuple[Queue, ...] = ()
    """Formed by the last operation."""

    @classmethod
    def of(
        cls,
        *,
        image_HW3: npt.NDArray[np.uint8] | None = None,
        source_ND: npt.NDArray[np.int16] | None = None,
        x_ND: npt.NDArray[np.int8] | None = None,
        residual_ND: npt.NDArray[np.int16] | None = None,
    ) -> "State":
        """A state before a whole program (with an image or a source) or before one operation (with x and residual)."""
        return cls(
            image_HW3=np.zeros((0, 0, 3), np.uint8) if image_HW3 is None else image_HW3,
            source_ND=np.zeros((0, 0), np.int16) if source_ND is None else source_ND,
            residual_ND=np.zeros((0, 0), np.int16) if residual_ND is None else residual_ND,
            x_ND=np.zeros((0, 0), np.int8) if x_ND is None else x_ND,
            qkv_NM=np.zeros((0, 0), np.int8),
            output_NC=np.zeros((0, 0), np.int16),
        )


@dataclass(frozen=True)
class Step:
    """One executed operation, for observers. The arrays are never written again.

    Attributes:
        index: place in the program.
        op: the operation.
        x_ND: int8 activations before it.
        residual_ND: int16 residual stream before it.
        queues: token queues that it formed (MOE).
        result: what it wrote: residual stream, x or qkv, as Opcode says; STORE: the result.
    """

    index: int
    op: Op
    x_ND: npt.NDArray[np.int8]
    residual_ND: npt.NDArray[np.int16]
    queues: tuple[Queue, ...]
    result: npt.NDArray[np.integer[Any]]


Observer = Callable[[Step], None]


@dataclass(frozen=True)
class Result:
    """What a program stored: int16 cells of all tokens but the class token; without a HEAD, the residual stream."""

    output_NC: npt.NDArray[np.int16]


class ExpertView(Sequence[Expert]):
    """Experts of one MOE operation, unpacked when first used."""

    def __init__(self, count: int, load: Callable[[int], Expert]) -> None:
        self._count, self._load = count, load

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Expert: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Expert]: ...
    def __getitem__(self, index: int | slice) -> Expert | Sequence[Expert]:
        if isinstance(index, slice):
            return [self._load(i) for i in range(self._count)[index]]
        return self._load(range(self._count)[index])


class Executor:
    """Runs one pathway on many images; unpacks each layer once.

    Args:
        pathway: what to run.
    """

    def __init__(self, pathway: Pathway) -> None:
        self.pathway = pathway
        self._layers: dict[tuple[int, int, int], Linear] = {}

    def run(self, source: npt.NDArray[Any], observe: Observer | None = None) -> Result:
        """Run the whole program.

        Args:
            source: uint8 RGB pixels of the model's size (H, W, 3); if the program begins with LOAD, the int16 residual
                stream (N, D).
            observe: called after every operation.

        Raises:
            ValueError: the source has another type or size.
        """
        shape, dtype = source_format(self.pathway.program[0])
        if source.shape != shape or source.dtype != dtype:
            raise ValueError(f"source {source.shape} of {source.dtype}, expected {shape} of {np.dtype(dtype)}")
        state = State.of(source_ND=source) if dtype is np.int16 else State.of(image_HW3=source)
        for index in range(len(self.pathway.program)):
            step = self.step(index, state)
            if observe is not None:
                observe(step)
        return Result(state.output_NC)

    def step(self, index: int, state: State) -> Step:
        """Run one operation of the program and update `state`."""
        op = self.pathway.program[index]
        x_ND, residual_ND = state.x_ND, state.residual_ND
        state.queues = ()
        result = self._execute(op, state)
        return Step(index, op, x_ND, residual_ND, state.queues, result)

    def _execute(self, op: Op, state: State) -> npt.NDArray[np.integer[Any]]:
        match op.opcode:
            case Opcode.PATCH_EMBED:
                state.residual_ND = patch_embed(state.image_HW3, op.operands[0], self.layer(op), self.position(op))
            case Opcode.LAYER_NORM:
                state.x_ND = layer_norm(state.residual_ND, self.norm(op))
                return state.x_ND
            case Opcode.LINEAR:
                state.qkv_NM = linear(state.x_ND, self.layer(op), 8).astype(np.int8)
                return state.qkv_NM
            case Opcode.ATTENTION:
                scales = AttentionScales(op.operands[0], Requant(*op.operands[1:3]))
                state.x_ND = attention(state.qkv_NM, op.heads, scales)
                return state.x_ND
            case Opcode.LINEAR_RESIDUAL:
                state.residual_ND = linear_residual(state.residual_ND, state.x_ND, self.layer(op))
            case Opcode.MLP:
                state.residual_ND = mlp(state.x_ND, state.residual_ND, self.experts(op), self.gelu_table(op))
            case Opcode.MOE:
                queues = route(state.x_ND, self.router(op), op.top_k, bool(op.flags & Flag.RENORMALISE))
                state.queues = tuple(queues)
                state.residual_ND = moe(state.x_ND, state.residual_ND, queues, self.experts(op), self.gelu_table(op))
            case Opcode.HEAD:
                state.residual_ND = linear(state.x_ND[1:], self.layer(op), 16).astype(np.int16)
            case Opcode.LOAD:
                state.residual_ND = state.source_ND
            case Opcode.STORE:
                state.output_NC = state.residual_ND
        return state.residual_ND

    def layer(self, op: Op) -> Linear:
        """The linear layer of an operation."""
        return self._linear(op.weights, op.out_features, op.in_features)

    def router(self, op: Op) -> Linear:
        """The router of a MOE operation."""
        return self._linear(op.weights, op.experts, op.in_features)

    def experts(self, op: Op) -> Sequence[Expert]:
        """All experts of a MOE operation, or the slices of an MLP."""
        return ExpertView(op.experts, lambda expert: self._expert(op, expert))

    def gelu_table(self, op: Op) -> npt.NDArray[np.int8]:
        """The GELU table of an operation."""
        return self.pathway.image[op.table : op.table + GELU_BYTES].view(np.int8)

    def position(self, op: Op) -> npt.NDArray[np.int16]:
        """The position table of a PATCH_EMBED operation, (N, D)."""
        data = self.pathway.image[op.table : op.table + 2 * op.rows * op.out_features]
        return data.view("<i2").reshape(op.rows, op.out_features)

    def norm(self, op: Op) -> Norm:
        """The factors of a LAYER_NORM operation."""
        return Norm(Requant(*op.operands[:2]), self.pathway.image[op.table : op.table + op.in_features])

    def _linear(self, offset: int, out_features: int, in_features: int, bits: int = 8) -> Linear:
        key = (offset, out_features, in_features)
        if key not in self._layers:
            hardware = self.pathway.config.hardware
            self._layers[key] = unpack_linear(self.pathway.image[offset:], out_features, in_features, hardware, bits)
        return self._layers[key]

    def _expert(self, op: Op, expert: int) -> Expert:
        dim, hidden, bits = op.in_features, op.out_features, op.expert_bits
        first = op.expert_base + expert * op.expert_stride
        second = first + linear_bytes(hidden, dim, self.pathway.config.hardware, bits)
        return Expert(self._linear(first, hidden, dim, bits), self._linear(second, dim, hidden, bits))


def source_format(first: Op) -> tuple[tuple[int, ...], type[np.uint8] | type[np.int16]]:
    """Shape and type of what a program takes in whose first operation is `first`."""
    if first.opcode is Opcode.LOAD:
        return (first.rows, first.in_features), np.int16
    _, height, width, *_ = first.operands
    return (height, width, 3), np.uint8


def run(pathway: Pathway, source: npt.NDArray[Any], observe: Observer | None = None) -> Result:
    """Run a pathway on one image (or residual stream, see `Executor.run`); use `Executor` for many."""
    return Executor(pathway).run(source, observe)


def head_map(pathway: Pathway, output_NC: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Real-valued coarse prediction: cells of all tokens laid out as one map. Shape (C / g^2, H / p * g, W / p * g).

    g = head_grid, p = patch; the channels of a token are ordered channel, cell row, cell column.
    """
    model = pathway.config.model
    (rows, columns), grid = model.grid_hw, model.head_grid
    cells = output_NC.reshape(rows, columns, -1, grid, grid).transpose(2, 0, 3, 1, 4)
    return np.asarray(cells.reshape(-1, rows * grid, columns * grid) * pathway.scales.output)
