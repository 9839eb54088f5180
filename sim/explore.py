# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What `m3vit explore` knows of one design: cycles of a frame (performance model), resources, energy, and their price.

Everything here is modelled: nothing was synthesised or simulated. `m3vit verify --design` measures.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from m3vit.model.config import SHARE, HardwareConfig, ModelConfig
from m3vit.sim.energy import Constants, energy
from m3vit.sim.energy_activity import frame_activity
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import Routing, model_frame
from m3vit.sim.resources import estimate


class Price(StrEnum):
    """What a design costs, beside its cycles."""

    area = "area"
    energy = "energy"


PRICE_TITLE = {Price.area: "mean share of the board's resources, %", Price.energy: "energy per frame, mJ, nominal"}


@dataclass(frozen=True)
class Problem:
    """What designs are compared on: one frame of one task.

    Attributes:
        model: with that task only.
        routing: the experts that its tokens choose.
        constants: of the energy model.
    """

    model: ModelConfig
    routing: Routing
    constants: Constants


@dataclass(frozen=True)
class Evaluation:
    """A design and what the models say of it.

    Attributes:
        hardware: the design.
        cycles: of one frame, from START to DONE.
        energy_mj: of one frame, nominal.
        used: resources by the names of SHARE.
    """

    hardware: HardwareConfig
    cycles: int
    energy_mj: float
    used: dict[str, float]

    @property
    def area(self) -> float:
        """Mean share of the board's resources: what a design costs, on one scale."""
        there = self.there
        return sum(self.used[name] / count for name, count in there.items()) / len(there)

    @property
    def there(self) -> dict[str, int]:
        """Resources of the board that it has at all."""
        return {name: count for name in self.used if (count := getattr(self.hardware.board, name))}

    @property
    def excess(self) -> dict[str, float]:
        """For each resource, how much of its permitted amount is exceeded; at most zero if it suffices."""
        allowed = {name: int(SHARE[name] * getattr(self.hardware.board, name)) for name in self.used}
        return {name: (used - allowed[name]) / max(allowed[name], 1) for name, used in self.used.items()}

    @property
    def fits(self) -> bool:
        """Whether the board has enough of everything."""
        return all(value <= 0 for value in self.excess.values())

    def price(self, price: Price) -> float:
        """In the unit of PRICE_TITLE."""
        return 100 * self.area if price is Price.area else self.energy_mj

    @property
    def ms(self) -> float:
        """Of one frame at the assumed clock."""
        return self.cycles / self.hardware.clock_mhz / 1e3

    def tree(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"hardware": self.hardware.model_dump(mode="json")}

    @classmethod
    def load(cls, tree: dict[str, Any]) -> Self:
        """Inverse of `tree`."""
        return cls(**tree | {"hardware": HardwareConfig.model_validate(tree["hardware"])})


def evaluate(problem: Problem, hardware: HardwareConfig) -> Evaluation:
    """Model one frame on one design.

    Raises:
        UserError: the design cannot run the model, or the routing is of another model.
    """
    ((_, program),) = plan_programs(problem.model, hardware).items()
    frame = model_frame(program, hardware, problem.routing)
    activity = frame_activity(program, hardware, frame.ops, frame.cycles)
    need = asdict(estimate(hardware))
    return Evaluation(
        hardware=hardware,
        cycles=frame.cycles,
        energy_mj=energy(activity, problem.constants, "modelled").total_mj("nominal"),
        used={name: need[name] for name in SHARE if name in need},
    )


def quantity(value: float) -> str:
    """A number of primitives; a RAMB18E2 is half a bram36."""
    return f"{value:,.1f}".removesuffix(".0")


def front(evaluations: Iterable[Evaluation], price: Price) -> list[Evaluation]:
    """The designs that fit and that no other one beats in both cycles and price, fastest first."""
    best: list[Evaluation] = []
    for evaluation in sorted((e for e in evaluations if e.fits), key=lambda e: (e.cycles, e.price(price))):
        if not best or evaluation.price(price) < best[-1].price(price):
            best.append(evaluation)
    return best
