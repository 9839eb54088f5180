# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Bench of the linear engine, one model per shape of its array."""

from pathlib import Path

import pytest

from m3vit.sim.simulator import Bench, run

FOLDER = Path(__file__).resolve().parent
RANDOM_START = "+verilator+rand+reset+2"
"""Registers without reset start with random contents."""


@pytest.mark.parametrize(("lanes", "groups"), [(8, 2), (16, 2), (32, 3)])
def test_engine(lanes: int, groups: int, tmp_path: Path) -> None:
    bench = Bench(
        toplevel="unit_engine",
        parameters={"Lanes": lanes, "Groups": groups},
        files=(FOLDER / "unit_engine.sv",),
    )
    run(bench, "rtl.bench_engine", work=tmp_path, plusargs=[RANDOM_START])
