# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Generates SystemVerilog and C++ files from the Python sources of truth.

`python -m m3vit.rtl.generate` rewrites them; a test fails when they drift.
"""

from collections.abc import Callable
from pathlib import Path

import m3vit
from m3vit.hls.headers import contract_header, interface_pragmas, registers_header
from m3vit.model.errors import write_atomically
from m3vit.rtl.accelerator import accelerator
from m3vit.rtl.package import package
from m3vit.rtl.tables import rsqrt_table

assert m3vit.__file__ is not None
ROOT = Path(m3vit.__file__).resolve().parent
"""The package's folder, in which `rtl` and `hls` lie."""
GENERATED: dict[str, Callable[[], str]] = {
    "rtl/m3vit_pkg.sv": package,
    "rtl/m3vit_accelerator.sv": accelerator,
    "rtl/m3vit_rsqrt_table.sv": rsqrt_table,
    "hls/kernels/m3vit_regs.h": registers_header,
    "hls/kernels/m3vit_contract.h": contract_header,
    "hls/kernels/m3vit_interface.inc": interface_pragmas,
}


def sources() -> list[Path]:
    """All RTL files, the package first."""
    folder = Path(__file__).resolve().parent
    package_file = folder / "m3vit_pkg.sv"
    return [package_file, *sorted(f for f in folder.glob("*.sv") if f != package_file)]


if __name__ == "__main__":
    for name, text in GENERATED.items():
        write_atomically((ROOT / name).resolve(), text().encode())
