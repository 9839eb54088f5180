# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Every RTL module elaborates alone, without a warning; file name and module name agree."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from m3vit.rtl.generate import sources
from m3vit.sim.simulator import CONTROL, toolchain

PACKAGE, *MODULES = sources()


def lint(module: Path, *parameters: str) -> subprocess.CompletedProcess[str]:
    """Verilator's verdict on one module as top."""
    command = ["verilator", "--lint-only", "-Wall", "--quiet", "--top-module", module.stem, f"-I{module.parent}"]
    command += parameters
    return subprocess.run(
        [*command, str(CONTROL), str(PACKAGE), str(module)],
        env=os.environ | toolchain(),
        text=True,
        capture_output=True,
        check=False,
    )


def test_modules_are_found() -> None:
    assert PACKAGE.name == "m3vit_pkg.sv"
    assert len(MODULES) > 20


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_lint(module: Path) -> None:
    result = lint(module)
    assert result.returncode == 0, result.stderr
    assert "%Warning" not in result.stderr, result.stderr


@pytest.mark.parametrize("ports", [1, 2])
@pytest.mark.parametrize("name", ["m3vit_core", "m3vit_dma_read", "m3vit_dma_write"])
def test_lint_with_fewer_ports(name: str, ports: int) -> None:
    result = lint(PACKAGE.with_name(f"{name}.sv"), f"-GPorts={ports}")
    assert result.returncode == 0, result.stderr
    assert "%Warning" not in result.stderr, result.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_one_module_per_file(module: Path) -> None:
    text = module.read_text()
    assert re.findall(r"^module (\w+)", text, re.M) == [module.stem]
    assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n")


def test_a_warning_fails(tmp_path: Path) -> None:
    broken = tmp_path / "m3vit_broken.sv"
    broken.write_text(
        "module m3vit_broken (\n    input logic a_i,\n    output logic [1:0] b_o\n);\n  assign b_o = a_i;\nendmodule\n"
    )
    assert lint(broken).returncode != 0
