# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The golden executor on synthetic pathways: traces, single operations, where parameters come from, head layout."""

from dataclasses import replace

import numpy as np
import pytest

from m3vit.model.config import DEMO, HARDWARE, MODELS
from m3vit.sim.golden.executor import Executor, State, Step, head_map, run
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Opcode
from m3vit.sim.synthetic import random_image, random_moe, random_pathways, random_residual

MODEL = DEMO.model.model_copy(update={"layers": 2, "tasks": ("segmentation", "depth", "edges")})


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, DEMO.hardware, seed=1)


def moe_index(pathways: Pathways) -> int:
    return next(i for i, op in enumerate(pathways.first.program) if op.opcode is Opcode.MOE)


def test_trace_is_consistent(pathways: Pathways) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    steps: list[Step] = []
    executor = Executor(pathways.task("depth"))
    result = executor.run(image, steps.append)
    assert [step.op for step in steps] == list(pathways.task("depth").program)
    moe_step = steps[moe_index(pathways)]
    assert sum(len(queue.token_Q) for queue in moe_step.queues) == 65 * 2
    alone = executor.step(moe_step.index, State.of(x_ND=moe_step.x_ND, residual_ND=moe_step.residual_ND))
    np.testing.assert_array_equal(alone.result, moe_step.result)
    assert (moe_step.result != moe_step.residual_ND).any()
    np.testing.assert_array_equal(result.output_NC, run(pathways.task("depth"), image).output_NC)
    assert result.output_NC.shape == (64, 16)
    assert [step.op.opcode for step in steps[-2:]] == [Opcode.HEAD, Opcode.STORE]
    for step in steps[-2:]:
        np.testing.assert_array_equal(step.result, result.output_NC)


def test_parameters_come_from_the_image(pathways: Pathways) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pathway = pathways.first
    memory = pathway.image.copy()
    block = pathway.blocks["blocks.1.experts"]
    memory[block.offset : block.offset + block.size] = 0
    other = replace(pathway, image=memory)
    assert (run(other, image).output_NC != run(pathway, image).output_NC).any()


def test_tasks_differ(pathways: Pathways) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert run(pathways.task("segmentation"), image).output_NC.shape == (64, 5 * 16)
    assert (run(pathways.task("depth"), image).output_NC != run(pathways.task("edges"), image).output_NC).any()


def test_head_map_order(pathways: Pathways) -> None:
    cells = np.arange(64 * 5 * 16, dtype=np.int16).reshape(64, 5 * 16)
    grid = head_map(pathways.task("segmentation"), cells) / pathways.first.scales.output
    assert grid.shape == (5, 32, 32)
    token, channel, row, column = 19, 4, 2, 3
    assert round(grid[channel, 2 * 4 + row, 3 * 4 + column]) == cells[token, channel * 16 + row * 4 + column]


@pytest.mark.parametrize("shape", [(64, 64), (32, 64, 3), (3, 64, 64)])
def test_wrong_images_are_refused(pathways: Pathways, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        run(pathways.first, np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="expected"):
        run(pathways.first, np.zeros((64, 64, 3), np.float32))


def test_wrong_residuals_are_refused() -> None:
    pathway = random_moe(MODEL, DEMO.hardware).first
    for residual_ND in (np.zeros((64, 64), np.int16), np.zeros((65, 64), np.int8)):
        with pytest.raises(ValueError, match="expected"):
            run(pathway, residual_ND)


def test_synthetic_moe_loads_and_stores_with_uneven_queues() -> None:
    model = MODELS["m3vit_tiny_patch16"]
    pathways = random_moe(model, HARDWARE["zcu104"], seed=3)
    pathways.check()
    assert [op.opcode.name for op in pathways.first.program] == ["LOAD", "LAYER_NORM", "MOE", "STORE"]
    source_ND = random_residual(model, seed=4)
    steps: list[Step] = []
    result = run(pathways.first, source_ND, steps.append)
    np.testing.assert_array_equal(steps[0].result, source_ND)
    np.testing.assert_array_equal(steps[2].result, result.output_NC)
    assert (result.output_NC != source_ND).any()
    step = steps[2]
    load = [len(queue.token_Q) for queue in step.queues]
    assert sum(load) == 129 * 2
    assert max(load) > 2 * min(load)
    assert 8 < len(load) <= 12  # four experts are unpopular
    gate = np.concatenate([queue.gate_Q for queue in step.queues])
    assert 0.05 < gate.mean() / 2**15 < 0.6


@pytest.mark.parametrize(("name", "hardware"), [("m3vit_demo_patch8", "demo"), ("m3vit_tiny_patch16", "zcu104")])
def test_synthetic_models_have_the_spread_of_trained_ones(name: str, hardware: str) -> None:
    """No tensor dies out or saturates over all layers, tasks use different experts, some experts stay empty."""
    pathways = random_pathways(MODELS[name], HARDWARE[hardware], seed=2)
    pathways.check()
    used: dict[str, list[set[int]]] = {}

    def observe(step: Step) -> None:
        limit = np.iinfo(step.result.dtype).max
        assert (step.result >= limit).mean() < 0.01
        assert step.result.std() > limit / 40
        if step.op.opcode is Opcode.MOE:
            used[task].append({queue.expert for queue in step.queues})

    for task in ("depth", "edges"):
        used[task] = []
        run(pathways.task(task), random_image(MODELS[name], seed=5), observe)
    assert used["depth"] != used["edges"]
    experts = MODELS[name].experts
    assert all(experts // 2 <= len(layer) <= experts * 3 // 4 for layers in used.values() for layer in layers)


def test_synthetic_is_a_function_of_its_seed() -> None:
    images = [random_pathways(MODEL, DEMO.hardware, seed).first.image for seed in (1, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()
