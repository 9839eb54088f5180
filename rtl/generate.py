# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Generates SystemVerilog files from the Python sources of truth.

`python -m m3vit.rtl.generate` rewrites them; a test fails when they drift.
"""

from collections.abc import Callable
from pathlib import Path

from m3vit.model.errors import write_atomically
from m3vit.rtl.accelerator import accelerator
from m3vit.rtl.package import package
from m3vit.rtl.tables import rsqrt_table

GENERATED: dict[str, Callable[[], str]] = {
    "m3vit_pkg.sv": package,
    "m3vit_accelerator.sv": accelerator,
    "m3vit_rsqrt_table.sv": rsqrt_table,
}


def sources() -> list[Path]:
    """All RTL files, the package first."""
    folder = Path(__file__).resolve().parent
    package_file = folder / "m3vit_pkg.sv"
    return [package_file, *sorted(f for f in folder.glob("*.sv") if f != package_file)]


if __name__ == "__main__":
    for name, text in GENERATED.items():
        write_atomically(Path(__file__).resolve().parent / name, text().encode())
