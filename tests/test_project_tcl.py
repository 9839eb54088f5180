# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tcl of both projects against stand-ins for Vivado and Vitis HLS: clean as written, every planted mistake is found."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from projects import make_project, replace_in, run_scripts

from m3vit.scripts import tcl_check
from m3vit.scripts.project_folder import Backend
from m3vit.scripts.tcl_check import TclError, check_project, interpreter, run_step

pytestmark = pytest.mark.skipif(interpreter() is None, reason="neither tclsh nor Python's tkinter is installed")
RTL, HLS = Backend.rtl, Backend.hls


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[Backend, Path]:
    folder = tmp_path_factory.mktemp("projects")
    return {backend: make_project(folder / backend, backend) for backend in Backend}


@pytest.fixture
def moved(projects: dict[Backend, Path], tmp_path: Path, backend: Backend) -> Path:
    """A copy of what scripts need at another place, so that nothing can lean on the first one."""
    skip = shutil.ignore_patterns("host", "ap_types")
    return Path(shutil.copytree(projects[backend], tmp_path / "a folder" / "moved", ignore=skip))


@pytest.mark.parametrize("backend", Backend)
def test_the_scripts_run_wherever_the_folder_lies(moved: Path, backend: Backend) -> None:
    assert check_project(moved, backend)
    assert not (moved / "build").exists()
    assert run_scripts(moved, backend) is None
    assert (moved / "output" / "m3vit.bit").exists()


