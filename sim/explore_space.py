# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The designs that `m3vit explore` chooses from: parameters, and the accelerator that they make.

Parameters say how much more than the model's need a buffer holds, so that nearly every choice makes an accelerator that
runs the model; whether it fits the board is another matter (sim/explore.py). There is no precision axis: the
arithmetic of the RTL is int8 x int8 with an int16 residual stream.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol, get_args

from pydantic import ValidationError

from m3vit.model.config import (
    HARDWARE,
    UNIT_BYTES,
    BoardConfig,
    HardwareConfig,
    MemoryConfig,
    ModelConfig,
    one_sentence,
)
from m3vit.model.errors import UserError
from m3vit.sim.capacity import check_fits
from m3vit.sim.golden.attention import MAX_TOKENS
from m3vit.sim.layout import align, ceil_div
from m3vit.sim.program_check import expert_words, query_words

LANES: tuple[int, ...] = get_args(HardwareConfig.model_fields["lanes"].annotation)
PORTS: tuple[int, ...] = get_args(MemoryConfig.model_fields["ports"].annotation)
GROUPS = (2, 3, 4)
TOKEN_ROOM = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
DIM_ROOM = (1.0, 1.5, 2.0)
ROUTER_LANES = (1, 2, 4, 8, 16)
MAX_SLICES, MAX_BLOCKS, MAX_STREAM_DOUBLINGS, MAX_LEND_HALVINGS = 32, 64, 4, 11
NAMELESS = "unnamed"


class Chooser(Protocol):
    """What is needed of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: tuple[int, ...] | tuple[float, ...]) -> float:
        """One of some values without order."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An integer in low..high."""


@dataclass(frozen=True)
class Choice:
    """One value of every parameter.

    Attributes:
        lanes, groups, router_lanes, ports: as in HardwareConfig.
        mlp_slices: number of slices of a dense MLP; fixes max_hidden.
        attention_blocks: blocks that the query rows are cut into; fixes max_block.
        token_room, dim_room: max_tokens and max_dim over what the model needs. More only leaves more of the key-value
            buffer to lend.
        stream_doublings: stream_words over the largest expert or slice, as a power of two.
        lend_halvings: lend_words under the largest power of two that the key-value buffer allows.
    """

    lanes: int
    groups: int
    mlp_slices: int
    attention_blocks: int
    token_room: float
    dim_room: float
    stream_doublings: int
    lend_halvings: int
    router_lanes: int
    ports: int


