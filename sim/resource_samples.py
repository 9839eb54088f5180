# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Designs that Yosys counted for the resource model, and their counts, block by block.

The held-out designs have combinations of lanes and groups that no design for training has, so all of their blocks with
parameters are new to the fit. Where a block does not know lanes and groups and two designs agree in the rest, the count
belongs to the held-out design alone. Blocks without parameters are the same everywhere; of the DMAs, which know only
the number of ports, all three shapes are counted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from m3vit.model.config import HARDWARE, HardwareConfig
from m3vit.sim.simulator import cache_folder
from m3vit.sim.synthesis import BLOCKS, COUNTS, Cells, Record, fingerprint, load, measure, parameters, save

SAMPLES = Path(__file__).resolve().parent / "resource_counts.json"
"""Counts of the designs below, besides those of the presets in synthesis_counts.json."""
COMMAND = "python -m m3vit.sim.resource_fit"


@dataclass(frozen=True)
class Design:
    """An accelerator, and the blocks of it that are counted."""

    hardware: HardwareConfig
    blocks: tuple[str, ...] = tuple(BLOCKS)


@dataclass(frozen=True)
class Sample:
    """Primitives of one instance of a block."""

    module: str
    hardware: HardwareConfig
    cells: Cells


def design(name: str, sizes: str, *, ports: int = 4, blocks: Iterable[str] = BLOCKS) -> Design:
    """A design from its sizes: lanes, groups, tokens, dim, hidden, top-k, block, stream, lend, router lanes."""
    fields = ("lanes", "groups", "max_tokens", "max_dim", "max_hidden", "max_top_k", "max_block", "stream_words")
    values = dict(zip((*fields, "lend_words", "router_lanes"), map(int, sizes.split()), strict=True))
    return Design(HardwareConfig.model_validate({"name": name, "memory": {"ports": ports}, **values}), tuple(blocks))


LARGE = ("m3vit_mac_array", "m3vit_attention", "m3vit_layer_norm", "m3vit_routing")
"""Blocks that take Yosys most of the time."""
ENUMERATED = ("m3vit_dma_read", "m3vit_dma_write")
"""Blocks of which all shapes are counted."""
FIXED = ("m3vit_core", "m3vit_regs")
"""Blocks with all parameters whose counts hardly depend on any."""


def all_but(*modules: str) -> tuple[str, ...]:
    """The blocks but for some."""
    return tuple(module for module in BLOCKS if module not in modules)


TRAINING: tuple[Design, ...] = (
    *map(Design, HARDWARE.values()),
    design("train-1", "16 2 257 256 512 2 64 2048 512 4", blocks=all_but(*FIXED, "m3vit_routing")),
    design("train-2", "8 2 2048 768 96 3 50 16384 4096 3", blocks=all_but(*FIXED, "m3vit_routing")),
    design("train-3", "8 2 17 32 32 1 2 64 2 1", blocks=all_but(*FIXED)),
    design("train-4", "16 4 1025 512 1024 1 128 4096 2048 16", blocks=all_but(*LARGE, *FIXED)),
    design("train-5", "32 3 513 256 768 2 96 4096 1024 4",
           blocks=all_but(*FIXED, "m3vit_attention", "m3vit_layer_norm", "m3vit_router_lane", "m3vit_routing")),
    design("train-6", "8 2 64 2016 64 5 20 128 16 2",
           blocks=("m3vit_layer_norm", "m3vit_residual", "m3vit_router_lane", "m3vit_stream")),
    design("train-7", "8 2 100 64 64 16 20 128 16 1", blocks=("m3vit_router_lane", "m3vit_program")),
    design("train-8", "8 2 17 32 32 1 2 64 2 1", ports=1, blocks=ENUMERATED),
    design("train-9", "8 2 17 32 32 1 2 64 2 1", ports=2, blocks=ENUMERATED),
)  # fmt: skip
"""Designs that the model is fitted to."""

HELD_OUT: tuple[Design, ...] = (
    design("held-1", "8 3 129 192 384 2 129 2048 512 2"),
    design("held-2", "8 3 65 96 256 6 33 512 64 5"),
    design("held-3", "8 4 577 192 384 4 200 8192 256 2"),
    design("held-4", "8 4 577 192 1024 2 200 1024 1024 3", ports=2),
    design("held-5", "16 3 197 192 768 2 64 1024 256 4"),
    design("held-6", "16 3 1201 384 384 4 150 4096 1024 8",
           blocks=all_but(*FIXED, "m3vit_attention", "m3vit_layer_norm", "m3vit_routing")),
    design("held-7", "32 2 785 384 768 3 112 8192 2048 8", blocks=all_but(*LARGE, *FIXED)),
)  # fmt: skip
"""Designs that the model is judged by."""


@cache
def needed(designs: tuple[Design, ...]) -> dict[str, tuple[str, HardwareConfig]]:
    """Counts of designs: fingerprint -> block and the first design that has it."""
    found: dict[str, tuple[str, HardwareConfig]] = {}
    for each in designs:
        for module in each.blocks:
            found.setdefault(fingerprint(module, each.hardware), (module, each.hardware))
    return found


def committed() -> dict[str, Record]:
    """Counts that come with the project, by fingerprint."""
    return load(SAMPLES) | load(COUNTS)


def stale() -> dict[str, str]:
    """Blocks whose counts are missing, or of RTL that has changed: fingerprint -> block."""
    known = committed()
    return {key: module for key, (module, _) in needed(TRAINING + HELD_OUT).items() if key not in known}


def refresh(progress: Callable[[str], None]) -> None:
    """Count what is missing with Yosys and rewrite SAMPLES.

    Args:
        progress: called with a sentence for each run.

    Raises:
        UserError: Yosys failed.
    """
    want = needed(TRAINING + HELD_OUT)
    known = committed() | load(cache_folder() / COUNTS.name)
    missing = {key: place for key, place in want.items() if key not in known}
    for number, (key, (module, hardware)) in enumerate(missing.items(), 1):
        progress(f"Yosys {number} of {len(missing)}: {BLOCKS[module]} of {hardware.name}")
        known[key] = measure(module, hardware)
    presets = load(COUNTS)
    save(SAMPLES, {key: replace(known[key], hardware=place[1].name)
                   for key, place in want.items() if key not in presets})  # fmt: skip


def has_news(module: str, hardware: HardwareConfig) -> bool:
    """Whether a held-out design can tell anything about a block: not if it is among the same few for everybody."""
    return bool(parameters(module, hardware)) and module not in ENUMERATED


def training(known: Mapping[str, Record]) -> list[Sample]:
    """What the model is fitted to: nothing of a held-out design, but for blocks that are the same everywhere."""
    held = {key for key, (module, hardware) in needed(HELD_OUT).items() if has_news(module, hardware)}
    return [
        Sample(module, hardware, known[key].cells)
        for key, (module, hardware) in needed(TRAINING).items()
        if key in known and key not in held
    ]


def held_out(known: Mapping[str, Record]) -> list[Sample]:
    """What the model is judged by."""
    return [
        Sample(module, hardware, known[key].cells)
        for key, (module, hardware) in needed(HELD_OUT).items()
        if key in known and has_news(module, hardware)
    ]
