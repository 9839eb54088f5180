# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What only a Vitis HLS project folder holds: C++ sources, test bench data, register offsets, open ap_types."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3vit.hls.csim import ap_types, kernel_files
from m3vit.hls.headers import CONFIG_HEADER, config_header
from m3vit.model.config import MAX_PORTS, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.scripts.project_vectors import Vector
from m3vit.sim import regmap
from m3vit.sim.host_image import UNIT
from m3vit.sim.layout import ceil_div
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import PROGRAM_VERSION

TOP = "m3vit_accelerator"
IP = {
    "name": TOP,
    "folder": "hls/solution1/impl/ip",
    "clock": "ap_clk",
    "reset": "ap_rst_n",
    "interrupt": "interrupt",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
CONTROL_NAMES = {"CONTROL": "AP_CTRL", "GLOBAL_IRQ": "GIE", "IRQ_ENABLE": "IER", "IRQ_STATUS": "ISR"}
"""Registers of the block protocol and their names in the driver that Vitis HLS generates."""


def write_hls(pathways: Pathways, vectors: Mapping[str, Vector], folder: Path) -> dict[str, Any]:
    """Copy and generate the C++ sources, write the test bench's data, copy ap_types.

    Args:
        pathways: of all tasks.
        vectors: one frame of each task.
        folder: of the project.

    Returns:
        Values for the templates.

    Raises:
        UserError: the C++ does not work with this hardware, or hls4ml, from which ap_types come, is not installed.
    """
    hardware = pathways.first.config.hardware
    if hardware.memory.ports != MAX_PORTS:
        raise UserError(
            f"hardware '{hardware.name}' uses {hardware.memory.ports} of {MAX_PORTS} AXI ports, the HLS accelerator "
            "always all of them; export for a design that does, or choose --backend rtl"
        )
    write_sources(hardware, folder / "src")
    write_ap_types(folder / "src", folder / "ap_types")
    (folder / "test").mkdir()
    table = [_write_vector(pathways, vector, folder / "test") for vector in vectors.values()]
    return {
        "ip": IP,
        "tools": "vitis-run or vitis_hls, and vivado,",
        "sources_comment": "Files in src/ that are compiled; they include the headers beside them.",
        "sources": sorted(path.name for path in (folder / "src").glob("*.cpp")),
        "test_data": sorted(path.name for path in (folder / "test").iterdir()),
        "registers": list(registers()),
        "vectors": table,
        "identity": identity(hardware),
        "table_words": 2 * regmap.TASK_SLOTS,
        "counter_words": regmap.COUNTER_SLOTS * regmap.SLOT_WORDS,
        "no_task": regmap.NO_TASK,
        "error_task": int(regmap.Error.TASK),
    }


def write_sources(hardware: HardwareConfig, folder: Path) -> None:
    """Copy the kernels and generate the header with the sizes of the design."""
    folder.mkdir()
    for path in kernel_files():
        shutil.copyfile(path, folder / path.name)
    (folder / CONFIG_HEADER).write_text(config_header(hardware))


def write_ap_types(sources: Path, folder: Path) -> None:
    """Copy those headers of ap_types that the C++ files in `sources` include, and what these include in turn."""
    waiting = list(sources.iterdir())
    while waiting:
        for name in INCLUDE.findall(waiting.pop().read_text()):
            header, copy = ap_types() / name, folder / name
            if header.is_file() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(header, copy)
                waiting.append(header)


def registers() -> Iterator[tuple[str, int, bool]]:
    """Registers as the driver of Vitis HLS names them: name, byte offset, whether the design must have it."""
    for register in regmap.REGISTERS:
        if register.name in CONTROL_NAMES:
            yield CONTROL_NAMES[register.name], register.offset, True
        elif not register.name.endswith("_HI"):
            yield f"{register.name.removesuffix('_LO')}_DATA", register.offset, register.where == "both"
    for table in regmap.TABLES:
        yield f"{table.name}_BASE", table.offset, True
        yield f"{table.name}_HIGH", table.offset + table.size - 1, True


def identity(hardware: HardwareConfig) -> tuple[int, ...]:
    """Words of ID, VERSION and CAPACITY0 to 2 that the HLS accelerator of a design answers."""
    return (
        regmap.ID_VALUE,
        regmap.HARDWARE_VERSION | PROGRAM_VERSION << 8 | regmap.Backend.HLS << 16,
        hardware.lanes | hardware.groups << 8 | hardware.max_tokens << 16,
        hardware.max_dim | hardware.max_hidden << 16,
        hardware.max_top_k | hardware.max_block << 16,
    )


def _write_vector(pathways: Pathways, vector: Vector, folder: Path) -> dict[str, Any]:
    """Write input and result as the host has them in memory, and describe them for the test bench's header."""
    pathway = pathways.task(vector.task)
    names = {part: f"{vector.task}.{part}.bin" for part in ("source", "expected")}
    (folder / names["source"]).write_bytes(vector.source.tobytes())
    (folder / names["expected"]).write_bytes(vector.expected.tobytes())
    rows, channels = vector.expected.shape
    return names | {
        "task": vector.task,
        "slot": pathway.task_slot,
        "program_offset": pathway.program_offset,
        "operations": len(pathway.program),
        "rows": rows,
        "channels": channels,
        "pitch": ceil_div(channels, UNIT) * UNIT,
    }