@dataclass(frozen=True)
class Space:
    """All designs for one model on one board.

    Attributes:
        model: that they must run.
        board: that they are for.
        clock_mhz: of all of them, assumed.
        memory: what is not chosen of the memory: efficiency and latency.
    """

    model: ModelConfig
    board: BoardConfig
    clock_mhz: float
    memory: MemoryConfig

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups of input channels whose words experts and heads fill.

        Raises:
            UserError: there are none.
        """
        channels, hidden = self.model.dim // self.model.heads, self.model.expert_hidden
        sizes = {groups: UNIT_BYTES * groups for groups in GROUPS}
        fitting = tuple(groups for groups, inputs in sizes.items() if hidden % inputs == 0 and channels <= inputs)
        if not fitting:
            raise UserError(
                f"no accelerator runs {self.model.name}: expert_hidden {hidden} must be a multiple of 64, 96 or 128 "
                f"inputs, and a head's {channels} channels at most as many"
            )
        return fitting

    @property
    def slices(self) -> tuple[int, ...]:
        """Numbers of equal slices of a dense MLP, down to slices as small as an expert."""
        units, least = self.model.mlp_hidden // UNIT_BYTES, ceil_div(self.model.expert_hidden, UNIT_BYTES)
        return tuple(n for n in range(1, MAX_SLICES + 1) if units % n == 0 and units // n >= least) or (1,)

    def choose(self, trial: Chooser) -> Choice:
        """The parameters of a trial."""
        return Choice(
            lanes=int(trial.suggest_categorical("lanes", LANES)),
            groups=int(trial.suggest_categorical("groups", self.groups)),
            mlp_slices=int(trial.suggest_categorical("mlp_slices", self.slices)),
            attention_blocks=trial.suggest_int(
                "attention_blocks", 1, min(MAX_BLOCKS, self.model.tokens // 2), log=True
            ),
            token_room=trial.suggest_categorical("token_room", TOKEN_ROOM),
            dim_room=trial.suggest_categorical("dim_room", DIM_ROOM),
            stream_doublings=trial.suggest_int("stream_doublings", 0, MAX_STREAM_DOUBLINGS),
            lend_halvings=trial.suggest_int("lend_halvings", 0, MAX_LEND_HALVINGS),
            router_lanes=int(trial.suggest_categorical("router_lanes", ROUTER_LANES)),
            ports=int(trial.suggest_categorical("ports", PORTS)),
        )

    def design(self, choice: Choice) -> HardwareConfig:
        """The accelerator that parameters make, without a name of its own.

        Raises:
            UserError: it is impossible, or cannot run the model.
        """
        model = self.model
        shape = HARDWARE["zcu104"].model_copy(update={"lanes": choice.lanes, "groups": choice.groups})
        hidden = max(model.expert_hidden, model.mlp_hidden // choice.mlp_slices)
        queries = query_words(model.heads, model.dim // model.heads, shape) * shape.inputs
        max_tokens = min(int(model.tokens * choice.token_room), MAX_TOKENS)
        max_dim = align(int(self._least_dim(shape.inputs) * choice.dim_room), UNIT_BYTES)
        kv_words = max_tokens * ceil_div(2 * max_dim, shape.inputs)
        tree = {
            "name": NAMELESS,
            "lanes": choice.lanes,
            "groups": choice.groups,
            "max_tokens": max_tokens,
            "max_dim": max_dim,
            "max_hidden": align(max(hidden, queries), UNIT_BYTES),
            "max_top_k": model.top_k,
            "max_block": max(ceil_div(model.tokens, choice.attention_blocks), 2),
            "stream_words": max(power_of_two(expert_words(model.dim, hidden, shape)), 64) << choice.stream_doublings,
            "lend_words": max(power_of_two(kv_words) >> 1 + choice.lend_halvings, 2),
            "router_lanes": choice.router_lanes,
            "clock_mhz": self.clock_mhz,
            "memory": self.memory.model_dump() | {"ports": choice.ports},
            "board": self.board,
        }
        try:
            hardware = HardwareConfig.model_validate(tree)
        except ValidationError as error:
            raise UserError(f"no such accelerator: {one_sentence(error)}") from error
        check_fits(model, hardware)
        return hardware

    def least(self) -> HardwareConfig:
        """The smallest design that runs the model.

        Raises:
            UserError: there is none, or the board has no URAM.
        """
        if not self.board.uram:
            raise UserError(
                f"{self.board.name} has no URAM288, which the RTL's large buffers need; choose another board"
            )
        choice = Choice(LANES[0], self.groups[0], self.slices[-1], 1, 1.0, 1.0, 0, MAX_LEND_HALVINGS, 1, PORTS[0])
        return self.design(choice)

    def _least_dim(self, inputs: int) -> int:
        """Smallest max_dim: for the residual stream, the heads, and a patch in the key-value words of a token."""
        outputs = max(self.model.channels(task) for task in self.model.tasks) * self.model.head_grid**2
        patch = (ceil_div(3 * self.model.patch**2, inputs) - 1) * inputs // 2 + 1
        return align(max(self.model.dim, outputs, patch), UNIT_BYTES)


def power_of_two(value: int) -> int:
    """The smallest power of two that is at least `value`."""
    return 1 << (value - 1).bit_length()


def name_design(hardware: HardwareConfig, workload: str) -> HardwareConfig:
    """A design with a name that says workload and MAC per cycle; the digits behind tell equal ones apart, for ever."""
    tree = hardware.model_dump(mode="json", exclude={"name"})
    digits = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:4]
    return hardware.model_copy(update={"name": f"{workload}-{hardware.macs_per_cycle}-{digits}"})
