# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Checks of one operation: what it reads lies in the memory image, and its sizes suit the hardware."""

from collections.abc import Iterator
from dataclasses import dataclass

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.golden.moe import MAX_EXPERTS
from m3vit.sim.layout import align, linear_bytes
from m3vit.sim.program import Op, Opcode

GELU_BYTES = 1 << GELU_INDEX_BITS


@dataclass(frozen=True)
class Block:
    """A range of the memory image, in bytes."""

    offset: int
    size: int


def regions(op: Op, lanes: int) -> Iterator[Block]:
    """Ranges of the image that an operation may read."""
    hidden, dim = op.out_features, op.in_features
    match op.opcode:
        case Opcode.MOE:
            yield Block(op.weights, linear_bytes(op.experts, dim, lanes))
            yield Block(op.table, GELU_BYTES)
            yield Block(op.expert_base, max(op.experts - 1, 0) * op.expert_stride + expert_bytes(dim, hidden, lanes))
        case Opcode.MLP:
            yield Block(op.table, GELU_BYTES)
            yield Block(op.expert_base, expert_bytes(dim, hidden, lanes))
        case Opcode.PATCH_EMBED:
            yield Block(op.weights, linear_bytes(hidden, dim, lanes))
            yield Block(op.table, 2 * op.rows * hidden)
        case Opcode.LAYER_NORM:
            yield Block(op.table, dim)
        case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL | Opcode.HEAD:
            yield Block(op.weights, linear_bytes(hidden, dim, lanes))


def expert_bytes(dim: int, hidden: int, lanes: int) -> int:
    """Size of a packed expert without padding."""
    return linear_bytes(hidden, dim, lanes) + linear_bytes(dim, hidden, lanes)


def check_addresses(op: Op, lanes: int, image_bytes: int, where: str) -> None:
    """Check that an operation stays inside the image.

    Raises:
        UserError: it does not, or an offset is not a multiple of 64.
    """
    for region in regions(op, lanes):
        if region.offset % WORD_BYTES or region.offset + region.size > image_bytes:
            raise UserError(
                f"{where} reads bytes {region.offset} to {region.offset + region.size}, but the image has "
                f"{image_bytes} bytes and is addressed in words of {WORD_BYTES}; export again"
            )
    if op.opcode is Opcode.MOE and op.expert_stride != align(expert_bytes(op.in_features, op.out_features, lanes)):
        raise UserError(f"{where} has an expert stride of {op.expert_stride} bytes, which its sizes contradict")


def check_sizes(op: Op, hardware: HardwareConfig, where: str) -> None:
    """Check an operation against the hardware; only MOE is bounded in channels because only it runs in RTL.

    Raises:
        UserError: the first limit that is exceeded.
    """
    limits = [("rows", op.rows, hardware.max_tokens)]
    if op.opcode is Opcode.MOE:
        limits += [
            ("in_features", op.in_features, hardware.max_dim),
            ("out_features", op.out_features, hardware.max_hidden),
            ("top_k", op.top_k, min(hardware.max_top_k, op.experts)),
            ("experts", op.experts, MAX_EXPERTS),
        ]
    for name, value, limit in limits:
        if not 1 <= value <= limit:
            raise UserError(f"{where} has {name} {value}, but hardware '{hardware.name}' takes 1 to {limit}")
    for name, value in (("in_features", op.in_features), ("out_features", op.out_features)):
        if op.opcode is Opcode.MOE and (value % WORD_BYTES or value % hardware.lanes):
            raise UserError(f"{where} has {name} {value}, not a multiple of {WORD_BYTES} and of {hardware.lanes} lanes")
