# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Pathways for the frame benches: made by pytest, read again inside the simulation."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from m3vit.model.config import DEMO, Config, HardwareConfig, ModelConfig, QuantConfig
from m3vit.sim.cosim import DRAM_VARIABLE
from m3vit.sim.golden.linear import gelu_table
from m3vit.sim.network import INT8, ImageCompiler
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.synthetic import OCTAVE, SCALES, Dice, random_pathways

HARDWARE: HardwareConfig = DEMO.hardware
FOLDER_VARIABLE, FRAMES_VARIABLE, FAULTS_VARIABLE = "M3VIT_CASES", "M3VIT_BENCH_FRAMES", "M3VIT_BENCH_FAULTS"
DRAM_BYTES = 32 << 20

THREE = DEMO.model.model_copy(update={"tasks": ("segmentation", "depth", "normals")})
SMALL = THREE.model_copy(update={"image_hw": (32, 32), "experts": 4})
"""17 tokens, 4 layers, 64 channels in two heads, MLPs in two slices."""
WIDE = SMALL.model_copy(
    update={"dim": 128, "layers": 2, "mlp_hidden": 64, "expert_hidden": 64, "experts": 6, "renormalise": True}
)
"""Heads of 64 channels: a word per head."""
LEAST = SMALL.model_copy(
    update={"image_hw": (8, 16), "dim": 32, "heads": 1, "layers": 2, "mlp_hidden": 64, "expert_hidden": 64}
)
"""3 tokens, half a word per token: frames so short that every stage waits for the one before."""
PAIR = LEAST.model_copy(update={"image_hw": (8, 8), "dim": 64, "heads": 2, "experts": 1, "top_k": 1})
"""2 tokens: the fewest there are."""
NARROW = SMALL.model_copy(update={"experts": 24, "top_k": 5, "expert_hidden": 64, "renormalise": True})
"""One word of hidden channels: the second layer of an expert needs the first one's very last results."""


INT4 = QuantConfig(expert_bits=4)


def moe_layers(model: ModelConfig, seed: int, quant: QuantConfig = INT8) -> Pathways:
    """LOAD, two MoE layers with different GELU tables, STORE. The first two tasks have equal routers."""
    dice = Dice(seed, expert_bits=quant.expert_bits)
    config = Config(model=model, hardware=HARDWARE, quant=quant)
    compiler = ImageCompiler(config)
    compiler.load()
    for index, table in enumerate((gelu_table(1 / 96, 4 / 127), gelu_table(1 / 40, 5 / 127, 11))):
        layer = dice.moe(model)
        first, second, *_ = model.tasks
        routers = dict(layer.routers) | {second: layer.routers[first]}
        compiler.moe(f"blocks.{index}", replace(layer, routers=routers, table=table))
    compiler.store()
    return compiler.link(dict.fromkeys(model.tasks, SCALES))


FAVOUR_OCTAVES = 32.0
"""How far the logits of favourite experts lie above the others: beyond any token's taste."""


def favouring_layers(
    model: ModelConfig, seed: int, layers: int, favourite: int | None, quant: QuantConfig = INT8
) -> Pathways:
    """LOAD, MoE layers, STORE; all tokens go to the top_k experts from `favourite` on, if there are any favourites."""
    dice = Dice(seed, expert_bits=quant.expert_bits)
    config = Config(model=model, hardware=HARDWARE, quant=quant)
    compiler = ImageCompiler(config)
    compiler.load()
    for index in range(layers):
        layer = dice.moe(model)
        for router in layer.routers.values() if favourite is not None else ():
            octave = OCTAVE * 2.0 ** int(router.shift_M[0]) / int(router.multiplier_M[0])
            router.bias_M[favourite : (favourite or 0) + model.top_k] += round(FAVOUR_OCTAVES * octave)
        compiler.moe(f"blocks.{index}", layer)
    compiler.store()
    return compiler.link(dict.fromkeys(model.tasks, SCALES))


def network(model: ModelConfig, seed: int, quant: QuantConfig = INT8) -> Pathways:
    """A whole network, from the image to the heads."""
    return random_pathways(model, HARDWARE, seed, quant=quant)


CASES: dict[str, tuple[Callable[[ModelConfig, int], Pathways], ModelConfig]] = {
    "small": (network, SMALL),
    "wide": (network, WIDE),
    "least": (network, LEAST),
    "pair": (network, PAIR),
    "demo": (network, THREE),
    "moe": (moe_layers, SMALL),
    "narrow": (moe_layers, NARROW),
    "sixteen": (moe_layers, THREE.model_copy(update={"experts": 16})),
    "many": (moe_layers, THREE.model_copy(update={"experts": 256})),
    "four bits": (partial(network, quant=INT4), SMALL),
    "four bits, narrow": (partial(moe_layers, quant=INT4), NARROW),
}


def write_cases(folder: Path) -> None:
    """Write one pathway folder per case."""
    for name, (make, model) in CASES.items():
        write_pathways(make(model, len(name)), folder / name)


def environment(folder: Path, work: Path) -> dict[str, str]:
    """An empty DRAM in `work`; returns the environment of a simulation of the cases in `folder`."""
    dram = work / "dram.bin"
    dram.touch()
    os.truncate(dram, DRAM_BYTES)
    return {DRAM_VARIABLE: str(dram), FOLDER_VARIABLE: str(folder)}
