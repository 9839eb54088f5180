# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Archives of trained models: packing, unpacking, checkpoints, and what happens to damaged ones."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from m3vit.model import zoo
from m3vit.model.checkpoint import load_checkpoint
from m3vit.model.config import DEMO
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.units import load_units
from m3vit.model.vit import M3ViT
from m3vit.model.zoo_checkpoint import pack, settle
from m3vit.scripts.cli import build_app
from m3vit.sim.pathway import read_pathways


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of archives with one small model in it."""
    folder = tmp_path_factory.mktemp("zoo")
    model_config = DEMO.model.model_copy(update={"layers": 2, "image_hw": (16, 16), "tasks": ("depth", "edges")})
    config = DEMO.model_copy(update={"model": model_config})
    torch.manual_seed(0)
    model = M3ViT(model_config).eval()
    units = calibrate_units(model, config, torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8))
    pathways, settled = settle(model, config, units)
    pack(pathways, settled, units, 7, folder / "small.tar.xz")
    (folder / "small.md").write_text("# A small model\n\nText.\n")
    return folder


@pytest.fixture
def here(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo, "folder", lambda: shelf)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_unpacked_checkpoint_exports_to_the_shipped_bytes(here: Path) -> None:
    result = CliRunner().invoke(build_app("zoo"), ["zoo", "small"])
    assert result.exit_code == 0, result.output
    folder = Path("runs/zoo/small")
    config, model = load_checkpoint(folder / "model.safetensors")
    units = load_units(folder / "model.safetensors")
    assert units is not None
    shipped = read_pathways(folder / "pathway")
    assert quantise(model, config, units).first.image.tobytes() == shipped.first.image.tobytes()
    assert (folder / "README.md").read_text().startswith("# A small model")


def test_names_stand_for_pathways(here: Path, shelf: Path) -> None:
    assert zoo.names() == ["small"]
    assert zoo.find_pathway(Path("small")) == Path("runs/zoo/small/pathway")
    stamp = Path("runs/zoo/small/pathway/manifest.json").stat().st_mtime_ns
    assert zoo.find_pathway(Path("small")) == Path("runs/zoo/small/pathway")
    assert Path("runs/zoo/small/pathway/manifest.json").stat().st_mtime_ns == stamp, "unpacked once"
    assert zoo.find_pathway(Path("elsewhere/small")) == Path("elsewhere/small")
    result = CliRunner().invoke(build_app("report"), ["report", "small"])
    assert result.exit_code == 0, result.output
    assert Path("runs/zoo/small/pathway/report/report.html").exists()
    assert "small: A small model" in CliRunner().invoke(build_app("zoo"), ["zoo"]).output


def test_a_folder_of_the_same_name_comes_first(here: Path) -> None:
    Path("small").mkdir()
    assert zoo.find_pathway(Path("small")) == Path("small")


def test_mistakes_are_one_sentence_and_leave_nothing(here: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: str) -> str:
        result = CliRunner().invoke(build_app("zoo"), ["zoo", *arguments])
        assert result.exit_code == 2, result.output
        return result.output

    assert "no model 'large' ships with m3vit; choose one of small" in fails("large")
    Path("mine").mkdir()
    assert "mine exists and is not an unpacked model" in fails("small", "--out", "mine")
    data = (shelf / "small.tar.xz").read_bytes()
    broken = here / "shelf"
    broken.mkdir()
    (broken / "small.md").write_text("# A small model\n")
    monkeypatch.setattr(zoo, "folder", lambda: broken)
    for cut in (data[: len(data) // 2], b"nonsense", b""):
        (broken / "small.tar.xz").write_bytes(cut)
        assert "cannot unpack the model 'small'" in fails("small")
        assert not Path("runs/zoo/small").exists()
        assert not list(Path("runs/zoo").iterdir())
