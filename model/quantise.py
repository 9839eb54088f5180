# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Post-training quantisation: from a float M3ViT and some images to the Pathways of all its tasks.

Norm gains and biases are folded into the layers behind them, pixel normalisation into the patch embedding, log2(e) into
routers and attention scores. docs/numbers.md says what each integer means.

Shapes: H x W pixels, N tokens, D channels, M output and K input channels.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from m3vit.model.calibrate import calibrate
from m3vit.model.config import Config, TaskName
from m3vit.model.errors import UserError
from m3vit.model.units import BlockUnits, ExpertScales, MlpUnits, NormUnits, Units, choose_units
from m3vit.model.vit import DenseBlock, M3ViT, MoEBlock
from m3vit.sim.capacity import check_fits, mlp_slices
from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import Linear
from m3vit.sim.golden.moe import Expert
from m3vit.sim.integerise import LOG2_E, OCTAVE, Floats, fold_norm, fold_pixels, quantise_linear, requant, weight_scales
from m3vit.sim.mlp_slices import cut_mlp
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer, Network, compile_network
from m3vit.sim.pathway import Pathways, Scales

NARROW_BITS = 4
"""Width of experts' weights whose scales are units of their own."""
TOP_LOGIT_OCTAVES = 4.0
"""Where the middle of the calibrated largest router logits is put: 12 octaves below one clip, 20 above the other."""


def calibrate_units(model: M3ViT, config: Config, images: Tensor, progress: bool = False) -> Units:
    """Units of a model, from calibration images.

    Args:
        model: trained, in evaluation mode.
        config: what the pathways are for.
        images: calibration images, uint8 (B, 3, H, W).
        progress: show a progress bar.

    Raises:
        UserError: the model has weights that are not finite.
    """
    check_finite(model)
    units = choose_units(calibrate(model, images, progress), config)
    return with_expert_scales(model, units) if config.quant.expert_bits == NARROW_BITS else units


def with_expert_scales(model: M3ViT, units: Units) -> Units:
    """The units with scales for experts of NARROW_BITS wide weights."""
    blocks = [
        replace(unit, mlp=replace(unit.mlp, scales=expert_scales(block, unit.mlp.norm)))
        if isinstance(block, MoEBlock)
        else unit
        for block, unit in zip(model.blocks, units.blocks, strict=True)
    ]
    return replace(units, blocks=tuple(blocks))


def expert_scales(block: MoEBlock, norm: NormUnits) -> ExpertScales:
    """Scales of all experts' weights with the least error."""
    layers = block.mlp.experts
    first = zip(layers.fc1_weight, layers.fc1_bias, strict=True)
    fc1 = [fold(norm, block.norm2, floats(weight_HD), floats(bias_H))[0] for weight_HD, bias_H in first]
    return ExpertScales(
        np.stack([weight_scales(weight_HD, NARROW_BITS) for weight_HD in fc1]),
        np.stack([weight_scales(floats(weight_DH), NARROW_BITS) for weight_DH in layers.fc2_weight]),
    )


def quantise(model: M3ViT, config: Config, units: Units) -> Pathways:
    """Quantise a model. Needs no images: the pathways are a function of weights and units.

    Args:
        model: trained.
        config: what the pathways are for; `config.hardware` decides the layout.
        units: from `calibrate_units`, or from the model's checkpoint.

    Raises:
        UserError: the model does not fit the hardware, or has weights that are not finite.
    """
    check_fits(config.model, config.hardware)
    check_finite(model)
    slices = mlp_slices(config.model, config.hardware)
    quantiser = Quantiser(model, units.residual, slices, config.quant.expert_bits)
    scales = {task: Scales(residual=units.residual, output=output) for task, output in units.outputs.items()}
    return compile_network(quantiser.network(units), config, scales)


def check_finite(model: M3ViT) -> None:
    """Check that a model's weights are numbers.

    Raises:
        UserError: they are not.
    """
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise UserError("the model has weights that are not finite numbers; train it again with a lower learning rate")


def floats(x: Tensor | None) -> Floats:
    """A parameter as float64. M3ViT's layers all have the biases that are optional in torch's types."""
    assert x is not None
    values: Floats = x.detach().double().cpu().numpy()
    return values


def fold(units: NormUnits, norm: nn.LayerNorm, weight_MD: Floats, bias_M: Floats) -> tuple[Floats, Floats]:
    """Weight and bias of a layer behind a norm, with an input scale of `units.scale`."""
    return fold_norm(weight_MD, bias_M, floats(norm.weight), floats(norm.bias), units.coarse_D)


