# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The whole accelerator: faults, resets, counters, task switching, slow memories, and the AXI protocol."""

from pathlib import Path

import pytest

from m3vit.rtl.accelerator import parameters
from m3vit.sim.simulator import Bench, frame_bench, run
from rtl.frames import HARDWARE, MANY, MODEL, SIXTEEN, SMALL, prepare

RANDOM_START = "+verilator+rand+reset+2"
CASES = [
    "faults", "driver_reports_the_code", "start_and_clear", "counters", "two_operations_in_one_run",
    "switching_tasks_is_free", "reset_in_mid_frame", "frames",
]  # fmt: skip


def test_faults(tmp_path: Path) -> None:
    env = prepare(tmp_path, {"base": MODEL})
    names = "|".join(f"rtl.bench_faults.{name}" for name in CASES)
    run(frame_bench(HARDWARE), "rtl.bench_faults", work=tmp_path, env=env | {"COCOTB_TEST_FILTER": f"({names})$"})


def test_any_number_of_experts(tmp_path: Path) -> None:
    env = prepare(tmp_path, {"sixteen": SIXTEEN, "many": MANY})
    run(frame_bench(HARDWARE), "rtl.bench_faults", work=tmp_path, env=env, testcase="any_experts")


@pytest.mark.parametrize(("latency", "stall_percent"), [(1, 30), (200, 0)])
def test_memories(tmp_path: Path, latency: int, stall_percent: int) -> None:
    """Latency and stalls of the memory change the time, never the result."""
    memory = HARDWARE.memory.model_copy(update={"latency_cycles": latency})
    hardware = HARDWARE.model_copy(update={"memory": memory})
    bench = frame_bench(hardware, stall_percent=stall_percent)
    run(bench, "rtl.bench_faults", work=tmp_path, env=prepare(tmp_path, {"base": MODEL}), testcase="frames")


def test_axi(tmp_path: Path) -> None:
    """AXI rules and results on memories of cocotbext-axi that pause on every channel."""
    bench = Bench(toplevel="m3vit_accelerator", parameters=parameters(HARDWARE))
    run(bench, "rtl.bench_axi", work=tmp_path, env=prepare(tmp_path, {"small": SMALL}), plusargs=[RANDOM_START])