@pytest.mark.parametrize("backend", Backend)
def test_pythons_own_tcl_does_as_well(moved: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = interpreter()
    if command is None:
        pytest.skip("tkinter has no Tcl interpreter here")
    assert command[0] == sys.executable
    assert check_project(moved, backend)
    replace_in(moved, "tcl/build.tcl", "open_run impl_1", "open_runs impl_1")
    with pytest.raises(TclError, match="unknown command open_runs"):
        check_project(moved, backend)


def test_without_any_tcl_nothing_is_claimed(projects: dict[Backend, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcl_check, "interpreter", lambda: None)
    assert not check_project(projects[RTL], RTL)


BLOCK, BUILD, IP, HLS_TCL = "tcl/block_design.tcl", "tcl/build.tcl", "tcl/accelerator_ip.tcl", "tcl/hls.tcl"
SETTINGS, SOURCE, PRAGMAS = "tcl/settings.tcl", "src/m3vit_accelerator.cpp", "src/m3vit_interface.inc"

SPELLING = {
    # Commands.
    "command": (RTL, BUILD, "report_power -file", "report_powers -file", "unknown command report_powers"),
    "packager command": (RTL, IP, "ipx::save_core", "ipx::save", "unknown command ipx::save"),
    "HLS command": (HLS, HLS_TCL, "csynth_design", "csynth", "unknown command csynth"),
    "command of the other tool": (HLS, HLS_TCL, "set_part $part", "get_runs synth_1", "unknown command get_runs"),
    # Options.
    "option": (RTL, BUILD, "-hierarchical -file", "-hierarchic -file", "report_utilization has no option -hierarchic"),
    "packager option": (RTL, IP, "-taxonomy /UserIP", "-taxonomi /UserIP", "has no option -taxonomi"),
    "HLS option": (HLS, HLS_TCL, "csim_design -O", "csim_design -o", "csim_design has no option -o"),
    "option of another command": (HLS, HLS_TCL, "csynth_design", "csynth_design -O", "csynth_design has no option -O"),
    "option without its value": (RTL, BUILD, " -jobs 4]\n\nfile", " -jobs]\n\nfile", "launch_runs -jobs needs a value"),
    "option twice": (HLS, HLS_TCL, "csim_design -O -clean", "csim_design -O -O", "csim_design has two options -O"),
    # Values.
    "step": (
        RTL,
        BUILD,
        "-to_step write_bitstream",
        "-to_step bitstream",
        "launch_runs -to_step cannot be 'bitstream'",
    ),
    "strategy": (RTL, BUILD, "Performance_Explore", "Performance_Best", "strategy cannot be 'Performance_Best'"),
    "number": (RTL, BUILD, "-jobs 4", "-jobs many", "launch_runs -jobs cannot be 'many'; it is integer"),
    "part": (RTL, SETTINGS, "xczu7ev-ffvc1156-2-e", "zcu104", "no such part zcu104"),
    "HLS part": (HLS, SETTINGS, "xczu7ev-ffvc1156-2-e", "zcu104", "no such part zcu104"),
    "address": (RTL, SETTINGS, "0xA0000000", "A0000000", "assign_bd_address -offset cannot be 'A0000000'"),
    "flow": (HLS, HLS_TCL, "-flow_target vivado", "-flow_target vivid", "open_solution -flow_target cannot be 'vivid'"),
    "wrong flow": (HLS, HLS_TCL, "-flow_target vivado", "-flow_target vitis", "Vivado needs -flow_target vivado"),
    "format": (HLS, HLS_TCL, "-format ip_catalog", "-format catalog", "export_design -format cannot be 'catalog'"),
    "wrong format": (HLS, HLS_TCL, "-format ip_catalog", "-format xo", "needs -format ip_catalog"),
    "language": (HLS, HLS_TCL, "-rtl verilog", "-rtl systemverilog", "export_design -rtl cannot be 'systemverilog'"),
    "period": (HLS, HLS_TCL, "${clock_mhz}MHz", "${clock_mhz}Mhz", "create_clock: no such period 300Mhz"),
    "switch": (RTL, BLOCK, "IRQ0 1", "IRQ0 yes", "CONFIG.PSU__USE__IRQ0 cannot be 'yes'; it is one of 0 1"),
    "width": (RTL, SETTINGS, "port_bits 128", "port_bits 256", "DATA_WIDTH cannot be '256'; it is one of 32 64 128"),
    # Properties and configuration.
    "property": (RTL, BUILD, "STATS.WNS", "STATS.WORST", "a run has no property STATS.WORST"),
    "property of a project": (RTL, "tcl/create_project.tcl", "target_language", "language", "no property language"),
    "configuration": (RTL, BLOCK, "M_AXI_GP2 0", "M_AXI_GP9 0", "has no property CONFIG.PSU__USE__M_AXI_GP9"),
    "missing value": (RTL, BLOCK, "CONFIG.PSU__USE__IRQ0 1", "CONFIG.PSU__USE__IRQ0", "-dict needs pairs"),
    # Number of arguments.
    "too few": (RTL, BUILD, "open_run impl_1", "open_run", "open_run takes run, not 0 objects"),
    "too many": (HLS, HLS_TCL, "set_top $ip_name", "set_top $ip_name twice", "set_top takes name, not 2 objects"),
    "none wanted": (HLS, HLS_TCL, "csynth_design", "csynth_design solution1", "not 1 objects: solution1"),
    # IPs, pins and interfaces.
    "IP": (RTL, BLOCK, "ip:smartconnect", "ip:smart_connect", "the catalog has no xilinx.com:ip:smart_connect"),
    "pin": (RTL, BLOCK, "reset/ext_reset_in", "reset/ext_reset", "cell reset has no pin ext_reset"),
    "interface": (RTL, BLOCK, "/s_axi_ctrl\nassign", "/s_axi_control\nassign", "has no interface s_axi_control"),
    "clock pin": (HLS, SETTINGS, "clock_pin ap_clk", "clock_pin aclk", "cell m3vit_accelerator_0 has no pin aclk"),
    "reset pin": (HLS, SETTINGS, "reset_pin ap_rst_n", "reset_pin aresetn", "has no pin aresetn"),
    "interrupt pin": (HLS, SETTINGS, "interrupt_pin interrupt", "interrupt_pin irq_o", "has no pin irq_o"),
    "wanted interface": (
        RTL,
        SETTINGS,
        "interrupt_pin irq_o",
        "interrupt_pin irq",
        "the packaged IP has no interface irq",
    ),
    "object": (RTL, IP, "ipx::save_core $core", "ipx::save_core core", "'core' is not a core"),
    "IP name": (
        HLS,
        SETTINGS,
        "m3vit:accelerator:$ip_name:1.0",
        "m3vit:hls:$ip_name:1.0",
        "the catalog has no m3vit:hls",
    ),
    "top": (HLS, SETTINGS, "ip_name m3vit_accelerator", "ip_name m3vit_top", "no source file defines the top function"),
}

ORDER = {
    "packager": (
        RTL,
        BUILD,
        "source [file join $tcl_dir accelerator_ip.tcl]",
        "",
        "the catalog has no m3vit:accelerator",
    ),
    "saved IP": (RTL, IP, "ipx::save_core $core", "", "the catalog has no m3vit:accelerator:m3vit_top"),
    "synthesis": (RTL, BUILD, "run_to_end synth_1 [list -jobs 4]\n", "", "synth_1 has not run"),
    "open run": (RTL, BUILD, "open_run impl_1", "", "no run is open"),
    "report": (
        RTL,
        BUILD,
        "report_timing_summary -file [file join $output_dir timing.rpt]",
        "",
        "without output/timing",
    ),
    "bitstream": (
        RTL,
        BUILD,
        "_wrapper.bit] [file join $output_dir m3vit.bit]",
        "_wrapper.bit] here",
        "output/m3vit.bit",
    ),
    "validation": (RTL, BLOCK, "validate_bd_design\n", "", "has not been validated"),
    "import": (RTL, BLOCK, " -import", "", "leaves the wrapper out"),
    "port": (RTL, BLOCK, "CONFIG.PSU__USE__S_AXI_GP$gp 1 ", "", "cell ps has no pin saxihp0_fpd_aclk"),
    "unused master": (RTL, BLOCK, "CONFIG.PSU__USE__M_AXI_GP1 0", "", "ps/maxihpm1_fpd_aclk is not connected"),
    "interrupt": (
        HLS,
        BLOCK,
        "fan_out $cell/$interrupt_pin [list ps/pl_ps_irq0]",
        "",
        "ps/pl_ps_irq0 is not connected",
    ),
    "clock": (RTL, BLOCK, " ps/maxihpm0_fpd_aclk", "", "ps/maxihpm0_fpd_aclk is not connected"),
    "reset": (HLS, BLOCK, "fan_out reset/peripheral_aresetn [list $cell/$reset_pin]", "", "ap_rst_n is not connected"),
    "drivers": (RTL, BLOCK, "fan_out reset/peripheral_aresetn", "fan_out $cell/$clock_pin", "0 drivers"),
    "twice": (RTL, BLOCK, "[list $name/aclk]", "[list $name/aclk $name/aclk]", "is connected already"),
    "same port": (RTL, BLOCK, "ps/S_AXI_HP${port}_FPD\n", "ps/S_AXI_HP0_FPD\n", "S_AXI_HP0_FPD is connected already"),
    "segment": (RTL, BLOCK, "[get_bd_intf_pins ps/S_AXI_HP${port}", "[get_bd_intf_pins ps/S_AXI_HP0", "does not reach"),
    "HLS project": (HLS, HLS_TCL, "open_project -reset hls", "", "no project is open"),
    "HLS solution": (HLS, HLS_TCL, "open_solution -reset -flow_target vivado solution1", "", "no solution is open"),
    "HLS top": (HLS, HLS_TCL, "set_top $ip_name", "", "no top function is set"),
    "HLS clock": (HLS, HLS_TCL, "create_clock -period ${clock_mhz}MHz -name default", "", "no part or no clock is set"),
    "HLS simulation": (HLS, HLS_TCL, "csim_design -O -clean", "", "csynth_design comes before the C simulation"),
    "HLS synthesis": (HLS, HLS_TCL, "csynth_design\n", "", "nothing was synthesised"),
    "HLS test bench": (
        HLS,
        HLS_TCL,
        "add_files -tb -cflags -std=c++17 ../test/m3vit_test.cpp",
        "",
        "has a main function",
    ),
    "HLS standard": (HLS, HLS_TCL, "add_files -cflags -std=c++17 ", "add_files ", "needs -cflags -std="),
    "HLS folder": (HLS, SETTINGS, "solution1/impl/ip", "solution/impl/ip", "so the register offsets cannot be checked"),
    "HLS rest": (HLS, HLS_TCL, "open_project -reset", "open_project", "open_project without -reset keeps the files"),
}

SYNTAX = {
    "bracket": (RTL, BUILD, "set run_dir [get_property", "set run_dir [[get_property", "open brace, bracket or quote"),
    "brace": (RTL, BLOCK, "if {[get_property board_part", "if {[get_property {board_part", "open brace, bracket"),
    "brace in a dead branch": (RTL, "tcl/create_project.tcl", "} else {", "} else {{", "open brace, bracket or quote"),
    "quote": (HLS, HLS_TCL, '"ERROR: $message"', '"ERROR: $message', 'missing "'),
    "call in a text": (
        RTL,
        BUILD,
        '"CRITICAL WARNING: timing',
        '"CRITICAL [nothing] WARNING:',
        "unknown command nothing",
    ),
}

FILES = {
    "SystemVerilog": (RTL, SETTINGS, "m3vit_ram.sv", "m3vit_rom.sv", "there is no file .*m3vit_rom.sv"),
    "C++": (HLS, SETTINGS, "m3vit_accelerator.cpp", "m3vit.cpp", r"there is no file \.\./src/m3vit\.cpp"),
    "header": (HLS, SOURCE, '"m3vit_config.h"', '"m3vit_configs.h"', "includes m3vit_configs.h, which is not there"),
    "header of the test": (HLS, "test/m3vit_test.cpp", '"m3vit_vectors.h"', '"vectors.h"', "includes vectors.h, which"),
    "vector": (HLS, SETTINGS, "depth.source.bin", "deep.source.bin", r"there is no file \.\./test/deep\.source\.bin"),
    "image": (HLS, HLS_TCL, "pathway/image.bin", "pathway/images.bin", "there is no file .*images.bin"),
    "shell": (RTL, "src/m3vit_top.v", '"xilinx.com:interface:aximm:1.0 m_axi_hp2 ARVALID"', '"x"', "X_INTERFACE|assoc"),
    "association": (
        RTL,
        "src/m3vit_top.v",
        ":m_axi_hp3, ASSOCIATED_RESET",
        ", ASSOCIATED_RESET",
        "associates the interf",
    ),
    "constraint": (
        RTL,
        "constraints/m3vit.xdc",
        "# No constraint",
        "create_clok",
        "a constraint that these stubs do not",
    ),
}

REGISTERS = {
    "moved": (
        HLS,
        PRAGMAS,
        "offset = 0x0030",
        "offset = 0x0034",
        "MEMORY_BYTES_DATA lies at 0x0034 .* expects it at 0x0030",
    ),
    "moved table": (HLS, PRAGMAS, "offset = 0x2000", "offset = 0x3000", "register COUNTERS_BASE lies at 0x3000"),
    "shorter table": (
        HLS,
        SOURCE,
        "task_table[2 * m3vit::kT",
        "task_table[m3vit::kT",
        "TASK_TABLE_HIGH lies at 0x013f",
    ),
    "gone": (HLS, PRAGMAS, "port = ops_done", "port = return", "register OPS_DONE_DATA is missing"),
    "unknown": (HLS, PRAGMAS, "port = ops_done", "port = other", "register OPS_DONE_DATA is missing"),
    "new": (
        HLS,
        "tcl/registers.tcl",
        "OPS_DONE_DATA 0x0090 1",
        "",
        "registers that the driver does not know: OPS_DONE_DATA",
    ),
    "without offset": (HLS, PRAGMAS, " offset = 0x0030", "", "would choose the offset of memory_bytes"),
    "no pragma": (HLS, SOURCE, '#include "m3vit_interface.inc"', "", "the top function has no INTERFACE pragma"),
    "port of another name": (HLS, PRAGMAS, "bundle = hp3", "bundle = hp4", "has no interface m_axi_hp3"),
    "unchecked": (HLS, "tcl/hls.tcl", "make_ip; check_ip", "make_ip", "went on after a failed run"),
}


def cases(*tables: dict[str, tuple[Backend, str, str, str, str]]) -> list[object]:
    return [pytest.param(*case, id=name.replace(" ", "-")) for table in tables for name, case in table.items()]


@pytest.mark.parametrize(("backend", "name", "old", "new", "message"), cases(SPELLING, ORDER, SYNTAX, FILES, REGISTERS))
def test_a_planted_mistake_is_found(moved: Path, backend: Backend, name: str, old: str, new: str, message: str) -> None:
    replace_in(moved, name, old, new)
    with pytest.raises(TclError, match=message):
        check_project(moved, backend)


@pytest.mark.parametrize("backend", Backend)
def test_a_build_that_ignores_a_failed_run_is_found(moved: Path, backend: Backend) -> None:
    replace_in(moved, BUILD, 'ne "100%"', 'eq "never"')
    with pytest.raises(TclError, match="went on after a failed run"):
        check_project(moved, backend)


@pytest.mark.parametrize("backend", [HLS])
def test_a_build_that_ignores_a_failed_simulation_is_found(moved: Path, backend: Backend) -> None:
    replace_in(moved, HLS_TCL, "  csim_design -O -clean\n", "  catch {csim_design -O -clean}\n")
    with pytest.raises(TclError, match="comes before the C simulation"):
        check_project(moved, backend)


@pytest.mark.parametrize("backend", [HLS])
def test_a_register_that_lies_elsewhere_stops_the_build_with_one_sentence(moved: Path, backend: Backend) -> None:
    message = run_scripts(moved, backend, "offset")
    assert message == (
        "ERROR: register RESULT_DATA lies at 0x0050 in the synthesised design, but the driver expects it at 0x0048\n"
    )
    assert not (moved / "output").exists()


@pytest.mark.parametrize("backend", [HLS])
def test_without_an_ip_vivado_says_what_to_run(moved: Path, backend: Backend) -> None:
    command = interpreter()
    assert command
    result = run_step(command, moved, "vivado", BUILD, "board")
    assert result.returncode == 1
    assert re.match(r"there is no IP in .*; run tcl/hls\.tcl in Vitis HLS first, as build\.sh does", result.stderr)
