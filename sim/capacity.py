# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Whether a model fits the hardware: every limit of the accelerator and of the number formats, in the model's words.

`program_check` holds the same limits for operations; this comes first, before anything is calibrated or laid out.
"""

from m3vit.model.config import UNIT_BYTES, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.golden.attention import MAX_TOKENS
from m3vit.sim.golden.moe import MAX_EXPERTS
from m3vit.sim.layout import ceil_div
from m3vit.sim.program import MAX_OPS
from m3vit.sim.program_check import (
    MAX_HEAD_TILES,
    MAX_PATCH,
    PATCH_STEP,
    expert_words,
    key_words,
    query_words,
)
from m3vit.sim.regmap import TASK_SLOTS

OPS_PER_LAYER, OTHER_OPS = 6, 4
"""LAYER_NORM, LINEAR, ATTENTION, LINEAR_RESIDUAL, LAYER_NORM, MLP or MOE; PATCH_EMBED, LAYER_NORM, HEAD, STORE."""


def check_fits(model: ModelConfig, hardware: HardwareConfig) -> None:
    """Check that an accelerator can run a model.

    Raises:
        UserError: the first limit that is exceeded, with both numbers.
    """
    channels = model.dim // model.heads
    outputs = max(model.channels(task) for task in model.tasks) * model.head_grid**2
    operations = OPS_PER_LAYER * model.layers + OTHER_OPS
    words = ceil_div(3 * model.patch**2, hardware.inputs)
    queries = query_words(model.heads, channels, hardware)
    limits = (
        ("tokens", model.tokens, "max_tokens", hardware.max_tokens),
        ("dim", model.dim, "max_dim", hardware.max_dim),
        ("expert_hidden", model.expert_hidden, "max_hidden", hardware.max_hidden),
        ("top_k", model.top_k, "max_top_k", hardware.max_top_k),
        ("experts", model.experts, "limit of the router", MAX_EXPERTS),
        ("tokens", model.tokens, "limit of the attention accumulator", MAX_TOKENS),
        ("channels per head", channels, "inputs", hardware.inputs),
        ("channels per head", channels, "limit of the linear engine", MAX_HEAD_TILES * hardware.lanes),
        ("query words per token", queries, "hidden buffer's", ceil_div(hardware.max_hidden, hardware.inputs)),
        ("words per patch", words, "key-value buffer's", key_words(hardware)),
        ("patch", model.patch, "limit of the patch unit", MAX_PATCH),
        ("number of head outputs", outputs, "max_dim", hardware.max_dim),
        ("number of operations", operations, "limit of a program", MAX_OPS),
        ("number of tasks", len(model.tasks), "task slots", TASK_SLOTS),
    )
    for what, value, name, limit in limits:
        if value > limit:
            raise UserError(f"{model.name}: {what} {value} exceeds the {name} {limit} of hardware '{hardware.name}'")
    _check_multiples(model, hardware)
    hidden = max(model.expert_hidden, model.mlp_hidden // mlp_slices(model, hardware))
    if (words := expert_words(model.dim, hidden, hardware)) > hardware.stream_words:
        raise UserError(
            f"{model.name}: an expert or MLP slice of {words} words exceeds the stream_words {hardware.stream_words} "
            f"of hardware '{hardware.name}'"
        )


def _check_multiples(model: ModelConfig, hardware: HardwareConfig) -> None:
    multiples = (
        ("dim", model.dim, "unit", UNIT_BYTES),
        ("channels per head", model.dim // model.heads, "unit", UNIT_BYTES),
        ("patch", model.patch, "step", PATCH_STEP),
        ("expert_hidden", model.expert_hidden, "inputs", hardware.inputs),
    )
    for what, value, name, unit in multiples:
        if value % unit:
            raise UserError(
                f"{model.name}: {what} {value} is not a multiple of the {name} {unit} of hardware '{hardware.name}'"
            )


def mlp_slices(model: ModelConfig, hardware: HardwareConfig) -> int:
    """The least number of equal slices in which the hidden channels of a dense MLP fit the hardware.

    Raises:
        UserError: there is none.
    """
    for slices in range(ceil_div(model.mlp_hidden, hardware.max_hidden), model.mlp_hidden // hardware.inputs + 1):
        if model.mlp_hidden % (slices * hardware.inputs) == 0:
            return slices
    raise UserError(
        f"{model.name}: mlp_hidden {model.mlp_hidden} cannot be cut into equal slices of at most {hardware.max_hidden} "
        f"channels that are multiples of the inputs {hardware.inputs} of hardware '{hardware.name}'"
    )


def block_rows(tokens: int, hardware: HardwareConfig) -> int:
    """Query rows of an attention block: blocks as even as possible."""
    return ceil_div(tokens, ceil_div(tokens, hardware.max_block))
