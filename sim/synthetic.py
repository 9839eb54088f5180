# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random pathways of any size for benchmarks and tests; no torch, no training.

Weights are normal, and multipliers are chosen so that every tensor has the spread it has in a trained model, as if a
weight's deviation were 1 / sqrt(inputs). Router logits have a deviation of about 2 octaves over tokens plus a bias per
expert that makes some experts more popular; a quarter of the experts, others for each task, are so unpopular that
they get no tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m3vit.model.config import Config, HardwareConfig, ModelConfig, QuantConfig
from m3vit.sim.capacity import check_fits, mlp_slices
from m3vit.sim.golden.arith import quantise_multiplier
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import Linear, gelu_table
from m3vit.sim.golden.moe import LOGIT_FRACTION_BITS, Expert
from m3vit.sim.golden.norm import Norm
from m3vit.sim.integerise import requant
from m3vit.sim.network import INT8, AttentionLayer, MlpLayer, MoeLayer, Network, compile_moe, compile_network
from m3vit.sim.pathway import Pathways, Scales

WEIGHT_STD = 36.0
"""Deviation of an int8 weight: the largest of a channel lies near 127."""
COARSE = 18
"""int8 units in a unit of a 4-bit weight: 127 / 18 is just above 7."""
X_STD = 32.0
"""Deviation of int8 activations: the norm's output of deviation 1 is clipped at 4."""
RESIDUAL_STD = 3000.0
BRANCH_STD = 600.0
"""Deviation of what one layer adds to the residual stream."""
HIDDEN_STD = 40.0
PIXEL_STD, HEAD_STD = 64.0, 1000.0
OCTAVE = float(1 << LOGIT_FRACTION_BITS)
LOGIT_STD, POPULARITY_STD = 2.0, 0.7
"""Octaves."""
UNPOPULAR_SHARE, UNPOPULAR_OCTAVES = 0.25, 16.0
"""Share of the experts that get no tokens, and how far their logits lie below the others."""
SCALES = Scales(residual=1 / RESIDUAL_STD, output=1e-3)


@dataclass(frozen=True)
class Routers:
    """How uneven random routers are.

    Attributes:
        popularity: deviation of an expert's logits from the others', in octaves.
        unpopular: share of the experts that get no tokens.
    """

    popularity: float = POPULARITY_STD
    unpopular: float = UNPOPULAR_SHARE


UNEVEN = Routers()


