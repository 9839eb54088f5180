# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Lower bound on cycles: no schedule of the same work on the same hardware can be faster.

compute = ceil(MACs / MACs per cycle), memory = ceil(bytes / sustained bytes per cycle), bound = the larger one. MACs
are the model's, without padding. Bytes are the DRAM words that must be read or written once: the program, packed
weights and tables (channel records and the padding to full tiles, chunks and DRAM words included, the padding between
blocks not), of experts only the used ones; the image or residual stream that comes in and the result that goes out.
Everything else stays on chip: hardware that could not hold it refuses the program (`program_check`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from m3vit.model.config import UNIT_BYTES, HardwareConfig
from m3vit.sim.flops import macs
from m3vit.sim.layout import align
from m3vit.sim.program import OP_BYTES, Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_bytes, layer_bytes, regions, table_bytes


@dataclass(frozen=True)
class Bound:
    """MACs and bytes of some work, and the cycles they need at least; means over frames need not be integers."""

    macs: float
    bytes: float
    compute: int
    memory: int

    @property
    def cycles(self) -> int:
        """The larger of the two."""
        return max(self.compute, self.memory)


def bound(macs: float, moved: float, hardware: HardwareConfig) -> Bound:
    """Bound of `macs` multiply-accumulates and `moved` bytes.

    Args:
        macs: int8 multiply-accumulates.
        moved: bytes over the DRAM ports.
        hardware: gives MACs and sustained bytes per cycle.
    """
    compute, memory = macs / hardware.macs_per_cycle, moved / hardware.memory.bytes_per_cycle
    return Bound(macs, moved, ceil(compute), ceil(memory))


def weight_bytes(op: Op, hardware: HardwareConfig, experts_used: float | None = None) -> float:
    """Packed weights, channel records and tables that an operation reads once.

    Args:
        op: the operation.
        hardware: fixes the layout.
        experts_used: experts that have tokens (MOE), a mean over frames if fractional; None counts all experts.
    """
    if op.opcode not in (Opcode.MOE, Opcode.MLP):
        return sum(region.size for region in regions(op, hardware))
    router = layer_bytes(op.experts, op.in_features, hardware) if op.opcode is Opcode.MOE else 0
    used = op.experts if experts_used is None else experts_used
    expert = expert_bytes(op.in_features, op.out_features, hardware, op.expert_bits)
    return router + table_bytes(GELU_BYTES, hardware) + used * expert


def activation_bytes(op: Op) -> int:
    """Image (PATCH_EMBED) or residual stream (LOAD) that comes in, or the result that goes out (STORE)."""
    match op.opcode:
        case Opcode.PATCH_EMBED:
            return 3 * op.operands[1] * op.operands[2]
        case Opcode.LOAD:
            return 2 * op.rows * op.in_features
        case Opcode.STORE:
            return 2 * op.rows * align(op.out_features, UNIT_BYTES)
    return 0


def moved_bytes(op: Op, hardware: HardwareConfig, experts_used: float | None = None) -> float:
    """All bytes of an operation: itself, its weights (see `weight_bytes`), image, source or result."""
    return OP_BYTES + weight_bytes(op, hardware, experts_used) + activation_bytes(op)


def op_bound(op: Op, hardware: HardwareConfig, experts_used: float | None = None) -> Bound:
    """Bound of one operation; see `weight_bytes` for `experts_used`."""
    return bound(macs(op), moved_bytes(op, hardware, experts_used), hardware)


def frame_bound(program: Sequence[Op], hardware: HardwareConfig, experts_used: Mapping[int, float]) -> Bound:
    """Bound of a whole program.

    Args:
        program: the operations.
        hardware: what it runs on.
        experts_used: experts that have tokens, by the index of the MOE operation; all where it is missing.
    """
    moved = sum(moved_bytes(op, hardware, experts_used.get(index)) for index, op in enumerate(program))
    return bound(sum(macs(op) for op in program), moved, hardware)
