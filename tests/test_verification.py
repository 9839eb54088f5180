# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb verify on a whole random model: exact, able to notice a difference, and able to go on after a kill."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtl.expert_cache import token_order_loads

from m3vit.model.config import DEMO, HARDWARE, MODELS, WORD_BYTES, TaskName
from m3vit.model.scenes import SceneDataset
from m3vit.scripts.verify import Schedule as Option
from m3vit.scripts.verify import mode_of, validation_images
from m3vit.sim import verification
from m3vit.sim.bound import activation_bytes, frame_bound, moved_bytes
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.program import OP_BYTES, Opcode
from m3vit.sim.regmap import Mode
from m3vit.sim.report import image_sha256
from m3vit.sim.results import Results, check_results, expected_experts
from m3vit.sim.simulator import SimulationError, frame_bench
from m3vit.sim.synthetic import random_image, random_moe, random_pathways, random_residual
from m3vit.sim.timeline import events, runs
from m3vit.sim.verification import Case, Journal, Schedule, golden_cases, make_schedule, simulate

TASKS = ("depth", "edges")
MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": TASKS, "image_hw": (32, 32), "layers": 2})
"""17 tokens: simulates quickly."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "pathway"
    write_pathways(random_pathways(MODEL, HARDWARE["demo"], seed=3), path)
    return path


@pytest.fixture(scope="module")
def pathways(folder: Path) -> Pathways:
    return read_pathways(folder)


@pytest.fixture(scope="module")
def results(folder: Path, pathways: Pathways) -> Results:
    images = [random_image(MODEL, seed) for seed in range(2)]
    return verification.verify(folder, pathways, images, TASKS, work=folder / "verification", hls=True)


def test_every_element_is_compared_and_equal(results: Results, pathways: Pathways) -> None:
    patches, channels = MODEL.tokens - 1, MODEL.head_grid**2
    frames = 2 * len(TASKS) + 2 * len(TASKS)  # images, and the switches
    assert results.elements_compared == frames * patches * channels
    assert results.golden_vs_rtl_mismatches == 0
    assert results.golden_vs_hls_mismatches == 0
    assert results.hls_elements == 2 * len(TASKS) * patches * channels
    assert sorted((frame.task, frame.image) for frame in results.frames) == [(t, i) for t in TASKS for i in range(2)]
    check_results(results, pathways, Path("results.json"))


def test_switching_the_task_costs_nothing(results: Results) -> None:
    assert results.task_switch is not None
    assert len(results.task_switch.same_task_cycles) == len(TASKS)
    assert results.task_switch.same_task_cycles == results.task_switch.switch_cycles


def test_counters_agree_with_the_program(results: Results, pathways: Pathways) -> None:
    hardware = pathways.first.config.hardware
    for frame in results.frames:
        program = pathways.task(frame.task).program
        for op, counted in zip(program, frame.ops, strict=True):
            loads = counted.loads if op.opcode is Opcode.MOE else None
            moved = moved_bytes(op, hardware, loads) - OP_BYTES
            assert (counted.read_words + counted.write_words) * WORD_BYTES == moved, op.opcode.name
            if op.opcode is Opcode.STORE:
                assert counted.write_words * WORD_BYTES == activation_bytes(op)
        limit = frame_bound(program, hardware, {op.op: op.experts for op in frame.ops if op.queue_lengths})
        assert limit.compute <= sum(op.compute for op in frame.ops) <= frame.cycles
        assert limit.cycles <= frame.cycles


def test_time_line_covers_the_frame(results: Results, pathways: Pathways) -> None:
    assert results.timeline is not None
    line, program = results.timeline, pathways.first.program
    frame = next(f for f in results.frames if (f.task, f.image) == (line.task, line.image))
    kinds = {kind: [event for event in line.events if event.kind == kind] for kind in ("load", "compute", "norm")}
    for index, op in enumerate(program):
        if op.opcode is Opcode.MOE:
            experts = [event.expert for event in kinds["load"] if event.op == index and event.expert is not None]
            assert set(frame.ops[index].queue_lengths) <= set(experts)
            assert len(experts) == frame.ops[index].loads
    norms = [index for index, op in enumerate(program) if op.opcode is Opcode.LAYER_NORM]
    assert [event.op for event in kinds["norm"]] == norms
    turns = kinds["compute"]
    assert [event.op for event in turns] == sorted(event.op for event in turns)  # operations come in order
    assert all(one.end == other.start for one, other in itertools.pairwise(turns))
    assert abs(max(event.end for event in line.events) - frame.cycles) <= 4
    first = next(event for event in kinds["compute"] if event.op == 1)
    assert any(event.op > 1 and event.start < first.start for event in kinds["load"])  # weights arrive ahead


def test_one_wrong_element_is_noticed(folder: Path, pathways: Pathways, tmp_path: Path) -> None:
    cases = golden_cases(pathways, [random_image(MODEL)], TASKS)
    wrong_RC = cases[0].expected.copy()
    wrong_RC[7, 5] += 1
    cases[0] = replace(cases[0], expected=wrong_RC)
    bench = frame_bench(pathways.first.config.hardware)
    outcomes = simulate(bench, folder, pathways, cases, Schedule([1, 0]), tmp_path)
    assert [outcome["mismatches"] for outcome in outcomes] == [0, 1]


def test_a_killed_run_goes_on(folder: Path, pathways: Pathways, tmp_path: Path) -> None:
    cases = golden_cases(pathways, [random_image(MODEL)], TASKS)
    bench, schedule = frame_bench(pathways.first.config.hardware), Schedule([1, 0, 1], [0, 0])
    whole = simulate(bench, folder, pathways, cases, schedule, tmp_path)
    path = tmp_path / "outcome.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:20]]))  # two frames are known, the third is half written
    again = simulate(bench, folder, pathways, cases, schedule, tmp_path)
    assert [outcome["seconds"] for outcome in again[:2]] == [outcome["seconds"] for outcome in whole[:2]]
    assert [outcome["cycles"] for outcome in again] == [outcome["cycles"] for outcome in whole]
    assert (tmp_path / "events-2.txt").exists()


def test_programs_with_load_and_other_schedules(tmp_path: Path) -> None:
    pathways = random_moe(MODEL, HARDWARE["demo"])
    write_pathways(pathways, tmp_path / "pathway")
    sources = [random_residual(MODEL)]
    mode = mode_of([Option.token_order, Option.no_prefetch])
    results = verification.verify(
        tmp_path / "pathway", pathways, sources, TASKS[:1], work=tmp_path, mode=mode, stall_percent=20
    )
    assert (results.mode, results.golden_vs_rtl_mismatches, results.task_switch) == (5, 0, None)
    layer, steps = results.frames[0].ops[2], list[Step]()
    Executor(pathways.first).run(sources[0], steps.append)
    assert layer.experts == MODEL.tokens * MODEL.top_k
    assert layer.loads == token_order_loads(steps[2], HARDWARE["demo"])


def test_results_name_the_image(results: Results, pathways: Pathways) -> None:
    assert results.image_sha256 == image_sha256(pathways)
    assert (results.images, results.mode) == (2, 0)


def case(task: TaskName) -> Case:
    return Case(task, 0, np.zeros(1), np.zeros((1, 1), np.int16), [])


@pytest.mark.parametrize("rounds", [1, 5])
def test_the_schedule_has_every_case_and_every_switch(rounds: int) -> None:
    names: list[TaskName] = ["depth", "depth", "edges", "saliency", "edges"]
    cases = [case(name) for name in names]
    schedule = make_schedule(cases, rounds)
    assert len(schedule.switches) == 2 * 3 * rounds
    assert sorted(schedule.checked) == list(range(len(cases)))
    tasks = [cases[index].task for index in schedule.frames[len(cases) - 1 :]]
    for first, second in zip(tasks[1::2], tasks[2::2], strict=True):
        assert first == second
    for before, first in zip(tasks[0::2], tasks[1::2], strict=False):
        assert before != first
    assert set(tasks[1:]) == {"depth", "edges", "saliency"}
    assert make_schedule(cases[:2], rounds).switches == []
    assert make_schedule(cases, 0).switches == []


def test_a_schedule_goes_on_where_frames_do_not_need_each_other() -> None:
    schedule = Schedule([2, 0, 1], [0, 0, 1, 1])
    assert [schedule.resume(done) for done in range(8)] == [0, 1, 2, 3, 3, 3, 3, 0]


def test_the_journal_forgets_what_is_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "outcome.jsonl"
    journal = Journal(path, "one")
    with path.open("a") as handle:
        handle.write('{"cycles": 1}\n{"cycles": 2}\n{"cyc')
    assert [outcome["cycles"] for outcome in Journal(path, "one").outcomes()] == [1, 2]
    journal.keep(1)
    assert Journal(path, "one").outcomes() == [json.loads('{"cycles": 1}')]
    assert Journal(path, "another").count() == 0


def test_a_trace_becomes_intervals() -> None:
    program = random_moe(MODEL, HARDWARE["demo"]).first.program
    text = """5 norm_end 0
