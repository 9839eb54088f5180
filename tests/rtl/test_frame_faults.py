# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The whole accelerator: faults, resets, counters, schedules, task switching, slow memories, and the AXI protocol.

M3VIT_BENCH_FRAMES and M3VIT_BENCH_FAULTS set how many random frames and faults there are; `make bench` sets 1,000 and
10,000.
"""

import os
from pathlib import Path

import pytest

from m3vit.model.config import HARDWARE as PRESETS
from m3vit.rtl.accelerator import parameters
from m3vit.sim.bound import weight_bytes
from m3vit.sim.pathway import write_pathways
from m3vit.sim.simulator import Bench, frame_bench, run
from m3vit.sim.synthetic import random_pathways
from rtl.frames import FAULTS_VARIABLE, FRAMES_VARIABLE, HARDWARE, THREE, environment, write_cases

RANDOM_START = "+verilator+rand+reset+2"
"""Registers without reset start with random contents."""
FRAMES = (
    "every_case", "block_control", "interrupts", "counters", "schedules", "token_order", "switching_tasks_is_free",
    "reset_in_mid_frame", "memories", "back_to_back",
)  # fmt: skip
FAULTS = (
    "listed_faults", "faults_of_a_program_with_load", "silence", "driver_reports_the_code", "random_corruptions",
    "random_responses", "random_others",
)  # fmt: skip
FEWER_PORTS = (
    ("frames", "every_case"), ("frames", "memories"), ("frames", "reset_in_mid_frame"), ("faults", "listed_faults"),
    ("faults", "random_responses"), ("faults", "silence"),
)  # fmt: skip
"""What depends on the number of AXI ports."""
COUNTS = {
    FRAMES_VARIABLE: os.environ.get(FRAMES_VARIABLE, "30"),
    FAULTS_VARIABLE: os.environ.get(FAULTS_VARIABLE, "100"),
}
HOURS = 8 * 3600
"""Limit for the long runs."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_cases(folder)
    return folder


@pytest.mark.timeout(HOURS)
@pytest.mark.parametrize(
    ("module", "testcase"),
    [*(("frames", name) for name in FRAMES), *(("faults", name) for name in FAULTS)],
)
def test_frame(module: str, testcase: str, cases: Path, tmp_path: Path) -> None:
    env = environment(cases, tmp_path) | COUNTS
    bench, name = frame_bench(HARDWARE), f"rtl.bench_{module}"
    run(bench, name, work=tmp_path, env=env, testcase=testcase, plusargs=[RANDOM_START])


@pytest.mark.parametrize("seed", range(2, 8))
def test_start(seed: int, cases: Path, tmp_path: Path) -> None:
    """Whatever the registers contain at first, the core starts in reset."""
    env, bench = environment(cases, tmp_path) | COUNTS, frame_bench(HARDWARE)
    run(
        bench,
        "rtl.bench_frames",
        work=tmp_path,
        env=env,
        testcase="block_control",
        plusargs=[RANDOM_START],
        seed=seed,
    )


@pytest.mark.timeout(HOURS)
@pytest.mark.parametrize(("module", "testcase"), [*FEWER_PORTS])
def test_one_port(module: str, testcase: str, cases: Path, tmp_path: Path) -> None:
    """All bursts, stalls, errors and silence on a single AXI port."""
    memory = HARDWARE.memory.model_copy(update={"ports": 1})
    bench = frame_bench(HARDWARE.model_copy(update={"memory": memory}))
    env = environment(cases, tmp_path) | COUNTS
    run(bench, f"rtl.bench_{module}", work=tmp_path, env=env, testcase=testcase, plusargs=[RANDOM_START])


@pytest.mark.parametrize("latency", [1, 300])
def test_latencies(latency: int, cases: Path, tmp_path: Path) -> None:
    """The latency of the memory changes the time, never the result."""
    memory = HARDWARE.memory.model_copy(update={"latency_cycles": latency})
    bench = frame_bench(HARDWARE.model_copy(update={"memory": memory}))
    run(bench, "rtl.bench_frames", work=tmp_path, env=environment(cases, tmp_path) | COUNTS, testcase="frames")


def test_headline_array(tmp_path: Path) -> None:
    """The array of zcu104 with small buffers, heads of 32 and of 96 channels, with and without lent words.

    Each frame streams more words than the buffer holds, so all its parts are used.
    """
    hardware = PRESETS["zcu104"].model_copy(
        update={"max_tokens": 40, "max_dim": 192, "max_hidden": 192, "max_block": 16, "lend_words": 64}
    )
    model = THREE.model_copy(
        update={"dim": 192, "mlp_hidden": 384, "expert_hidden": 192, "tasks": ("segmentation", "depth")}
    )
    for image_hw, heads in (((32, 40), 2), ((48, 48), 6)):  # 21 tokens leave room to lend, 37 do not
        pathways = random_pathways(model.model_copy(update={"image_hw": image_hw, "heads": heads}), hardware, heads)
        least = sum(weight_bytes(op, hardware, op.top_k) for op in pathways.first.program)
        assert least > hardware.inputs * (hardware.stream_words + hardware.lend_words)
        write_pathways(pathways, tmp_path / "cases" / str(heads))
    env = environment(tmp_path / "cases", tmp_path) | COUNTS
    run(frame_bench(hardware), "rtl.bench_frames", work=tmp_path, env=env, testcase="drawn", plusargs=[RANDOM_START])


def test_axi(cases: Path, tmp_path: Path) -> None:
    """AXI rules and results on memories of cocotbext-axi that pause on every channel."""
    bench = Bench(toplevel="m3vit_accelerator", parameters=parameters(HARDWARE))
    run(bench, "rtl.bench_axi", work=tmp_path, env=environment(cases, tmp_path), plusargs=[RANDOM_START])
