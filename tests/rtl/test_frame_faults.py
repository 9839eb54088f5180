# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The whole accelerator: faults, resets, counters, task switching, slow memories, and the AXI protocol."""

from pathlib import Path

import pytest

from m3vit.rtl.accelerator import parameters
from m3vit.sim.simulator import Bench, frame_bench, run
from rtl.frames import HARDWARE, MANY, MODEL, NARROW, SIXTEEN, SMALL, prepare

RANDOM_START = "+verilator+rand+reset+2"
"""Registers without reset start with random contents."""
MODELS = {"base": MODEL, "narrow": NARROW, "sixteen": SIXTEEN, "many": MANY}


@pytest.mark.parametrize("module", ["faults", "frames"])
def test_frame(module: str, tmp_path: Path) -> None:
    env = prepare(tmp_path, MODELS)
    run(frame_bench(HARDWARE), f"rtl.bench_{module}", work=tmp_path, env=env, plusargs=[RANDOM_START])


@pytest.mark.parametrize(("latency", "stall_percent"), [(1, 30), (200, 0)])
def test_memories(tmp_path: Path, latency: int, stall_percent: int) -> None:
    """Latency and stalls of the memory change the time, never the result."""
    memory = HARDWARE.memory.model_copy(update={"latency_cycles": latency})
    hardware = HARDWARE.model_copy(update={"memory": memory})
    bench = frame_bench(hardware, stall_percent=stall_percent)
    run(bench, "rtl.bench_frames", work=tmp_path, env=prepare(tmp_path, {"base": MODEL}), testcase="frames")


def test_axi(tmp_path: Path) -> None:
    """AXI rules and results on memories of cocotbext-axi that pause on every channel."""
    bench = Bench(toplevel="m3vit_accelerator", parameters=parameters(HARDWARE))
    run(bench, "rtl.bench_axi", work=tmp_path, env=prepare(tmp_path, {"small": SMALL}), plusargs=[RANDOM_START])
