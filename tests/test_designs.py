# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Designs and boards by name."""

from pathlib import Path

import pytest

from m3vit.model.config import BOARDS, DEMO, HARDWARE, MODELS, HardwareConfig, ModelConfig, find_board, load_config
from m3vit.model.errors import UserError
from m3vit.sim.designs import find_design, write_design

DESIGN = HARDWARE["zcu104"].model_copy(update={"name": "found", "lanes": 16, "board": BOARDS["KV260"]})
ODD = DEMO.model.model_copy(update={"name": "of_the_users_own", "layers": 2, "tasks": ("depth",)})


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("model", [MODELS["m3vit_tiny_patch16"], ODD])
def test_a_design_survives_its_file(model: ModelConfig) -> None:
    path = Path("some") / "design.toml"
    write_design(path, DESIGN, model, ["found somewhere", 'with "quotes"'])
    assert find_design(str(path)) == DESIGN
    assert load_config(path).model == model
    assert path.read_text().startswith('# found somewhere\n# with "quotes"\n')


def test_presets_and_explored_designs_have_names() -> None:
    assert find_design("zcu104") == HARDWARE["zcu104"]
    write_design(Path("runs/explore/tiny/designs/found.toml"), DESIGN, ODD, [])
    assert find_design("found") == DESIGN


def test_a_name_that_two_searches_gave_is_refused() -> None:
    for workload in ("tiny", "small"):
        write_design(Path(f"runs/explore/{workload}/designs/found.toml"), DESIGN, ODD, [])
    with pytest.raises(UserError, match=r"small/designs/found\.toml and in .*; name the file"):
        find_design("found")


@pytest.mark.parametrize("name", ["toaster", "*", "t?", "[a-z]", ""])
def test_unknown_names_are_refused(name: str) -> None:
    write_design(Path("runs/explore/tiny/designs/ta.toml"), DESIGN, ODD, [])
    with pytest.raises(UserError, match=r"there is no design .*; choose one of demo, zcu104"):
        find_design(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "m3vit_tiny_patch16"\n', "holds no hardware"),
        ("[hardware]\nlanes = -8\n", "hardware"),
        ('hardware = "toaster"\n', "hardware 'toaster' is unknown"),
        ("hardware = [", "is not valid TOML"),
    ],
)
def test_wrong_files_are_refused(text: str, message: str) -> None:
    Path("wrong.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        find_design("wrong.toml")
    with pytest.raises(UserError, match=r"cannot read nothing\.toml"):
        find_design("nothing.toml")


def test_negative_sizes_are_one_sentence() -> None:
    Path("negative.toml").write_text(
        "[hardware]\nname = 'n'\nlanes = 8\ngroups = 2\nmax_tokens = -80\nmax_dim = 128\nmax_hidden = 128\n"
        "max_block = 80\nstream_words = 512\nlend_words = 128\n"
    )
    with pytest.raises(UserError, match=r"hardware\.max_tokens: Input should be greater than 1$"):
        find_design("negative.toml")


@pytest.mark.parametrize("name", ["ZCU102", "zcu102", "Kv260"])
def test_a_config_may_name_its_board(name: str) -> None:
    tree = DEMO.hardware.model_dump() | {"board": name}
    assert HardwareConfig.model_validate(tree).board == find_board(name) == BOARDS[name.upper()]


def test_an_unknown_board_is_one_sentence() -> None:
    with pytest.raises(UserError, match="board 'zcu999' is unknown; choose one of ZCU104, ZCU102, KV260"):
        find_board("zcu999")
    Path("negative.toml").write_text(
        "[hardware]\nname = 'n'\nlanes = 8\ngroups = 2\nmax_tokens = 80\nmax_dim = 128\nmax_hidden = 128\n"
        "max_block = 80\nstream_words = 512\nlend_words = 128\nboard = 'zcu999'\n"
    )
    with pytest.raises(UserError, match=r"hardware\.board: board 'zcu999' is unknown; choose one of"):
        load_config(Path("negative.toml"))
