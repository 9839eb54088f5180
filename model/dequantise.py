# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""From Pathways back to a float M3ViT: the inverse of `m3vit.model.quantise`, for models that ship as pathways.

The float model has exactly the weights that the integers stand for: quantised again with the same units, it gives the
same memory image, and what still differs between the two is the rounding of activations alone. A memory image does not
hold the norms' gains and biases, which are folded into the layers behind them: they come beside it.

Shapes: M output and K input channels, N tokens, D channels of the residual stream, E experts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from m3vit.model.errors import UserError
from m3vit.model.quantise import floats
from m3vit.model.units import BlockUnits, MlpUnits, NormUnits, Units
from m3vit.model.vit import DenseBlock, M3ViT, MoEBlock
from m3vit.sim.golden.linear import Linear
from m3vit.sim.golden.moe import Expert
from m3vit.sim.integerise import LOG2_E, OCTAVE, Floats
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer
from m3vit.sim.pathway import Pathways
from m3vit.sim.repack import unpack_network

NORMS = ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "norm.weight", "norm.bias")
"""Ends of the names of the parameters that a memory image does not hold."""


def norm_parameters(model: M3ViT) -> dict[str, Tensor]:
    """Gains and biases of all norms, by their names in the state dict."""
    return {name: tensor for name, tensor in model.state_dict().items() if name.endswith(NORMS)}


def dequantise(pathways: Pathways, units: Units, norms: Mapping[str, Tensor]) -> M3ViT:
    """The float model that the integers of pathways stand for.

    Args:
        pathways: of all tasks of a model.
        units: with which they were quantised.
        norms: as `norm_parameters` gives them.

    Raises:
        UserError: the router is task-conditioned, whose embedding cannot be told from the logits' biases, or `norms`
            are not those of the model.
    """
    config = pathways.first.config.model
    if config.router == "task_conditioned" and config.moe_layers:
        raise UserError(f"{config.name} has a task-conditioned router, which cannot be recovered from its integers")
    model = M3ViT(config)
    if norms.keys() != norm_parameters(model).keys():
        raise UserError(f"the gains and biases of norms do not fit {config.name}; unpack the model again")
    model.load_state_dict(dict(norms), strict=False)
    network = unpack_network(pathways, slices=1)
    filler = Filler(units)
    filler.embedding(model, network.patch, network.position_ND)
    for block, scales, (attention, mlp) in zip(model.blocks, units.blocks, network.blocks, strict=True):
        assert isinstance(block, DenseBlock | MoEBlock)
        filler.block(block, scales, attention, mlp)
    for task, layer in network.heads.items():
        head = model.heads[task].get_submodule("linear")
        behind_norm(head, layer, model.norm, units.norm, units.outputs[task])
    return model.eval()


def real_values(
    layer: Linear, input_scale: float, output_scale: float | Floats, zero: int = 0
) -> tuple[Floats, Floats]:
    """Weight (M, K) and bias (M) that an integer layer stands for; inverse of `quantise_linear`."""
    factor_M = layer.multiplier_M / np.exp2(layer.shift_M.astype(np.float64))
    scale_M = factor_M * output_scale / input_scale
    integer_MK = layer.weight_MK.astype(np.float64)
    bias_M = (layer.bias_M - zero * integer_MK.sum(axis=1)) * input_scale * scale_M
    return integer_MK * scale_M[:, None], bias_M


def unfold_norm(weight_MK: Floats, bias_M: Floats, norm: nn.Module, units: NormUnits) -> tuple[Floats, Floats]:
    """Weight and bias of a layer that takes the norm's output; inverse of `fold_norm`."""
    gain_K, shift_K = floats(norm.get_parameter("weight")), floats(norm.get_parameter("bias"))
    unit_K = gain_K * np.exp2(units.coarse_D.astype(np.float64))
    plain_MK = np.divide(weight_MK, unit_K, out=np.zeros_like(weight_MK), where=unit_K != 0)
    return plain_MK, bias_M - single(plain_MK) @ shift_K


def single(x: Floats) -> Floats:
    """Rounded to float32, as a parameter holds it."""
    return x.astype(np.float32).astype(np.float64)


