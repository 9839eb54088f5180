# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The C++ of an HLS project alone: `make csim` far from the checkout, and a test bench that notices what is wrong."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from projects import ROOT, make_project, replace_in, run_clean

from m3vit.hls.csim import ap_types
from m3vit.hls.headers import check_hardware
from m3vit.model.config import DEMO, HARDWARE
from m3vit.scripts.project_folder import Backend
from m3vit.scripts.project_hls import registers
from m3vit.sim import regmap

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("make", "g++"))), reason="make csim needs make and g++, which are not installed"
)
TASKS = len(DEMO.model.tasks)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "out", Backend.hls)


@pytest.fixture(scope="module")
def built(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in a folder with a space in its name whose test bench is compiled."""
    moved = shutil.copytree(original, tmp_path_factory.mktemp("a board") / "moved project")
    result = run_clean("make", "csim", cwd=moved)
    assert result.returncode == 0, result.stdout + result.stderr
    return Path(moved)


def run_test(folder: Path, *data: Path) -> subprocess.CompletedProcess[str]:
    """Run a compiled test bench with other data."""
    return run_clean(folder / "build" / "csim" / "m3vit_test", *data, cwd=folder)


def test_make_csim_compares_every_element_far_from_the_checkout(built: Path) -> None:
    result = run_clean("make", "csim", cwd=built)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "m3vit_test: all equal"
    compared = sum(int(size) for size in re.findall(r"^\w+: 0 of (\d+) elements differ$", result.stdout, re.M))
    assert compared == sum(path.stat().st_size // 2 for path in (built / "test").glob("*.expected.bin"))
    assert result.stdout.count(": 0 of ") == TASKS


def test_nothing_but_the_folder_and_the_compiler_is_read(built: Path) -> None:
    command = ["g++", "-std=c++17", "-isystem", "ap_types", "-M", "test/m3vit_test.cpp", "src/m3vit_accelerator.cpp"]
    result = run_clean(*command, cwd=built)
    assert result.returncode == 0, result.stderr
    assert "ap_types/ap_int.h" in result.stdout
    assert str(ROOT) not in result.stdout
    assert "site-packages" not in result.stdout
    headers = set(re.findall(r"src/(\w+\.\w+)", result.stdout))
    assert {"m3vit_config.h", "m3vit_regs.h", "m3vit_interface.inc"} <= headers


def test_vitis_finds_the_data_in_the_folder_where_it_runs(built: Path, tmp_path: Path) -> None:
    for path in [built / "pathway" / "image.bin", *(built / "test").glob("*.bin")]:
        shutil.copy(path, tmp_path)
    result = run_clean(built / "build" / "csim" / "m3vit_test", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert result.stdout.endswith("all equal\n")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("test/depth.expected.bin", 1, r"depth: row 0, channel 3 is -?\d+ instead of -?\d+\ndepth: 1 of 1024 elements"),
        ("test/depth.source.bin", 1, r"depth: row \d+, channel \d+ is"),
        ("pathway/image.bin", 1, r"segmentation: row \d+, channel \d+ is|segmentation: error code"),
    ],
)
def test_one_changed_byte_is_seen(built: Path, tmp_path: Path, name: str, code: int, message: str) -> None:
    data = bytearray((built / name).read_bytes())
    if name.startswith("pathway"):
        data[: len(data) // 2] = bytes(value ^ 1 for value in data[: len(data) // 2])
    else:
        data[6] ^= 1
    (tmp_path / Path(name).name).write_bytes(data)
    result = run_test(built, tmp_path, Path("pathway"), Path("test"))
    assert result.returncode == code
    assert re.search(message, result.stdout), result.stdout
    assert result.stdout.endswith("m3vit_test: NOT equal\n")


def test_a_missing_file_is_named(built: Path) -> None:
    result = run_test(built, Path("pathway"))
    assert result.returncode == 2
    assert result.stdout == "m3vit_test: cannot read segmentation.source.bin\n"


def test_a_short_vector_is_named(built: Path, tmp_path: Path) -> None:
    (tmp_path / "depth.expected.bin").write_bytes(b"\0\0")
    result = run_test(built, tmp_path, Path("pathway"), Path("test"))
    assert result.returncode == 1
    assert "depth: depth.expected.bin has 2 bytes" in result.stdout


VECTORS, TOP, MEMORY = "test/m3vit_vectors.h", "src/m3vit_accelerator.cpp", "src/m3vit_config.h"
BROKEN = {
    "result behind its end": (VECTORS, 'depth.expected.bin", 64, 16', 'depth.expected.bin", 63, 16', "memory behind"),
    "operations": (VECTORS, '{"depth", 1, ', '{"depth", 2, ', "depth: "),
    "identity": (MEMORY, "max_tokens = 80", "max_tokens = 81", "word 2 of ID, VERSION, CAPACITY0-2 is 0x00510208"),
    "error code": (
        TOP,
        "*error_code = uint32_t(error);",
        "*error_code = 0;",
        "a run without a task ended with error code 0",
    ),
    "image": (TOP, "*ops_done = done;", "*ops_done = done; hp0[memory / 16] = 1;", "the memory image was written"),
    "counted": (TOP, "*ops_done = done;", "*ops_done = done + 1;", r"error code 0 after \d+ of \d+ operations"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_accelerator_is_seen(original: Path, tmp_path: Path, case: str) -> None:
    name, old, new, message = BROKEN[case]
    moved = Path(shutil.copytree(original, tmp_path / "moved"))
    if case == "result behind its end":
        expected = moved / "test" / "depth.expected.bin"
        expected.write_bytes(expected.read_bytes()[:-32])
    replace_in(moved, name, old, new)
    result = run_clean("make", "csim", "CXXFLAGS=-O1", cwd=moved)
    assert result.returncode == 2  # make's own code for a recipe that fails
    assert re.search(message, result.stdout), result.stdout
    assert "m3vit_test: NOT equal" in result.stdout


def test_the_large_design_simulates_too(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "out", Backend.hls, HARDWARE["zcu104"])
    result = run_clean("make", "csim", cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": 0 of ") == TASKS


def test_the_compiler_refuses_what_the_check_refuses(original: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(original, tmp_path / "moved"))
    command = ["g++", "-std=c++17", "-fsyntax-only", "-isystem", "ap_types", "src/m3vit_accelerator.cpp"]
    least = 2 * (1 + 4 * DEMO.hardware.lanes)
    for words, right in ((least, True), (least - 1, False)):
        text = (moved / MEMORY).read_text()
        (moved / MEMORY).write_text(re.sub(r"stream_words = \d+", f"stream_words = {words}", text))
        assert (run_clean(*command, cwd=moved).returncode == 0) is right
        hardware = DEMO.hardware.model_copy(update={"stream_words": words})
        if right:
            check_hardware(hardware)
        else:
            with pytest.raises(Exception, match="stream_words"):
                check_hardware(hardware)


def test_ap_types_are_copies_with_their_licence(original: Path) -> None:
    names = {str(path.relative_to(original / "ap_types")) for path in (original / "ap_types").rglob("*.h")}
    assert {"ap_int.h", "hls_stream.h", "etc/ap_private.h"} <= names
    for name in names:
        text = (original / "ap_types" / name).read_text()
        assert text == (ap_types() / name).read_text()
        assert "Licensed under the Apache License, Version 2.0" in text, name


def test_the_register_list_is_the_map(original: Path) -> None:
    rows = dict(re.findall(r"^  (\w+) (0x\w+ [01])$", (original / "tcl" / "registers.tcl").read_text(), re.M))
    assert rows == {name: f"0x{offset:04x} {int(needed)}" for name, offset, needed in registers()}
    assert rows["AP_CTRL"] == "0x0000 1"
    assert rows["SOURCE_DATA"] == f"0x{regmap.OFFSET['SOURCE_LO']:04x} 1"
    assert rows["COUNTERS_HIGH"] == "0x3fff 1"
    high_halves = sum(register.name.endswith("_HI") for register in regmap.REGISTERS)
    assert len(rows) == len(regmap.REGISTERS) - high_halves + 2 * len(regmap.TABLES)
