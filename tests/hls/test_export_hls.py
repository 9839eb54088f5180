# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit export --hls`: an hls4ml project of each task beside the pathway, never of an older one."""

from pathlib import Path

import pytest

from m3vit.model.config import HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.scripts.export import write_hls4ml
from m3vit.scripts.project_folder import check_replaceable
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.synthetic import random_pathways

MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": ("depth", "edges"), "image_hw": (32, 32), "layers": 2})


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, HARDWARE["demo"])


def test_a_project_of_each_task_in_the_place_of_older_ones(pathways: Pathways, tmp_path: Path) -> None:
    folder = tmp_path / "pathway" / "hls4ml"
    write_pathways(pathways, tmp_path / "pathway")
    for _ in range(2):
        write_hls4ml(pathways, folder)
        assert {path.name for path in folder.iterdir()} == {"depth", "edges", "project.json"}
    for task in MODEL.tasks:
        assert (folder / task / "firmware" / "weights" / "image.bin").read_bytes() == pathways.first.image.tobytes()
        text = "".join(
            path.read_text(errors="replace") for path in (folder / task).rglob("*.*") if path.suffix != ".bin"
        )
        assert str(tmp_path) not in text
        assert str(Path(__file__).parents[2]) not in text
    assert read_pathways(tmp_path / "pathway").first.workload == MODEL.name
    write_hls4ml(None, folder)
    assert not folder.exists()


def test_other_folders_are_kept(pathways: Pathways, tmp_path: Path) -> None:
    (tmp_path / "hls4ml").mkdir()
    (tmp_path / "hls4ml" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not a project folder"):
        check_replaceable(tmp_path / "hls4ml")
    with pytest.raises(UserError, match="exists and is not a project folder"):
        write_hls4ml(pathways, tmp_path / "hls4ml")
    assert (tmp_path / "hls4ml" / "thesis.txt").read_text() == "mine"
