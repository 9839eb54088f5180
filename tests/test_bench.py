# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verbs bench and ablation, at demo size and really in RTL."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rtl.expert_cache import token_order_loads
from typer.testing import CliRunner

from m3vit.model.errors import UserError
from m3vit.scripts.ablation import STEPS
from m3vit.scripts.bench import Run
from m3vit.scripts.cli import build_app
from m3vit.scripts.workloads import WORKLOADS, Weights, find_checkpoint, make_pathways
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import read_pathways
from m3vit.sim.program import Opcode
from m3vit.sim.regmap import Mode
from m3vit.sim.results import RESULTS, read_results


def m3vit(*arguments: str) -> str:
    done = CliRunner().invoke(build_app(arguments[0]), [*arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_bench_prints_measured_cycles_beside_their_bound(tmp_path: Path) -> None:
    output = m3vit("bench", "--workload", "demo", "--weights", "random", "--out", str(tmp_path))
    results = read_results(tmp_path / "demo" / "pathway" / RESULTS)
    assert results is not None
    assert results.golden_vs_rtl_mismatches == 0
    for frame in results.frames:
        assert f"{frame.cycles:,}" in output
    assert "random weights" in output
    assert (tmp_path / "demo" / "report.html").exists()


def test_ablation_measures_every_schedule_and_each_equals_golden(tmp_path: Path) -> None:
    output = m3vit("ablation", "--workload", "demo", "--weights", "random", "--out", str(tmp_path))
    steps = json.loads((tmp_path / "demo" / "ablation" / "ablation.json").read_text())["steps"]
    assert [step["mode"] for step in steps] == [int(mode) for _, mode in STEPS]
    assert all(step["mismatches"] == 0 and f"{step['cycles']:,}" in output for step in steps)
    assert steps[-1]["cycles"] == min(step["cycles"] for step in steps)
    assert steps[0]["cumulative"] == 1.0
    for step in steps:
        assert (step["hit_rate"] is not None) == bool(Mode(step["mode"]) & Mode.TOKEN_ORDER)
    base, reordered = steps[:2]
    assert base["expert_loads"] > reordered["expert_loads"]
    assert base["dram_bytes"] > reordered["dram_bytes"]
    demo = WORKLOADS["demo"]
    pathways, images = make_pathways(demo, None, 1, 0)
    golden = list[Step]()
    Executor(pathways.first).run(images[0], golden.append)
    layers = [step for step in golden if step.op.opcode is Opcode.MOE]
    visits = len(layers) * demo.model.tokens * demo.model.top_k
    loads = sum(token_order_loads(step, demo.hardware) for step in layers)
    assert (base["expert_visits"], base["expert_loads"]) == (visits, loads)
    assert base["hit_rate"] == pytest.approx((visits - loads) / visits)


def test_trained_weights_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, out = WORKLOADS["demo"], tmp_path / "train"
    recipe = demo.recipe.model_copy(update={"steps": 1, "batch": 1})
    workload = type(demo)(demo.model, demo.hardware, recipe=recipe)
    path = find_checkpoint(workload, Weights.trained, None, out)
    assert path is not None
    made = path.stat().st_mtime_ns
    assert find_checkpoint(workload, Weights.trained, None, out) == path
    assert path.stat().st_mtime_ns == made
    assert find_checkpoint(workload, Weights.random, None, out) is None
    assert find_checkpoint(workload, Weights.trained, path, tmp_path / "other") == path
    with pytest.raises(UserError, match="not the workload's 'm3vit_tiny_patch16'"):
        make_pathways(WORKLOADS["tiny"], path, 1, 0)


def test_a_missed_goal_is_named(tmp_path: Path) -> None:
    m3vit("bench", "--workload", "demo", "--weights", "random", "--out", str(tmp_path))
    folder = tmp_path / "demo" / "pathway"
    results = read_results(folder / RESULTS)
    assert results is not None
    run = Run("demo", WORKLOADS["demo"], read_pathways(folder), results)
    assert run.missed() == []
    cycles = max(frame.cycles for frame in results.frames)
    for goal, ratio in ((cycles - 1, 100.0), (cycles, 1.0)):
        strict = replace(run, workload=replace(run.workload, goal_cycles=goal, goal_ratio=ratio))
        assert any(f"{cycles:,} cycles" in line for line in strict.missed())
    assert replace(run, workload=replace(run.workload, goal_cycles=cycles, goal_ratio=100.0)).missed() == []
