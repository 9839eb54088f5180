# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""PyTorch modules that hls4ml converts with backend "M3ViT": the operations of a Pathway, and `model_for_task`.

Every operation is a leaf (`HLS4MLModule`): hls4ml takes it as it is. Its forward pass is the golden operator. Tensors
are float and hold integers.

Shapes: B images, H x W pixels, N tokens, D channels of the residual stream, M = 3 D, R rows of C output channels.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hls4ml.utils.torch import HLS4MLModule
from torch import Tensor, nn

from m3vit.hls.plugin.handlers import register_handlers
from m3vit.sim.golden.executor import Executor, State, source_format
from m3vit.sim.pathway import Pathway, Pathways
from m3vit.sim.program import Op, Opcode

register_handlers()

Array = npt.NDArray[Any]


class Operation(HLS4MLModule, ABC):
    """One operation of a program.

    Args:
        executor: runs the golden operators on the pathway's image.
        place: of the operation in the program.

    Attributes:
        op: the operation.
        shape: of its output, without the batch.
    """

    def __init__(self, executor: Executor, place: int) -> None:
        super().__init__()
        self.executor, self.place = executor, place
        self.pathway = executor.pathway
        self.op: Op = self.pathway.program[place]
        self.shape = output_shape(self.op)

    def run(self, inputs: Tensor, *others: Tensor) -> Tensor:
        """Apply `state` and the golden operator to every sample of the batch."""
        batches = [x.detach().cpu().numpy() for x in (inputs, *others)]
        results = [self.executor.step(self.place, self.state(*sample)).result for sample in zip(*batches, strict=True)]
        return torch.from_numpy(np.stack(results).astype(np.float32))

    @abstractmethod
    def state(self, *inputs: Array) -> State:
        """The executor's state before the operation, from the inputs of one sample."""


class FromX(Operation):
    """An operation on the int8 activations."""

    def forward(self, x_BND: Tensor) -> Tensor:
        """x to the output."""
        return self.run(x_BND)

    def state(self, *inputs: Array) -> State:
        """x."""
        return State.of(x_ND=inputs[0].astype(np.int8))


class FromResidual(Operation):
    """An operation on the int16 residual stream."""

    def forward(self, residual_BND: Tensor) -> Tensor:
        """Residual stream to the output."""
        return self.run(residual_BND)

    def state(self, *inputs: Array) -> State:
        """The residual stream."""
        return State.of(residual_ND=inputs[0].astype(np.int16))


class FromBoth(Operation):
    """An operation that adds to the residual stream."""

    def forward(self, residual_BND: Tensor, x_BND: Tensor) -> Tensor:
        """Residual stream and x to the new residual stream."""
        return self.run(residual_BND, x_BND)

    def state(self, *inputs: Array) -> State:
        """Both."""
        return State.of(residual_ND=inputs[0].astype(np.int16), x_ND=inputs[1].astype(np.int8))


class PatchEmbedOp(Operation):
    """Pixels (B, H, W, 3), 0..255, to the residual stream (B, N, D)."""

    def forward(self, image_BHW3: Tensor) -> Tensor:
        """Image to residual stream."""
        return self.run(image_BHW3)

    def state(self, *inputs: Array) -> State:
        """The image."""
        return State.of(image_HW3=inputs[0].astype(np.uint8))


class LoadOp(Operation):
    """The residual stream (B, N, D) from outside."""

    def forward(self, source_BND: Tensor) -> Tensor:
        """Source to residual stream."""
        return self.run(source_BND)

    def state(self, *inputs: Array) -> State:
        """The source."""
        return State.of(source_ND=inputs[0].astype(np.int16))


class LayerNormOp(FromResidual):
    """int8 norm of the residual stream."""


class LinearOp(FromX):
    """Queries, keys and values (B, N, M)."""


class AttentionOp(Operation):
    """int8 attention, (B, N, M) to (B, N, D)."""

    def forward(self, qkv_BNM: Tensor) -> Tensor:
        """Queries, keys and values to x."""
        return self.run(qkv_BNM)

    def state(self, *inputs: Array) -> State:
        """Queries, keys and values."""
        state = State.of()
        state.qkv_NM = inputs[0].astype(np.int8)
        return state


class LinearResidualOp(FromBoth):
    """Projection onto the residual stream."""


class MlpOp(FromBoth):
    """Dense MLP onto the residual stream."""


class MoeOp(FromBoth):
    """Experts onto the residual stream, routed by the task's router."""


class HeadOp(FromX):
    """int16 outputs of all tokens but the class token, (B, R, C)."""


class StoreOp(FromResidual):
    """The result, (B, R, C)."""


OPERATIONS: dict[Opcode, type[Operation]] = {
    Opcode.PATCH_EMBED: PatchEmbedOp,
    Opcode.LOAD: LoadOp,
    Opcode.LAYER_NORM: LayerNormOp,
    Opcode.LINEAR: LinearOp,
    Opcode.ATTENTION: AttentionOp,
    Opcode.LINEAR_RESIDUAL: LinearResidualOp,
    Opcode.MLP: MlpOp,
    Opcode.MOE: MoeOp,
    Opcode.HEAD: HeadOp,
    Opcode.STORE: StoreOp,
}


def output_shape(op: Op) -> list[int]:
    """Of an operation, without the batch."""
    match op.opcode:
        case Opcode.LOAD | Opcode.LAYER_NORM | Opcode.MLP | Opcode.MOE:
            return [op.rows, op.in_features]
        case Opcode.HEAD:
            return [op.rows - 1, op.out_features]
        case _:
            return [op.rows, op.out_features]


class TaskModel(nn.Module):
    """One task's network, an operation of its program per module, the residual stream as an edge of its own.

    Args:
        pathway: the task's.

    Attributes:
        input_shape: without the batch: (H, W, 3), or (N, D) of a program that begins with LOAD.
    """

    def __init__(self, pathway: Pathway) -> None:
        super().__init__()
        self.input_shape: tuple[int, ...] = source_format(pathway.program[0])[0]
        executor = Executor(pathway)
        self._names: list[str] = []
        for place, op in enumerate(pathway.program):
            self._names.append(f"op{place}_{op.opcode.name.lower()}")
            self.add_module(self._names[-1], OPERATIONS[op.opcode](executor, place))

    def forward(self, source: Tensor) -> Tensor:
        """Image (B, H, W, 3) or residual stream (B, N, D) to the task's output (B, R, C), all integers."""
        residual = x = source
        for name in self._names:
            operation = self.get_submodule(name)
            if isinstance(operation, FromBoth):
                residual = operation(residual, x)
            elif isinstance(operation, LayerNormOp):
                x = operation(residual)
            elif isinstance(operation, LinearOp | AttentionOp):
                x = operation(x)
            else:
                residual = operation(x if isinstance(operation, HeadOp) else residual)
        return residual


def model_for_task(pathways: Pathways, task: str) -> TaskModel:
    """The integer network of one task as a PyTorch model that hls4ml converts.

    Raises:
        UserError: no such task.
    """
    return TaskModel(pathways.task(task)).eval()
