# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Hypothesis strategies: models of every shape that the demo hardware takes."""

from dataclasses import dataclass
from typing import get_args

from hypothesis import reject
from hypothesis import strategies as st

from m3vit.model.config import DEMO, UNIT_BYTES, ModelConfig, QuantConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.capacity import check_fits
from rtl.frames import HARDWARE

PATCH = 8


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    """A model within the limits of HARDWARE."""
    channels = draw(st.sampled_from(range(UNIT_BYTES, HARDWARE.inputs + 1, UNIT_BYTES)))
    heads = draw(st.integers(1, HARDWARE.max_dim // channels))
    height = draw(st.integers(1, HARDWARE.max_tokens - 1))
    width = draw(st.integers(1, (HARDWARE.max_tokens - 1) // height))
    tasks: list[TaskName] = draw(st.lists(st.sampled_from(get_args(TaskName)), min_size=1, max_size=3, unique=True))
    most = max(DEMO.model.channels(task) for task in tasks)
    experts = draw(st.one_of(st.integers(1, 16), st.integers(17, 200)))
    model = ModelConfig(
        name="drawn",
        image_hw=(PATCH * height, PATCH * width),
        patch=PATCH,
        dim=heads * channels,
        layers=draw(st.integers(1, 4)),
        heads=heads,
        mlp_hidden=HARDWARE.inputs * draw(st.integers(1, 6)),
        experts=experts,
        top_k=draw(st.integers(1, min(HARDWARE.max_top_k, experts))),
        expert_hidden=HARDWARE.inputs * draw(st.integers(1, HARDWARE.max_hidden // HARDWARE.inputs)),
        renormalise=draw(st.booleans()),
        head_grid=draw(st.sampled_from([grid for grid in (1, 2, 4, 8) if most * grid**2 <= HARDWARE.max_dim])),
        tasks=tuple(tasks),
    )
    try:
        check_fits(model, HARDWARE)
    except UserError:  # the largest experts
        reject()
    return model


def quants() -> st.SearchStrategy[QuantConfig]:
    """Experts of both widths."""
    return st.sampled_from((QuantConfig(), QuantConfig(expert_bits=4)))


@dataclass(frozen=True)
class Layers:
    """MoE layers between LOAD and STORE.

    Attributes:
        model: their sizes.
        count: how many layers.
        favourite: all tokens go to the top_k experts from this one on; None leaves them to their taste.
        quant: width of the experts' weights.
    """

    model: ModelConfig
    count: int
    favourite: int | None
    quant: QuantConfig


@st.composite
def layers(draw: st.DrawFn) -> Layers:
    """Layers of which most have few tokens, and as many experts as are loaded on suspicion, or a few more or less."""
    drawn = draw(models())
    rows = draw(st.one_of(st.integers(8, 16), st.integers(2, HARDWARE.max_tokens)))
    top_k = draw(st.one_of(st.just(1), st.integers(1, HARDWARE.max_top_k)))
    suspected = max(rows * top_k // 4, top_k)
    experts = draw(st.one_of(st.just(suspected), st.integers(top_k, 2 * suspected)))
    favourite = draw(st.one_of(st.just(0), st.none(), st.integers(0, experts - top_k)))
    sizes = {
        "image_hw": (PATCH * (rows - 1), PATCH), "dim": draw(st.sampled_from((UNIT_BYTES, drawn.dim))), "heads": 1,
        "expert_hidden": draw(st.sampled_from((HARDWARE.inputs, drawn.expert_hidden))),
        "experts": experts, "top_k": top_k,
    }  # fmt: skip
    return Layers(drawn.model_copy(update=sizes), draw(st.integers(1, 2)), favourite, draw(quants()))
