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
from m3vit.sim.synthetic import random_moe, random_pathways, random_tokens

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


def test_synthetic_moe_is_one_operation_with_uneven_load() -> None:
    model = MODELS["m3vit_tiny_patch16"]
    pathways = random_moe(model, HARDWARE["zcu104"], seed=3)
    pathways.check()
    assert [op.opcode for op in pathways.first.program] == [Opcode.MOE]
    x_ND, residual_ND = random_tokens(model, seed=4)
    step = Executor(pathways.first).step(0, State.of(x_ND=x_ND, residual_ND=residual_ND))
    load = [len(queue.token_Q) for queue in step.queues]
    assert sum(load) == 129 * 2
    assert max(load) > 2 * min(load)
    assert len(load) > 8
    gate = np.concatenate([queue.gate_Q for queue in step.queues])
    assert 0.05 < gate.mean() / 2**15 < 0.6


def test_synthetic_is_a_function_of_its_seed() -> None:
    images = [random_pathways(MODEL, DEMO.hardware, seed).first.image for seed in (1, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()
