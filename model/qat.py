# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Quantisation-aware training: the exporter's integers in the forward pass, the float model's weights behind them.

Every forward pass quantises the weights as `m3vit export` does (the same code) and runs the integer model on them, so
what is trained is what the accelerator computes, bit for bit. Gradients are straight-through estimates (Bengio et al.,
arXiv 1308.3432; Jacob et al., arXiv 1712.05877, section 3): an integer weight passes its gradient to the float weight,
divided by its scale. The units stay as calibrated.

Shapes: B images, N tokens, D channels, H hidden channels, M outputs, K inputs, E experts or slices.
"""

from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m3vit.model.config import Config, TaskName
from m3vit.model.integer_model import IntBlock, IntegerModel, IntMlp, IntNetwork
from m3vit.model.integer_ops import IntLinear, straight_through
from m3vit.model.quantise import TOP_LOGIT_OCTAVES, Quantiser
from m3vit.model.units import BlockUnits, MlpUnits, NormUnits, Units
from m3vit.model.vit import DenseBlock, M3ViT, MoEBlock
from m3vit.sim.capacity import mlp_slices
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.integerise import LOG2_E, OCTAVE, Hidden


@dataclass(frozen=True)
class Soft:
    """What an integer layer approximates, with gradients: a float layer and the units around it.

    Attributes:
        weight_MK: float weights, everything folded in.
        bias_M: float biases.
        input_scale: real value of one unit of the input.
        output_scale: real value of one unit of the output, one for all or one per channel.
        zero: as in `m3vit.sim.integerise.quantise_linear`.
    """

    weight_MK: Tensor
    bias_M: Tensor
    input_scale: float
    output_scale: float | Tensor
    zero: int = 0

    def behind(self, hard: IntLinear) -> IntLinear:
        """The integers of `hard` with the gradients of this layer."""
        scale_M = hard.factor_M * self.output_scale / self.input_scale
        inverse_M = torch.where(scale_M > 0, 1 / scale_M, 0.0)
        weight_MK = straight_through(self.weight_MK * inverse_M[..., None].float(), hard.weight_MK)
        bias_M = self.bias_M.double() * inverse_M / self.input_scale
        if self.zero:
            bias_M = bias_M + self.zero * weight_MK.sum(-1).double()
        return IntLinear(weight_MK, straight_through(bias_M, hard.bias_M), hard.factor_M)


def given(bias: Tensor | None) -> Tensor:
    """A bias that is optional in torch's types and always there in M3ViT."""
    assert bias is not None
    return bias


