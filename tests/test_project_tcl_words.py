# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every word and bracket of the projects' Tcl, changed one at a time, is noticed; the table behind the stand-ins."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import make_project, replace_in, run_scripts

from m3vit.scripts import tcl_check
from m3vit.scripts.project_folder import Backend
from m3vit.scripts.tcl_check import STEPS, TclError, check_project, interpreter, run_step

pytestmark = pytest.mark.skipif(interpreter() is None, reason="neither tclsh nor Python's tkinter is installed")
RTL, HLS = Backend.rtl, Backend.hls


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[Backend, Path]:
    folder = tmp_path_factory.mktemp("projects")
    return {backend: make_project(folder / backend, backend) for backend in Backend}


@pytest.fixture
def moved(projects: dict[Backend, Path], tmp_path: Path, backend: Backend) -> Path:
    """A copy of what scripts need."""
    skip = shutil.ignore_patterns("host", "ap_types")
    return Path(shutil.copytree(projects[backend], tmp_path / "moved", ignore=skip))


def places(folder: Path, pattern: str) -> Iterator[tuple[Path, int]]:
    """Places where the first group of a pattern ends, in all scripts of a project outside comments."""
    for path in sorted((folder / "tcl").glob("*.tcl")):
        text = path.read_text()
        for match in re.finditer(pattern, text):
            if not text[: match.start()].rpartition("\n")[2].lstrip().startswith("#"):
                yield path, match.end(1)


def found_anywhere(folder: Path, backend: Backend) -> bool:
    """Whether the check finds something."""
    try:
        check_project(folder, backend)
    except TclError:
        return True
    return False


def missed(folder: Path, backend: Backend, pattern: str, insert: str = "x", cut: int = 0) -> tuple[int, list[str]]:
    """Change every place of a pattern, one at a time. Returns how many there are and the lines where nobody noticed."""
    assert not found_anywhere(folder, backend)
    count, unseen = 0, []
    for path, end in list(places(folder, pattern)):
        text = path.read_text()
        path.write_text(text[: end - cut] + insert + text[end:])
        if not found_anywhere(folder, backend):
            unseen.append(f"{path.name}: {text[:end].rpartition(chr(10))[2]}")
        path.write_text(text)
        count += 1
    return count, unseen


@pytest.mark.parametrize(("backend", "least"), [(RTL, 35), (HLS, 50)])
def test_every_misspelt_option_is_found(moved: Path, backend: Backend, least: int) -> None:
    count, unseen = missed(moved, backend, r"(?<=[\s\[])(-[a-zA-Z_]+)\b(?![\w:./])")
    assert unseen == []
    assert count >= least


@pytest.mark.parametrize(("backend", "least"), [(RTL, 60), (HLS, 60)])
def test_every_misspelt_command_is_found(moved: Path, backend: Backend, least: int, tmp_path: Path) -> None:
    used = {line.split()[1] for line in used_words(moved, backend, tmp_path / "log")}
    names = "|".join(sorted(used, key=len, reverse=True))
    count, unseen = missed(moved, backend, rf"(?m)(?:^\s*|\[|\{{)({names})(?=[\s\]}}])")
    assert unseen == []
    assert count >= least


@pytest.mark.parametrize("backend", Backend)
def test_every_misspelt_property_is_found(moved: Path, backend: Backend) -> None:
    count, unseen = missed(moved, backend, r"(CONFIG\.\w+)")
    assert unseen == []
    assert count >= 9
    count, unseen = missed(moved, backend, r"[sg]et_property ([a-zA-Z_.]+)")
    assert unseen == []
    assert count >= 9


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("bracket", "[]{}")
def test_every_missing_bracket_is_found(moved: Path, backend: Backend, bracket: str) -> None:
    count, unseen = missed(moved, backend, f"(\\{bracket})", insert="", cut=1)
    assert unseen == []
    assert count > 40


# --- the table ------------------------------------------------------------------------------------------------------


def used_words(folder: Path, backend: Backend, log: Path) -> set[str]:
    """Lines `tool command [option]` of everything that the scripts used."""
    assert run_scripts(folder, backend, log=log) is None
    return set(log.read_text().splitlines())


def table_rows(text: str) -> dict[str, set[str]]:
    """Names in the table by kind of row."""
    rows: dict[str, set[str]] = {}
    for kind, owner, name in re.findall(r"^(command|property) (\w+) ([\w:.]+)", text, re.M):
        rows.setdefault(kind, set()).add(f"{owner} {name}")
    return rows


def test_the_table_holds_what_the_scripts_use_and_nothing_else(projects: dict[Backend, Path], tmp_path: Path) -> None:
    used, scripts = set(), ""
    for backend, folder in projects.items():
        copy = Path(shutil.copytree(folder, tmp_path / backend))
        used |= used_words(copy, backend, tmp_path / "log")
        scripts += "".join(path.read_text() for path in (folder / "tcl").glob("*.tcl"))
    rows = table_rows((tcl_check.STUBS.parent / "table.tcl").read_text())
    assert rows["command"] == {" ".join(words.split()[:2]) for words in used}
    properties = {name.split()[1] for name in rows["property"]}
    assert properties == set(re.findall(r"[sg]et_property ([\w.]+)", scripts))


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stand-ins that the check uses."""
    folder = Path(shutil.copytree(tcl_check.STUBS.parent, tmp_path / "stubs"))
    monkeypatch.setattr(tcl_check, "STUBS", folder / "stubs.tcl")
    return folder


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("command vitis_hls set_top {UG1399 2023.2 page}", "command vitis_hls set_top {}"),
        ("command vitis_hls set_top {UG1399 2023.2 page}", "command vitis_hls set_top {a blog}"),
        ("command vitis_hls set_top {UG1399 2023.2 page}", "command vitis_hls set_top {UG1399 - page}"),
        ("property run STATUS {UG912 - use}", "property run STATUS {UG912 2022.2 memory}"),
    ],
)
def test_a_row_without_a_source_is_refused(projects: dict[Backend, Path], stubs: Path, old: str, new: str) -> None:
    replace_in(stubs, "table.tcl", old, new)
    with pytest.raises(TclError, match="has no source"):
        check_project(projects[HLS], HLS)


def test_the_stand_ins_know_an_option_only_from_the_table(projects: dict[Backend, Path], stubs: Path) -> None:
    options = {line.split()[2] for line in _options_of(projects[HLS], stubs)}
    assert {"-flow_target", "-format", "-period", "-cflags", "-tb", "-to_step", "-vlnv"} <= options
    table = (stubs / "table.tcl").read_text()
    for option in sorted(options - {"-quiet"}):
        (stubs / "table.tcl").write_text(re.sub(rf"(?<=[ {{]){option}(?= )", "-renamed", table))
        with pytest.raises(TclError, match=f"has no option {option}"):
            check_project(projects[HLS], HLS)


def _options_of(folder: Path, stubs: Path) -> set[str]:
    command, log = interpreter(), stubs.parent / "log"
    assert command
    copy = Path(shutil.copytree(folder, stubs.parent / "copy"))
    for tool, script in STEPS[HLS]:
        assert run_step(command, copy, tool, script, "no_board", log).returncode == 0
    return {line for line in log.read_text().splitlines() if len(line.split()) == 3}
