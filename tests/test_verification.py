# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb verify on a whole random model: exact, and able to notice a difference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m3vit.model.config import HARDWARE, MODELS, WORD_BYTES
from m3vit.scripts.verify import validation_images
from m3vit.sim import verification
from m3vit.sim.bound import activation_bytes, op_bound, weight_bytes
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.report import image_sha256
from m3vit.sim.results import Results
from m3vit.sim.simulator import frame_bench
from m3vit.sim.synthetic import random_pathways
from m3vit.sim.verification import Case, golden_cases, simulate, switch_schedule

TASKS = ("depth", "edges")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": TASKS})
    path = tmp_path_factory.mktemp("verify") / "pathway"
    write_pathways(random_pathways(model, HARDWARE["demo"], seed=3), path)
    return path


@pytest.fixture(scope="module")
def pathways(folder: Path) -> Pathways:
    return read_pathways(folder)


@pytest.fixture(scope="module")
def results(folder: Path, pathways: Pathways) -> Results:
    images = validation_images(pathways.first.config, 2)
    return verification.verify(folder, pathways, images, TASKS, work=folder / "verification")


def test_every_element_is_compared_and_equal(results: Results, pathways: Pathways) -> None:
    model = pathways.first.config.model
    layers = len(model.moe_layers)
    operations = 2 * len(TASKS) * layers + 5 * len(TASKS)  # images, and the schedule of switches
    assert results.elements_compared == operations * model.tokens * model.dim
    assert results.golden_vs_rtl_mismatches == 0
    assert len(results.frames) == 2 * len(TASKS) * layers


def test_switching_the_task_costs_nothing(results: Results) -> None:
    assert results.task_switch is not None
    assert len(results.task_switch.same_task_cycles) == len(TASKS)
    assert results.task_switch.same_task_cycles == results.task_switch.switch_cycles


def test_counters_agree_with_the_program(results: Results, pathways: Pathways) -> None:
    hardware = pathways.first.config.hardware
    for frame in results.frames:
        op = pathways.task(frame.task).program[frame.op]
        moved = weight_bytes(op, hardware.lanes, frame.experts) + activation_bytes(op)
        fetch = WORD_BYTES  # the operation itself
        assert (frame.read_words + frame.write_words) * WORD_BYTES == moved + fetch
        limit = op_bound(op, hardware, activation_bytes(op), frame.experts)
        assert limit.compute <= frame.compute <= frame.cycles
        assert limit.cycles <= frame.cycles


def test_time_line_covers_the_operation(results: Results) -> None:
    assert results.timeline is not None
    frame = results.frames[0]
    events = results.timeline.events
    for kind in ("load", "compute"):
        experts = [event.expert for event in events if event.kind == kind]
        assert experts == sorted(frame.queue_lengths), kind
    compute = [event for event in events if event.kind == "compute"]
    load = [event for event in events if event.kind == "load"]
    overlapped = sum(a.start < b.end for a, b in zip(load[1:], compute[:-1], strict=True))
    assert overlapped == len(compute) - 1  # the next expert loads while the present one computes
    from_start_to_fetch = 2
    assert max(event.end for event in events) == frame.cycles + from_start_to_fetch


def test_one_wrong_element_is_noticed(folder: Path, pathways: Pathways, tmp_path: Path) -> None:
    cases = golden_cases(pathways, validation_images(pathways.first.config, 1), TASKS[:1])
    wrong_ND = cases[0].step.result.copy()
    wrong_ND[7, 5] += 1
    cases[0] = Case(cases[0].task, 0, cases[0].layer, replace(cases[0].step, result=wrong_ND))
    bench = frame_bench(pathways.first.config.hardware)
    outcomes = simulate(bench, folder, pathways, cases, range(len(cases)), tmp_path)
    assert [outcome["mismatches"] for outcome in outcomes] == [1, 0]


def test_results_name_the_image(results: Results, pathways: Pathways) -> None:
    assert results.image_sha256 == image_sha256(pathways)
    assert results.images == 2


def test_switch_schedule_repeats_every_task() -> None:
    cases = [Case(task, 0, 1, None) for task in ("depth", "depth", "edges", "saliency")]  # type: ignore[arg-type]
    assert switch_schedule(cases) == [2, 0, 0, 2, 0, 3, 2, 2, 3, 2, 0, 3, 3, 0, 3]  # u t t u t
    assert switch_schedule(cases[:2]) == []


def test_validation_images_are_the_split() -> None:
    from m3vit.model.config import DEMO
    from m3vit.model.scenes import SceneDataset

    data = SceneDataset("val", 2, DEMO.scenes.seed, DEMO.model.image_hw)
    images_BHW3 = validation_images(DEMO, 2)
    for index in range(2):
        assert np.array_equal(images_BHW3[index], data[index]["image"].permute(1, 2, 0).numpy())
