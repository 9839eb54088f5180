# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The integer model as one batched forward pass in torch, over many images and all tasks at once.

It computes the integers of `m3vit.sim.golden.executor` (tests/test_integer_model.py compares every layer), hundreds of
images per call, and is differentiable: accuracy is measured with it and quantisation-aware training runs through it.

Shapes: B images, T tasks, R = B rows before the first MoE block and T * B (task by task) from there on, N tokens, D
channels, E experts, J chosen experts of a token, S = R * N * J assignments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m3vit.model import integer_ops as ops
from m3vit.model.config import ModelConfig, TaskName
from m3vit.model.heads import grid_to_map, upsample
from m3vit.model.integer_ops import IntLinear
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.embed import PIXEL_OFFSET
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.golden.moe import Expert
from m3vit.sim.golden.norm import Norm
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer, Network

Observer = Callable[[str, Tensor], None]
"""Receives the name of a result and the result, (R, N, ...)."""


@dataclass(frozen=True)
class IntMlp:
    """A dense MLP in slices, or experts with the routers of all tasks.

    Attributes:
        norm: in front of it.
        fc1: stack of slices or experts.
        fc2: the same.
        table: float32 GELU of each index.
        slope: its gradient.
        routers: empty for a dense MLP.
    """

    norm: Norm
    fc1: IntLinear
    fc2: IntLinear
    table: Tensor
    slope: Tensor
    routers: Mapping[TaskName, IntLinear]


@dataclass(frozen=True)
class IntBlock:
    """One transformer block."""

    norm: Norm
    qkv: IntLinear
    scales: AttentionScales
    proj: IntLinear
    mlp: IntMlp


@dataclass(frozen=True)
class IntNetwork:
    """All layers of a model as tensors; `m3vit.sim.network.Network` holds the same integers in NumPy."""

    patch: IntLinear
    position_ND: Tensor
    blocks: Sequence[IntBlock]
    norm: Norm
    heads: Mapping[TaskName, IntLinear]

    @classmethod
    def of(cls, network: Network) -> "IntNetwork":
        """The tensors of a network. Its GELU tables have no gradient."""
        return cls(
            patch=IntLinear.of(network.patch),
            position_ND=torch.from_numpy(network.position_ND.astype(np.float32)),
            blocks=[_block(attention, mlp) for attention, mlp in network.blocks],
            norm=network.norm,
            heads={task: IntLinear.of(head) for task, head in network.heads.items()},
        )


def _block(attention: AttentionLayer, mlp: MlpLayer | MoeLayer) -> IntBlock:
    qkv, proj = IntLinear.of(attention.qkv), IntLinear.of(attention.proj)
    return IntBlock(attention.norm, qkv, attention.scales, proj, _mlp(mlp))


def _mlp(layer: MlpLayer | MoeLayer) -> IntMlp:
    experts: list[Expert] = list(layer.experts if isinstance(layer, MoeLayer) else layer.slices)
    routers = layer.routers if isinstance(layer, MoeLayer) else {}
    return IntMlp(
        norm=layer.norm,
        fc1=IntLinear.stack([IntLinear.of(expert.fc1) for expert in experts]),
        fc2=IntLinear.stack([IntLinear.of(expert.fc2) for expert in experts]),
        table=gelu_values(layer.table),
        slope=torch.zeros(1 << GELU_INDEX_BITS),
        routers={task: IntLinear.of(router) for task, router in routers.items()},
    )


def gelu_values(table: npt.NDArray[np.int8]) -> Tensor:
    """A GELU table as float32."""
    return torch.from_numpy(table.astype(np.float32))


def ignore(name: str, result: Tensor) -> None:
    """The observer that does nothing."""