class Quantiser:
    """Builds the integer layers of one model.

    Args:
        model: float model.
        residual: real value of one unit of the residual stream.
        slices: of each dense MLP.
        expert_bits: width of the experts' weights.
    """

    def __init__(self, model: M3ViT, residual: float, slices: int, expert_bits: int = 8) -> None:
        self._model, self._residual, self._slices, self._expert_bits = model, residual, slices, expert_bits

    def network(self, units: Units) -> Network:
        """All layers."""
        blocks = [self.block(index, block) for index, block in enumerate(units.blocks)]
        return Network(
            patch=self.patch_embed(),
            position_ND=self.position(),
            blocks=blocks,
            norm=units.norm.integers,
            heads={task: self.head(task, units.norm, output) for task, output in units.outputs.items()},
        )

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
        folded = fold(norm, self._model.norm, floats(head.weight), floats(head.bias))
        return quantise_linear(*folded, norm.scale, output)

    def block(self, index: int, units: BlockUnits) -> tuple[AttentionLayer, MlpLayer | MoeLayer]:
        """One transformer block."""
        block = self._model.blocks[index]
        assert isinstance(block, DenseBlock | MoEBlock)
        attention = self.attention(block, units)
        return attention, self.moe(block, units.mlp) if isinstance(block, MoEBlock) else self.mlp(block, units.mlp)

    def attention(self, block: DenseBlock | MoEBlock, units: BlockUnits) -> AttentionLayer:
        """Attention with its norm."""
        attn, norm, scales = block.attn, units.norm, units.attention
        qkv = fold(norm, block.norm1, floats(attn.qkv.weight), floats(attn.qkv.bias))
        return AttentionLayer(
            norm=norm.integers,
            qkv=quantise_linear(*qkv, norm.scale, np.concatenate([scales.q_D, scales.k_D, scales.v_D])),
            scales=AttentionScales(score=scales.score_shift, output=requant(scales.gain)),
            proj=quantise_linear(
                floats(attn.proj.weight) * scales.output_D, floats(attn.proj.bias), 1.0, self._residual
            ),
        )

    def _expert(
        self,
        fc1: tuple[Floats, Floats],
        fc2: tuple[Floats, Floats],
        units: MlpUnits,
        bits: int = 8,
        scales: tuple[Floats | None, Floats | None] = (None, None),
    ) -> Expert:
        hidden, (first, second) = units.hidden, scales
        return Expert(
            quantise_linear(*fc1, units.norm.scale, hidden.input_scale, scale_M=first, bits=bits),
            quantise_linear(*fc2, hidden.output_scale, self._residual, hidden.zero, scale_M=second, bits=bits),
        )

    def mlp(self, block: DenseBlock, units: MlpUnits) -> MlpLayer:
        """Dense MLP with its norm, in slices of its hidden channels; the first has the bias of fc2."""
        fc1 = fold(units.norm, block.norm2, floats(block.mlp.fc1.weight), floats(block.mlp.fc1.bias))
        whole = self._expert(fc1, (floats(block.mlp.fc2.weight), floats(block.mlp.fc2.bias)), units)
        slices = cut_mlp(whole, self._slices, units.hidden.zero)
        return MlpLayer(units.norm.integers, slices, units.hidden.table)

    def moe(self, block: MoEBlock, units: MlpUnits) -> MoeLayer:
        """Experts and the routers of all tasks with their norm."""
        routers = {task: self.router(block, task, units) for task in units.centres}
        return MoeLayer(units.norm.integers, routers, self.experts(block, units), units.hidden.table)

    def experts(self, block: MoEBlock, units: MlpUnits) -> Iterator[Expert]:
        """Experts in ascending order."""
        layers, bits = block.mlp.experts, self._expert_bits
        scales = units.scales if bits == NARROW_BITS else None
        for index in range(len(layers.fc1_weight)):
            fc1 = fold(units.norm, block.norm2, floats(layers.fc1_weight[index]), floats(layers.fc1_bias[index]))
            fc2 = floats(layers.fc2_weight[index]), floats(layers.fc2_bias[index])
            chosen = (None, None) if scales is None else (scales.fc1_EH[index], scales.fc2_ED[index])
            yield self._expert(fc1, fc2, units, bits, chosen)

    def router(self, block: MoEBlock, task: TaskName, units: MlpUnits) -> Linear:
        """Logits in octaves; a constant, which softmax ignores, centres the largest ones."""
        weight_ED, bias_E = (LOG2_E * floats(x) for x in block.mlp.router.effective(task))
        weight_ED, bias_E = fold(units.norm, block.norm2, weight_ED, bias_E)
        return quantise_linear(weight_ED, bias_E + TOP_LOGIT_OCTAVES - units.centres[task], units.norm.scale, OCTAVE)
