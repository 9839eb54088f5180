# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random pathways of any size for benchmarks and tests; no torch, no training.

Weights are uniform int8; multipliers are chosen so that every tensor has the spread it has in a trained model. Router
logits have a deviation of about 2 octaves over tokens plus a bias per expert that makes some experts more popular.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from m3vit.model.config import TASK_CHANNELS, Config, HardwareConfig, ModelConfig
from m3vit.sim.golden.arith import quantise_multiplier
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.linear import Linear, gelu_table
from m3vit.sim.golden.moe import LOGIT_FRACTION_BITS, Expert
from m3vit.sim.golden.norm import Norm
from m3vit.sim.integerise import requant
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer, Network, compile_moe, compile_network
from m3vit.sim.pathway import Pathways, Scales

WEIGHT_STD = 254 / 12**0.5
"""Deviation of a uniform int8 weight."""
X_STD = 32.0
"""Deviation of int8 activations: the norm's output of deviation 1 is clipped at 4."""
RESIDUAL_STD = 3000.0
BRANCH_STD = 600.0
"""Deviation of what one layer adds to the residual stream."""
HIDDEN_STD = 40.0
OCTAVE = float(1 << LOGIT_FRACTION_BITS)
LOGIT_STD, POPULARITY_STD = 2.0, 0.7
"""Octaves."""
SCALES = Scales(residual=1 / RESIDUAL_STD, output=1e-3)


def even_norm(dim: int) -> Norm:
    """A norm whose channels all have the same factor."""
    return Norm(requant(X_STD), np.zeros(dim, np.uint8))


class Dice:
    """Draws layers from one generator."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def linear(
        self, out_features: int, in_features: int, input_std: float, output_std: float, bias_std: float = 0.1
    ) -> Linear:
        """A layer with uniform weights whose requantised outputs have deviation `output_std`.

        `bias_std` is the deviation of the bias relative to that of the sums.
        """
        acc_std = WEIGHT_STD * input_std * in_features**0.5
        multiplier, shift = quantise_multiplier(output_std / acc_std)
        bias_M = self._rng.normal(0, bias_std * acc_std, out_features)
        return Linear(
            self._rng.integers(-127, 128, (out_features, in_features), np.int8),
            bias_M.astype(np.int32),
            np.full(out_features, multiplier, np.uint16),
            np.full(out_features, shift, np.uint8),
        )

    def expert(self, dim: int, hidden: int) -> Expert:
        """An expert or a dense MLP whose pre-activations fill a table made by `table`."""
        fc1 = self.linear(hidden, dim, X_STD, 128.0)
        return Expert(fc1, self.linear(dim, hidden, HIDDEN_STD, BRANCH_STD))

    def table(self) -> npt.NDArray[np.int8]:
        """A GELU table for pre-activations of deviation 128 units."""
        return gelu_table(1 / 96, 4 / 127)

    def moe(self, model: ModelConfig) -> MoeLayer:
        """A MoE layer; its experts are drawn while they are laid out."""
        routers = {
            task: self.linear(model.experts, model.dim, X_STD, LOGIT_STD * OCTAVE, bias_std=POPULARITY_STD / LOGIT_STD)
            for task in model.tasks
        }
        return MoeLayer(even_norm(model.dim), routers, self._experts(model), self.table())

    def _experts(self, model: ModelConfig) -> Iterator[Expert]:
        for _ in range(model.experts):
            yield self.expert(model.dim, model.expert_hidden)

    def block(self, model: ModelConfig, index: int) -> tuple[AttentionLayer, MlpLayer | MoeLayer]:
        """One transformer block."""
        dim = model.dim
        score_std = X_STD**2 * (dim / model.heads) ** 0.5
        attention = AttentionLayer(
            norm=even_norm(dim),
            qkv=self.linear(3 * dim, dim, X_STD, X_STD),
            scales=AttentionScales(score=requant(LOGIT_STD * OCTAVE / score_std), output=requant(2.0)),
            proj=self.linear(dim, dim, X_STD, BRANCH_STD),
        )
        if model.is_moe(index):
            return attention, self.moe(model)
        return attention, MlpLayer(even_norm(dim), self.expert(dim, model.mlp_hidden), self.table())

    def tokens(self, model: ModelConfig) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]:
        """Random x_ND int8 and residual_ND int16; neighbouring tokens resemble each other, as in an image."""
        shape = (model.tokens, model.dim)
        steps_ND = self._rng.normal(size=shape)
        for token in range(1, model.tokens):
            steps_ND[token] = 0.8 * steps_ND[token - 1] + 0.6 * steps_ND[token]
        x_ND = np.clip(np.rint(X_STD * steps_ND), -128, 127).astype(np.int8)
        residual_ND = np.clip(np.rint(self._rng.normal(0, RESIDUAL_STD, shape)), -(2**15), 2**15 - 1)
        return x_ND, residual_ND.astype(np.int16)

    def position(self, model: ModelConfig) -> npt.NDArray[np.int16]:
        """Random position table."""
        return np.rint(self._rng.normal(0, BRANCH_STD, (model.tokens, model.dim))).astype(np.int16)


def random_pathways(model: ModelConfig, hardware: HardwareConfig, seed: int = 0) -> Pathways:
    """Pathways of a whole model with random weights.

    Raises:
        UserError: the model does not fit the hardware.
    """
    dice = Dice(seed)
    head_std, pixel_std = 1000.0, 64.0
    network = Network(
        patch=dice.linear(model.dim, 3 * model.patch**2, pixel_std, RESIDUAL_STD),
        position_ND=dice.position(model),
        blocks=[dice.block(model, index) for index in range(model.layers)],
        norm=even_norm(model.dim),
        heads={
            task: dice.linear(TASK_CHANNELS[task] * model.head_grid**2, model.dim, X_STD, head_std)
            for task in model.tasks
        },
    )
    return compile_network(network, Config(model=model, hardware=hardware), dict.fromkeys(model.tasks, SCALES))


def random_moe(model: ModelConfig, hardware: HardwareConfig, seed: int = 0) -> Pathways:
    """Pathways of a single MoE layer with random weights: programs of one MOE operation.

    Raises:
        UserError: the model does not fit the hardware.
    """
    config = Config(model=model, hardware=hardware)
    return compile_moe(Dice(seed).moe(model), config, dict.fromkeys(model.tasks, SCALES))


def random_tokens(model: ModelConfig, seed: int = 0) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]:
    """Inputs of a MOE operation: x_ND int8 and residual_ND int16."""
    return Dice(seed).tokens(model)
