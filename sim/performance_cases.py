# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random accelerators and models on which the cycle model is checked against the RTL.

Suites share no seed, so nothing of the cycle model can have been fitted to the held-out ones. A suite has a few
hardware shapes, because each takes minutes to compile, and for each of them several models, routers, memories and
schedules, which cost nothing.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy.typing as npt

from m3vit.model.config import (
    DEMO,
    HARDWARE,
    UNIT_BYTES,
    Frozen,
    HardwareConfig,
    MemoryConfig,
    ModelConfig,
    QuantConfig,
)
from m3vit.model.errors import UserError
from m3vit.sim.capacity import check_fits
from m3vit.sim.pathway import Pathways
from m3vit.sim.program_check import expert_bytes, expert_words, key_words
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.synthetic import Routers, random_image, random_moe, random_pathways, random_residual

ARRAYS = tuple(product((8, 16, 32), (2, 3, 4)))
"""Lanes and groups of every array that the hardware takes."""
SEEDS_PER_SHAPE = 1000
SCHEDULES = (
    Mode.NO_PREFETCH,
    Mode.NO_PREFETCH | Mode.NO_OVERLAP,
    Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX,
    Mode.TOKEN_ORDER,
    Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX,
)
"""The steps of the ablation, and the cache baseline with all that is overlapped left on."""
MOST_CYCLES = 400_000
"""Rough cycles of the largest case: a few seconds of simulation."""


class Case(Frozen):
    """One frame: a model with random weights on an accelerator, and its schedule.

    Attributes:
        name: unique in all suites.
        hardware: accelerator and memory.
        model: of one task.
        whole: the whole network; else a single MoE layer between LOAD and STORE.
        popularity: deviation of the experts' popularity, in octaves of router logits.
        unpopular: share of the experts that get no tokens.
        seed: of weights and input.
        mode: value of `Mode`; 0 is the accelerator's own schedule.
        expert_bits: width of the experts' weights.
    """

    name: str
    hardware: HardwareConfig
    model: ModelConfig
    whole: bool = True
    popularity: float = 0.7
    unpopular: float = 0.25
    seed: int
    mode: int = int(OWN_SCHEDULE)
    expert_bits: Literal[4, 8] = 8

    def pathways(self) -> Pathways:
        """The case's program and weights."""
        make = random_pathways if self.whole else random_moe
        quant = QuantConfig(expert_bits=self.expert_bits)
        return make(self.model, self.hardware, self.seed, Routers(self.popularity, self.unpopular), quant)

    def source(self) -> npt.NDArray[Any]:
        """Input of the program: uint8 image (H, W, 3), or int16 residual stream (N, D)."""
        return (random_image if self.whole else random_residual)(self.model, self.seed)


def power_of_two(most: int) -> int:
    """The largest power of two that is not above `most`."""
    return 1 << (most.bit_length() - 1)


