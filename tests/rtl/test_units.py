# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Unit benches: every module against golden, with random stalls on every handshake."""

from pathlib import Path

import pytest

from m3vit.sim.simulator import Bench, run

FOLDER = Path(__file__).resolve().parent
UNITS = Bench(toplevel="tb_units", files=(FOLDER / "tb_units.sv", FOLDER / "unit_arith.sv", FOLDER / "unit_routing.sv"))
RANDOM_START = "+verilator+rand+reset+2"
"""Registers without reset start with random contents."""


@pytest.mark.parametrize("module", ["arith", "routing"])
def test_unit(module: str, tmp_path: Path) -> None:
    run(UNITS, f"rtl.bench_{module}", work=tmp_path, plusargs=[RANDOM_START])
