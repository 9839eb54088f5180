# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The papers' settings on this project's accelerator: models, designs, and modelled frames of every schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from m3vit.model.config import HARDWARE, MODELS, WORD_BYTES, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.energy import Activity, Energy, energy, load_constants, on_chip_traffic
from m3vit.sim.flops import program_macs, vector_elements
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import FrameModel, model_frame, random_routing
from m3vit.sim.program import OP_BYTES, Op
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.resources import check_board

TASK = "segmentation"


class Schedule(StrEnum):
    """The FPGA rows of M3ViT's table 4."""

    dense = "dense"
    cache = "cache"
    reordered = "reordered"
    on_chip = "on_chip"


MODES = {Schedule.cache: Mode.TOKEN_ORDER}
"""Where a schedule is not the accelerator's own; the cache baseline differs in nothing but the order."""


@dataclass(frozen=True)
class Setting:
    """A model on a design.

    Attributes:
        name: of the workload.
        model: with experts.
        hardware: the design.
        seed: of the routing, which is drawn (`m3vit.sim.performance.random_routing`).
    """

    name: str
    model: ModelConfig
    hardware: HardwareConfig
    seed: int = 0

    def program(self, schedule: Schedule = Schedule.reordered) -> tuple[Op, ...]:
        """Of the model with experts, or of the same with a dense MLP in every block."""
        model = self.model.model_copy(update={"dense": schedule is Schedule.dense})
        return plan_programs(model, self.hardware)[TASK]

    def frame(self, schedule: Schedule) -> FrameModel:
        """A modelled frame."""
        program, mode = self.program(schedule), MODES.get(schedule, OWN_SCHEDULE)
        routing = random_routing(program, self.seed)
        return model_frame(program, self.hardware, routing, mode, experts_on_chip=schedule is Schedule.on_chip)

    def mode_frame(self, mode: Mode) -> FrameModel:
        """A modelled frame of the model with experts in any schedule of the MODE register."""
        program = self.program()
        return model_frame(program, self.hardware, random_routing(program, self.seed), mode)

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


def pascal(seed: int = 0) -> Setting:
    """M3ViT-small on PASCAL-Context's images."""
    return Setting("small", MODELS["m3vit_small_patch16"], HARDWARE["zcu104"], seed)


def nyud(seed: int = 0) -> Setting:
    """M3ViT-small on NYUD-v2's images, which have more tokens than the design `zcu104` takes."""
    model = MODELS["m3vit_small_nyud_patch16"]
    return Setting("small-nyud", model, wider(HARDWARE["zcu104"], model.tokens), seed)


def tiny(seed: int = 0) -> Setting:
    """Edge-MoE's workload."""
    return Setting("tiny", MODELS["m3vit_tiny_patch16"], HARDWARE["zcu104"], seed)


def frame_energy(program: Sequence[Op], hardware: HardwareConfig, frame: FrameModel) -> Energy:
    """Itemised estimate of a modelled frame."""
    elements = sum(vector_elements(op) for op in program)
    moved = len(program) * OP_BYTES + WORD_BYTES * sum(op.read_words + op.write_words for op in frame.ops)
    activity = Activity(
        macs=program_macs(program),
        vector_elements=elements,
        on_chip_bytes=on_chip_traffic(sum(op.compute for op in frame.ops), moved, elements, hardware),
        dram_bytes=moved,
        seconds=frame.cycles / (hardware.clock_mhz * 1e6),
        seconds_measured=True,
    )
    return energy(activity, load_constants(), "a modelled frame")
