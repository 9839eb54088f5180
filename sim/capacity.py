# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Whether a model fits the hardware: every limit of the accelerator and of the number formats in one table.

The hidden size of dense MLPs is not bounded by `max_hidden`: they run in the golden executor only. The accelerator's
capacity covers the MoE layer.
"""

from m3vit.model.config import WORD_BYTES, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.golden.arith import ACC_BITS
from m3vit.sim.golden.attention import MAX_TOKENS
from m3vit.sim.golden.moe import MAX_EXPERTS
from m3vit.sim.regmap import TASK_SLOTS

MAX_MLP_HIDDEN = (1 << (ACC_BITS - 1)) // (1 << 14)
"""Input channels whose int8 products are sure to stay inside the accumulator."""


def check_fits(model: ModelConfig, hardware: HardwareConfig) -> None:
    """Check that an accelerator can run a model.

    Raises:
        UserError: the first limit that is exceeded, with both numbers.
    """
    limits = (
        ("tokens", model.tokens, "max_tokens", hardware.max_tokens),
        ("dim", model.dim, "max_dim", hardware.max_dim),
        ("expert_hidden", model.expert_hidden, "max_hidden", hardware.max_hidden),
        ("top_k", model.top_k, "max_top_k", hardware.max_top_k),
        ("experts", model.experts, "limit of the router", MAX_EXPERTS),
        ("tokens", model.tokens, "limit of the attention accumulator", MAX_TOKENS),
        ("mlp_hidden", model.mlp_hidden, "limit of the accumulator", MAX_MLP_HIDDEN),
        ("number of tasks", len(model.tasks), "task slots", TASK_SLOTS),
    )
    for what, value, name, limit in limits:
        if value > limit:
            raise UserError(f"{model.name}: {what} {value} exceeds the {name} {limit} of hardware '{hardware.name}'")
    _check_multiples(model, hardware)


def _check_multiples(model: ModelConfig, hardware: HardwareConfig) -> None:
    for what, value in (("dim", model.dim), ("expert_hidden", model.expert_hidden)):
        for name, unit in (("word of", WORD_BYTES), ("lanes", hardware.lanes)):
            if value % unit:
                raise UserError(
                    f"{model.name}: {what} {value} is not a multiple of the {name} {unit} of hardware '{hardware.name}'"
                )
