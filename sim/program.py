# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Macro-operations of a Pathway's program and their 64-byte DRAM encoding.

A program is a list of operations without a loop over experts. One operation is sixteen little-endian 32-bit words:

    word 0   opcode [7:0], flags [15:8], top_k [23:16], PROGRAM_VERSION [31:24]
    word 1   rows (tokens) [15:0], heads [31:16]
    word 2   in_features [15:0], out_features (hidden of a MoE layer) [31:16]
    word 3   experts [15:0]
    word 4   weights: byte offset of the packed linear layer (MoE: the router)
    word 5   table: byte offset of the GELU table or of the position embedding
    word 6   expert_base: byte offset of expert 0
    word 7   expert_stride: bytes from one expert to the next
    word 8-14  operands of the operation, see Opcode
    word 15  exclusive or of words 0-14 and CHECK_WORD

All offsets are relative to the memory image and multiples of 64.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import reduce
from operator import xor

OP_BYTES = 64
PROGRAM_VERSION = 2
CHECK_WORD = 0x4D335649
OPERANDS = 7
MAX_OPS = 128
"""Operations of a program."""


class Opcode(IntEnum):
    """What an operation does to the residual stream (int16), x and qkv (int8). Operands not named are zero."""

    MOE = 1
    """residual += combine(experts(x)); weights: router, table: GELU."""
    PATCH_EMBED = 2
    """residual = linear(patches(image)) + position (int16 at `table`); operands: patch, image height, image width,
    patches per image row, patches per image column. First operation only."""
    LAYER_NORM = 3
    """x = layer_norm(residual); operands: multiplier, shift; a byte per channel at `table` adds to the shift. Directly
    before LINEAR, MLP, MOE or HEAD."""
    LINEAR = 4
    """qkv = linear(x), int8; heads, operands: channels per head. Directly before ATTENTION."""
    ATTENTION = 5
    """x = attention(qkv); operands: score shift, output multiplier, output shift, query rows per block, channels per
    head. Directly before LINEAR_RESIDUAL."""
    LINEAR_RESIDUAL = 6
    """residual += linear(x)."""
    MLP = 7
    """residual += fc2(gelu(fc1(x))), in `experts` slices of out_features hidden channels, each laid out like an expert
    and added to the residual on its own."""
    HEAD = 8
    """residual = linear(x) of all tokens but the class token, int16, row 0 first. Directly before STORE."""
    LOAD = 9
    """residual = source, int16, rows of in_features. First operation only."""
    STORE = 10
    """result = residual, int16, rows of out_features rounded up to 32. Last operation only."""


class Flag(IntFlag):
    """Options of an operation."""

    NONE = 0
    RENORMALISE = 1
    """MOE: divide the gates of the chosen experts by their sum."""
    EXPERTS_4BIT = 2
    """MOE: the experts' weights are 4-bit integers, two in a byte (sim/layout.py)."""


TAKEN_FLAGS = {Opcode.MOE: Flag.RENORMALISE | Flag.EXPERTS_4BIT}
"""Flags that an operation may have; the others take none."""


class ProgramError(ValueError):
    """The 64 bytes are not an operation of this version."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One macro-operation; fields as in the module docstring, sizes in elements, offsets in bytes."""

    opcode: Opcode
    flags: Flag = Flag.NONE
    top_k: int = 0
    rows: int = 0
    heads: int = 0
    in_features: int = 0
    out_features: int = 0
    experts: int = 0
    weights: int = 0
    table: int = 0
    expert_base: int = 0
    expert_stride: int = 0
    operands: tuple[int, ...] = ()

    @property
    def expert_bits(self) -> int:
        """Width of the weights of MOE's experts, or of MLP's slices: 4 or 8."""
        return 4 if self.flags & Flag.EXPERTS_4BIT else 8

    def words(self) -> list[int]:
        """The sixteen 32-bit words, checksum included."""
        operands = [v & 0xFFFFFFFF for v in self.operands] + [0] * (OPERANDS - len(self.operands))
        words = [
            self.opcode | self.flags << 8 | self.top_k << 16 | PROGRAM_VERSION << 24,
            self.rows | self.heads << 16,
            self.in_features | self.out_features << 16,
            self.experts,
            self.weights,
            self.table,
            self.expert_base,
            self.expert_stride,
            *operands,
        ]
        return [*words, reduce(xor, words, CHECK_WORD)]

    def encode(self) -> bytes:
        """64 bytes as they lie in DRAM."""
        return struct.pack("<16I", *self.words())

    @classmethod
    def decode(cls, data: bytes) -> "Op":
        """Inverse of `encode`.

        Raises:
            ProgramError: wrong length, checksum, version or opcode.
        """
        if len(data) != OP_BYTES:
            raise ProgramError(f"an operation has {OP_BYTES} bytes, not {len(data)}")
        words = struct.unpack("<16I", data)
        if reduce(xor, words, CHECK_WORD):
            raise ProgramError("operation checksum mismatch")
        if words[0] >> 24 != PROGRAM_VERSION:
            raise ProgramError(f"program version {words[0] >> 24}, expected {PROGRAM_VERSION}")
        try:
            opcode, flags = Opcode(words[0] & 0xFF), Flag(words[0] >> 8 & 0xFF)
        except ValueError as error:
            raise ProgramError(str(error)) from error
        return cls(
            opcode=opcode, flags=flags, top_k=words[0] >> 16 & 0xFF,
            rows=words[1] & 0xFFFF, heads=words[1] >> 16,
            in_features=words[2] & 0xFFFF, out_features=words[2] >> 16,
            experts=words[3] & 0xFFFF, weights=words[4], table=words[5],
            expert_base=words[6], expert_stride=words[7], operands=tuple(words[8:15]),
        )  # fmt: skip
