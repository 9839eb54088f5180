# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The source distribution and the wheel made from it hold the whole tree and nothing else, and the wheel works."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("hls", "model", "rtl", "scripts", "sim")
"""Folders at the top that are packages of m3vit."""
RUBBISH = ("runs/demo/report.json", "scripts/templates/project/common/host/__pycache__/x.pyc", "rtl/__pycache__/x.pyc")
"""Files that lie in a working tree and do not belong into a package."""


def files_below(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "__pycache__" not in path.parts}


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Output of this Python, with `path` before the installed packages."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree with rubbish in it."""
    copy = tmp_path_factory.mktemp("package") / "tree"
    skip = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=skip)
    for name in RUBBISH:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    return copy


def build(tree: Path, out: str, *options: str) -> Path:
    """The wheel, built offline."""
    folder = tree.parent / out
    python("-m", "build", "--no-isolation", *options, "--outdir", str(folder), cwd=tree)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """Built from a source distribution, as for a release."""
    return build(tree, "released")


@pytest.fixture(scope="module")
def direct_wheel(tree: Path) -> Path:
    """Built from the tree, as `pip install .` does."""
    return build(tree, "direct", "--wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    target = wheel.parent / "site"
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target", str(target)]
    python("-m", "pip", "install", *options, str(wheel), cwd=wheel.parent)
    return target


@pytest.mark.parametrize("route", ["wheel", "direct_wheel"])
def test_the_wheel_holds_the_tree_and_nothing_else(route: str, request: pytest.FixtureRequest) -> None:
    expected = {f"m3vit/{part}/{name}" for part in PARTS for name in files_below(ROOT / part)}
    expected |= {"m3vit/__init__.py", "m3vit/py.typed"}
    with zipfile.ZipFile(request.getfixturevalue(route)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name.partition(".dist-info/")[2] for name in archive.namelist()]
    assert names == expected
    assert "licenses/LICENSE" in metadata
    suffixes = {Path(name).suffix for name in names}
    assert suffixes >= {".py", ".sv", ".vlt", ".cpp", ".toml", ".tcl", ".j2"}  # the tree was not empty


def test_every_folder_is_linked_into_the_package() -> None:
    links = {path.name: path.readlink() for path in (ROOT / "src" / "m3vit").iterdir() if path.is_symlink()}
    assert links == {part: Path("..", "..", part) for part in PARTS}


def test_the_installed_package_reads_its_data(installed: Path, tmp_path: Path) -> None:
    program = """
from importlib.resources import files
import m3vit
from m3vit.rtl.generate import sources
from m3vit.sim.energy import load_constants
from m3vit.sim.simulator import frame_bench
from m3vit.model.config import DEMO
print(m3vit.__version__)
print(m3vit.__file__)
print(files("m3vit.rtl").joinpath("m3vit_core.sv").read_text().count("module m3vit_core"))
bench = frame_bench(DEMO.hardware)
print(all(path.is_file() for path in [*sources(), *bench.sources, *bench.cpp]), len(sources()))
load_constants(None)
"""
    version, where, modules, complete = python("-c", program, cwd=tmp_path, path=installed).splitlines()
    assert Path(where).parent == installed / "m3vit"
    assert modules == "1"
    assert complete == f"True {len(list((ROOT / 'rtl').glob('*.sv')))}"
    assert list(installed.glob(f"m3vit-{version}.dist-info"))


@pytest.mark.parametrize("entry", [("-m", "m3vit.scripts.cli"), ("bin/m3vit",)])
def test_the_installed_command_runs(entry: tuple[str, ...], installed: Path, tmp_path: Path) -> None:
    start = [str(installed / part) if part.startswith("bin/") else part for part in entry]
    assert "train" in python(*start, "--help", cwd=tmp_path, path=installed)
