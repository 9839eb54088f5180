# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Whole frames through the host driver: exactness, counters, schedules, task switching, resets, memories."""

import os
import random
from math import ceil
from pathlib import Path

from m3vit.sim.driver import Counters, Mode, result_bytes
from m3vit.sim.golden.executor import Step
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_bytes, layer_bytes, table_bytes
from m3vit.sim.regmap import COUNTER_SLOTS, COUNTER_WORDS, Control, Error, Interrupt
from rtl.expert_cache import token_order_loads
from rtl.frames import CASES, FOLDER_VARIABLE, FRAMES_VARIABLE, HARDWARE
from rtl.host import ENDED, FRAME, IMAGES, SEEN, WORD, Host, on_host

SLOW, LONG = 10 * FRAME, 100 * FRAME
"""Limits of a frame with another schedule, and of any frame."""
DELAY = 8
"""Cycles from a row's issue, where the engine waits, to the array, where it computes."""
SHARES = 16
"""Cycles of a run that may belong to no operation."""


@on_host
def every_case(host: Host) -> None:
    """Every shape of model: heads of one and of two units, sliced MLPs, two tokens, 1 to 256 experts."""
    for case in CASES:
        host.load(case)
        for seed, task in enumerate(host.pathways.tasks):
            host.clean(task, seed)


@on_host
def drawn(host: Host) -> None:
    """Every case in the folder, in the accelerator's own schedule and in a random one, at times on a slow memory.

    Frames follow each other at once, also when reads take much longer than writes.
    """
    rng = random.Random(1)
    for folder in sorted(Path(os.environ[FOLDER_VARIABLE]).iterdir()):
        host.load(folder.name)
        for task in host.pathways.tasks:
            seed = rng.randrange(IMAGES)
            host.accelerator.mode = Mode(0)
            host.dram.order()
            host.clean(task, seed, limit=LONG)
            host.dram.order(jitter_cycles=rng.choice((0, 300, 1000)))
            host.repeat(2, limit=LONG)
            slow = rng.random() < 0.3
            host.dram.order(stall_percent=rng.randrange(50) * slow, jitter_cycles=rng.randrange(100) * slow)
            host.accelerator.mode = Mode(rng.randrange(16))
            host.clean(task, seed, limit=LONG)


@on_host
def block_control(host: Host) -> None:
    """START reads 1 until the end, is ignored till then, and locks what a run uses; DONE and READY read as 1 once."""
    host.load("small")
    cycles = host.clean()
    host.start()
    for pause in (3, 40, 400, 1500):
        host.wait(pause)
        assert host.control() == Control.START
        host.write("CONTROL", Control.START)
        for name in ("TASK", "MODE", "MEMORY_LO", "MEMORY_BYTES", "SOURCE_LO", "RESULT_HI"):
            before = host.read(name)
            host.write(name, before ^ 1)
            assert host.read(name) == before, f"{name} changed during a run"
        host.write_task(0, 0)
        assert host.error() is Error.NONE
    host.until_interrupt(FRAME)
    assert [host.control() for _ in range(3)] == [ENDED, SEEN, SEEN]
    assert (host.read("OPS_DONE"), host.accelerator.run_cycles()) == (len(host.program), cycles)
    host.accelerator.clear()
    assert (host.control(), host.irq()) == (Control.IDLE, False)
    assert (host.read("OPS_DONE"), host.read("RUN_CYCLES")) == (len(host.program), cycles)
    host.write("CONTROL", Control(0))
    assert host.control() == Control.IDLE


@on_host
def interrupts(host: Host) -> None:
    """The line needs both enables; IRQ_STATUS takes what is enabled, and 1 toggles; runs need no acknowledgement."""
    host.load("least")
    cycles = host.clean()
    for line in (0, 1):
        for enabled in (Interrupt(0), Interrupt.DONE, Interrupt.READY, Interrupt.DONE | Interrupt.READY):
            host.accelerator.clear()
            host.write("GLOBAL_IRQ", line)
            host.write("IRQ_ENABLE", enabled)
            host.start()
            host.wait(cycles + 100)
            level = bool(line and enabled)
            assert (host.irq(), host.read("IRQ_STATUS")) == (level, enabled)
            assert host.control() == ENDED & ~Control.INTERRUPT | (Control.INTERRUPT if level else 0)
            host.write("IRQ_STATUS", Interrupt.READY)
            assert host.read("IRQ_STATUS") == enabled ^ Interrupt.READY
            assert host.irq() == bool(line and enabled ^ Interrupt.READY)
            host.write("GLOBAL_IRQ", 1)
            assert host.irq() == bool(enabled ^ Interrupt.READY)
    host.accelerator.enable_interrupt()
    for _ in range(3):  # DONE of the run before stays until it is read, the interrupt until it is toggled
        host.write("CONTROL", Control.START)
        host.wait(cycles + 100)
        assert host.irq()
    assert [host.control(), host.control()] == [ENDED, SEEN]


