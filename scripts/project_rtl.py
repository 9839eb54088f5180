# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What only a SystemVerilog project folder holds."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from m3vit.model.config import HardwareConfig
from m3vit.rtl.accelerator import MASTER, SLAVE, parameters
from m3vit.rtl.generate import sources

TOP = "m3vit_top"
IP = {"name": TOP, "folder": "ip", "clock": "aclk", "reset": "aresetn", "interrupt": "irq_o"}


def write_rtl(hardware: HardwareConfig, folder: Path) -> dict[str, Any]:
    """Copy the SystemVerilog sources.

    Args:
        hardware: sizes of the design.
        folder: of the project.

    Returns:
        Values for the templates.
    """
    (folder / "src").mkdir()
    for source in sources():
        shutil.copyfile(source, folder / "src" / source.name)
    return {
        "ip": IP,
        "tools": "Vivado",
        "sources_comment": "Files in src/ in the order of compilation: the package first.",
        "sources": [*(source.name for source in sources()), f"{TOP}.v"],
        "buses": bus_table(hardware.memory.ports),
        "parameters": parameters(hardware),
    }


def bus_table(ports: int) -> list[dict[str, Any]]:
    """AXI interfaces of the top module as the Verilog template wants them."""
    return [_bus("s_axi_ctrl", SLAVE), *(_bus(f"m_axi_hp{port}", MASTER) for port in range(ports))]


def _bus(name: str, table: Iterable[tuple[str, int, str, str | None]]) -> dict[str, Any]:
    signals = [{"name": signal, "width": width, "direction": way} for signal, width, way, _ in table]
    return {"name": name, "signals": signals}
