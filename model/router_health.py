# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Router health: how evenly experts are used, how far tasks share them, and whether routing has collapsed.

All from loads, the shares of a task's token-expert assignments in one layer that each expert received; they sum to 1.
Pure Python, so that the report needs no torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

STARVED = 0.02
"""An expert is starved when it receives less than this part of an even share, averaged over the tasks."""
COLLAPSED = 0.5
"""A router has collapsed when the normalised entropy of its load is below this."""

Load = Sequence[float]
LayerLoads = Mapping[str, Load]
"""Load by task."""


def load_entropy(load: Load) -> float:
    """Entropy divided by log E: 1 is an even load, 0 one expert for all."""
    if len(load) == 1:
        return 1.0
    return sum(-share * math.log(share) for share in load if share > 0) / math.log(len(load))


def overlap(first: Load, second: Load) -> float:
    """Part of their assignments that two tasks send to the same experts: 1 for equal loads, 0 for disjoint experts."""
    return sum(min(a, b) for a, b in zip(first, second, strict=True))


def mean_load(loads: LayerLoads) -> list[float]:
    """Load of each expert over all tasks, which weigh the same."""
    return [sum(shares) / len(loads) for shares in zip(*loads.values(), strict=True)]


def worst_expert_share(layers: Mapping[str, LayerLoads]) -> float:
    """Share of the least used expert of any layer, averaged over tasks and scaled so that an even load gives 1."""
    return min((min(mean) * len(mean) for mean in map(mean_load, layers.values())), default=1.0)


@dataclass(frozen=True)
class LayerHealth:
    """One MoE layer.

    Attributes:
        load: by task, of every expert.
        entropy: by task, normalised.
        overlap: of every pair of tasks, (first, second, overlap).
        starved: experts that (almost) no token of any task reaches.
    """

    load: dict[str, list[float]]
    entropy: dict[str, float]
    overlap: list[tuple[str, str, float]]
    starved: list[int]


@dataclass(frozen=True)
class RouterHealth:
    """All MoE layers by index, and sentences about what looks wrong."""

    layers: dict[str, LayerHealth]
    warnings: list[str]

    def tree(self) -> dict[str, Any]:
        """As it is written to JSON."""
        return asdict(self)


def layer_health(loads: LayerLoads) -> LayerHealth:
    """Health of one layer from each task's load."""
    mean = mean_load(loads)
    return LayerHealth(
        load={task: list(load) for task, load in loads.items()},
        entropy={task: load_entropy(load) for task, load in loads.items()},
        overlap=[(a, b, overlap(loads[a], loads[b])) for a, b in combinations(loads, 2)],
        starved=[expert for expert, share in enumerate(mean) if share * len(mean) < STARVED],
    )


def router_health(layers: Mapping[str, LayerLoads]) -> RouterHealth:
    """Health of a model's routers.

    Args:
        layers: index of a MoE layer to task to load.
    """
    health = {layer: layer_health(loads) for layer, loads in layers.items()}
    return RouterHealth(health, [sentence for layer, facts in health.items() for sentence in _warnings(layer, facts)])


def _warnings(layer: str, facts: LayerHealth) -> list[str]:
    experts = len(next(iter(facts.load.values())))
    found = [
        f"layer {layer}: the router of '{task}' has collapsed, normalised entropy {entropy:.2f} of its load; raise "
        f"train.importance_loss"
        for task, entropy in facts.entropy.items()
        if entropy < COLLAPSED
    ]
    if facts.starved:
        names = ", ".join(str(expert) for expert in facts.starved)
        found.append(f"layer {layer}: {len(facts.starved)} of {experts} experts get no tokens to speak of: {names}")
    return found
