# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Lower bound on cycles: no schedule of the same work on the same hardware can be faster.

compute = ceil(MACs / MACs per cycle), memory = ceil(bytes / sustained bytes per cycle), bound = the larger one. Weights
count as packed by `layout.linear_bytes`: channel records and the padding to full tiles and chunks included, the padding
between blocks not. Each byte moves once.
"""

from dataclasses import dataclass
from math import ceil

from m3vit.model.config import BoardConfig, HardwareConfig
from m3vit.sim.flops import macs
from m3vit.sim.layout import linear_bytes
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_bytes, regions

BRAM36_BYTES, URAM_BYTES = 4608, 36864
USABLE_ON_CHIP = 0.9
"""Share of BRAM and URAM that a design may use (design page, "Accelerator")."""


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


def weight_bytes(op: Op, lanes: int, experts_used: float | None = None) -> float:
    """Packed weights, channel records and tables that an operation reads once.

    Args:
        op: the operation.
        lanes: output channels of a tile.
        experts_used: experts that have tokens (MOE), a mean over frames if fractional; None counts all experts.
    """
    if op.opcode is not Opcode.MOE:
        return sum(region.size for region in regions(op, lanes))
    used = op.experts if experts_used is None else experts_used
    router = linear_bytes(op.experts, op.in_features, lanes)
    return router + GELU_BYTES + used * expert_bytes(op.in_features, op.out_features, lanes)


def activation_bytes(op: Op) -> int:
    """Input and output of an operation that runs alone: int8 x and qkv, int16 residual and result, uint8 pixels."""
    rows, wide, narrow = op.rows, op.out_features, op.in_features
    match op.opcode:
        case Opcode.PATCH_EMBED:
            return 3 * op.operands[1] * op.operands[2] + 2 * rows * wide
        case Opcode.LAYER_NORM:
            return 3 * rows * narrow
        case Opcode.LINEAR | Opcode.ATTENTION:
            return rows * (narrow + wide)
        case Opcode.LINEAR_RESIDUAL:
            return rows * (narrow + 4 * wide)
        case Opcode.MLP | Opcode.MOE:
            return 5 * rows * narrow
        case Opcode.HEAD:
            return rows * narrow + 2 * (rows - 1) * wide


def frame_activation_bytes(op: Op, fits_on_chip: bool) -> int:
    """As `activation_bytes`, but inside a frame: what fits on chip stays there, only image and result cross."""
    if not fits_on_chip:
        return activation_bytes(op)
    if op.opcode is Opcode.PATCH_EMBED:
        return 3 * op.operands[1] * op.operands[2]
    return 2 * (op.rows - 1) * op.out_features if op.opcode is Opcode.HEAD else 0


def working_set_bytes(op: Op) -> int:
    """Residual (2 bytes), x (1) and queries, keys, values (3) of every channel of every token."""
    if op.opcode in (Opcode.MOE, Opcode.LAYER_NORM, Opcode.MLP):
        return 6 * op.rows * op.in_features
    return 0


def activations_fit(program: tuple[Op, ...], board: BoardConfig) -> bool:
    """Whether all activations of a program fit into the share of BRAM and URAM that a design may use."""
    capacity = board.bram36 * BRAM36_BYTES + board.uram * URAM_BYTES
    return max(working_set_bytes(op) for op in program) <= USABLE_ON_CHIP * capacity


def op_bound(op: Op, hardware: HardwareConfig, activations: float, experts_used: float | None = None) -> Bound:
    """Bound of one operation that moves `activations` bytes of activations; see `weight_bytes` for `experts_used`."""
    return bound(macs(op), weight_bytes(op, hardware.lanes, experts_used) + activations, hardware)
