# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""RTL, HLS and golden: the same pathway and image give the same bytes, through the same host driver."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from m3vit.hls.csim import HlsBoard
from m3vit.model.config import HARDWARE, MODELS
from m3vit.sim.board import Board, SimulatedBoard
from m3vit.sim.driver import Accelerator
from m3vit.sim.golden.executor import Executor
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.program import Opcode
from m3vit.sim.regmap import Backend
from m3vit.sim.synthetic import random_image, random_pathways

TASKS = ("segmentation", "depth", "normals", "edges", "saliency")
MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": TASKS, "image_hw": (40, 64)})
FRAMES = 50


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, HARDWARE["demo"], seed=11)


@pytest.fixture(scope="module")
def folder(pathways: Pathways, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backends") / "pathway"
    write_pathways(pathways, path)
    return path


def load(board: Board, folder: Path) -> Accelerator:
    accelerator = board.accelerator()
    accelerator.load(folder)
    return accelerator


@pytest.fixture(scope="module")
def rtl(folder: Path) -> Iterator[Accelerator]:
    with SimulatedBoard.for_pathway(folder) as board:
        yield load(board, folder)


@pytest.fixture(scope="module")
def hls(folder: Path) -> Iterator[Accelerator]:
    with HlsBoard.for_pathway(folder) as board:
        yield load(board, folder)


@pytest.mark.parametrize("task", TASKS)
def test_rtl_hls_and_golden_give_the_same_bytes(
    task: str, rtl: Accelerator, hls: Accelerator, pathways: Pathways
) -> None:
    image = random_image(MODEL, seed=len(task))
    expected = Executor(pathways.task(task)).run(image).output_NC.tobytes()
    assert rtl.backend is Backend.RTL
    assert hls.backend is Backend.HLS
    assert len(set(expected)) > 16
    assert rtl.run(task, image).tobytes() == expected
    assert hls.run(task, image).tobytes() == expected


def test_both_count_the_same_words_and_experts(rtl: Accelerator, hls: Accelerator, pathways: Pathways) -> None:
    """The RTL may load experts before it knows that they have tokens; everything else is the same work."""
    image = random_image(MODEL, seed=3)
    for accelerator in (rtl, hls):
        accelerator.run("depth", image)
    for index, op in enumerate(pathways.task("depth").program):
        one, other = rtl.counters(index), hls.counters(index)
        assert (one.experts, one.write_words) == (other.experts, other.write_words)
        if op.opcode is Opcode.MOE:
            assert other.loads == other.experts > 0
            assert one.read_words >= other.read_words
        else:
            assert one.read_words == other.read_words, f"operation {index}, {op.opcode.name}"


def test_fifty_frames_of_two_tasks_in_random_order(hls: Accelerator, pathways: Pathways) -> None:
    """The RTL's frames are in test_board.py."""
    rng = random.Random(4)
    images = [random_image(MODEL, seed) for seed in range(4)]
    tasks = ("depth", "edges")
    golden = {(t, i): Executor(pathways.task(t)).run(image).output_NC for t in tasks for i, image in enumerate(images)}
    frames = [rng.choice(list(golden)) for _ in range(FRAMES)]
    assert sum(one[0] != other[0] for one, other in itertools.pairwise(frames)) > FRAMES // 3
    for frame in frames:
        np.testing.assert_array_equal(hls.run(frame[0], images[frame[1]]), golden[frame])
