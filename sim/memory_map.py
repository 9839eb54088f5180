# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Maps of memory: what lies where in the DRAM image and which tasks read it; what fills the on-chip RAMs."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from m3vit.model.config import HardwareConfig
from m3vit.sim.pathway import Pathway, Pathways
from m3vit.sim.program_check import regions
from m3vit.sim.resources import MEMORIES, TABLES

KINDS: tuple[tuple[str, str, str], ...] = (
    (r"position", "position", "position embedding"),
    (r"patch_embed", "patch", "patch embedding"),
    (r"blocks\.\d+\.qkv", "qkv", "queries, keys, values"),
    (r"blocks\.\d+\.proj", "proj", "projections"),
    (r"blocks\.\d+\.mlp", "mlp", "dense MLPs"),
    (r"blocks\.\d+\.experts", "experts", "experts"),
    (r"blocks\.\d+\.router\..*", "routers", "routers"),
    (r"(blocks\.\d+\.)?(norm\d?|gelu)", "tables", "norms and tables"),
    (r"head\..*", "heads", "heads"),
    (r"program\..*", "programs", "programs"),
    (r".*", "other", "other"),
)
"""Pattern of a block's name (see `m3vit.sim.network`), kind, and the kind's title; the first match counts."""
PADDING = "padding"


@dataclass(frozen=True)
class Part:
    """A block of the image.

    Attributes:
        name: of the block.
        kind: see KINDS.
        layer: the transformer block; None before and behind the blocks.
        offset: first byte.
        bytes: its size.
        tasks: whose programs read it.
    """

    name: str
    kind: str
    layer: int | None
    offset: int
    bytes: int
    tasks: tuple[str, ...]


def image_map(pathways: Pathways) -> dict[str, Any]:
    """The map of the memory image.

    Returns:
        `bytes` of the image, `padding_bytes` between the blocks, `parts` in the order of their addresses (see `Part`),
        `kinds` (`kind`, `title`, `bytes`, `share_percent`, `blocks`) and `owners` (`tasks`, `bytes`, `blocks`): how
        much is read by which tasks.
    """
    first = pathways.first
    parts = image_parts(pathways)
    used = sum(part.bytes for part in parts)
    size = int(first.image.size)
    return {
        "bytes": size,
        "padding_bytes": size - used,
        "parts": [asdict(part) | {"tasks": list(part.tasks)} for part in parts],
        "kinds": [_kind(kind, title, parts, size) for _, kind, title in KINDS if any(p.kind == kind for p in parts)],
        "owners": _owners(parts),
    }


def image_parts(pathways: Pathways) -> list[Part]:
    """All blocks of the image in the order of their addresses."""
    read = {task: _offsets(pathway) for task, pathway in pathways.tasks.items()}
    blocks = sorted(pathways.first.blocks.items(), key=lambda item: item[1].offset)
    return [
        Part(
            name=name, kind=kind_of(name), layer=_layer(name), offset=block.offset, bytes=block.size,
            tasks=tuple(task for task, offsets in read.items() if block.offset in offsets),
        )
        for name, block in blocks
    ]  # fmt: skip


def kind_of(name: str) -> str:
    """Kind of a block by its name."""
    return next(kind for pattern, kind, _ in KINDS if re.fullmatch(pattern, name))


def _layer(name: str) -> int | None:
    match = re.match(r"blocks\.(\d+)\.", name)
    return int(match[1]) if match else None


def _offsets(pathway: Pathway) -> set[int]:
    """Where a task's program and everything that it reads begins."""
    hardware = pathway.config.hardware
    return {pathway.program_offset, *(region.offset for op in pathway.program for region in regions(op, hardware))}


def _kind(kind: str, title: str, parts: Sequence[Part], size: int) -> dict[str, Any]:
    sizes = [part.bytes for part in parts if part.kind == kind]
    share = 100 * sum(sizes) / size
    return {"kind": kind, "title": title, "bytes": sum(sizes), "share_percent": share, "blocks": len(sizes)}


def _owners(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Bytes by the tasks that read them, most tasks first."""
    groups = sorted(dict.fromkeys(part.tasks for part in parts), key=len, reverse=True)
    return [
        {
            "tasks": list(tasks),
            "bytes": sum(part.bytes for part in parts if part.tasks == tasks),
            "blocks": sum(part.tasks == tasks for part in parts),
        }
        for tasks in groups
    ]


def on_chip_map(hardware: HardwareConfig) -> list[dict[str, Any]]:
    """Every buffer: `name`, `style` (ultra, block, distributed, registers), `bytes` of data, and the primitives."""
    rams = {name: make(hardware) for name, make in MEMORIES.items()} | TABLES
    return [
        {
            "name": name,
            "style": ram.style,
            "bytes": -(-ram.bits // 8),
            "uram": ram.mapping.uram,
            "bram36": ram.mapping.bram36,
        }
        for name, ram in rams.items()
        if ram.bits
    ]
