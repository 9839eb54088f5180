# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Post-training quantisation: from a float M3ViT and some images to the Pathways of all its tasks.

Norm gains and biases are folded into the layers behind them, pixel normalisation into the patch embedding, log2(e) into
routers and attention scores. docs/numbers.md says what each integer means.

Shapes: H x W pixels, N tokens, D channels, M output and K input channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from m3vit.model.calibrate import RESIDUAL, Calibration, calibrate
from m3vit.model.config import Config, TaskName
from m3vit.model.errors import UserError
from m3vit.model.vit import DenseBlock, M3ViT, MoEBlock
from m3vit.sim.capacity import check_fits, mlp_slices
from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import Linear
from m3vit.sim.golden.moe import Expert
from m3vit.sim.golden.norm import Norm
from m3vit.sim.integerise import (
    LOG2_E,
    OCTAVE,
    Floats,
    Hidden,
    attention_units,
    fold_norm,
    fold_pixels,
    hidden_activation,
    norm_factors,
    quantise_linear,
    requant,
)
from m3vit.sim.mlp_slices import cut_mlp
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer, Network, compile_network
from m3vit.sim.pathway import Pathways, Scales

INT16_MAX = 2**15 - 1
HIDDEN_SAMPLE = 1 << 17
OUTPUT_HEADROOM = 2.0
TOP_LOGIT_OCTAVES = 4.0
"""Where the middle of the calibrated largest router logits is put: 12 octaves below one clip, 20 above the other."""


def quantise(model: M3ViT, config: Config, images: Tensor, progress: bool = False) -> Pathways:
    """Quantise a model.

    Args:
        model: trained, in evaluation mode.
        config: what the pathways are for; `config.hardware` decides the layout.
        images: calibration images, uint8 (B, 3, H, W).
        progress: show a progress bar.

    Raises:
        UserError: the model does not fit the hardware, or has weights that are not finite.
    """
    check_fits(config.model, config.hardware)
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise UserError("the model has weights that are not finite numbers; train it again with a lower learning rate")
    calibration = calibrate(model, images, progress)
    residual = (calibration.largest(RESIDUAL) or 1.0) * config.quant.residual_headroom / INT16_MAX
    slices = mlp_slices(config.model, config.hardware)
    quantiser = Quantiser(model, calibration, residual, slices, config.quant.expert_bits)
    outputs = {task: calibration.largest(f"head.{task}") * OUTPUT_HEADROOM / INT16_MAX for task in config.model.tasks}
    scales = {task: Scales(residual=residual, output=output or 1.0) for task, output in outputs.items()}
    return compile_network(quantiser.network(scales), config, scales)


def floats(x: Tensor | None) -> Floats:
    """A parameter as float64. M3ViT's layers all have the biases that are optional in torch's types."""
    assert x is not None
    values: Floats = x.detach().double().cpu().numpy()
    return values


@dataclass(frozen=True)
class NormUnits:
    """Real value of one unit of a norm's output: scale * 2**coarse_D[d] in channel d."""

    scale: float
    coarse_D: npt.NDArray[np.uint8]

    @property
    def integers(self) -> Norm:
        """What the norm itself computes with."""
        return Norm(requant(1 / self.scale), self.coarse_D)

    def fold(self, norm: nn.LayerNorm, weight_MD: Floats, bias_M: Floats) -> tuple[Floats, Floats]:
        """Weight and bias of a layer behind the norm, with an input scale of `scale`."""
        return fold_norm(weight_MD, bias_M, floats(norm.weight), floats(norm.bias), self.coarse_D)


