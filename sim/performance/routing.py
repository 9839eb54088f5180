# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Which experts each token chose: what the cycles of a MoE operation depend on besides its shape.

A routing is a trace of real images (`m3vit verify` writes one of golden's), or is drawn from a stated distribution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m3vit.model.errors import UserError
from m3vit.sim.program import Op, Opcode

Chosen = npt.NDArray[np.int64]
"""chosen_NK: the experts of each token, ascending, shape (rows, top_k)."""


@dataclass(frozen=True)
class Routing:
    """The experts that each token chose, by the index of the MOE operation.

    Attributes:
        chosen: chosen_NK of every MOE operation of a program.
    """

    chosen: Mapping[int, Chosen]

    def queue_lengths(self, index: int) -> dict[int, int]:
        """Tokens of each expert that has any, in ascending order of the experts."""
        experts, tokens = np.unique(self.chosen[index], return_counts=True)
        return dict(zip(experts.tolist(), tokens.tolist(), strict=True))

    def check(self, program: Sequence[Op]) -> None:
        """Check that a routing is one of a program.

        Raises:
            UserError: a MOE operation is missing, or tokens or experts are not those of the program.
        """
        for index, op in enumerate(program):
            if op.opcode is not Opcode.MOE:
                continue
            chosen_NK = self.chosen.get(index)
            if chosen_NK is None or chosen_NK.shape != (op.rows, op.top_k):
                raise UserError(
                    f"the routing is of another model: operation {index} routes {op.rows} tokens to {op.top_k} experts "
                    f"each, the routing holds {'nothing' if chosen_NK is None else chosen_NK.shape} for it"
                )
            if chosen_NK.min() < 0 or chosen_NK.max() >= op.experts:
                raise UserError(
                    f"the routing is of another model: operation {index} has {op.experts} experts, the routing names "
                    f"expert {chosen_NK.max() if chosen_NK.max() >= op.experts else chosen_NK.min()}"
                )
        if extra := set(self.chosen) - {index for index, op in enumerate(program) if op.opcode is Opcode.MOE}:
            raise UserError(f"the routing is of another model: operation {min(extra)} is no MoE layer")


def moe_ops(program: Sequence[Op]) -> list[tuple[int, Op]]:
    """Index and operation of every MOE operation."""
    return [(index, op) for index, op in enumerate(program) if op.opcode is Opcode.MOE]


def random_routing(program: Sequence[Op], seed: int = 0, skew: float = 0.5) -> Routing:
    """A routing drawn from a distribution: each token takes the top_k experts of the largest scores.

    The score of an expert is its popularity, normal with deviation `skew`, plus a Gumbel variate of each token, so that
    experts are chosen without replacement in proportion to exp(popularity). With skew 0 all experts are equally likely.

    Args:
        program: gives tokens, experts and top_k of each MOE operation.
        seed: of all draws.
        skew: deviation of the popularities, in nats.

    Raises:
        UserError: skew is negative.
    """
    if skew < 0:
        raise UserError(f"the skew of a random routing must not be negative, got {skew:g}")
    rng = np.random.default_rng(seed)
    chosen = {}
    for index, op in moe_ops(program):
        scores_NE = rng.gumbel(size=(op.rows, op.experts)) + rng.normal(0, skew, op.experts)
        chosen[index] = np.sort(np.argpartition(-scores_NE, op.top_k - 1, axis=1)[:, : op.top_k], axis=1)
    return Routing(chosen)


def routing_of_queues(queues: Mapping[int, Mapping[int, Sequence[int]]], program: Sequence[Op]) -> Routing:
    """The routing behind token queues.

    Args:
        queues: the tokens in the queue of every expert, by the index of the MOE operation.
        program: that formed them.
    """
    chosen = {}
    for index, op in moe_ops(program):
        pairs = sorted((token, expert) for expert, tokens in queues[index].items() for token in tokens)
        chosen[index] = np.array([expert for _, expert in pairs], np.int64).reshape(op.rows, op.top_k)
    return Routing(chosen)


def routing_of_lengths(lengths: Mapping[int, Mapping[int, int]], program: Sequence[Op]) -> Routing:
    """A routing with given queue lengths; which tokens an expert gets is arbitrary.

    The accelerator's own schedule depends on the lengths and on whether expert 0 has tokens only, so this is enough for
    frames of which nothing but the counters is known. Experts are dealt to tokens in turn, largest queue first.

    Args:
        lengths: tokens of each expert, by the index of the MOE operation; each at most `rows`, `rows` x `top_k` in all.
        program: that formed them.
    """
    chosen = {}
    for index, op in moe_ops(program):
        order = sorted(lengths[index].items(), key=lambda item: -item[1])
        flat = np.repeat([expert for expert, _ in order], [count for _, count in order])
        chosen[index] = np.sort(
            flat.reshape(op.top_k, op.rows).T, axis=1
        )  # a queue of at most `rows` hits no token twice
    return Routing(chosen)
