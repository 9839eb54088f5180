# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random models of every shape that the hardware takes: their programs in RTL equal golden, in random schedules.

Whole networks, and MoE layers between LOAD and STORE. M3VIT_BENCH_FRAMES / 10 lists of each are drawn, 3 in `make
test` and 100 in `make bench`.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3vit.model.config import ModelConfig, QuantConfig
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.simulator import frame_bench, run
from m3vit.sim.synthetic import random_pathways
from rtl.drawn import Layers, layers, models, quants
from rtl.frames import FRAMES_VARIABLE, HARDWARE, environment, favouring_layers
from rtl.test_frame_faults import COUNTS, HOURS, RANDOM_START

LISTS = int(os.environ.get(FRAMES_VARIABLE, "30")) // 10
MODELS = 8
"""Most models of a list; one simulation runs them all."""


def run_drawn(pathways: Iterable[Pathways], seed: int) -> None:
    """Run frames of every task of each in one simulation."""
    with tempfile.TemporaryDirectory() as name:
        cases, work = Path(name) / "cases", Path(name)
        for index, case in enumerate(pathways):
            write_pathways(case, cases / str(index))
        run(
            frame_bench(HARDWARE),
            "rtl.bench_frames",
            work=work,
            env=environment(cases, work) | COUNTS,
            testcase="drawn",
            plusargs=[RANDOM_START],
            seed=seed % 1000 + 1,
        )


@pytest.mark.timeout(HOURS)
@settings(max_examples=LISTS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(st.tuples(models(), quants()), min_size=1, max_size=MODELS), seed=st.integers(0, 1 << 30))
def test_random_programs(drawn: list[tuple[ModelConfig, QuantConfig]], seed: int) -> None:
    run_drawn((random_pathways(model, HARDWARE, seed + i, quant=quant) for i, (model, quant) in enumerate(drawn)), seed)


@pytest.mark.timeout(HOURS)
@settings(max_examples=LISTS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(layers(), min_size=MODELS, max_size=2 * MODELS), seed=st.integers(0, 1 << 30))
def test_random_layers(drawn: list[Layers], seed: int) -> None:
    """A run ends when all words are read, also those of experts that were loaded in vain."""
    run_drawn(
        (
            favouring_layers(case.model, seed + i, case.count, case.favourite, case.quant)
            for i, case in enumerate(drawn)
        ),
        seed,
    )
