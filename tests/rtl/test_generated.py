# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Generated SystemVerilog and C++ equal what their generators make of the Python sources of truth."""

import re
import subprocess
from pathlib import Path

import pytest

import m3vit.rtl
from m3vit.rtl import generate
from m3vit.sim import program, regmap
from m3vit.sim.driver import Counters

RTL = Path(m3vit.rtl.__file__).resolve().parent
COMMAND = "python -m m3vit.rtl.generate"


@pytest.mark.parametrize("name", list(generate.GENERATED))
def test_generated_file_is_current(name: str) -> None:
    committed = (generate.ROOT / name).read_text()
    assert committed == generate.GENERATED[name](), f"{name} is out of date; run `{COMMAND}` and commit the result"


def camel(name: str) -> str:
    """MEMORY_BYTES -> MemoryBytes."""
    return name.replace("_", " ").title().replace(" ", "")


def test_register_constants_equal_the_register_map() -> None:
    text = (RTL / "m3vit_pkg.sv").read_text()
    found = {name: int(value, 16) for name, value in re.findall(r" Reg(\w+) = 'h([0-9A-F]+);", text)}
    wanted = {camel(register.name): register.offset for register in regmap.REGISTERS + regmap.TABLES}
    assert found == wanted, f"run `{COMMAND}`"


def test_every_register_is_decoded() -> None:
    """The register file names every register of the map, so none reads as zero by omission."""
    text = (RTL / "m3vit_regs.sv").read_text()
    for register in regmap.REGISTERS:
        assert re.search(rf"\bReg{camel(register.name)}: value = ", text), register.name


def test_the_map_has_no_overlap_and_fits_its_window() -> None:
    registers = sorted(regmap.REGISTERS + regmap.TABLES, key=lambda register: register.offset)
    ends = [register.offset + register.size for register in registers]
    assert all(end <= other.offset for end, other in zip(ends, registers[1:], strict=False))
    assert ends[-1] == regmap.WINDOW_BYTES
    assert (regmap.COUNTER_SLOTS, regmap.NO_TASK >= regmap.TASK_SLOTS) == (program.MAX_OPS, True)


def test_outputs_of_hls_leave_room_for_their_valid_flags() -> None:
    """Vitis HLS puts a scalar argument and its flag or upper half into 8 bytes, and 64-bit arguments into 12."""
    taken = {register.offset for register in regmap.REGISTERS}
    for register in regmap.REGISTERS:
        if register.offset >= 0x10 and not register.name.endswith("_LO"):
            assert register.offset + 4 not in taken, register.name
    for name in ("MEMORY", "SOURCE", "RESULT"):
        assert regmap.OFFSET[f"{name}_HI"] == regmap.OFFSET[f"{name}_LO"] + 4


def test_counters_have_one_order() -> None:
    """That of the map: the driver's fields, and the RTL's struct, whose last field lies lowest."""
    names = [counter.name for counter in regmap.COUNTER_WORDS]
    assert list(Counters.__dataclass_fields__) == names
    struct = re.search(r"typedef struct packed \{([^}]*)\} counters_t;", (RTL / "m3vit_pkg.sv").read_text())
    assert struct is not None
    assert re.findall(r"\[31:0\] (\w+);", struct[1])[::-1] == names


def test_the_header_compiles_and_has_the_map(tmp_path: Path) -> None:
    registers = {f"M3VIT_REG_{register.name}": register.offset for register in regmap.REGISTERS + regmap.TABLES}
    values = {"IdValue": regmap.ID_VALUE, "ProgramVersion": program.PROGRAM_VERSION, "BackendHls": 1}
    lines = [f"static_assert({name} == {value});" for name, value in registers.items()]
    lines += [f"static_assert(m3vit::k{name} == {value});" for name, value in values.items()]
    lines += [f"static_assert(int(m3vit::Error::k{camel(error.name)}) == {error.value});" for error in regmap.Error]
    loads = [counter.name for counter in regmap.COUNTER_WORDS].index("loads")
    lines += [f"static_assert(int(m3vit::Counter::kLoads) == {loads});"]
    (tmp_path / "use.cpp").write_text('#include "m3vit_regs.h"\n' + "\n".join(lines) + "\n")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", generate.ROOT / "hls/kernels"]
    done = subprocess.run([*command, tmp_path / "use.cpp"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [regmap.Error])
def test_error_codes_equal(kind: type[regmap.Error]) -> None:
    text = (RTL / "m3vit_pkg.sv").read_text()
    found = dict(re.findall(r"^    Error(\w+) = (\d+),?$", text, re.M))
    assert {name: int(value) for name, value in found.items()} == {camel(e.name): e.value for e in kind}
