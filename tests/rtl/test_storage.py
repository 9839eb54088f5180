# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Memories and what is built around them, in a model of their own: against golden, with stalls on every handshake."""

from pathlib import Path

import pytest

from m3vit.sim.simulator import Bench, run
from rtl.test_units import FOLDER, RANDOM_START

UNITS = ("fifo", "ram", "stream", "buffers", "patches", "gelu", "residual")
STORAGE = Bench(
    toplevel="tb_storage", files=(FOLDER / "tb_storage.sv", *(FOLDER / f"unit_{name}.sv" for name in UNITS))
)


@pytest.mark.parametrize("module", ["storage", "stream", "output"])
def test_storage(module: str, tmp_path: Path) -> None:
    run(STORAGE, f"rtl.bench_{module}", work=tmp_path, plusargs=[RANDOM_START])