def bytes_read(op: Op, count: Counters) -> int:
    """What an operation needs from DRAM: weights and tables once, experts as often as they were loaded."""
    wide, narrow = op.out_features, op.in_features
    match op.opcode:
        case Opcode.PATCH_EMBED:
            image = 3 * op.operands[1] * op.operands[2]
            return image + 2 * op.rows * wide + layer_bytes(wide, narrow, HARDWARE)
        case Opcode.LOAD:
            return 2 * op.rows * narrow
        case Opcode.LAYER_NORM:
            return table_bytes(narrow, HARDWARE)
        case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL | Opcode.HEAD:
            return layer_bytes(wide, narrow, HARDWARE)
        case Opcode.MLP:
            return table_bytes(GELU_BYTES, HARDWARE) + op.experts * expert_bytes(narrow, wide, HARDWARE)
        case Opcode.MOE:
            router = layer_bytes(op.experts, narrow, HARDWARE)
            expert = expert_bytes(narrow, wide, HARDWARE, op.expert_bits)
            return table_bytes(GELU_BYTES, HARDWARE) + router + count.loads * expert
    return 0


def row_words(step: Step) -> int:
    """Cycles in which the array must multiply: one per row, word of the row, and tile of `lanes` channels."""
    op, inputs, lanes = step.op, HARDWARE.inputs, HARDWARE.lanes
    words, tiles = ceil(op.in_features / inputs), ceil(op.out_features / lanes)
    expert = ceil(op.in_features / inputs) * tiles + ceil(op.out_features / inputs) * ceil(op.in_features / lanes)
    match op.opcode:
        case Opcode.PATCH_EMBED | Opcode.HEAD:
            return (op.rows - 1) * words * tiles
        case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL:
            return op.rows * words * tiles
        case Opcode.ATTENTION:
            channels = op.operands[4]
            keys = lanes * HARDWARE.groups if channels == 32 else lanes
            return op.heads * op.rows * (ceil(op.rows / keys) + ceil(op.rows / inputs) * ceil(channels / lanes))
        case Opcode.MLP:
            return op.rows * op.experts * expert
        case Opcode.MOE:
            return op.rows * (words * ceil(op.experts / lanes) + op.top_k * expert)
    return 0


@on_host
def counters(host: Host) -> None:
    """Nothing is read, written or multiplied twice, and every cycle belongs to an operation."""
    for case in ("small", "wide", "moe", "narrow", "four bits, narrow"):
        host.load(case)
        for task in host.pathways.tasks:
            cycles, golden, counts = host.clean(task), host.golden(task), host.counters(task)
            for step, count in zip(golden.steps, counts, strict=True):
                where = f"{case}, operation {step.index} {step.op.opcode.name}"
                assert WORD * count.read_words == bytes_read(step.op, count), where
                assert count.experts == len(step.queues), where
                assert len(step.queues) <= count.loads <= step.op.experts, where
                stalls = count.stall_weight + count.stall_input + count.stall_output
                assert count.compute + stalls <= count.cycles + DELAY, where
            assert [WORD * count.write_words for count in counts] == [0] * (len(counts) - 1) + [
                result_bytes(golden.steps[-1].op)
            ]
            assert sum(count.compute for count in counts) == sum(row_words(step) for step in golden.steps)
            assert cycles - SHARES <= sum(count.cycles for count in counts) <= cycles
            assert host.accelerator.counters(COUNTER_SLOTS - 1) == Counters(*[0] * len(COUNTER_WORDS))


