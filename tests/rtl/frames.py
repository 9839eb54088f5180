# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Pathways for the frame benches: made by pytest, read again inside the simulation."""

import os
from dataclasses import replace
from pathlib import Path

from m3vit.model.config import DEMO, Config, HardwareConfig, ModelConfig
from m3vit.sim.golden.linear import gelu_table
from m3vit.sim.network import Compiler
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.synthetic import SCALES, Dice

HARDWARE: HardwareConfig = DEMO.hardware
MODEL: ModelConfig = DEMO.model.model_copy(update={"tasks": ("segmentation", "depth", "normals")})
SMALL: ModelConfig = MODEL.model_copy(update={"image_hw": (32, 32), "experts": 12, "renormalise": True})
"""17 tokens: for protocol tests, which simulate slowly."""
NARROW: ModelConfig = SMALL.model_copy(update={"experts": 24, "top_k": 5, "expert_hidden": 64})
"""One chunk of hidden channels: the second layer of an expert needs the first one's very last results."""
SIXTEEN = MODEL.model_copy(update={"experts": 16})
MANY = MODEL.model_copy(update={"experts": 256})
DRAM_BYTES = 32 << 20


def two_layers(model: ModelConfig, seed: int) -> Pathways:
    """Two MOE operations with different GELU tables. The first two tasks have equal routers, the third has its own."""
    dice, compiler = Dice(seed), Compiler(Config(model=model, hardware=HARDWARE))
    for index, table in enumerate((gelu_table(1 / 96, 4 / 127), gelu_table(1 / 40, 5 / 127, 11))):
        layer = dice.moe(model)
        first, second, *_ = model.tasks
        routers = dict(layer.routers) | {second: layer.routers[first]}
        compiler.moe(f"blocks.{index}", replace(layer, routers=routers, table=table))
    return compiler.link(Config(model=model, hardware=HARDWARE), dict.fromkeys(model.tasks, SCALES))


def prepare(folder: Path, models: dict[str, ModelConfig]) -> dict[str, str]:
    """Write one pathway folder per model and an empty DRAM; returns the environment of the simulation."""
    for name, model in models.items():
        write_pathways(two_layers(model, seed=len(name)), folder / name)
    dram = folder / "dram.bin"
    dram.touch()
    os.truncate(dram, DRAM_BYTES)
    return {"M3VIT_DRAM": str(dram), "M3VIT_CASES": str(folder)}
