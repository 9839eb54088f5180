# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Unit benches of attention and LayerNorm against golden."""

from pathlib import Path

import pytest

from m3vit.sim.simulator import Bench, run

FOLDER = Path(__file__).resolve().parent
UNITS = ("tb_vector", "unit_attention", "unit_layer_norm", "unit_vector_arith")
VECTOR = Bench(toplevel="tb_vector", files=tuple(FOLDER / f"{name}.sv" for name in UNITS))
RANDOM_START = "+verilator+rand+reset+2"
"""Registers without reset start with random contents."""


@pytest.mark.parametrize("module", ["vector_arith", "attention", "layer_norm"])
def test_vector(module: str, tmp_path: Path) -> None:
    run(VECTOR, f"rtl.bench_{module}", work=tmp_path, plusargs=[RANDOM_START])
