# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Arithmetic against golden: m3vit_requant, m3vit_exp2, m3vit_divider, m3vit_topk."""

from collections.abc import Callable, Sequence
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.arith import ACC_BITS, MAX_SHIFT, requantise
from m3vit.sim.golden.moe import exp2_fixed, gates, top_k
from rtl.handshake import Dice, Scoreboard, fields, join, pack, start, unpack

COPIES, MAX_TOP_K = 16, 5
EXP_BITS, SUM_BITS = 47, 58
Row = npt.NDArray[np.int64]


async def pipeline(
    dut: Any, drive: Callable[[Row], None], read: Callable[[], list[int]], rows: Sequence[Row],
    wanted: Sequence[list[int]], latency: int,
) -> None:  # fmt: skip
    """One row per cycle in, one row per cycle out after `latency` cycles."""
    board = Scoreboard("row")
    for cycle in range(len(rows) + latency):
        if cycle < len(rows):
            drive(rows[cycle])
            board.expect(wanted[cycle])
        await RisingEdge(dut.clk_i)
        if cycle >= latency:
            board.check(read())
    board.finish()


def requant_edges(bits: int) -> Row:
    """(acc, multiplier, shift) where rounding and saturation turn: ties of both signs, limits, both ends of shift."""
    top = (1 << (bits - 1)) - 1
    accs = {0, 1, -1, 2, -2, 3, -3, (1 << (ACC_BITS - 1)) - 1, -(1 << (ACC_BITS - 1))}
    cases = [
        (acc, m, shift) for acc in accs for m in (0, 1, 2, 32768, 65535) for shift in (1, 2, 16, 31, 46, MAX_SHIFT)
    ]
    for shift in (1, 4, 9):  # values around each limit, and every tie near it
        half = 1 << (shift - 1)
        for value in (0, 1, -1, top, top + 1, -top, -top - 1, -top - 2):
            cases += [((value << shift) + delta, 1, shift) for delta in (-half - 1, -half, 1 - half, 0, half - 1, half)]
    return np.array(cases)


@cocotb.test()
@cocotb.parametrize(bits=[8, 10, 16])
async def requant(dut: Any, bits: int) -> None:
    await start(dut)
    unit, rng, dice = dut.u_arith, np.random.default_rng(1), Dice("requant", 0.3)
    edges, draws = requant_edges(bits), 4000
    shift = rng.integers(1, MAX_SHIFT + 1, draws)
    random = np.stack(
        [
            rng.integers(-(1 << 26), 1 << 26, draws) >> rng.integers(0, 26, draws),
            rng.integers(0, 1 << 16, draws),
            shift,
        ],
        axis=1,
    )
    cases = np.concatenate([edges, random])
    cases = np.concatenate([cases, cases[: -len(cases) % COPIES]]).reshape(-1, COPIES, 3)
    unit.requant_bits.value = bits
    board, arrivals = Scoreboard("requant"), [False] * 3
    waiting = list(cases)
    while waiting or not board.complete:
        send = bool(waiting) and not dice.stalls()
        row = waiting.pop(0) if send else rng.integers(0, 64, (COPIES, 3))
        unit.requant_valid.value = send
        for name, column, width in (("acc", 0, ACC_BITS), ("multiplier", 1, 16), ("shift", 2, 6)):
            getattr(unit, f"requant_{name}").value = pack(row[:, column], width)
        if send:
            board.expect(requantise(row[:, 0], row[:, 1], row[:, 2], bits).tolist())
        await RisingEdge(dut.clk_i)
        if arrivals.pop(0):
            board.check(unpack(int(unit.requant_value.value), 16, COPIES, signed=True))
        arrivals.append(send)
    board.finish()
    assert board.checked == len(cases)


@cocotb.test()
async def exp2_all_logits(dut: Any) -> None:
    await start(dut)
    unit = dut.u_arith
    rows = np.arange(-(1 << 15), 1 << 15).reshape(-1, COPIES)

    def drive(row: Row) -> None:
        unit.exp2_logit.value = pack(row, 16)

    await pipeline(
        dut,
        drive,
        lambda: unpack(int(unit.exp2_value.value), EXP_BITS, COPIES),
        list(rows),
        exp2_fixed(rows).tolist(),
        2,
    )


