# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Checks of a program: the order of its operations, their sizes against the hardware, their addresses in the image.

The accelerator checks order and sizes again (rtl/m3vit_op_check.sv) before it runs anything. It leaves to this module
what changes numbers only: multipliers and shifts, stream words of an expert, expert strides, and the token limit of
the attention sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from m3vit.model.config import UNIT_BYTES, WORD_BYTES, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.golden.attention import MAX_SCORE_SHIFT
from m3vit.sim.golden.attention import MAX_TOKENS as MAX_ATTENTION_TOKENS
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.golden.moe import MAX_EXPERTS
from m3vit.sim.golden.norm import MAX_ROW_SHIFT
from m3vit.sim.layout import align, ceil_div, job_bytes, linear_bytes, stream_words
from m3vit.sim.program import MAX_OPS, TAKEN_FLAGS, Flag, Op, Opcode

GELU_BYTES = 1 << GELU_INDEX_BITS
MAX_MULTIPLIER = (1 << 16) - 1
MAX_HEAD_TILES = 15
"""Output tiles of one head that the linear engine can count."""
PATCH_STEP, MAX_PATCH, MAX_IMAGE = 8, 255, (1 << 16) - 1
"""A row of a patch has 3 bytes per pixel and is moved in pieces of 8 bytes; images are then whole DRAM words."""

FIRST = (Opcode.PATCH_EMBED, Opcode.LOAD)
STREAM_COMPLETE = (Opcode.LAYER_NORM, Opcode.STORE)
FOLLOWERS: dict[Opcode, tuple[Opcode, ...]] = {
    Opcode.PATCH_EMBED: STREAM_COMPLETE,
    Opcode.LOAD: STREAM_COMPLETE,
    Opcode.LAYER_NORM: (Opcode.LINEAR, Opcode.MLP, Opcode.MOE, Opcode.HEAD),
    Opcode.LINEAR: (Opcode.ATTENTION,),
    Opcode.ATTENTION: (Opcode.LINEAR_RESIDUAL,),
    Opcode.LINEAR_RESIDUAL: STREAM_COMPLETE,
    Opcode.MLP: STREAM_COMPLETE,
    Opcode.MOE: STREAM_COMPLETE,
    Opcode.HEAD: (Opcode.STORE,),
    Opcode.STORE: (),
}
"""What may follow an operation directly."""


@dataclass(frozen=True)
class Block:
    """A range of the memory image, in bytes."""

    offset: int
    size: int


def query_words(heads: int, channels: int, hardware: HardwareConfig) -> int:
    """Words of the hidden buffer that hold the queries of one token: heads of 32 channels share words."""
    return ceil_div(heads, hardware.groups) if channels == UNIT_BYTES else heads


def key_words(hardware: HardwareConfig) -> int:
    """Words per token of the key-value buffer, which holds the patches before the first operation."""
    return ceil_div(2 * hardware.max_dim, hardware.inputs)


def expert_words(dim: int, hidden: int, hardware: HardwareConfig, bits: int = 8) -> int:
    """Stream words of a packed expert, or of a slice of a dense MLP: fc1 directly followed by fc2.

    Args:
        dim: channels of the residual stream.
        hidden: hidden channels.
        hardware: fixes the layout.
        bits: of a weight, 4 or 8.
    """
    return stream_words(hidden, dim, hardware, bits) + stream_words(dim, hidden, hardware, bits)


def expert_bytes(dim: int, hidden: int, hardware: HardwareConfig, bits: int = 8) -> int:
    """Bytes that are read for an expert; arguments as of `expert_words`."""
    return job_bytes(expert_words(dim, hidden, hardware, bits), hardware)


def expert_stride(dim: int, hidden: int, hardware: HardwareConfig, bits: int = 8) -> int:
    """Bytes from one expert to the next; arguments as of `expert_words`."""
    return align(expert_words(dim, hidden, hardware, bits) * hardware.inputs)


def table_bytes(entries: int, hardware: HardwareConfig) -> int:
    """Bytes that are read for a table of one-byte entries on the weight stream."""
    return job_bytes(ceil_div(entries, hardware.inputs), hardware)


def layer_bytes(out_features: int, in_features: int, hardware: HardwareConfig) -> int:
    """Bytes that are read for a packed linear layer."""
    return align(linear_bytes(out_features, in_features, hardware), WORD_BYTES)


