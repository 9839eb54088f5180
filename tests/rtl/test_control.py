# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Unit benches of the control modules: what is asked of memory and engine for random programs, and who answers."""

from pathlib import Path

import pytest

from m3vit.sim.simulator import Bench, run
from rtl.test_units import FOLDER, RANDOM_START

UNITS = ("program", "loader", "executor", "expert_cache", "expert_set", "counters", "read_check", "regs")
CONTROL = Bench(
    toplevel="tb_control", files=(FOLDER / "tb_control.sv", *(FOLDER / f"unit_{name}.sv" for name in UNITS))
)


@pytest.mark.parametrize("module", ["control", "control_program", "control_loader", "control_executor", "control_regs"])
def test_control(module: str, tmp_path: Path) -> None:
    run(CONTROL, f"rtl.bench_{module}", work=tmp_path, plusargs=[RANDOM_START])
