# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Generated SystemVerilog equals what its generator makes of the Python sources of truth."""

import re
from pathlib import Path

import pytest

import m3vit.rtl
from m3vit.rtl import generate
from m3vit.sim import regmap

RTL = Path(m3vit.rtl.__file__).resolve().parent
COMMAND = "python -m m3vit.rtl.generate"


@pytest.mark.parametrize("name", list(generate.GENERATED))
def test_generated_file_is_current(name: str) -> None:
    committed = (RTL / name).read_text()
    assert committed == generate.GENERATED[name](), f"rtl/{name} is out of date; run `{COMMAND}` and commit the result"


def camel(name: str) -> str:
    """OP_READ_WORDS -> OpReadWords."""
    return name.replace("_", " ").title().replace(" ", "")


def test_register_constants_equal_the_register_map() -> None:
    text = (RTL / "m3vit_pkg.sv").read_text()
    found = {name: int(value, 16) for name, value in re.findall(r"\[11:0\] Reg(\w+) = 12'h([0-9A-F]+);", text)}
    wanted = {camel(register.name): register.offset for register in regmap.REGISTERS}
    assert found == wanted | {"TaskTable": regmap.TASK_TABLE}, f"run `{COMMAND}`"


def test_every_register_is_decoded() -> None:
    """The register file names every register of the map, so none reads as zero by omission."""
    text = (RTL / "m3vit_regs.sv").read_text()
    missing = [r.name for r in regmap.REGISTERS if not re.search(rf"\bReg{camel(r.name)}\b", text)]
    assert not missing
    for register in regmap.REGISTERS:
        readable = re.search(rf"\bReg{camel(register.name)}: value = ", text) is not None
        assert readable == (register.access != "wo"), register.name


@pytest.mark.parametrize("kind", [regmap.Error])
def test_error_codes_equal(kind: type[regmap.Error]) -> None:
    text = (RTL / "m3vit_pkg.sv").read_text()
    found = dict(re.findall(r"^    Error(\w+) = (\d+),?$", text, re.M))
    assert {name: int(value) for name, value in found.items()} == {camel(e.name): e.value for e in kind}