10 start 0
20 op 0
22 load_begin 0
30 load_end 1
31 load_begin 1
32 load_end 3
33 load_begin 2
34 load_end 3
35 load_begin 2
36 load_end 3
37 expert 6
40 op 1
41 norm_begin 1
50 norm_end 0
50 op 2
60 load_begin 2
70 load_end 3
90 op 3
91 store 0
99 end 0
"""
    (run,) = runs(text)
    assert [(e.kind, e.op, e.expert, e.start, e.end) for e in events(run, program)] == [
        ("input", 0, None, 12, 20), ("load", 1, None, 21, 22), ("load", 2, None, 23, 24), ("load", 2, None, 25, 26),
        ("load", 2, 6, 50, 60), ("compute", 0, None, 10, 30), ("compute", 1, None, 30, 40),
        ("compute", 2, None, 40, 80), ("compute", 3, None, 80, 89), ("norm", 1, None, 31, 40),
        ("output", 3, None, 81, 89),
    ]  # fmt: skip


def test_modes_come_from_options() -> None:
    assert mode_of([]) == Mode(0)
    assert mode_of([Option.token_order, Option.token_order]) == Mode.TOKEN_ORDER
    assert mode_of(list(Option)) == Mode(15)


def test_experts_are_visits_in_token_order() -> None:
    assert expected_experts({3: 4, 5: 0, 6: 1}, 0) == 2
    assert expected_experts({3: 4, 5: 0, 6: 1}, Mode.TOKEN_ORDER) == 5


def test_validation_images_are_the_split() -> None:
    data = SceneDataset("val", 2, DEMO.scenes.seed, DEMO.model.image_hw)
    images_BHW3 = validation_images(DEMO, 2)
    for index in range(2):
        assert np.array_equal(images_BHW3[index], data[index]["image"].permute(1, 2, 0).numpy())


def test_hls_differences_are_counted(folder: Path, pathways: Pathways) -> None:
    (case, *_) = golden_cases(pathways, [random_image(MODEL)], TASKS[:1])
    wrong = case.expected.copy()
    wrong.reshape(-1)[3:5] += 1
    assert verification.hls_mismatches(folder, pathways, [case, replace(case, expected=wrong)]) == [0, 2]


def test_a_refusal_of_hls_is_one_sentence(folder: Path, pathways: Pathways) -> None:
    (case, *_) = golden_cases(pathways, [random_image(MODEL)], TASKS[:1])
    with pytest.raises(SimulationError, match=r"^the HLS accelerator fails in C-simulation: cannot read the pathway"):
        verification.hls_mismatches(folder / "none", pathways, [case])
