# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Multiply-accumulates (MACs) of operations and programs; one MAC is two FLOPs.

Counted from the program that every executor runs, so they all share the count. A MAC is a product that the linear
engine forms. Norms, softmax, GELU, requantisation and gating are not MACs: `vector_elements` counts their values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from m3vit.sim.program import Op, Opcode

GIGA = 1e9


def entries(op: Op) -> int:
    """Assignments of a token to an expert in a MOE operation: rows x top_k, whichever experts they fall on."""
    return op.rows * op.top_k


def macs(op: Op) -> int:
    """MACs of one operation on one image; a MOE operation counts its router and the chosen experts."""
    plane = op.in_features * op.out_features
    match op.opcode:
        case Opcode.PATCH_EMBED | Opcode.HEAD:
            return (op.rows - 1) * plane
        case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL:
            return op.rows * plane
        case Opcode.MLP:
            return 2 * op.rows * plane * op.experts
        case Opcode.ATTENTION:
            return 2 * op.rows * op.rows * op.out_features
        case Opcode.MOE:
            return router_macs(op) + 2 * entries(op) * plane
        case Opcode.LAYER_NORM | Opcode.LOAD | Opcode.STORE:
            return 0


def router_macs(op: Op) -> int:
    """MACs of the router of a MOE operation."""
    return op.rows * op.in_features * op.experts


def all_experts_macs(op: Op) -> int:
    """As `macs`, but a MOE operation sends every token through every expert."""
    if op.opcode is not Opcode.MOE:
        return macs(op)
    return router_macs(op) + 2 * op.rows * op.experts * op.in_features * op.out_features


def vector_elements(op: Op) -> int:
    """Values that an operation requantises, normalises, looks up, exponentiates or adds to the residual stream."""
    match op.opcode:
        case Opcode.HEAD:
            return (op.rows - 1) * op.out_features
        case Opcode.PATCH_EMBED | Opcode.LINEAR | Opcode.LINEAR_RESIDUAL:
            return op.rows * op.out_features
        case Opcode.LAYER_NORM:
            return op.rows * op.in_features
        case Opcode.ATTENTION:
            return op.rows * (op.rows * op.heads + op.out_features)
        case Opcode.MLP:
            return op.rows * (op.in_features + op.out_features) * op.experts
        case Opcode.MOE:
            return op.rows * op.experts + entries(op) * (op.in_features + op.out_features)
        case Opcode.LOAD | Opcode.STORE:
            return 0


@dataclass(frozen=True)
class Flops:
    """Work of one image, in 10^9 MACs.

    Attributes:
        task_gmac: the task's program.
        moe_gmac: its MOE operations alone.
        all_experts_gmac: the same task if every token went through every expert.
        all_tasks_gmac: the programs of all tasks, one after another.
        all_tasks_shared_gmac: the same with the operations before the first difference between the tasks run once.
    """

    task_gmac: float
    moe_gmac: float
    all_experts_gmac: float
    all_tasks_gmac: float
    all_tasks_shared_gmac: float


def program_macs(program: Iterable[Op]) -> int:
    """MACs of a program."""
    return sum(macs(op) for op in program)


def common_prefix(programs: Sequence[Sequence[Op]]) -> Sequence[Op]:
    """Operations at the start that are equal in all programs, addresses included: they compute the same values."""
    same = list(takewhile(lambda ops: all(op == ops[0] for op in ops), zip(*programs, strict=False)))
    return [ops[0] for ops in same]


def flops(program: Sequence[Op], programs: Sequence[Sequence[Op]]) -> Flops:
    """Work of one task.

    Args:
        program: of the task.
        programs: of all tasks of the model.
    """
    total = sum(program_macs(other) for other in programs)
    repeated = (len(programs) - 1) * program_macs(common_prefix(programs))
    return Flops(
        task_gmac=program_macs(program) / GIGA,
        moe_gmac=program_macs(op for op in program if op.opcode is Opcode.MOE) / GIGA,
        all_experts_gmac=sum(all_experts_macs(op) for op in program) / GIGA,
        all_tasks_gmac=total / GIGA,
        all_tasks_shared_gmac=(total - repeated) / GIGA,
    )
