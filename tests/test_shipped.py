# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The models that ship: their size, their accuracy, that their checkpoint and their integers are one, and RTL."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from m3vit.model import zoo
from m3vit.model.accuracy import INT8_BATCH, evaluate_int8, first_images
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.datasets import open_data
from m3vit.model.evaluate import evaluate
from m3vit.model.quantise import quantise
from m3vit.model.units import load_units
from m3vit.model.zoo_checkpoint import unpack_checkpoint
from m3vit.scripts.cli import build_app
from m3vit.sim.pathway import Pathways, read_pathways

TASKS = {"segmentation", "depth", "normals", "edges", "saliency"}
IMAGES = 32


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    shelf = tmp_path_factory.mktemp("shipped")
    return {name: zoo.unpack(name, shelf / name).parent for name in zoo.names()}


@pytest.fixture(scope="module")
def shipped(unpacked: dict[str, Path]) -> dict[str, Pathways]:
    """Read with all checksums."""
    return {name: read_pathways(folder / zoo.PATHWAY) for name, folder in unpacked.items()}


def test_two_models_ship_and_stay_small(shipped: dict[str, Pathways]) -> None:
    assert set(shipped) == {"demo", "tiny"}
    assert shipped["tiny"].first.workload == "m3vit_tiny_patch16"
    assert all(set(pathways.tasks) == TASKS for pathways in shipped.values())
    size = sum(len(entry.read_bytes()) for entry in zoo.folder().iterdir() if entry.is_file())
    assert size < 25_000_000


def test_int8_is_within_half_a_percent_of_float_and_far_from_a_guess(shipped: dict[str, Pathways]) -> None:
    for name, pathways in shipped.items():
        for task, pathway in pathways.tasks.items():
            scores = pathway.accuracy
            assert scores is not None
            assert scores.images >= 128
            assert scores.loss_percent < 0.5, (name, task)
            sign = 1 if scores.higher_is_better else -1
            assert sign * scores.int8 > sign * scores.trivial * (1 + 0.2 * sign), (name, task)


def test_cards_tell_what_the_pathways_hold(shipped: dict[str, Pathways]) -> None:
    for name, pathways in shipped.items():
        text = zoo.card(name)
        for task, pathway in pathways.tasks.items():
            assert pathway.accuracy is not None
            (row,) = [line for line in text.splitlines() if line.startswith(f"| {task} |")]
            assert f"| {pathway.accuracy.float32:.3f} |" in row
            assert f"| {pathway.accuracy.int8:.3f} |" in row
        assert "Apache-2.0" in text
        assert f"m3vit verify {name}" in text


def test_checkpoint_of_the_demo_exports_to_its_pathway_and_scores_what_the_card_says(
    unpacked: dict[str, Path], shipped: dict[str, Pathways]
) -> None:
    torch.set_num_threads(1)
    path = unpack_checkpoint(unpacked["demo"])
    config, model = load_checkpoint(path)
    units = load_units(path)
    assert units is not None
    again = quantise(model, config, units)
    assert again.first.image.tobytes() == shipped["demo"].first.image.tobytes()
    data = open_data(config.model_copy(update={"scenes": config.scenes.model_copy(update={"val_size": IMAGES})}), False)
    float32 = evaluate(model, data.val(IMAGES))["tasks"]
    int8 = evaluate_int8(again, first_images(data.val(INT8_BATCH), IMAGES))
    for task, value in int8.items():
        scores = shipped["demo"].task(task).accuracy
        assert scores is not None
        assert value == pytest.approx(float32[task]["value"], rel=0.02)
        assert value == pytest.approx(scores.int8, rel=0.15), "on fewer images"


def test_shipped_demo_runs_in_rtl(unpacked: dict[str, Path]) -> None:
    arguments = ["verify", str(unpacked["demo"] / zoo.PATHWAY), "--images", "1", "--task", "normals", "--no-hls"]
    result = CliRunner().invoke(build_app("verify"), arguments)
    assert result.exit_code == 0, result.output
    assert "elements compared, 0 differ" in result.output
