# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random models of every shape that the hardware takes: their programs in RTL equal golden, in random schedules.

M3VIT_BENCH_FRAMES / 10 lists of models are drawn, 3 in `make test` and 100 in `make bench`.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from m3vit.model.config import TASK_CHANNELS, UNIT_BYTES, ModelConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.capacity import check_fits
from m3vit.sim.pathway import write_pathways
from m3vit.sim.simulator import frame_bench, run
from m3vit.sim.synthetic import random_pathways
from rtl.frames import FRAMES_VARIABLE, HARDWARE, environment
from rtl.test_frame_faults import COUNTS, HOURS, RANDOM_START

PATCH = 8
LISTS = int(os.environ.get(FRAMES_VARIABLE, "30")) // 10
MODELS = 8
"""Most models of a list; one simulation runs them all."""


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    """A model within the limits of HARDWARE."""
    channels = draw(st.sampled_from(range(UNIT_BYTES, HARDWARE.inputs + 1, UNIT_BYTES)))
    heads = draw(st.integers(1, HARDWARE.max_dim // channels))
    height = draw(st.integers(1, HARDWARE.max_tokens - 1))
    width = draw(st.integers(1, (HARDWARE.max_tokens - 1) // height))
    tasks: list[TaskName] = draw(st.lists(st.sampled_from(sorted(TASK_CHANNELS)), min_size=1, max_size=3, unique=True))
    most = max(TASK_CHANNELS[task] for task in tasks)
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


@pytest.mark.timeout(HOURS)
@settings(max_examples=LISTS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(models(), min_size=1, max_size=MODELS), seed=st.integers(0, 1 << 30))
def test_random_programs(drawn: list[ModelConfig], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        cases, work = Path(name) / "cases", Path(name)
        for index, model in enumerate(drawn):
            write_pathways(random_pathways(model, HARDWARE, seed + index), cases / str(index))
        env = environment(cases, work) | COUNTS
        run(
            frame_bench(HARDWARE),
            "rtl.bench_frames",
            work=work,
            env=env,
            testcase="drawn",
            plusargs=[RANDOM_START],
            seed=seed % 1000 + 1,
        )