def division_cases() -> list[tuple[int, int]]:
    """(numerator, denominator): quotients 0 and 1, powers of two, exact and one-off multiples, extremes, random."""
    rng = np.random.default_rng(2)
    exp_max, cases = (1 << EXP_BITS) - 1, [(0, 1), (1, 1), (1, (1 << SUM_BITS) - 1)]
    cases += [(exp_max, exp_max), (exp_max, exp_max + 1), (exp_max, 1024 * exp_max), (32768, 32768 << 10), (1, 2)]
    for denominator in (3, 32767, 32768, 32769, 65359 << 31, 3 * exp_max):
        for gate in (1, 2, 16383, 16384, 32767, 32768):
            exact = denominator * gate >> 15
            cases += [(n, denominator) for n in (exact - 1, exact, exact + 1) if 0 <= n <= min(denominator, exp_max)]
    for _ in range(3000):
        numerator = int(rng.integers(0, 1 << 47)) >> int(rng.integers(0, 47))
        others = sum(int(rng.integers(0, 1 << 47)) >> int(rng.integers(0, 47)) for _ in range(int(rng.integers(0, 9))))
        cases.append((numerator, max(numerator + others, 1)))
    return cases + cases[: -len(cases) % COPIES]


@cocotb.test()
async def divider(dut: Any) -> None:
    await start(dut)
    unit, cases = dut.u_arith, division_cases()
    rows = [np.array(cases[i : i + COPIES]) for i in range(0, len(cases), COPIES)]
    wanted = [[(n << 15) // d for n, d in cases[i : i + COPIES]] for i in range(0, len(cases), COPIES)]

    def drive(row: Row) -> None:
        unit.divider_numerator.value = pack(row[:, 0], EXP_BITS)
        unit.divider_denominator.value = pack(row[:, 1], SUM_BITS)

    await pipeline(dut, drive, lambda: unpack(int(unit.divider_quotient.value), 16, COPIES), rows, wanted, 16)


@cocotb.test()
async def divider_equals_gates(dut: Any) -> None:
    """The quotients of a golden softmax, exponentials included."""
    await start(dut)
    unit, rng = dut.u_arith, np.random.default_rng(3)
    logit_NE = rng.integers(-5000, 5001, (64, COPIES))
    exp_NE, expert_NK = exp2_fixed(logit_NE), np.tile(np.arange(COPIES), (64, 1))
    rows = np.stack([exp_NE, np.broadcast_to(exp_NE.sum(axis=1, keepdims=True), exp_NE.shape)], axis=2)

    def drive(row: Row) -> None:
        unit.divider_numerator.value = pack(row[:, 0], EXP_BITS)
        unit.divider_denominator.value = pack(row[:, 1], SUM_BITS)

    wanted = gates(logit_NE, expert_NK, False).tolist()
    await pipeline(dut, drive, lambda: unpack(int(unit.divider_quotient.value), 16, COPIES), list(rows), wanted, 16)


@cocotb.test()
async def topk(dut: Any) -> None:
    """Rows of few different logits: ties at every place of the list. Candidates come with random pauses."""
    unit, rng, dice = dut.u_arith, np.random.default_rng(4), Dice("topk", 0.3)
    board = Scoreboard("list")
    await start(dut, unit.topk_insert)
    for experts in (1, 3, 5, 12, 40):
        for spread in (0, 1, 3, 40000):
            logit_E = np.clip(rng.integers(-spread, spread + 1, experts), -(1 << 15), (1 << 15) - 1)
            chosen = top_k(logit_E[None], MAX_TOP_K)[0]
            board.expect([(1, int(e), int(logit_E[e])) for e in chosen])
            unit.topk_set.value, unit.topk_start.value = 1, 0
            await RisingEdge(dut.clk_i)
            unit.topk_set.value, unit.topk_start.value = 0, dice.noise(27 * MAX_TOP_K)
            for expert, logit in enumerate(logit_E):
                while dice.stalls():
                    unit.topk_insert.value, unit.topk_candidate.value = 0, dice.noise(27)
                    await RisingEdge(dut.clk_i)
                unit.topk_insert.value = 1
                unit.topk_candidate.value = join((1, 1), (expert, 10), (int(logit) & 0xFFFF, 16))
                await RisingEdge(dut.clk_i)
            unit.topk_insert.value = 0
            await RisingEdge(dut.clk_i)
            entries = [fields(word, 1, 10, 16) for word in unpack(int(unit.topk_list.value), 27, MAX_TOP_K)]
            board.check([(v, e, x - (x >> 15 << 16)) for v, e, x in entries if v])
    board.finish()
