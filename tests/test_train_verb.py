# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `train` on recipes and on datasets on disk: what it takes, and the sentences for what it does not."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3vit.model.checkpoint import read_checkpoint
from m3vit.model.config import DEMO, load_config
from m3vit.model.datasets.synthetic import write
from m3vit.model.errors import UserError
from m3vit.model.recipe import FOLDER, load_recipe, recipe_names
from m3vit.scripts.cli import main

SMALL = """
[model]
name = "t"
image_hw = [32, 32]
patch = 8
dim = 8
layers = 2
heads = 2
mlp_hidden = 8
experts = 3
top_k = 2
expert_hidden = 4
classes = 40
tasks = ["segmentation", "depth", "normals", "edges"]

[data]
dataset = "nyud"
workers = 0

[train]
steps = 2
batch = 2
warmup = 1
checkpoint_every = 1
"""


def run_verb(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `m3vit train ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["m3vit", "train", *map(str, arguments), "--device", "cpu", "--threads", "1"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


@pytest.fixture
def nyud(tmp_path: Path) -> Path:
    """A tiny copy of NYUD-v2."""
    write("nyud", tmp_path / "NYUD_MT")
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "NYUD_MT"


def test_recipes_are_configs_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"demo", "tiny", "nyud", "pascal_context", "cityscapes"} <= set(recipe_names())
    assert load_recipe(None) == load_recipe(Path("demo")) == DEMO
    for name in recipe_names():
        assert load_recipe(Path(name)) == load_config(FOLDER / f"{name}.toml")
    with pytest.raises(UserError, match=r"'demmo' is neither a file nor a recipe; recipes are .*demo.*tiny"):
        load_recipe(Path("demmo"))
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text('model = "m3vit_tiny_patch16"')  # a file goes before a recipe
    assert load_recipe(Path("demo")).model.name == "m3vit_tiny_patch16"


def test_dataset_on_disk_trains_and_resumes_elsewhere(
    nyud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "run", tmp_path / "small.toml"
    assert run_verb(monkeypatch, "--config", config, "--data", nyud, "--out", out) == 0
    assert "wrote" in capsys.readouterr().out
    facts = json.loads((out / "metrics.json").read_text())["tasks"]
    assert list(facts) == ["segmentation", "depth", "normals", "edges"]
    for task in facts.values():
        assert np.isfinite([task["value"], task["trivial_constant"], task["trivial_per_pixel"]]).all()
    (out / "model.safetensors").unlink()  # as if killed before the last write
    moved = nyud.rename(tmp_path / "moved")
    assert run_verb(monkeypatch, "--config", config, "--data", moved, "--out", out, "--resume") == 0
    assert read_checkpoint(out / "model.safetensors").config.data.root == moved


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], words: str
) -> None:
    """The verb exits with 2 and one sentence that has some words."""
    capsys.readouterr()
    assert run_verb(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert error.startswith("m3vit: ")
    assert words in error, error


def test_five_failures_say_one_sentence_each(
    nyud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(root: Path, words: str, *more: object) -> None:
        out = tmp_path / "run"
        arguments = ("--config", tmp_path / "small.toml", "--data", root, "--out", out, *more)
        refused(monkeypatch, capsys, arguments, words)

    fails(tmp_path / "absent", str(tmp_path / "absent"))
    assert not (tmp_path / "run").exists()  # nothing to resume or to clean up
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "NYUD")
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes((8).to_bytes(8, "little") + b"{}      ")
    fails(nyud, "tensor cls_token is missing", "--pretrained", foreign)
    picture = sorted((nyud / "images").glob("train_*"))[0]
    labels = sorted((nyud / "segmentation").glob("val_*"))[0]
    good = labels.read_bytes()
    Image.fromarray(np.full(np.asarray(Image.open(labels)).shape, 77, np.uint8)).save(labels)
    (tmp_path / "run" / "resume.safetensors").unlink(missing_ok=True)
    fails(nyud, labels.name)
    labels.write_bytes(good)
    picture.write_bytes(picture.read_bytes()[:300])
    fails(nyud, picture.name, "--resume", "--batch", "2")


def test_foreign_checkpoint_to_resume_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "resume.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    arguments = ("--out", tmp_path, "--resume")
    refused(monkeypatch, capsys, arguments, "resume.safetensors is not an m3vit checkpoint; pass a file that")


def test_none_starts_from_random_weights(nyud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "small.toml"
    config.write_text(SMALL + 'pretrained = "vit_of_nobody"\n')
    arguments = ("--config", config, "--data", nyud, "--steps", 1)
    assert run_verb(monkeypatch, *arguments, "--out", tmp_path / "a") == 2
    assert run_verb(monkeypatch, *arguments, "--out", tmp_path / "b", "--pretrained", "none") == 0
