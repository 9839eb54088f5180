# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Memories and multipliers of the RTL, by hardware config: the sizes behind sim/resource_blocks.py."""

from collections.abc import Callable
from math import ceil

from m3vit.model.config import UNIT_BYTES, WORD_BYTES, HardwareConfig
from m3vit.sim.golden.arith import ACC_BITS
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.memory_mapping import ULTRA_WORDS, Ram
from m3vit.sim.program import MAX_OPS
from m3vit.sim.regmap import COUNTER_SLOTS

Rams = Callable[[HardwareConfig], tuple[Ram, ...]]

VALUE_BITS, GATE_BITS, CANDIDATE_BITS, EXP_SUM_BITS, ENTRY_BITS = 16, 16, 27, 58, 29
"""Packed types of m3vit_pkg: value_t, gate_t, candidate_t (valid, expert, logit), exp_sum_t, entry_t (token, gate)."""
MULTIPLIER_BITS, PROBABILITY_MAX, NORM_STEPS, COARSE_BITS, ROOT_INDEX_BITS = 16, 255, 18, 2, 12
"""Of m3vit_pkg, m3vit_attention, m3vit_layer_norm (steps from data to factors, bits per channel), m3vit_rsqrt."""


def bits(places: int) -> int:
    """Bits of an address: $clog2."""
    return (places - 1).bit_length()


def words(hardware: HardwareConfig, channels: int) -> int:
    """On-chip words that hold a row of one-byte channels."""
    return ceil(channels / hardware.inputs)


def key_value_words(hardware: HardwareConfig) -> int:
    """Words of the key-value buffer, the lent ones included."""
    return hardware.max_tokens * words(hardware, 2 * hardware.max_dim)


def residual_units(hardware: HardwareConfig) -> int:
    """Units of 32 channels in the residual stream."""
    return hardware.max_tokens * ceil(hardware.max_dim / UNIT_BYTES)


def score_words(hardware: HardwareConfig) -> int:
    """Words of one block of attention scores."""
    return hardware.max_block * words(hardware, hardware.max_tokens)


def block_words(hardware: HardwareConfig) -> int:
    """Words of the stream buffer in block RAM: half of a deep one (m3vit_stream)."""
    return hardware.stream_words // 2 if hardware.stream_words > ULTRA_WORDS else 0


def total_bits(hardware: HardwareConfig) -> int:
    """Bits of the sum of a row's probabilities."""
    return bits(PROBABILITY_MAX * hardware.max_tokens + 1)