class Dice:
    """Draws layers from one generator."""

    def __init__(self, seed: int, routers: Routers = UNEVEN, expert_bits: int = 8) -> None:
        self._rng, self._routers, self._expert_bits = np.random.default_rng(seed), routers, expert_bits

    def norm(self, dim: int) -> Norm:
        """A norm with a factor of X_STD; one channel in sixteen is coarser."""
        coarse_D = np.where(self._rng.random(dim) < 1 / 16, self._rng.integers(1, 4, dim), 0)
        return Norm(requant(X_STD), coarse_D.astype(np.uint8))

    def linear(
        self, out_features: int, in_features: int, input_std: float, output_std: float, bias_std: float = 0.1
    ) -> Linear:
        """A layer with normal weights whose requantised outputs have deviation `output_std`.

        `bias_std` is the deviation of the bias relative to that of the sums.
        """
        acc_std = WEIGHT_STD * input_std * in_features**0.5
        multiplier, shift = quantise_multiplier(output_std / acc_std)
        bias_M = self._rng.normal(0, bias_std * acc_std, out_features)
        weight_MK = WEIGHT_STD * self._rng.standard_normal((out_features, in_features), np.float32)
        return Linear(
            np.clip(np.rint(weight_MK), -127, 127).astype(np.int8),
            bias_M.astype(np.int32),
            np.full(out_features, multiplier, np.uint16),
            np.full(out_features, shift, np.uint8),
        )

    def expert(self, dim: int, hidden: int) -> Expert:
        """An expert or a slice of a dense MLP whose pre-activations fill a table made by `table`."""
        fc1 = self.linear(hidden, dim, X_STD, 128.0)
        return Expert(fc1, self.linear(dim, hidden, HIDDEN_STD, BRANCH_STD))

    def table(self) -> npt.NDArray[np.int8]:
        """A GELU table for pre-activations of deviation 128 units."""
        return gelu_table(1 / 96, 4 / 127)

    def router(self, model: ModelConfig) -> Linear:
        """A router whose experts are unequally popular; top_k of them get tokens at least."""
        bias_std = self._routers.popularity / LOGIT_STD
        layer = self.linear(model.experts, model.dim, X_STD, LOGIT_STD * OCTAVE, bias_std=bias_std)
        count = min(int(self._routers.unpopular * model.experts), model.experts - model.top_k)
        unpopular = self._rng.permutation(model.experts)[:count]
        unit = layer.multiplier_M[0] / 2.0 ** int(layer.shift_M[0]) / OCTAVE
        layer.bias_M[unpopular] -= round(UNPOPULAR_OCTAVES / unit)
        return layer

    def moe(self, model: ModelConfig) -> MoeLayer:
        """A MoE layer; its experts are drawn while they are laid out."""
        routers = {task: self.router(model) for task in model.tasks}
        return MoeLayer(self.norm(model.dim), routers, self._experts(model), self.table())

    def _experts(self, model: ModelConfig) -> Iterator[Expert]:
        for _ in range(model.experts):
            expert = self.expert(model.dim, model.expert_hidden)
            yield expert if self._expert_bits == 8 else Expert(coarse(expert.fc1), coarse(expert.fc2))

    def block(self, model: ModelConfig, index: int, slices: int) -> tuple[AttentionLayer, MlpLayer | MoeLayer]:
        """One transformer block; a dense MLP has that many slices."""
        dim = model.dim
        score_std = X_STD**2 * (dim / model.heads) ** 0.5
        attention = AttentionLayer(
            norm=self.norm(dim),
            qkv=self.linear(3 * dim, dim, X_STD, X_STD),
            scales=AttentionScales(score=round(np.log2(score_std / (LOGIT_STD * OCTAVE))), output=requant(2.0)),
            proj=self.linear(dim, dim, X_STD, BRANCH_STD),
        )
        if model.is_moe(index):
            return attention, self.moe(model)
        parts = [self.expert(dim, model.mlp_hidden // slices) for _ in range(slices)]
        return attention, MlpLayer(self.norm(dim), parts, self.table())

    def residual(self, model: ModelConfig) -> npt.NDArray[np.int16]:
        """Random residual_ND int16; neighbouring tokens resemble each other, as in an image."""
        steps_ND = self._rng.normal(size=(model.tokens, model.dim))
        for token in range(1, model.tokens):
            steps_ND[token] = 0.8 * steps_ND[token - 1] + 0.6 * steps_ND[token]
        return np.clip(np.rint(RESIDUAL_STD * steps_ND), -(2**15), 2**15 - 1).astype(np.int16)

    def image(self, model: ModelConfig) -> npt.NDArray[np.uint8]:
        """Random image_HW3 uint8: a colour gradient with noise."""
        height, width = model.image_hw
        slope = np.linspace(-1, 1, height)[:, None, None] * self._rng.normal(0, 60, 3)
        slope = slope + np.linspace(-1, 1, width)[None, :, None] * self._rng.normal(0, 60, 3)
        noise = self._rng.normal(0, 30, (height, width, 3))
        return np.clip(np.rint(128 + slope + noise), 0, 255).astype(np.uint8)

    def position(self, model: ModelConfig) -> npt.NDArray[np.int16]:
        """Random position table."""
        return np.rint(self._rng.normal(0, BRANCH_STD, (model.tokens, model.dim))).astype(np.int16)


def coarse(layer: Linear) -> Linear:
    """The same layer with 4-bit weights in units of 18: the largest stay within -7..7; sums mean what they meant."""
    weight_MK = np.rint(layer.weight_MK / COARSE).astype(np.int8)
    bias_M = np.rint(layer.bias_M / COARSE).astype(np.int32)
    multiplier, shift = quantise_multiplier(COARSE * float(layer.multiplier_M[0]) / 2.0 ** float(layer.shift_M[0]))
    count = len(bias_M)
    return Linear(weight_MK, bias_M, np.full(count, multiplier, np.uint16), np.full(count, shift, np.uint8))


def random_pathways(
    model: ModelConfig,
    hardware: HardwareConfig,
    seed: int = 0,
    routers: Routers = UNEVEN,
    quant: QuantConfig = INT8,
) -> Pathways:
    """Pathways of a whole model with random weights; `quant` gives the width of the experts'.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(model, hardware)
    dice, slices = Dice(seed, routers, quant.expert_bits), mlp_slices(model, hardware)
    network = Network(
        patch=dice.linear(model.dim, 3 * model.patch**2, PIXEL_STD, RESIDUAL_STD),
        position_ND=dice.position(model),
        blocks=[dice.block(model, index, slices) for index in range(model.layers)],
        norm=dice.norm(model.dim),
        heads={
            task: dice.linear(model.channels(task) * model.head_grid**2, model.dim, X_STD, HEAD_STD)
            for task in model.tasks
        },
    )
    config = Config(model=model, hardware=hardware, quant=quant)
    return compile_network(network, config, dict.fromkeys(model.tasks, SCALES))


def random_moe(
    model: ModelConfig,
    hardware: HardwareConfig,
    seed: int = 0,
    routers: Routers = UNEVEN,
    quant: QuantConfig = INT8,
) -> Pathways:
    """Pathways of a single MoE layer with random weights: LOAD, LAYER_NORM, MOE, STORE; `quant` as above.

    Raises:
        UserError: the model does not fit the hardware.
    """
    check_fits(model, hardware)
    config = Config(model=model, hardware=hardware, quant=quant)
    dice = Dice(seed, routers, quant.expert_bits)
    return compile_moe(dice.moe(model), config, dict.fromkeys(model.tasks, SCALES))


def random_image(model: ModelConfig, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Input of a whole model's programs: uint8 (H, W, 3)."""
    return Dice(seed).image(model)


def random_residual(model: ModelConfig, seed: int = 0) -> npt.NDArray[np.int16]:
    """Input of a MoE layer's programs: int16 (N, D)."""
    return Dice(seed).residual(model)