def regions(op: Op, hardware: HardwareConfig) -> Iterator[Block]:
    """Ranges of the image that an operation may read, in whole DRAM words."""
    wide, narrow = op.out_features, op.in_features
    match op.opcode:
        case Opcode.MOE | Opcode.MLP:
            yield Block(op.table, table_bytes(GELU_BYTES, hardware))
            if op.opcode is Opcode.MOE:
                yield Block(op.weights, layer_bytes(op.experts, narrow, hardware))
            others = max(op.experts - 1, 0) * op.expert_stride
            yield Block(op.expert_base, others + expert_bytes(narrow, wide, hardware, op.expert_bits))
        case Opcode.PATCH_EMBED:
            yield Block(op.table, 2 * op.rows * wide)
            yield Block(op.weights, layer_bytes(wide, narrow, hardware))
        case Opcode.LAYER_NORM:
            yield Block(op.table, table_bytes(narrow, hardware))
        case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL | Opcode.HEAD:
            yield Block(op.weights, layer_bytes(wide, narrow, hardware))


def check_addresses(op: Op, hardware: HardwareConfig, image_bytes: int, where: str) -> None:
    """Check that an operation stays inside the image.

    Raises:
        UserError: it does not, or an offset is not a multiple of 64.
    """
    for region in regions(op, hardware):
        if region.offset % WORD_BYTES or region.offset + region.size > image_bytes:
            raise UserError(
                f"{where} reads bytes {region.offset} to {region.offset + region.size}, but the image has "
                f"{image_bytes} bytes and is addressed in words of {WORD_BYTES}; export again"
            )
    if op.opcode in (Opcode.MOE, Opcode.MLP):
        stride = expert_stride(op.in_features, op.out_features, hardware, op.expert_bits)
        if op.expert_stride != stride:
            raise UserError(f"{where} has an expert stride of {op.expert_stride} bytes where its sizes give {stride}")


@dataclass(frozen=True)
class _Checker:
    """Raises UserError with the operation's place and the hardware's name."""

    where: str
    hardware: HardwareConfig

    def within(self, name: str, value: int, low: int, high: int) -> None:
        """`value` must lie in low..high."""
        if not low <= value <= high:
            raise UserError(
                f"{self.where} has {name} {value}, but hardware '{self.hardware.name}' takes {low} to {high}"
            )

    def multiple(self, name: str, value: int, unit: int) -> None:
        """`value` must be a multiple of `unit`."""
        if value % unit:
            raise UserError(
                f"{self.where} has {name} {value}, but hardware '{self.hardware.name}' takes multiples of {unit}"
            )

    def channels(self, name: str, value: int, limit: int, unit: int = UNIT_BYTES) -> None:
        """`value` must be a multiple of `unit` in unit..limit."""
        self.within(name, value, unit, limit)
        self.multiple(name, value, unit)

    def equal(self, name: str, value: int, expected: int) -> None:
        """`value` must be what the operation's other sizes give."""
        if value != expected:
            raise UserError(f"{self.where} has {name} {value} where its other sizes give {expected}")


def check_sizes(op: Op, hardware: HardwareConfig, where: str) -> None:
    """Check the sizes of one operation against the hardware, and its flags.

    Raises:
        UserError: the first limit that is exceeded.
    """
    check = _Checker(where, hardware)
    if foreign := int(op.flags) & ~int(TAKEN_FLAGS.get(op.opcode, Flag.NONE)):
        raise UserError(f"{where} has flags {foreign} that a {op.opcode.name} does not take; export again")
    check.within("rows", op.rows, 1 if op.opcode is Opcode.STORE else 2, hardware.max_tokens)
    if op.opcode not in (Opcode.PATCH_EMBED, Opcode.ATTENTION, Opcode.STORE):
        check.channels("in_features", op.in_features, hardware.max_dim)
    if op.opcode in (Opcode.PATCH_EMBED, Opcode.ATTENTION, Opcode.LINEAR_RESIDUAL):
        check.channels("out_features", op.out_features, hardware.max_dim)
    match op.opcode:
        case Opcode.PATCH_EMBED:
            _check_image(op, check)
        case Opcode.LAYER_NORM:
            check.within("multiplier", op.operands[0], 0, MAX_MULTIPLIER)
            check.within("shift", op.operands[1], 1, MAX_ROW_SHIFT)
        case Opcode.LINEAR:
            check.equal("out_features", op.out_features, 3 * op.in_features)
            _check_heads(op, op.operands[0], op.in_features, check)
        case Opcode.ATTENTION:
            check.equal("in_features", op.in_features, 3 * op.out_features)
            _check_attention(op, check)
        case Opcode.MLP | Opcode.MOE:
            _check_experts(op, check)
        case Opcode.HEAD | Opcode.STORE:
            check.within("out_features", op.out_features, 1, hardware.max_dim)