@on_host
def schedules(host: Host) -> None:
    """Every combination of MODE gives the same integers; the accelerator's own is the fastest of those compared."""
    for case in ("small", "wide", "narrow", "least", "four bits"):
        host.load(case)
        cycles = {}
        for bits in range(16):
            host.accelerator.mode = Mode(bits)
            cycles[Mode(bits)] = host.clean(limit=SLOW)
        assert cycles[Mode(0)] <= min(cycles[Mode.NO_OVERLAP], cycles[Mode.TOKEN_ORDER], cycles[Mode.NO_PREFETCH]), case
        host.accelerator.mode = Mode(0)
        assert host.clean() == cycles[Mode(0)]


@on_host
def token_order(host: Host) -> None:
    """The cache baseline visits an expert per token and choice, and loads what a cache of 1, 3 and 4 experts misses."""
    for case in ("small", "narrow", "least", "four bits, narrow"):
        host.load(case)
        host.accelerator.mode = Mode.TOKEN_ORDER
        host.clean(limit=SLOW)
        for step, count in zip(host.last.steps, host.counters(), strict=True):
            if (op := step.op).opcode is Opcode.MOE:
                assert count.experts == op.rows * op.top_k
                assert count.loads == token_order_loads(step, HARDWARE), f"{case}, operation {step.index}"


@on_host
def switching_tasks_is_free(host: Host) -> None:
    """Tasks with equal routing: AAAA, BBBB and ABAB take the same cycles to the last one; so does any after any."""
    host.load("moe")
    first, second, third = host.pathways.tasks
    host.clean(third, 1)

    def cycles(tasks: str) -> list[int]:
        return [host.clean({"A": first, "B": second}[letter], 5) for letter in tasks]

    same, other, mixed = cycles("AAAA"), cycles("BBBB"), cycles("ABAB")
    assert same == other == mixed, f"AAAA {same}, BBBB {other}, ABAB {mixed}"
    host.load("small")
    for task in host.pathways.tasks:
        taken = {before: (host.clean(before, 1), host.clean(task, 2))[1] for before in host.pathways.tasks}
        assert len(set(taken.values())) == 1, f"{task} after {taken}"


@on_host
def reset_in_mid_frame(host: Host) -> None:
    """Reset at many moments of a frame; registers return to their defaults, and the next frame is exact."""
    host.load("least")
    cycles = host.clean()
    for moment in [*range(5, cycles, max(cycles // 25, 1)), cycles - 20]:
        host.start()
        host.wait(moment)
        host.reset()
        assert (host.control(), host.error(), host.read("TASK")) == (Control.IDLE, Error.NONE, 0)
        assert [host.read(name) for name in ("GLOBAL_IRQ", "IRQ_ENABLE", "IRQ_STATUS")] == [0, 0, 0]
        assert not host.irq()
        host.load("least")
        host.clean(seed=moment)


@on_host
def memories(host: Host) -> None:
    """Stalls and jitter of the memory change the time, never the result."""
    for case in ("small", "wide", "moe"):
        host.load(case)
        for seed, (stall, jitter) in enumerate(((30, 0), (0, 200), (60, 40), (90, 500))):
            host.dram.order(stall_percent=stall, jitter_cycles=jitter)
            for task in host.pathways.tasks:
                host.clean(task, seed, limit=SLOW)


@on_host
def back_to_back(host: Host) -> None:
    """Many frames in random order of tasks, on a memory that is at times slow; now and then another schedule."""
    rng = random.Random(1)
    host.load("small")
    plain: dict[tuple[str, int], int] = {}
    for _ in range(int(os.environ[FRAMES_VARIABLE])):
        task, seed = rng.choice(list(host.pathways.tasks)), rng.randrange(IMAGES)
        slow, mode = rng.random() < 0.2, Mode(rng.randrange(16)) if rng.random() < 0.1 else Mode(0)
        host.dram.order(stall_percent=rng.randrange(50) * slow, jitter_cycles=rng.randrange(100) * slow)
        host.accelerator.mode = mode
        cycles = host.clean(task, seed, limit=SLOW)
        if not slow and not mode:
            assert plain.setdefault((task, seed), cycles) == cycles, f"{task}: {cycles} cycles, before {plain}"


@on_host
def frames(host: Host) -> None:
    """Exact results of every task; run on memories of different latency."""
    for case in ("small", "moe"):
        host.load(case)
        for seed, task in enumerate(host.pathways.tasks):
            host.clean(task, seed)