class Quantiser:
    """Builds the integer layers of one model.

    Args:
        model: float model.
        calibration: its samples.
        residual: real value of one unit of the residual stream.
        slices: of each dense MLP.
        expert_bits: width of the experts' weights, 4 or 8.
    """

    def __init__(
        self, model: M3ViT, calibration: Calibration, residual: float, slices: int, expert_bits: int = 8
    ) -> None:
        self._model, self._calibration, self._residual, self._slices = model, calibration, residual, slices
        self._expert_bits = expert_bits

    def network(self, scales: dict[TaskName, Scales]) -> Network:
        """All layers; `scales` gives each head's output."""
        norm = self.norm("norm")
        return Network(
            patch=self.patch_embed(),
            position_ND=self.position(),
            blocks=[self.block(index) for index in range(len(self._model.blocks))],
            norm=norm.integers,
            heads={task: self.head(task, norm, scale.output) for task, scale in scales.items()},
        )

    def norm(self, name: str) -> NormUnits:
        """Units of a norm's output."""
        return NormUnits(*norm_factors(self._calibration.values(name)))

    def patch_embed(self) -> Linear:
        """Projection of pixel - 128 in the order pixel row, pixel column, colour."""
        weight_D3HW = floats(self._model.patch_embed.proj.weight)
        weight_MK = weight_D3HW.transpose(0, 2, 3, 1).reshape(len(weight_D3HW), -1)
        bias_M = floats(self._model.patch_embed.proj.bias)
        return quantise_linear(*fold_pixels(weight_MK, bias_M), 1.0, self._residual)

    def position(self) -> npt.NDArray[np.int16]:
        """Position embedding in units of the residual stream, the class token added to row 0."""
        position_ND = floats(self._model.pos_embed)[0]
        position_ND[0] += floats(self._model.cls_token)[0, 0]
        return saturate(np.floor(position_ND / self._residual + 0.5), 16).astype(np.int16)

    def head(self, task: TaskName, norm: NormUnits, output: float) -> Linear:
        """A task's head behind the final norm."""
        head = self._model.heads[task].get_submodule("linear")
        assert isinstance(head, nn.Linear)
        folded = norm.fold(self._model.norm, floats(head.weight), floats(head.bias))
        return quantise_linear(*folded, norm.scale, output)

    def block(self, index: int) -> tuple[AttentionLayer, MlpLayer | MoeLayer]:
        """One transformer block."""
        block, name = self._model.blocks[index], f"blocks.{index}"
        assert isinstance(block, DenseBlock | MoEBlock)
        attention = self.attention(block, name)
        return attention, self.moe(block, name) if isinstance(block, MoEBlock) else self.mlp(block, name)

    def attention(self, block: DenseBlock | MoEBlock, name: str) -> AttentionLayer:
        """Attention with its norm."""
        attn, norm = block.attn, self.norm(f"{name}.norm1")
        q_SD, k_SD, v_SD, output_SD = (
            self._calibration.values(f"{name}.{part}") for part in ("q", "k", "v", "attention")
        )
        units = attention_units(q_SD, k_SD, v_SD, output_SD, attn.head_dim)
        qkv = norm.fold(block.norm1, floats(attn.qkv.weight), floats(attn.qkv.bias))
        return AttentionLayer(
            norm=norm.integers,
            qkv=quantise_linear(*qkv, norm.scale, np.concatenate([units.q_D, units.k_D, units.v_D])),
            scales=AttentionScales(score=units.score_shift, output=requant(units.gain)),
            proj=quantise_linear(
                floats(attn.proj.weight) * units.output_D, floats(attn.proj.bias), 1.0, self._residual
            ),
        )

    def _hidden(self, name: str) -> Hidden:
        pre_S = self._calibration.values(f"{name}.hidden").ravel()
        pre_S = pre_S[:: pre_S.size // HIDDEN_SAMPLE | 1]  # an odd step meets all channels
        return hidden_activation(pre_S, functional.gelu(torch.from_numpy(pre_S)).numpy())

    def _expert(
        self, fc1: tuple[Floats, Floats], fc2: tuple[Floats, Floats], norm: NormUnits, hidden: Hidden, bits: int = 8
    ) -> Expert:
        return Expert(
            quantise_linear(*fc1, norm.scale, hidden.input_scale, bits=bits),
            quantise_linear(*fc2, hidden.output_scale, self._residual, hidden.zero, bits),
        )

    def mlp(self, block: DenseBlock, name: str) -> MlpLayer:
        """Dense MLP with its norm, in slices of its hidden channels; the first has the bias of fc2."""
        norm, hidden = self.norm(f"{name}.norm2"), self._hidden(name)
        weight_HD, bias_H = norm.fold(block.norm2, floats(block.mlp.fc1.weight), floats(block.mlp.fc1.bias))
        weight_DH, bias_D = floats(block.mlp.fc2.weight), floats(block.mlp.fc2.bias)
        whole = self._expert((weight_HD, bias_H), (weight_DH, bias_D), norm, hidden)
        slices = cut_mlp(whole, self._slices, hidden.zero)
        return MlpLayer(norm.integers, slices, hidden.table)

    def moe(self, block: MoEBlock, name: str) -> MoeLayer:
        """Experts and the routers of all tasks with their norm."""
        norm, hidden = self.norm(f"{name}.norm2"), self._hidden(name)
        routers = {task: self.router(block, name, task, norm) for task in self._model.config.tasks}
        return MoeLayer(norm.integers, routers, self.experts(block, norm, hidden), hidden.table)

    def experts(self, block: MoEBlock, norm: NormUnits, hidden: Hidden) -> Iterator[Expert]:
        """Experts in ascending order."""
        layers = block.mlp.experts
        for index in range(len(layers.fc1_weight)):
            fc1 = norm.fold(block.norm2, floats(layers.fc1_weight[index]), floats(layers.fc1_bias[index]))
            fc2 = floats(layers.fc2_weight[index]), floats(layers.fc2_bias[index])
            yield self._expert(fc1, fc2, norm, hidden, self._expert_bits)

    def router(self, block: MoEBlock, name: str, task: TaskName, norm: NormUnits) -> Linear:
        """Logits in octaves; a constant, which softmax ignores, centres the largest ones."""
        weight_ED, bias_E = (LOG2_E * floats(x) for x in block.mlp.router.effective(task))
        weight_ED, bias_E = norm.fold(block.norm2, weight_ED, bias_E)
        seen = self._calibration.top_logits[name, task]
        centre = LOG2_E * (min(seen) + max(seen)) / 2
        return quantise_linear(weight_ED, bias_E + TOP_LOGIT_OCTAVES - centre, norm.scale, OCTAVE)