def draw_shape(rng: random.Random, name: str, lanes: int, groups: int, ports: int) -> HardwareConfig:
    """An accelerator with an array of a given shape, that many AXI ports, and random buffers."""
    inputs = UNIT_BYTES * groups
    sizes: dict[str, Any] = {
        "name": name,
        "lanes": lanes,
        "groups": groups,
        "max_tokens": rng.randint(32, 260),
        "max_dim": UNIT_BYTES * rng.randint(4, 12),
        "max_hidden": inputs * rng.randint(2, 5),
        "max_top_k": rng.choice((2, 4, 4, 8)),
        "router_lanes": rng.choice((2, 3, 4, 8)),
        "memory": {"ports": ports},
    }
    sizes["max_block"] = min(rng.choice((12, 24, 40, 80, 136)), sizes["max_tokens"])
    least = HardwareConfig.model_validate(sizes | {"stream_words": 64, "lend_words": 2})
    words = expert_words(least.max_dim, least.max_hidden, least)
    keys = least.max_tokens * key_words(least)
    return least.model_copy(
        update={
            "stream_words": power_of_two(rng.choice((1, 2, 3)) * words),
            "lend_words": power_of_two(keys // rng.choice((2, 4, 16))),
        }
    )


def draw_memory(rng: random.Random, shape: HardwareConfig) -> MemoryConfig:
    """A memory of 40 to 100 % of the peak and 16 to 300 cycles, short ones as likely as long ones."""
    efficiency, latency = rng.randint(40, 100), round(16 * (300 / 16) ** rng.random())
    return shape.memory.model_copy(update={"efficiency_percent": efficiency, "latency_cycles": latency})


def draw_model(rng: random.Random, hardware: HardwareConfig, name: str) -> ModelConfig:
    """A model of one task; it may exceed the hardware."""
    channels = UNIT_BYTES * rng.randint(1, hardware.groups)
    heads = rng.randint(1, max(1, hardware.max_dim // channels))
    experts = round(2 * 32 ** rng.random())
    patch = rng.choice((8, 8, 8, 16))
    height = rng.randint(2, max(2, int(hardware.max_tokens**0.5)))
    width = rng.randint(2, max(2, (hardware.max_tokens - 1) // height))
    return ModelConfig(
        name=name,
        image_hw=(patch * height, patch * width),
        patch=patch,
        dim=heads * channels,
        layers=rng.choice((1, 2, 2, 3, 4, 4)),
        heads=heads,
        mlp_hidden=hardware.inputs * rng.randint(1, 8),
        experts=experts,
        top_k=rng.randint(1, min(hardware.max_top_k, experts)),
        expert_hidden=hardware.inputs * rng.randint(1, hardware.max_hidden // hardware.inputs),
        dense=rng.random() < 0.1,
        renormalise=rng.random() < 0.25,
        head_grid=rng.choice((1, 2, 4)),
        tasks=(rng.choice(("segmentation", "depth", "normals")),),
    )


def rough_cycles(model: ModelConfig, hardware: HardwareConfig, mode: Mode) -> float:
    """Order of magnitude of a frame's cycles; keeps the drawn cases short and decides nothing else."""
    tokens, dim = model.tokens, model.dim
    hidden = max(model.mlp_hidden, model.top_k * model.expert_hidden)
    macs = tokens * model.layers * dim * (4 * dim + 2 * tokens + 2 * hidden)
    loads = model.experts if not mode & Mode.TOKEN_ORDER else tokens * model.top_k
    loaded = loads * len(model.moe_layers) * expert_bytes(dim, model.expert_hidden, hardware)
    return macs / hardware.macs_per_cycle + loaded / hardware.memory.bytes_per_cycle


def is_meant(model: ModelConfig, mode: Mode, whole: bool, expert_bits: int) -> bool:
    """Whether a model has what a case is about: experts for a MoE layer alone, else MoE layers unless all is usual."""
    if not whole:
        return not model.dense
    return (mode == OWN_SCHEDULE and expert_bits == 8) or bool(model.moe_layers)


def drawn_until(draw: Callable[[], ModelConfig], accept: Callable[[ModelConfig], bool]) -> ModelConfig:
    """The first drawn model that is accepted."""
    while not accept(model := draw()):
        pass
    return model


def draw_case(
    rng: random.Random,
    name: str,
    shape: HardwareConfig,
    seed: int,
    mode: Mode,
    whole: bool,
    expert_bits: Literal[4, 8] = 8,
) -> Case:
    """A model that fits a hardware shape, on a random memory."""
    hardware = shape.model_copy(update={"memory": draw_memory(rng, shape)})

    def accept(model: ModelConfig) -> bool:
        try:
            check_fits(model, hardware)
        except UserError:
            return False
        return is_meant(model, mode, whole, expert_bits) and rough_cycles(model, hardware, mode) <= MOST_CYCLES

    return Case(
        name=name,
        hardware=hardware,
        model=drawn_until(lambda: draw_model(rng, hardware, name), accept),
        whole=whole,
        popularity=rng.choice((0.0, 0.7, 1.5, 3.0)),
        unpopular=rng.choice((0.0, 0.25, 0.5)),
        seed=seed,
        mode=int(mode),
        expert_bits=expert_bits,
    )


@dataclass(frozen=True)
class Suite:
    """Cases from a range of seeds.

    Attributes:
        name: of the suite; names of its cases begin with it.
        seed: of the first shape's cases, by SEEDS_PER_SHAPE; the other shapes' follow.
        shapes: accelerators.
        cases: per shape: one in another schedule, the rest in the accelerator's own.
        expert_bits: width of the experts' weights.
    """

    name: str
    seed: int
    shapes: tuple[HardwareConfig, ...]
    cases: int
    expert_bits: Literal[4, 8] = 8

    def draw(self) -> list[Case]:
        """All cases, those of one shape in a row."""
        return [case for index in range(len(self.shapes)) for case in self._cases_of(index)]

    def _cases_of(self, index: int) -> Iterator[Case]:
        """The last but one is a MoE layer alone on every second shape, the last one has another schedule."""
        for number in range(self.cases):
            seed = SEEDS_PER_SHAPE * (self.seed + index) + 1 + number
            mode = SCHEDULES[index % len(SCHEDULES)] if number == self.cases - 1 else OWN_SCHEDULE
            whole = number != self.cases - 2 or index % 2 == 1
            name = f"{self.name}-{index}-{number}"
            yield draw_case(random.Random(seed), name, self.shapes[index], seed, mode, whole, self.expert_bits)


Array = tuple[int, int, int]
"""Lanes, groups, AXI ports."""


def with_ports(arrays: Iterable[tuple[int, int]], ports: Iterable[int]) -> list[Array]:
    """Each array with its number of ports."""
    return [(lanes, groups, count) for (lanes, groups), count in zip(arrays, ports, strict=True)]


def draw_shapes(name: str, seed: int, arrays: Iterable[Array]) -> tuple[HardwareConfig, ...]:
    """One accelerator per array, with seeds like those of a suite's cases."""
    return tuple(
        draw_shape(random.Random(SEEDS_PER_SHAPE * (seed + index)), f"{name}-{index}", *array)
        for index, array in enumerate(arrays)
    )


def drawn_suite(name: str, seed: int, arrays: Iterable[Array], cases: int) -> Suite:
    """A suite whose accelerators are drawn from its own seeds."""
    return Suite(name, seed, draw_shapes(name, seed, arrays), cases)


PORTS: tuple[Array, ...] = ((8, 3, 1), (16, 2, 2))
SUITES = {
    suite.name: suite
    for suite in (
        drawn_suite("development", 0, with_ports(ARRAYS[0::2], (4,) * 5), 4),
        drawn_suite("ports", 50, PORTS, 4),
        Suite("more", 600, (*draw_shapes("ports", 50, PORTS), HARDWARE["demo"], HARDWARE["zcu104"]), 16),
        drawn_suite("former", 100, with_ports(ARRAYS, (4,) * 9), 5),
        drawn_suite("held-out", 300, with_ports(ARRAYS, (4, 2, 1, 4, 4, 2, 4, 1, 4)), 5),
        Suite("quick", 400, (DEMO.hardware,) * 4, 3),
        Suite("four-bit", 700, (*(DEMO.hardware,) * 2, HARDWARE["zcu104"]), 4, expert_bits=4),
    )
}
"""The cycle model was developed on `development`, `ports`, `more` and `former`. `former` was the held-out suite until
its long latencies turned out to be modelled wrongly; that made it a part of the development. Nothing was fitted to
`held-out` and `quick`, which were drawn later; `quick` needs no other compiled accelerator than other tests do.
`four-bit` has experts of 4-bit weights."""
