# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Whole frames through the host driver: counters, layers, short frames, task switching, resets, memories."""

from dataclasses import replace
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from m3vit.sim.golden.executor import Executor, State, Step
from m3vit.sim.layout import linear_bytes
from m3vit.sim.program import Op
from m3vit.sim.program_check import GELU_BYTES, expert_bytes
from m3vit.sim.regmap import Control, Status
from m3vit.sim.synthetic import random_tokens
from rtl.frames import HARDWARE
from rtl.host import FRAME, WORD, Host, on_host


@on_host
def start_and_clear(host: Host) -> None:
    """START while busy is ignored; CLEAR clears DONE and the interrupt and nothing else."""
    host.clean()
    cycles = host.accelerator.run_cycles()
    host.start()
    for pause in (3, 40, 400, 1500):
        host.wait(pause)
        assert host.status() == Status.BUSY
        host.write("CONTROL", Control.START)
    host.write("CONTROL", Control.CLEAR)
    host.until_interrupt(FRAME)
    assert host.status() == Status.DONE
    assert (host.read("OPS_DONE"), host.accelerator.run_cycles()) == (1, cycles)
    host.accelerator.clear()
    assert not host.irq()
    assert (host.status(), host.read("RUN_CYCLES")) == (Status(0), cycles)
    host.accelerator.enable_interrupt(False)
    host.start()
    host.wait(cycles + 100)
    assert host.status() == Status.DONE
    assert not host.irq()


def words_read(op: Op, step: Step) -> int:
    """64-byte words that an operation needs: itself, router, tokens, residual, table, the experts with tokens."""
    lanes, data = HARDWARE.lanes, op.rows * op.in_features
    each = expert_bytes(op.in_features, op.out_features, lanes)
    router = linear_bytes(op.experts, op.in_features, lanes)
    return (WORD + router + 3 * data + GELU_BYTES + len(step.queues) * each) // WORD


def row_chunks(op: Op, step: Step) -> int:
    """Cycles in which the array must multiply: one per row, chunk and tile."""
    chunks, hidden_chunks, lanes = op.in_features // 64, op.out_features // 64, HARDWARE.lanes
    queued = sum(len(queue.token_Q) for queue in step.queues)
    routed = op.rows * chunks * -(-op.experts // lanes)
    return routed + queued * (chunks * op.out_features + hidden_chunks * op.in_features) // lanes


@on_host
def counters(host: Host) -> None:
    """Nothing is read, written or multiplied twice."""
    for task in host.pathways.tasks:
        for index in (0, 1):
            step, count = host.clean(task, index, seed=index)
            op = host.pathways.task(task).program[index]
            assert count.read_words == words_read(op, step)
            assert count.write_words == 2 * op.rows * op.in_features // WORD
            assert (count.experts, count.compute) == (len(step.queues), row_chunks(op, step))
            stalls = count.stall_weight + count.stall_input + count.stall_output
            assert abs(count.cycles - count.compute - stalls) <= 16  # the engine multiplies or says why not
            assert count.cycles <= host.accelerator.run_cycles() <= count.cycles + 8


@on_host
def two_operations_in_one_run(host: Host) -> None:
    """Both layers in one run: the second must not use the first one's GELU table; both have counters."""
    task = host.pathway.task
    for seed in range(2):
        steps = [host.golden(task, index, seed) for index in (0, 1)]
        assert (steps[0].result != steps[1].result).any()
        source = np.concatenate(
            [steps[0].x_ND.reshape(-1).view(np.uint8), steps[0].residual_ND.reshape(-1).view(np.uint8)]
        )
        got = host.accelerator.run(task, 0, 0, source, 2 * steps[0].x_ND.size, timeout=2 * FRAME * 1e-8)
        assert (got.view("<i2") == steps[1].result.reshape(-1)).all()
        assert host.read("OPS_DONE") == 2
        for index in (0, 1):
            assert host.accelerator.counters(index).experts == len(steps[index].queues)
        for index in (1, 0, 1):
            host.clean(task, index, seed)


@on_host
def few_rows(host: Host) -> None:
    """Frames so short that every stage waits for the one before: one to three tokens, one to eight experts."""
    for case in ("narrow", "base"):
        host.load(case)
        host.clean()
        for number, (rows, experts, top_k) in enumerate(
            (r, e, k) for r in (1, 2, 3) for e, k in ((1, 1), (8, 1), (8, 5))
        ):
            index = number % 2
            op = replace(host.pathway.program[index], rows=rows, experts=experts, top_k=top_k)
            host.poke_operation(op.encode(), index)
            x_ND, residual_ND = random_tokens(host.pathway.config.model, number)
            x_ND, residual_ND = x_ND[:rows], residual_ND[:rows]
            step = Executor(replace(host.pathway, program=(op,))).step(0, State.of(x_ND=x_ND, residual_ND=residual_ND))
            source = np.concatenate([x_ND.reshape(-1).view(np.uint8), residual_ND.reshape(-1).view(np.uint8)])
            got = host.accelerator.run(host.pathway.task, index, 1, source, 2 * x_ND.size, timeout=FRAME * 1e-8)
            assert (got.view("<i2") == step.result.reshape(-1)).all(), f"{case}: {rows} rows, {experts} experts"


@on_host
def switching_tasks_is_free(host: Host) -> None:
    """Tasks with equal routing: AAAA, BBBB and ABAB take the same cycles to the last one."""
    first, second, third = host.pathways.tasks
    host.clean(third, 0, 1)

    def cycles(tasks: str) -> list[int]:
        taken = []
        for letter in tasks:
            host.clean({"A": first, "B": second}[letter], 0, 5)
            taken.append(host.accelerator.run_cycles())
        return taken

    same, other, mixed = cycles("AAAA"), cycles("BBBB"), cycles("ABAB")
    assert same == other == mixed, f"AAAA {same}, BBBB {other}, ABAB {mixed}"


@on_host
def reset_in_mid_frame(host: Host) -> None:
    """Reset at many moments of a frame; registers return to their defaults, and the next frame is exact."""
    host.clean()
    cycles = host.accelerator.run_cycles()

    async def pulse(dut: Any) -> None:
        dut.aresetn.value = 0
        await ClockCycles(dut.aclk, 40)
        dut.aresetn.value = 1
        await ClockCycles(dut.aclk, 2)

    for moment in [*range(5, cycles, max(cycles // 9, 1)), cycles - 60]:
        host.start()
        host.wait(moment)
        cocotb.task.resume(pulse)(host.dut)
        assert (host.status(), host.read("ERROR_CODE"), host.read("TASK")) == (Status(0), 0, 0)
        assert not host.irq()
        host.load("base")
        host.clean(seed=moment % 4)


@on_host
def sixteen_and_256_experts(host: Host) -> None:
    """The same hardware runs layers of 16 and of 256 experts."""
    for case, experts in (("sixteen", 16), ("many", 256), ("sixteen", 16)):
        host.load(case)
        step, count = host.clean(seed=experts)
        assert host.pathway.config.model.experts == experts
        assert count.experts == len(step.queues) > experts // 8


@on_host
def frames(host: Host) -> None:
    """Exact results of every task and layer; run on memories of different speed."""
    for task in host.pathways.tasks:
        for index in (0, 1):
            host.clean(task, index, seed=index)