def _check_image(op: Op, check: _Checker) -> None:
    patch, height, width, columns, column_patches = op.operands[:5]
    check.channels("patch", patch, MAX_PATCH, PATCH_STEP)
    check.within("image height", height, patch, MAX_IMAGE)
    check.within("image width", width, patch, MAX_IMAGE)
    check.multiple("image height", height, patch)
    check.multiple("image width", width, patch)
    check.equal("patches per image row", columns, width // patch)
    check.equal("patches per image column", column_patches, height // patch)
    check.equal("rows", op.rows, columns * column_patches + 1)
    check.equal("in_features", op.in_features, 3 * patch * patch)
    check.channels("in_features", op.in_features, key_words(check.hardware) * check.hardware.inputs)


def _check_heads(op: Op, channels: int, dim: int, check: _Checker) -> None:
    hardware = check.hardware
    limit = min(hardware.inputs, MAX_HEAD_TILES * hardware.lanes)
    check.channels("channels per head", channels, limit)
    check.equal("heads", op.heads, dim // channels)
    check.multiple("in_features", dim, channels)
    words = query_words(op.heads, channels, hardware)
    check.within("query words per token", words, 1, ceil_div(hardware.max_hidden, hardware.inputs))


def _check_attention(op: Op, check: _Checker) -> None:
    score_shift, multiplier, shift, block, channels = op.operands[:5]
    _check_heads(op, channels, op.out_features, check)
    check.within("rows", op.rows, 2, MAX_ATTENTION_TOKENS)
    check.within("score shift", score_shift, 0, MAX_SCORE_SHIFT)
    check.within("output multiplier", multiplier, 0, MAX_MULTIPLIER)
    check.within("output shift", shift, 1, MAX_ROW_SHIFT)
    check.within("rows per block", block, 1, check.hardware.max_block)


def _check_experts(op: Op, check: _Checker) -> None:
    hardware = check.hardware
    check.channels("out_features", op.out_features, hardware.max_hidden, hardware.inputs)
    check.within("experts", op.experts, 1, MAX_EXPERTS)
    words = expert_words(op.in_features, op.out_features, hardware, op.expert_bits)
    check.within("stream words per expert", words, 1, hardware.stream_words)
    if op.opcode is Opcode.MOE:
        check.within("top_k", op.top_k, 1, min(hardware.max_top_k, op.experts))


def check_program(program: Sequence[Op], name: str = "the program") -> None:
    """Check what operations may follow each other, and that all speak of the same tokens, channels and heads.

    Args:
        program: all operations.
        name: what messages call it.

    Raises:
        UserError: the first rule that is broken.
    """
    if not 1 <= len(program) <= MAX_OPS:
        raise UserError(f"{name} has {len(program)} operations, the hardware takes 1 to {MAX_OPS}")
    first, last = program[0], program[-1]
    if first.opcode not in FIRST:
        raise UserError(f"{name} begins with {first.opcode.name}, not with {_names(FIRST)}")
    if last.opcode is not Opcode.STORE:
        raise UserError(f"{name} ends with {last.opcode.name}, not with STORE")
    dim = first.in_features if first.opcode is Opcode.LOAD else first.out_features
    for index, op in enumerate(program[1:], 1):
        before, where = program[index - 1], f"operation {index} ({op.opcode.name}) of {name}"
        if op.opcode not in FOLLOWERS[before.opcode]:
            allowed = _names(FOLLOWERS[before.opcode]) or "nothing"
            raise UserError(f"{where} follows {before.opcode.name}, behind which comes {allowed}")
        check_same(op, before, first.rows, dim, where)


def _names(opcodes: Sequence[Opcode]) -> str:
    return " or ".join(opcode.name for opcode in opcodes)


def check_same(op: Op, before: Op, rows: int, dim: int, where: str) -> None:
    """An operation must have the sizes of the residual stream, and those of the operation before it."""
    expected: dict[str, tuple[int, int]] = {"rows": (op.rows, rows)}
    match op.opcode:
        case Opcode.STORE if before.opcode is Opcode.HEAD:
            expected = {"rows": (op.rows, rows - 1), "out_features": (op.out_features, before.out_features)}
        case Opcode.STORE:
            expected["out_features"] = (op.out_features, dim)
        case Opcode.ATTENTION:
            expected["out_features"] = (op.out_features, dim)
            expected["heads"] = (op.heads, before.heads)
            expected["channels per head"] = (op.operands[4], before.operands[0])
        case Opcode.LINEAR_RESIDUAL:
            expected |= {"in_features": (op.in_features, dim), "out_features": (op.out_features, dim)}
        case _:
            expected["in_features"] = (op.in_features, dim)
    for name, (value, wanted) in expected.items():
        if value != wanted:
            raise UserError(f"{where} has {name} {value} where the operations before it give {wanted}")
