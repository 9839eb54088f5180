# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Routings of the cycle model: distributions, traces on disk, and traces that do not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3vit.model.config import DEMO
from m3vit.model.errors import UserError
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.network import plan_programs
from m3vit.sim.performance.routing import (
    Routing,
    moe_ops,
    random_routing,
    routing_of_lengths,
    routing_of_queues,
)
from m3vit.sim.performance.trace import TracedFrame, read_routing, write_trace
from m3vit.sim.synthetic import random_image, random_pathways

Damage = Callable[[dict[str, Any]], object]
"""Changes the tree of a trace in place."""
PROGRAM = plan_programs(DEMO.model, DEMO.hardware)["depth"]
OPS = dict(moe_ops(PROGRAM))


def test_random_routings_choose_top_k_different_experts() -> None:
    routing = random_routing(PROGRAM, seed=1)
    assert set(routing.chosen) == set(OPS)
    for index, op in OPS.items():
        chosen_NK = routing.chosen[index]
        assert chosen_NK.shape == (op.rows, op.top_k)
        assert (np.diff(chosen_NK, axis=1) > 0).all()  # ascending, none twice
        assert sum(routing.queue_lengths(index).values()) == op.rows * op.top_k
    assert not np.array_equal(routing.chosen[min(OPS)], random_routing(PROGRAM, seed=2).chosen[min(OPS)])


def test_skew_makes_experts_unequal() -> None:
    def spread(skew: float) -> float:
        lengths = [random_routing(PROGRAM, seed, skew).queue_lengths(min(OPS)) for seed in range(20)]
        return float(np.mean([np.std([counts.get(expert, 0) for expert in range(8)]) for counts in lengths]))

    assert spread(0.0) < spread(0.5) < spread(2.0)
    with pytest.raises(UserError, match="must not be negative, got -1"):
        random_routing(PROGRAM, skew=-1)


def test_a_routing_has_the_queues_it_is_made_of() -> None:
    pathways = random_pathways(DEMO.model.model_copy(update={"tasks": ("depth",)}), DEMO.hardware)
    steps: list[Step] = []
    Executor(pathways.first).run(random_image(DEMO.model), steps.append)
    queues = {step.index: {q.expert: q.token_Q.tolist() for q in step.queues} for step in steps if step.queues}
    lengths = {index: {expert: len(tokens) for expert, tokens in of.items()} for index, of in queues.items()}
    program = pathways.first.program
    for routing in (routing_of_queues(queues, program), routing_of_lengths(lengths, program)):
        routing.check(program)
        assert {index: routing.queue_lengths(index) for index in OPS} == lengths
        assert all((np.diff(chosen_NK, axis=1) > 0).all() for chosen_NK in routing.chosen.values())
    chosen_NK = routing_of_queues(queues, program).chosen[min(OPS)]
    for expert, tokens in queues[min(OPS)].items():
        assert np.flatnonzero((chosen_NK == expert).any(axis=1)).tolist() == tokens


def test_traces_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    routings = [random_routing(PROGRAM, seed) for seed in range(2)]
    write_trace(
        path, "demo", [TracedFrame.of(task, 0, r) for task, r in zip(("edges", "depth"), routings, strict=True)]
    )
    for task, wanted in (("edges", routings[0]), ("depth", routings[1]), (None, routings[0])):
        found = read_routing(path, PROGRAM, task)
        assert all(np.array_equal(found.chosen[index], wanted.chosen[index]) for index in OPS)
    with pytest.raises(UserError, match="no frame of task 'normals'; its tasks: depth, edges"):
        read_routing(path, PROGRAM, "normals")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: tree["frames"][0]["chosen"].pop("12"), "operation 12 routes 65 tokens to 2 experts each"),
        (lambda tree: tree["frames"][0]["chosen"]["12"].pop(), r"holds \(64, 2\) for it"),
        (lambda tree: tree["frames"][0]["chosen"]["12"][0].__setitem__(0, 8), "8 experts, the routing names expert 8"),
        (lambda tree: tree["frames"][0]["chosen"]["12"][0].__setitem__(0, -1), "is not a routing trace"),
        (lambda tree: tree["frames"][0]["chosen"]["12"][0].pop(), "different numbers of experts"),
        (lambda tree: tree["frames"][0]["chosen"].update({"0": [[1]]}), "operation 0 is no MoE layer"),
        (lambda tree: tree.pop("version") and tree.update(version=2), "is not a routing trace"),
    ],
)  # fmt: skip
def test_traces_that_do_not_fit_are_refused(tmp_path: Path, damage: Damage, message: str) -> None:
    path = tmp_path / "routing.json"
    write_trace(path, "demo", [TracedFrame.of("depth", 0, random_routing(PROGRAM))])
    tree = json.loads(path.read_text())
    damage(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=message):
        read_routing(path, PROGRAM)


def test_a_missing_or_truncated_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    with pytest.raises(UserError, match=r"routing\.json"):
        read_routing(path, PROGRAM)
    write_trace(path, "demo", [TracedFrame.of("depth", 0, random_routing(PROGRAM))])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a routing trace"):
        read_routing(path, PROGRAM)


def test_an_empty_routing_is_of_another_model() -> None:
    with pytest.raises(UserError, match="holds nothing for it"):
        Routing({}).check(PROGRAM)