class IntegerModel:
    """Runs a network on batches of images.

    Args:
        network: all layers.
        config: sizes and tasks; only tasks with a head are computed.
        observe: called with every layer's result.
    """

    def __init__(self, network: IntNetwork, config: ModelConfig, observe: Observer = ignore) -> None:
        self._network, self._config, self._observe = network, config, observe
        self._tasks = tuple(network.heads)

    def __call__(self, images: Tensor) -> dict[TaskName, Tensor]:
        """Integer outputs of every task's head.

        Args:
            images: uint8 (B, 3, H, W).

        Returns:
            float32 (B, N - 1, C) integers per task.
        """
        x_RND = self.embed(images)
        for index, block in enumerate(self._network.blocks):
            if block.mlp.routers and len(x_RND) == len(images):
                x_RND = x_RND.repeat(len(self._tasks), 1, 1)
            x_RND = self.attention(f"blocks.{index}", block, x_RND)
            x_RND = self.mlp(f"blocks.{index}", block.mlp, x_RND)
        x_RND = self.see("norm", ops.layer_norm(x_RND, self._network.norm))
        if len(x_RND) == len(images):
            x_RND = x_RND.repeat(len(self._tasks), 1, 1)
        per_task = zip(self._tasks, x_RND[:, 1:].chunk(len(self._tasks)), strict=True)
        return {task: ops.linear(x_BND, self._network.heads[task], 16) for task, x_BND in per_task}

    def see(self, name: str, result: Tensor) -> Tensor:
        """Show a result to the observer."""
        self._observe(name, result)
        return result

    def embed(self, images: Tensor) -> Tensor:
        """Patches, projected, plus positions: (B, N, D)."""
        (rows, columns), patch = self._config.grid_hw, self._config.patch
        pixels = images.float() - PIXEL_OFFSET
        cells = pixels.view(-1, 3, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        x_BND = ops.linear(cells.reshape(len(images), rows * columns, -1), self._network.patch, 16)
        x_BND = torch.cat((torch.zeros_like(x_BND[:, :1]), x_BND), dim=1) + self._network.position_ND
        return self.see("patch_embed", ops.saturate(x_BND, 16))

    def attention(self, name: str, block: IntBlock, x_RND: Tensor) -> Tensor:
        """Residual stream after the attention layer."""
        qkv_RNM = self.see(f"{name}.qkv", ops.linear(self.norm(f"{name}.norm1", x_RND, block.norm), block.qkv, 8))
        out_RND = self.see(f"{name}.attention", ops.attention(qkv_RNM, self._config.heads, block.scales))
        return self.see(f"{name}.proj", ops.saturate(x_RND + ops.linear(out_RND, block.proj, 16), 16))

    def norm(self, name: str, x_RND: Tensor, norm: Norm) -> Tensor:
        """int8 norm of the residual stream."""
        return self.see(name, ops.layer_norm(x_RND, norm))

    def mlp(self, name: str, layer: IntMlp, residual_RND: Tensor) -> Tensor:
        """Residual stream after the MLP or the experts."""
        x_RND = self.norm(f"{name}.norm2", residual_RND, layer.norm)
        if layer.routers:
            return self.see(f"{name}.mlp", self.moe(layer, x_RND, residual_RND))
        for fc1, fc2 in zip(layer.fc1.unbind(), layer.fc2.unbind(), strict=True):
            residual_RND = ops.saturate(residual_RND + expert(x_RND, fc1, fc2, layer), 16)
        return self.see(f"{name}.mlp", residual_RND)

    def moe(self, layer: IntMlp, x_RND: Tensor, residual_RND: Tensor) -> Tensor:
        """Residual stream after the experts of all tasks' tokens."""
        chunks = zip(self._tasks, x_RND.chunk(len(self._tasks)), strict=True)
        logit_NE = torch.cat([ops.linear(x_BND, layer.routers[task], 16).flatten(0, 1) for task, x_BND in chunks])
        expert_NJ = ops.top_k(logit_NE.detach(), self._config.top_k)
        gate_NJ = ops.gates(logit_NE, expert_NJ, self._config.renormalise)
        out_NJD = dispatch(x_RND.flatten(0, 1), expert_NJ, gate_NJ, layer)
        y_ND = residual_RND.flatten(0, 1)
        for out_ND in out_NJD.unbind(1):  # ascending experts, as the hardware adds them
            y_ND = ops.saturate(y_ND + out_ND, 16)
        return y_ND.view_as(residual_RND)

    def maps(self, outputs: Mapping[TaskName, Tensor], units: Mapping[TaskName, float]) -> dict[TaskName, Tensor]:
        """Predictions (B, C, H, W) in real numbers, as `M3ViT.forward` gives them.

        Args:
            outputs: integers of the heads.
            units: real value of one unit of each.
        """
        config = self._config
        return {
            task: upsample(
                grid_to_map(out * units[task], config.channels(task), config.grid_hw, config.head_grid),
                config.image_hw,
            )
            for task, out in outputs.items()
        }


def expert(x_ND: Tensor, fc1: IntLinear, fc2: IntLinear, layer: IntMlp) -> Tensor:
    """One slice or expert: fc1, GELU table, fc2 in residual units."""
    hidden_NH = ops.gelu(ops.linear(x_ND, fc1, GELU_INDEX_BITS), layer.table, layer.slope)
    return ops.linear(hidden_NH, fc2, 16)


def dispatch(x_ND: Tensor, expert_NJ: Tensor, gate_NJ: Tensor, layer: IntMlp) -> Tensor:
    """Gated outputs of each token's experts, (N, J, D); every expert runs once over its queue."""
    order_S = expert_NJ.flatten().argsort(stable=True)
    lengths = torch.bincount(expert_NJ.flatten(), minlength=len(layer.fc1.weight_MK)).tolist()
    queues = torch.split(x_ND.index_select(0, order_S // expert_NJ.shape[1]), lengths)
    layers = zip(queues, layer.fc1.unbind(), layer.fc2.unbind(), strict=True)
    out_SD = torch.cat([expert(x_QD, fc1, fc2, layer) for x_QD, fc1, fc2 in layers if len(x_QD)])
    gated_SD = ops.gated(out_SD, gate_NJ.flatten().index_select(0, order_S))
    place_S = torch.empty_like(order_S)
    place_S[order_S] = torch.arange(len(order_S))
    return gated_SD.index_select(0, place_S).view(*expert_NJ.shape, -1)