def norm_ring(hardware: HardwareConfig) -> int:
    """Granules that wait in the LayerNorm unit."""
    return 1 << bits(hardware.max_dim // hardware.lanes + NORM_STEPS)


def dsps(first: int, second: int) -> int:
    """DSP48E2 of a product of two signed factors of so many bits: 27 x 18, wider factors are cut into 17s."""
    wide, narrow = max(first, second), min(first, second)
    return (1 if wide <= 27 else ceil(wide / 17)) * (1 if narrow <= 18 else ceil(narrow / 17))


def addressed(places: int, factor: int = 1) -> int:
    """DSP48E2 of a multiplication whose product has as many values.

    Args:
        places: values of the product; below nine bits it takes LUTs.
        factor: a power of two in a constant factor: so many bits are a shift.
    """
    return int(bits(places) - bits(factor) >= 9)


def power_of_two(number: int) -> int:
    """The largest one that divides a number."""
    return number & -number


def attention_dsps(hardware: HardwareConfig) -> int:
    """DSP48E2 of the attention unit: a row's factor; words by three groups, twice; the places of scores, twice."""
    rows, power = hardware.max_block, power_of_two(hardware.max_block)
    return 1 + 2 * int(hardware.groups == 3) + 2 * (addressed(score_words(hardware), power) if rows != power else 0)


def issuer_dsps(hardware: HardwareConfig) -> int:
    """DSP48E2 of the row issuer: rows times the granules of a word but one."""
    granules = hardware.inputs // hardware.lanes - 1
    return int(granules != power_of_two(granules))


def norm_dsps(hardware: HardwareConfig) -> int:
    """DSP48E2 of the LayerNorm unit: one per lane; squared sum, offset and multiplier of a row."""
    total = bits(hardware.max_dim) + VALUE_BITS
    return hardware.lanes + dsps(total, total) + dsps(total, MULTIPLIER_BITS + 1) + 1


MEMORIES: dict[str, Callable[[HardwareConfig], Ram]] = {
    "x buffer": lambda h: Ram(8 * h.lanes, h.max_tokens * words(h, h.max_dim), "ultra", h.inputs // h.lanes),
    "h buffer": lambda h: Ram(8 * h.lanes, h.max_tokens * words(h, h.max_hidden), "ultra", h.inputs // h.lanes),
    "kv buffer": lambda h: Ram(64, key_value_words(h) - h.lend_words, "ultra", h.inputs // 8),
    "kv buffer, lent part": lambda h: Ram(64, h.lend_words, "ultra", h.inputs // 8),
    "residual": lambda h: Ram(VALUE_BITS * h.lanes, residual_units(h), "ultra", UNIT_BYTES // h.lanes),
    "weight stream": lambda h: Ram(8 * h.inputs, h.stream_words - block_words(h), "ultra"),
    "weight stream, block RAM": lambda h: Ram(8 * h.inputs, block_words(h), "block"),
    "attention scores": lambda h: Ram(VALUE_BITS * h.lanes, score_words(h), "block", h.inputs // h.lanes),
    "accumulators": lambda h: Ram(ACC_BITS * h.lanes, h.max_tokens, "block"),
    "route table": lambda h: Ram(h.max_top_k * CANDIDATE_BITS + EXP_SUM_BITS, h.max_tokens, "block"),
    "token queues": lambda h: Ram(ENTRY_BITS, 2 * h.max_tokens, "block", 2),
    "GELU tables": lambda h: Ram(64, (1 << GELU_INDEX_BITS) // 8, "block", h.lanes),
    "counters": lambda h: Ram(9 * 32, COUNTER_SLOTS, "distributed"),
    "program, two copies": lambda h: Ram(8 * WORD_BYTES, MAX_OPS, "block", 2),
    "working weights": lambda h: Ram(8 * h.inputs, 2 * h.lanes, "registers"),
}
"""RAMs by purpose; none grows with the number of experts."""

TABLES = {"reciprocal square roots": Ram(MULTIPLIER_BITS, 1 << ROOT_INDEX_BITS, "block")}
"""Tables that are never written (m3vit_rsqrt_table)."""


def named(*names: str) -> Rams:
    """Rule for memories of the table above."""
    return lambda h: tuple(MEMORIES[name](h) for name in names)


def queue(hardware: HardwareConfig, unread: int = 0) -> Ram:
    """One of the two copies of the token queues. An entry's gate is its lowest 16 bits."""
    return Ram(ENTRY_BITS, 2 * hardware.max_tokens, "block", unread=unread)


def attention_rams(hardware: HardwareConfig) -> tuple[Ram, ...]:
    """Scores; maxima for two readers and sums of a block's rows."""
    rows = hardware.max_block
    maxima, totals = Ram(VALUE_BITS, rows, "distributed", 2), Ram(total_bits(hardware), rows, "distributed")
    return MEMORIES["attention scores"](hardware), maxima, totals


def norm_rams(hardware: HardwareConfig) -> tuple[Ram, ...]:
    """Table, waiting granules, coarse shifts of the channels."""
    ring = Ram(VALUE_BITS * hardware.lanes, norm_ring(hardware), "distributed")
    return (
        TABLES["reciprocal square roots"],
        ring,
        Ram(COARSE_BITS * hardware.inputs, words(hardware, hardware.max_dim), "distributed"),
    )