@torch.no_grad()
def put(parameter: Tensor, values: Floats) -> None:
    """Set a parameter."""
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).reshape(parameter.shape))


def fill(module: nn.Module, weight_MK: Floats, bias_M: Floats) -> None:
    """Set weight and bias of a layer."""
    put(module.get_parameter("weight"), weight_MK)
    put(module.get_parameter("bias"), bias_M)


def behind_norm(
    module: nn.Module, layer: Linear, norm: nn.Module, units: NormUnits, output_scale: float | Floats
) -> None:
    """Set a layer that takes a norm's output."""
    fill(module, *unfold_norm(*real_values(layer, units.scale, output_scale), norm, units))


class Filler:
    """Sets the parameters of a float model from integer layers.

    Args:
        units: of the integers.
    """

    def __init__(self, units: Units) -> None:
        self._residual = units.residual

    def embedding(self, model: M3ViT, patch: Linear, position_ND: npt.NDArray[np.int16]) -> None:
        """Patch embedding and positions; the class token becomes a part of its position."""
        weight_MK, bias_M = real_values(patch, 1.0, self._residual)
        weight_MK = weight_MK * 127.5
        projection = model.patch_embed.proj
        rows, columns = projection.weight.shape[2:]
        cube = weight_MK.reshape(-1, rows, columns, 3).transpose(0, 3, 1, 2)
        fill(projection, cube, bias_M - single(weight_MK).sum(axis=1) * (128 / 127.5 - 1))
        put(model.pos_embed, position_ND.astype(np.float64) * self._residual)
        put(model.cls_token, np.zeros(model.cls_token.shape))

    def block(
        self, block: DenseBlock | MoEBlock, units: BlockUnits, attention: AttentionLayer, mlp: MlpLayer | MoeLayer
    ) -> None:
        """One transformer block."""
        scales = units.attention
        outputs = np.concatenate([scales.q_D, scales.k_D, scales.v_D])
        behind_norm(block.attn.qkv, attention.qkv, block.norm1, units.norm, outputs)
        weight_MK, bias_M = real_values(attention.proj, 1.0, self._residual)
        fill(block.attn.proj, weight_MK / scales.output_D, bias_M)
        if isinstance(block, MoEBlock):
            assert isinstance(mlp, MoeLayer)
            self.moe(block, units.mlp, mlp)
        else:
            assert isinstance(mlp, MlpLayer)
            (fc1_HD, bias_H), (fc2_DH, bias_D) = self.expert(block, units.mlp, one(mlp.slices))
            fill(block.mlp.fc1, fc1_HD, bias_H)
            fill(block.mlp.fc2, fc2_DH, bias_D)

    def expert(
        self, block: DenseBlock | MoEBlock, units: MlpUnits, expert: Expert
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Weights and biases of fc1 and fc2."""
        hidden = units.hidden
        fc1 = real_values(expert.fc1, units.norm.scale, hidden.input_scale)
        fc2 = real_values(expert.fc2, hidden.output_scale, self._residual, hidden.zero)
        return unfold_norm(*fc1, block.norm2, units.norm), fc2

    def moe(self, block: MoEBlock, units: MlpUnits, layer: MoeLayer) -> None:
        """Experts, and the gate of each task; a single gate is the same for all."""
        experts = block.mlp.experts
        for index, expert in enumerate(layer.experts):
            (fc1_HD, bias_H), (fc2_DH, bias_D) = self.expert(block, units, expert)
            for parameter, values in (
                (experts.fc1_weight, fc1_HD), (experts.fc1_bias, bias_H),
                (experts.fc2_weight, fc2_DH), (experts.fc2_bias, bias_D),
            ):  # fmt: skip
                put(parameter[index], values)
        for task, router in layer.routers.items():
            weight_ED, _ = real_values(router, units.norm.scale, OCTAVE)
            weight_ED, _ = unfold_norm(weight_ED / LOG2_E, np.zeros(len(weight_ED)), block.norm2, units.norm)
            put(block.mlp.router.effective(task)[0], weight_ED)


def one(slices: Sequence[Expert]) -> Expert:
    """The only slice of an MLP."""
    (whole,) = slices
    return whole
