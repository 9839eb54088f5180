# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""build.sh of both projects, with executables in place of the vendor's tools that run the stand-ins."""

import shutil
from pathlib import Path

import pytest
from projects import make_project, put_tool, run_clean

from m3vit.scripts.project_folder import Backend
from m3vit.scripts.tcl_check import interpreter

pytestmark = pytest.mark.skipif(interpreter() is None, reason="neither tclsh nor Python's tkinter is installed")
VITIS_RUN, VITIS_HLS, VIVADO = (
    ("vitis-run", "vitis_hls", "$4"),
    ("vitis_hls", "vitis_hls", "$2"),
    ("vivado",) * 2 + ("$4",),
)
"""Name, tool of the stand-ins, and where the script stands among the arguments."""
RUN_CALL, HLS_CALL = "vitis-run --mode hls --tcl ../tcl/hls.tcl", "vitis_hls -f ../tcl/hls.tcl"
VIVADO_CALL = "vivado -mode batch -source ../tcl/build.tcl -log vivado.log -journal vivado.jou"
Tool = tuple[str, str, str]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[Backend, Path]:
    folder = tmp_path_factory.mktemp("projects")
    return {backend: make_project(folder / backend, backend) for backend in Backend}


@pytest.fixture
def moved(projects: dict[Backend, Path], backend: Backend, tmp_path: Path) -> Path:
    """A copy in a folder with a space in its name."""
    return Path(shutil.copytree(projects[backend], tmp_path / "a board" / "my project"))


def build(folder: Path, *tools: Tool, scenario: str = "board") -> tuple[int, str, list[str]]:
    """Exit code, error output and the calls of the tools that are there."""
    there = folder.parent / "bin"
    there.mkdir()
    for name, stand_in, script in tools:
        put_tool(there, name, stand_in, script, scenario)
    result = run_clean(folder / "build.sh", cwd=folder.parent, path=f"{there}:/usr/bin:/bin")
    calls = folder / "build" / "calls.txt"
    return result.returncode, result.stderr, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize(
    ("backend", "tools", "calls"),
    [
        (Backend.rtl, [VIVADO], [VIVADO_CALL]),
        (Backend.hls, [VITIS_RUN, VIVADO], [RUN_CALL, VIVADO_CALL]),
        (Backend.hls, [VITIS_HLS, VIVADO], [HLS_CALL, VIVADO_CALL]),
        (Backend.hls, [VITIS_RUN, VITIS_HLS, VIVADO], [RUN_CALL, VIVADO_CALL]),
    ],
)
def test_it_builds_far_from_the_checkout(moved: Path, tools: list[Tool], calls: list[str]) -> None:
    assert build(moved, *tools) == (0, "", calls)
    assert {path.name for path in (moved / "output").iterdir()} == {
        "m3vit.bit", "m3vit.hwh", "power.rpt", "timing.rpt", "utilization.rpt",
    }  # fmt: skip
    assert not any(moved.glob("*.log"))


@pytest.mark.parametrize(
    ("backend", "tools", "message"),
    [
        (Backend.rtl, [], "build.sh: vivado is not on PATH; source settings64.sh of your Vivado installation first\n"),
        (Backend.hls, [VITIS_RUN], "build.sh: vivado is not on PATH; source settings64.sh of your Vivado installation"),
        (
            Backend.hls,
            [VIVADO],
            "build.sh: neither vitis-run nor vitis_hls is on PATH; source settings64.sh of your Vitis",
        ),
    ],
)
def test_a_missing_tool_is_named_before_anything_runs(moved: Path, tools: list[Tool], message: str) -> None:
    code, errors, calls = build(moved, *tools)
    assert code == 2
    assert errors.startswith(message)
    assert len(errors.splitlines()) == 1
    assert calls == []
    assert not (moved / "build").exists()


@pytest.mark.parametrize("backend", [Backend.hls])
@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("offset", "ERROR: register RESULT_DATA lies at 0x0050"),
        ("csim", "ERROR: csim_design: the test bench returned 1"),
    ],
)
def test_vivado_does_not_start_behind_a_failed_hls_step(moved: Path, scenario: str, message: str) -> None:
    code, errors, calls = build(moved, VITIS_HLS, VIVADO, scenario=scenario)
    assert code != 0
    assert errors.startswith(message)
    assert calls == [HLS_CALL]


@pytest.mark.parametrize("backend", Backend)
def test_a_failed_synthesis_ends_with_an_error(moved: Path) -> None:
    code, errors, _ = build(moved, VITIS_RUN, VIVADO, scenario="broken")
    assert code != 0
    assert errors.startswith("synth_1 ended with 'synth_design ERROR'")
    assert not (moved / "output" / "m3vit.bit").exists()


@pytest.mark.parametrize("backend", Backend)
def test_it_builds_again_with_another_clock(moved: Path) -> None:
    assert build(moved, VITIS_RUN, VIVADO)[0] == 0
    settings = moved / "tcl" / "settings.tcl"
    settings.write_text(settings.read_text().replace("set clock_mhz 300", "set clock_mhz 187.5"))
    shutil.rmtree(moved.parent / "bin")
    assert build(moved, VITIS_RUN, VIVADO)[0] == 0
