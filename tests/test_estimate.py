# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `estimate`: figures against the models behind it, and input that is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from m3vit.model.config import DEMO, HARDWARE, MODELS
from m3vit.scripts.cli import build_app
from m3vit.sim.network import plan_programs
from m3vit.sim.pathway import write_pathways
from m3vit.sim.performance import model_frame, random_routing
from m3vit.sim.performance.trace import TracedFrame, write_trace
from m3vit.sim.regmap import Mode
from m3vit.sim.synthetic import random_pathways

TINY = plan_programs(MODELS["m3vit_tiny_patch16"], HARDWARE["zcu104"])


def invoke(*words: str) -> Result:
    return CliRunner().invoke(build_app("estimate"), ["estimate", *words])


def estimate(*words: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 0, result.output


def refusal(*words: str) -> str:
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def figures(tmp_path: Path, *words: str) -> dict[str, Any]:
    estimate(*words, "--out", str(tmp_path / "figures.json"))
    tree: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
    return tree


def test_a_workload_is_estimated_without_weights(tmp_path: Path) -> None:
    tree = figures(tmp_path, "--workload", "tiny", "--task", "depth", "--seed", "3", "--skew", "1")
    program = TINY["depth"]
    frame = model_frame(program, HARDWARE["zcu104"], random_routing(program, 3, 1.0))
    assert (tree["task"], tree["cycles"], tree["kind"]) == ("depth", frame.cycles, "modelled")
    assert sum(row["count"] for row in tree["classes"]) == len(program)
    assert sum(row["cycles"] for row in tree["classes"]) == sum(op.cycles for op in frame.ops)
    assert tree["dram_bytes"] == 64 * (len(program) + sum(op.read_words + op.write_words for op in frame.ops))
    assert tree["latency_ms"] == pytest.approx(frame.cycles / 300e3)
    assert tree["energy"]["low_mj"] < tree["energy"]["nominal_mj"] < tree["energy"]["high_mj"]
    assert tree["resources"]["misfit"] is None


def test_schedules_and_boards(tmp_path: Path) -> None:
    own = figures(tmp_path)
    base = figures(tmp_path, "--mode", "token-order", "--mode", "no-prefetch", "--board", "kv260")
    program, mode = TINY["segmentation"], Mode.TOKEN_ORDER | Mode.NO_PREFETCH
    assert base["cycles"] == model_frame(program, HARDWARE["zcu104"], random_routing(program), mode).cycles
    assert base["cycles"] > 5 * own["cycles"]
    assert base["bound"] == own["bound"]  # of the work, however it is scheduled
    assert "KV260 has 1248" in base["resources"]["misfit"]
    assert figures(tmp_path, "--experts", "on-chip")["dram_bytes"] < own["dram_bytes"] / 2


def test_a_pathway_with_its_trace(tmp_path: Path) -> None:
    pathways = random_pathways(DEMO.model, DEMO.hardware)
    write_pathways(pathways, tmp_path / "p")
    program = pathways.task("edges").program
    routing = random_routing(program, 5)
    write_trace(tmp_path / "routing.json", "demo", [TracedFrame.of("edges", 0, routing)])
    words = (str(tmp_path / "p"), "--task", "edges", "--routing", str(tmp_path / "routing.json"))
    assert figures(tmp_path, *words)["cycles"] == model_frame(program, DEMO.hardware, routing).cycles


def test_another_design_is_planned_anew(tmp_path: Path) -> None:
    write_pathways(random_pathways(DEMO.model, DEMO.hardware), tmp_path / "p")
    design = tmp_path / "wide.toml"
    sizes = DEMO.hardware.model_copy(update={"name": "wide", "lanes": 16}).model_dump(mode="json")
    plain = {key: value for key, value in sizes.items() if not isinstance(value, dict)}
    design.write_text("[hardware]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in plain.items()))
    wide, narrow = (figures(tmp_path, str(tmp_path / "p"), *words) for words in (("--design", str(design)), ()))
    assert wide["hardware"]["lanes"] == 16
    assert wide["cycles"] < narrow["cycles"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workload", "huge"), "workload 'huge' is unknown; choose one of demo, tiny"),
        (("--board", "vcu128"), "board 'vcu128' is unknown; choose one of ZCU104"),
        (("--task", "poetry"), "has no task 'poetry'; its tasks: segmentation"),
        (("--design", "none"), "there is no design 'none'"),
        (("--workload", "small", "--design", "demo"), "exceeds the max_tokens 80 of hardware 'demo'"),
        (("missing",), "there is no pathway folder missing"),
    ],
)
def test_wrong_input_gives_one_sentence(words: tuple[str, ...], message: str) -> None:
    assert message in refusal(*words)


def test_negative_sizes_and_a_foreign_trace_are_refused(tmp_path: Path) -> None:
    design, trace = tmp_path / "design.toml", tmp_path / "routing.json"
    sizes = {**HARDWARE["demo"].model_dump(), "max_tokens": -80}
    plain = {key: value for key, value in sizes.items() if not isinstance(value, dict)}
    design.write_text("[hardware]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in plain.items()))
    demo = plan_programs(DEMO.model, DEMO.hardware)["depth"]
    write_trace(trace, "demo", [TracedFrame.of("segmentation", 0, random_routing(demo))])
    for words, message in (
        (("--design", str(design)), "hardware.max_tokens: Input should be greater than 1"),
        (("--routing", str(trace)), "the routing is of another model: operation 12 routes 129 tokens"),
    ):
        assert message in refusal(*words)
