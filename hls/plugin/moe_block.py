# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""MoeBlock: one of our MoE layers in a model of the user's own.

The block is quantised like a whole M3ViT (model/quantise.py), with one difference: a unit of the residual stream is a
power of two, so that the int16 stream is an ap_fixed stream of hls4ml, bit for bit.

Shapes: B samples, N tokens, D channels.
"""

from math import ceil, log2

import numpy as np
import torch
from hls4ml.utils.torch import HLS4MLModule
from torch import Tensor, nn

from m3vit.hls.plugin.handlers import register_handlers
from m3vit.model.calibrate import RESIDUAL, Calibration, observed
from m3vit.model.config import HARDWARE, UNIT_BYTES, Config, HardwareConfig, ModelConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.model.moe import MoE, MultiRouter, TaskConditionedRouter
from m3vit.model.quantise import Quantiser
from m3vit.model.units import INT16_MAX, choose_mlp
from m3vit.model.vit import M3ViT, MoEBlock
from m3vit.sim.capacity import check_fits
from m3vit.sim.golden.arith import saturate
from m3vit.sim.golden.executor import Executor
from m3vit.sim.network import compile_moe
from m3vit.sim.pathway import Pathway, Scales

register_handlers()

LAYER = 1
"""Of the host model that the block takes part in."""
PATCH = 8
MAX_FRACTION = 20


class MoeBlock(HLS4MLModule):
    """y = x + moe(norm(x)) with integers, as the engine computes it.

    Args:
        layer: float MoE layer, trained.
        norm: the norm in front of it.
        samples: what the block will see, (B, N, D); they decide the scales, N and D.
        task: whose router is used.
        hardware: shape of the engine.
        headroom: factor between the largest value in the samples and the range of the stream.

    Attributes:
        pathway: the program LOAD, LAYER_NORM, MOE, STORE and its memory image.
        fraction: bits behind the point of the 16-bit stream.

    Raises:
        UserError: the layer does not fit the hardware, or the samples do not fit the layer.
    """

    def __init__(
        self,
        layer: MoE,
        norm: nn.LayerNorm,
        samples: Tensor,
        task: TaskName = "segmentation",
        hardware: HardwareConfig = HARDWARE["demo"],
        headroom: float = 1.5,
    ) -> None:
        super().__init__()
        self.pathway, self.fraction = compile_block(layer, norm, samples, task, hardware, headroom)
        self._executor = Executor(self.pathway)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D); both on the grid of 2**-fraction, the input rounded to it and saturated."""
        scaled_BND = x_BND.detach().double().cpu().numpy() * 2.0**self.fraction
        source_BND = saturate(np.floor(scaled_BND + 0.5), 16).astype(np.int16)
        result_BND = np.stack([self._executor.run(source_ND).output_NC for source_ND in source_BND])
        return torch.from_numpy((result_BND * 2.0**-self.fraction).astype(np.float32))


def compile_block(
    layer: MoE, norm: nn.LayerNorm, samples: Tensor, task: TaskName, hardware: HardwareConfig, headroom: float
) -> tuple[Pathway, int]:
    """Calibrate, quantise and lay the block out: its pathway, and the fraction bits of its stream."""
    model = host_model(layer, norm, samples, task)
    config = Config(model=model.config, hardware=hardware)
    check_fits(config.model, config.hardware)
    if not samples.isfinite().all() or (samples == samples[..., :1]).all():
        raise UserError(
            "the samples of a MoeBlock must be finite and tokens not constant; take what the block will see"
        )
    calibration = calibrate_block(model, samples, task)
    largest = calibration.largest(RESIDUAL) * headroom
    fraction = min(MAX_FRACTION, -ceil(log2(largest / INT16_MAX)))
    if fraction < 0:
        raise UserError(f"values up to {largest:.0f} do not fit a 16-bit stream; scale the samples down")
    unit = 2.0**-fraction
    block = model.blocks[LAYER]
    assert isinstance(block, MoEBlock)
    units = choose_mlp(calibration, f"blocks.{LAYER}", (task,))
    integers = Quantiser(model, unit, slices=1).moe(block, units)
    scales = {task: Scales(residual=unit, output=unit)}
    return compile_moe(integers, config, scales).task(task), fraction


def host_model(layer: MoE, norm: nn.LayerNorm, samples: Tensor, task: TaskName) -> M3ViT:
    """A model that has this layer and this norm in block LAYER, and as many tokens as a sample.

    Raises:
        UserError: samples, norm and layer do not fit each other.
    """
    experts, hidden, dim = layer.experts.fc1_weight.shape
    if samples.ndim != 3 or samples.shape[2] != dim or tuple(norm.normalized_shape) != (dim,) or samples.shape[1] < 2:
        raise UserError(
            f"a MoeBlock of {dim} channels takes samples of shape (B, N, {dim}) with N of at least 2 and a norm over "
            f"{dim} channels, not {tuple(samples.shape)} and {tuple(norm.normalized_shape)}"
        )
    if dim % UNIT_BYTES:
        raise UserError(f"a MoeBlock has a multiple of {UNIT_BYTES} channels, not {dim}")
    if (known := routed_tasks(layer)) and task not in known:
        raise UserError(f"the layer's router knows the tasks {', '.join(known)}, not '{task}'; choose one of them")
    config = ModelConfig(
        name="moe_block", image_hw=(PATCH, PATCH * (samples.shape[1] - 1)), patch=PATCH, dim=dim, layers=LAYER + 1,
        heads=dim // UNIT_BYTES, mlp_hidden=hidden, experts=experts, top_k=layer.router.top_k, expert_hidden=hidden,
        renormalise=layer.router.renormalise, tasks=(task,),
    )  # fmt: skip
    model = M3ViT(config)
    block = model.blocks[LAYER]
    assert isinstance(block, MoEBlock)
    block.norm2, block.mlp = norm, layer
    return model.eval()


def routed_tasks(layer: MoE) -> list[str]:
    """Tasks that a layer's router tells apart; none if one gate serves all."""
    match layer.router:
        case MultiRouter():
            return list(layer.router.gates)
        case TaskConditionedRouter():
            return list(layer.router.embedding)
        case _:
            return []


@torch.no_grad()
def calibrate_block(model: M3ViT, samples: Tensor, task: TaskName) -> Calibration:
    """Run the block on the samples and sample what becomes integers."""
    calibration = Calibration(observations=1)
    block = model.blocks[LAYER]
    assert isinstance(block, MoEBlock)
    with observed(model, calibration, task):
        y_BND, _ = block.mlp(block.norm2(samples), [task])
    calibration.range(RESIDUAL, samples + y_BND)
    return calibration