def fold(units: NormUnits, norm: nn.LayerNorm, weight_MD: Tensor, bias_M: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer (or a stack of layers) behind a norm, as `quantise.fold` computes them."""
    coarse_D = torch.from_numpy(2.0 ** units.coarse_D.astype(np.float32))
    return weight_MD * (norm.weight * coarse_D), bias_M + weight_MD @ norm.bias


class QatModel:
    """The integer model whose weights are a float model's parameters.

    Args:
        model: trained by an optimiser.
        config: what the pathways are for; hardware and `quant.expert_bits` shape the integers.
        units: of the integers.
    """

    def __init__(self, model: M3ViT, config: Config, units: Units) -> None:
        self.model, self.config, self.units = model, config, units
        slices = mlp_slices(config.model, config.hardware)
        self._quantiser = Quantiser(model, units.residual, slices, config.quant.expert_bits)

    def __call__(self, images: Tensor) -> dict[TaskName, Tensor]:
        """Predictions of all tasks, (B, C, H, W) as `M3ViT.forward` gives them, from uint8 images (B, 3, H, W)."""
        integers = IntegerModel(self.network(), self.config.model)
        return integers.maps(integers(images), self.units.outputs)

    def network(self) -> IntNetwork:
        """The integers that the weights are quantised to, now, with gradients to the weights."""
        hard = IntNetwork.of(self._quantiser.network(self.units))
        model, units = self.model, self.units
        position_ND = model.pos_embed[0] + functional.pad(model.cls_token[0], (0, 0, 0, model.config.tokens - 1))
        return IntNetwork(
            patch=self._patch().behind(hard.patch),
            position_ND=straight_through(position_ND / units.residual, hard.position_ND),
            blocks=[self._block(index, block) for index, block in enumerate(hard.blocks)],
            norm=hard.norm,
            heads={task: self._head(task).behind(head) for task, head in hard.heads.items()},
        )

    def _patch(self) -> Soft:
        proj = self.model.patch_embed.proj
        weight_MK = proj.weight.permute(0, 2, 3, 1).flatten(1) / 127.5
        return Soft(weight_MK, given(proj.bias) + 0.5 * weight_MK.sum(1), 1.0, self.units.residual)

    def _head(self, task: TaskName) -> Soft:
        head, norm = self.model.heads[task].get_submodule("linear"), self.units.norm
        assert isinstance(head, nn.Linear)
        return Soft(*fold(norm, self.model.norm, head.weight, head.bias), norm.scale, self.units.outputs[task])

    def _block(self, index: int, hard: IntBlock) -> IntBlock:
        block, units = self.model.blocks[index], self.units.blocks[index]
        assert isinstance(block, DenseBlock | MoEBlock)
        qkv, proj = self._attention(block, units)
        mlp = (
            self._moe(block, hard.mlp, units.mlp)
            if isinstance(block, MoEBlock)
            else self._mlp(block, hard.mlp, units.mlp)
        )
        return replace(hard, qkv=qkv.behind(hard.qkv), proj=proj.behind(hard.proj), mlp=mlp)

    def _attention(self, block: DenseBlock | MoEBlock, units: BlockUnits) -> tuple[Soft, Soft]:
        attn, scales = block.attn, units.attention
        qkv_M = torch.from_numpy(np.concatenate([scales.q_D, scales.k_D, scales.v_D]))
        qkv = Soft(*fold(units.norm, block.norm1, attn.qkv.weight, attn.qkv.bias), units.norm.scale, qkv_M)
        weight_MD = attn.proj.weight * torch.from_numpy(scales.output_D).float()
        return qkv, Soft(weight_MD, attn.proj.bias, 1.0, self.units.residual)

    def _mlp(self, block: DenseBlock, hard: IntMlp, units: MlpUnits) -> IntMlp:
        """Slices: rows of fc1, columns of fc2, the bias of fc2 in the first."""
        slices = len(hard.fc1.weight_MK)
        weight_HD, bias_H = fold(units.norm, block.norm2, block.mlp.fc1.weight, given(block.mlp.fc1.bias))
        fc1 = weight_HD.reshape(slices, -1, weight_HD.shape[1]), bias_H.reshape(slices, -1)
        bias_ED = functional.pad(given(block.mlp.fc2.bias)[None], (0, 0, 0, slices - 1))
        weight_DH = block.mlp.fc2.weight
        fc2 = weight_DH.reshape(len(weight_DH), slices, -1).transpose(0, 1), bias_ED
        return self._two_layers(fc1, fc2, hard, units)

    def _moe(self, block: MoEBlock, hard: IntMlp, units: MlpUnits) -> IntMlp:
        experts = block.mlp.experts
        fc1 = fold(units.norm, block.norm2, experts.fc1_weight, experts.fc1_bias)
        layer = self._two_layers(fc1, (experts.fc2_weight, experts.fc2_bias), hard, units)
        routers = {task: self._router(block, task, units).behind(router) for task, router in hard.routers.items()}
        return replace(layer, routers=routers)

    def _two_layers(
        self, fc1: tuple[Tensor, Tensor], fc2: tuple[Tensor, Tensor], hard: IntMlp, units: MlpUnits
    ) -> IntMlp:
        hidden = units.hidden
        return replace(
            hard,
            fc1=Soft(*fc1, units.norm.scale, hidden.input_scale).behind(hard.fc1),
            fc2=Soft(*fc2, hidden.output_scale, self.units.residual, hidden.zero).behind(hard.fc2),
            slope=gelu_slope(hidden),
        )

    def _router(self, block: MoEBlock, task: TaskName, units: MlpUnits) -> Soft:
        weight_ED, bias_E = (LOG2_E * x for x in block.mlp.router.effective(task))
        weight_ED, bias_E = fold(units.norm, block.norm2, weight_ED, bias_E)
        return Soft(weight_ED, bias_E + (TOP_LOGIT_OCTAVES - units.centres[task]), units.norm.scale, OCTAVE)


def gelu_slope(hidden: Hidden) -> Tensor:
    """Derivative of each entry of a GELU table by its index; zero where the table is saturated. (1024)."""
    half = 1 << (GELU_INDEX_BITS - 1)
    x = torch.arange(-half, half, dtype=torch.float64) * hidden.input_scale
    slope = torch.special.ndtr(x) + x * torch.exp(-x.square() / 2) / sqrt(2 * pi)
    inside = (functional.gelu(x) / hidden.output_scale - hidden.zero).abs() < 128
    entries: Tensor = slope * inside * hidden.input_scale / hidden.output_scale
    return entries.float()
