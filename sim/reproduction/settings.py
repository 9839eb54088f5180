# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The papers' settings on this project's accelerator: models, designs, and modelled frames of every schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from m3vit.model.config import HARDWARE, MODELS, HardwareConfig, ModelConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.energy import Energy, energy, load_constants
from m3vit.sim.energy_activity import frame_activity
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import FrameModel, Routing, model_frame, random_routing
from m3vit.sim.performance.trace import TRACE, read_routing
from m3vit.sim.program import Op
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.resources import check_board

TASK: TaskName = "segmentation"
NO_ROUTING = Routing({})


class Schedule(StrEnum):
    """The FPGA rows of M3ViT's table 4."""

    dense = "dense"
    cache = "cache"
    reordered = "reordered"
    on_chip = "on_chip"


MODES = {Schedule.cache: Mode.TOKEN_ORDER}
"""Where a schedule is not the accelerator's own; the cache baseline differs in nothing but the order."""


@dataclass(frozen=True)
class Routings:
    """Where the routings of modelled frames come from.

    Attributes:
        seed: of random ones (`m3vit.sim.performance.random_routing`).
        traces: folder of earlier runs; a workload that was verified there takes golden's routing instead.
    """

    seed: int = 0
    traces: Path | None = None

    def trace(self, workload: str) -> Path | None:
        """The trace of a workload, if there is one."""
        path = self.traces / workload / "pathway" / TRACE if self.traces else None
        return path if path and path.exists() else None

    def routing(self, workload: str, program: Sequence[Op]) -> Routing:
        """The routing of a frame.

        Raises:
            UserError: a trace is damaged or of another model.
        """
        path = self.trace(workload)
        return read_routing(path, program, TASK) if path else random_routing(program, self.seed)


DRAWN = Routings()
"""All at random."""


@dataclass(frozen=True)
class Setting:
    """A model on a design.

    Attributes:
        name: of the workload.
        model: with experts.
        hardware: the design.
        routings: of its frames.
    """

    name: str
    model: ModelConfig
    hardware: HardwareConfig
    routings: Routings = DRAWN

    def program(self, schedule: Schedule = Schedule.reordered) -> tuple[Op, ...]:
        """Of the model with experts, or of the same with a dense MLP in every block."""
        model = self.model.model_copy(update={"dense": schedule is Schedule.dense})
        return plan_programs(model, self.hardware)[TASK]

    def frame(self, schedule: Schedule) -> FrameModel:
        """A modelled frame."""
        program, mode = self.program(schedule), MODES.get(schedule, OWN_SCHEDULE)
        routing = NO_ROUTING if schedule is Schedule.dense else self.routings.routing(self.name, program)
        return model_frame(program, self.hardware, routing, mode, experts_on_chip=schedule is Schedule.on_chip)

    def mode_frame(self, mode: Mode) -> FrameModel:
        """A modelled frame of the model with experts in any schedule of the MODE register."""
        program = self.program()
        return model_frame(program, self.hardware, self.routings.routing(self.name, program), mode)

    def ms(self, cycles: float) -> float:
        """Cycles at the assumed clock."""
        return cycles / self.hardware.clock_mhz / 1e3

    @property
    def fit(self) -> str:
        """Whether the design fits its board, in words."""
        try:
            check_board(self.hardware)
        except UserError as error:
            return f"it does not fit: {str(error).partition(';')[0]}"
        return f"it fits {self.hardware.board.name} (modelled)"


def wider(hardware: HardwareConfig, tokens: int) -> HardwareConfig:
    """The same design with room for more tokens, under a name of its own."""
    fields = hardware.model_dump() | {"name": f"{hardware.name}_{tokens}", "max_tokens": tokens}
    return HardwareConfig.model_validate(fields)


def pascal(routings: Routings = DRAWN) -> Setting:
    """M3ViT-small on PASCAL-Context's images."""
    return Setting("small", MODELS["m3vit_small_patch16"], HARDWARE["zcu104"], routings)


def nyud(routings: Routings = DRAWN) -> Setting:
    """M3ViT-small on NYUD-v2's images, which have more tokens than the design `zcu104` takes."""
    model = MODELS["m3vit_small_nyud_patch16"]
    return Setting("small-nyud", model, wider(HARDWARE["zcu104"], model.tokens), routings)


def tiny(routings: Routings = DRAWN) -> Setting:
    """Edge-MoE's workload."""
    return Setting("tiny", MODELS["m3vit_tiny_patch16"], HARDWARE["zcu104"], routings)


def frame_energy(program: Sequence[Op], hardware: HardwareConfig, frame: FrameModel) -> Energy:
    """Itemised estimate of a modelled frame."""
    activity = frame_activity(program, hardware, frame.ops, frame.cycles)
    return energy(activity, load_constants(), "a modelled frame")
