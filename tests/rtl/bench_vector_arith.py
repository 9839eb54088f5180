# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Arithmetic of attention and LayerNorm against golden: probability, reciprocal, rsqrt, square."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.attention import probabilities, reciprocal
from m3vit.sim.golden.norm import rsqrt
from rtl.bench_arith import pipeline
from rtl.handshake import pack, start, unpack

COPIES = 16
TOTAL_BITS, VARIANCE_BITS = 18, 48
PROBABILITY_LATENCY, RECIPROCAL_LATENCY, RSQRT_LATENCY, SQUARE_LATENCY = 3, 17, 4, 2


@cocotb.test()
async def probability_all_distances(dut: Any) -> None:
    """Every distance from the maximum with a random maximum, and keys that do not exist, whose scores are larger."""
    unit, rng = dut.u_arith, np.random.default_rng(11)
    await start(dut)
    distance = np.arange(1 << 16)
    high = rng.integers(distance - (1 << 15), 1 << 15)
    exists = np.ones_like(distance)
    ghosts = rng.integers(-(1 << 15), 1 << 15, (2, 4096))
    cases = np.stack(
        [
            np.concatenate([high - distance, ghosts[0]]),
            np.concatenate([high, ghosts[1]]),
            np.concatenate([exists, np.zeros(4096, np.int64)]),
        ],
        axis=1,
    )
    rng.shuffle(cases)
    rows = list(cases.reshape(-1, COPIES, 3))
    wanted = []
    for row in rows:
        p = probabilities(np.stack([row[:, 1], np.minimum(row[:, 0], row[:, 1])], axis=1))[:, 1]
        value = np.where(row[:, 2], p, 0)
        wanted.append([*np.where(row[:, 2], p - 128, 0).tolist(), *value.tolist()])

    def drive(row: Any) -> None:
        unit.probability_score.value = pack(row[:, 0], 16)
        unit.probability_max.value = pack(row[:, 1], 16)
        unit.probability_exists.value = pack(row[:, 2], 1)

    def read() -> list[int]:
        act = unpack(int(unit.probability_act.value), 8, COPIES, signed=True)
        return [*act, *unpack(int(unit.probability_value.value), 8, COPIES)]

    await pipeline(dut, drive, read, rows, wanted, PROBABILITY_LATENCY)


@cocotb.test()
async def reciprocals(dut: Any) -> None:
    """All small totals, all powers of two and their neighbours, random ones."""
    unit, rng = dut.u_arith, np.random.default_rng(12)
    await start(dut)
    powers = 1 << np.arange(TOTAL_BITS)
    near = np.concatenate([powers, powers - 1, powers + 1])
    total = np.concatenate([np.arange(1, 20000), near, rng.integers(1, 1 << TOTAL_BITS, 30000), [(1 << 18) - 1]])
    total = total[(total > 0) & (total < 1 << TOTAL_BITS)]
    rows = total[: len(total) // COPIES * COPIES].reshape(-1, COPIES)
    mantissa, exponent = reciprocal(rows)

    def drive(row: Any) -> None:
        unit.reciprocal_total.value = pack(row, TOTAL_BITS)

    def read() -> list[int]:
        exponents = unpack(int(unit.reciprocal_exponent.value), 6, COPIES)
        return [*unpack(int(unit.reciprocal_mantissa.value), 16, COPIES), *exponents]

    wanted = np.concatenate([mantissa, exponent], axis=1).tolist()
    await pipeline(dut, drive, read, list(rows), wanted, RECIPROCAL_LATENCY)


@cocotb.test()
async def rsqrts(dut: Any) -> None:
    """Zero, all small variances, powers of two and their neighbours, random ones of every size."""
    unit, rng = dut.u_arith, np.random.default_rng(13)
    await start(dut)
    powers = np.int64(1) << np.arange(VARIANCE_BITS)
    random = rng.integers(0, np.int64(1) << VARIANCE_BITS, 30000) >> rng.integers(0, VARIANCE_BITS, 30000)
    variance = np.concatenate([np.arange(20000), powers, powers - 1, powers + 1, [(1 << 48) - 1], random])
    rows = variance[: len(variance) // COPIES * COPIES].reshape(-1, COPIES)
    mantissa, exponent = rsqrt(rows)

    def drive(row: Any) -> None:
        unit.rsqrt_variance.value = pack(row, VARIANCE_BITS)

    def read() -> list[int]:
        exponents = unpack(int(unit.rsqrt_exponent.value), 6, COPIES, signed=True)
        return [*unpack(int(unit.rsqrt_mantissa.value), 16, COPIES), *exponents]

    wanted = np.concatenate([mantissa, exponent], axis=1).tolist()
    await pipeline(dut, drive, read, list(rows), wanted, RSQRT_LATENCY)


@cocotb.test()
async def squares(dut: Any) -> None:
    """Every int16."""
    unit = dut.u_arith
    await start(dut)
    rows = np.arange(-(1 << 15), 1 << 15).reshape(-1, COPIES)

    def drive(row: Any) -> None:
        unit.square_x.value = pack(row, 16)

    def read() -> list[int]:
        return unpack(int(unit.square_value.value), 31, COPIES)

    await pipeline(dut, drive, read, list(rows), (rows * rows).tolist(), SQUARE_LATENCY)
    await RisingEdge(dut.clk_i)
