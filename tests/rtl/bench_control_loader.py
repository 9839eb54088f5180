# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit_loader against sim/program_check.regions: what is read for random programs, in which order, and when."""

from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import expert_bytes, regions
from rtl.handshake import Dice, fields, start
from rtl.programs import SHAPES, Author

Job = tuple[int, ...]
"""Fields of read_job_t: relative, address, words, destination, operation."""
JOB_FIELDS = (1, 40, 26, 2, 7)
SOURCE = 0x12_3456_7800
GUESS_TOKENS = 4
"""Tokens per expert from which on all are expected to be used."""
MODES = {"own": (0, 0), "no prefetch": (1, 0), "on demand": (1, 1)}
"""Levels of wait_i and on_demand_i."""
LIMIT = 20000


class Dest(IntEnum):
    """load_e."""

    RESIDUAL = 1
    IMAGE = 2
    STREAM = 3


def plain_jobs(op: Op, index: int, hardware: HardwareConfig) -> Iterator[Job]:
    """What an operation reads besides its experts, in order."""
    blocks = [(1, block.offset, block.size // WORD_BYTES, Dest.STREAM, index) for block in regions(op, hardware)]
    match op.opcode:
        case Opcode.LOAD:
            yield 0, SOURCE, 2 * op.rows * op.in_features // WORD_BYTES, Dest.RESIDUAL, index
        case Opcode.PATCH_EMBED:
            (*place, _, _), weights = blocks
            _, height, width, *_ = op.operands
            yield (*place, Dest.RESIDUAL, index)
            yield 0, SOURCE, 3 * height * width // WORD_BYTES, Dest.IMAGE, index
            yield weights
        case Opcode.MLP | Opcode.MOE:
            yield from blocks[:-1]
        case _:
            yield from blocks


class Layer:
    """What has been read for one operation, and what its tokens use."""

    def __init__(self, op: Op, index: int, hardware: HardwareConfig, dice: Dice) -> None:
        rng = dice.random
        self.op, self.index, self.waiting = op, index, list(plain_jobs(op, index, hardware))
        self.words = expert_bytes(op.in_features, op.out_features, hardware, op.expert_bits) // WORD_BYTES
        self.guessed = op.experts * GUESS_TOKENS <= op.rows * op.top_k
        count = rng.choice([1, max(op.experts // 3, 1), op.experts])
        self.used = set(rng.sample(range(op.experts), count)) if op.opcode is Opcode.MOE else set(range(op.experts))
        self.loaded: list[int] = []
        self.marked = False

    @property
    def is_moe(self) -> bool:
        """It has a list of loaded experts."""
        return self.op.opcode is Opcode.MOE

    def expert(self, expert: int) -> Job:
        """The job that reads an expert."""
        return 1, self.op.expert_base + expert * self.op.expert_stride, self.words, Dest.STREAM, self.index

    def finish(self, on_demand: bool) -> None:
        """All that it needs has been read."""
        assert not self.waiting, f"{self.op} was left without {self.waiting}"
        if self.op.opcode in (Opcode.MLP, Opcode.MOE) and not (self.is_moe and on_demand):
            assert self.used <= set(self.loaded), f"experts {self.used - set(self.loaded)} are missing"
            assert self.marked == self.is_moe


class System:
    """Program, executor, router and DMA around one loader."""

    def __init__(self, dut: Any, shape: str, mode: str, dice: Dice) -> None:
        self.unit, self.clock, self.dice = getattr(dut, f"u_loader{shape}"), dut.clk_i, dice
        self.hardware, (self.wait_for, self.on_demand) = SHAPES[shape], MODES[mode]
        self.unit.wait_for.value, self.unit.on_demand.value = self.wait_for, self.on_demand
        self.unit.source.value = SOURCE
        self.seen = Counter[str]()
        self.executor, self.active, self.routed, self.demands, self.idle = 0, False, False, 0, 0

    def begin(self, program: list[Op]) -> None:
        """Take over a program."""
        self.layers = [Layer(op, index, self.hardware, self.dice) for index, op in enumerate(program)]
        self.codes = [int.from_bytes(op.encode(), "little") for op in program]
        self.cursor, self.executor, self.active, self.routed = 0, 0, False, False

    def drive(self) -> None:
        """Values for the next cycle."""
        unit, dice = self.unit, self.dice
        unit.executor.value, unit.executor_valid.value, unit.routed.value = self.executor, self.active, self.routed
        final = self.routed and self.layers[self.executor].is_moe
        unit.used.value = sum(1 << e for e in self.layers[self.executor].used) if final else dice.noise(1024)
        unit.job_ready.value, unit.segment_ready.value = not dice.stalls(), not dice.stalls()
        if not unit.demand_valid.value or self.served:
            unit.demand_valid.value = asks = self.demands > 0 and not dice.stalls()
            experts = self.layers[self.executor].op.experts
            unit.demand_expert.value = dice.random.randrange(experts) if asks else dice.noise(10)

    served = False

    async def cycle(self) -> None:
        """A cycle: what the loader asks for is checked, then executor and router move on."""
        unit = self.unit
        self.drive()
        await RisingEdge(self.clock)
        unit.op.value = (
            self.codes[index] if (index := int(unit.index.value)) < len(self.codes) else self.dice.noise(512)
        )
        self.check_haste(index)
        taken = bool(unit.job_valid.value and unit.job_ready.value)
        self.served = bool(unit.demand_valid.value and unit.demand_ready.value)
        segment = fields(int(unit.segment.value), 1, 10) if unit.segment_valid.value else None
        if segment and not unit.segment_ready.value:
            segment = None
        loads = self.check_job(fields(int(unit.job.value), *JOB_FIELDS), segment) if taken else False
        assert not self.served or taken
        assert bool(unit.load.value) == loads
        if segment and segment[0]:
            self.check_mark()
        elif segment:
            assert taken, "an expert in the list that is not loaded"
        self.move(index)

    def check_haste(self, index: int) -> None:
        """Experts that are guessed to be used are asked for without waiting for the router."""
        layer = self.layers[min(index, len(self.layers) - 1)]
        wanted = layer.is_moe and layer.guessed and not self.wait_for and not layer.waiting
        known = self.executor == index and self.active and self.routed
        if wanted and not known and len(layer.loaded) < layer.op.experts and self.unit.segment_ready.value:
            self.idle = 0 if self.unit.job_valid.value else self.idle + 1
            assert self.idle < 3, f"{layer.op} waits for its router"
        else:
            self.idle = 0

    def check_job(self, job: Job, segment: tuple[int, ...] | None) -> bool:
        """A job was taken; returns whether it was an expert of a MoE layer."""
        unit, dest_op = self.unit, job[-1]
        assert int(unit.asked_op.value) == self.codes[dest_op]
        while self.cursor < dest_op:
            self.layers[self.cursor].finish(bool(self.on_demand))
            self.cursor += 1
        layer = self.layers[self.cursor]
        present = self.executor > layer.index or (self.executor == layer.index and self.active)
        assert present or not self.wait_for or not job[0], "an operation is loaded before it is there"
        self.seen["ahead"] += not present
        if layer.waiting:
            assert job == layer.waiting.pop(0)
            assert not (segment and not segment[0])
            return False
        if layer.is_moe and self.on_demand:
            assert self.served
            assert job == layer.expert(int(unit.demand_expert.value))
            self.demands -= 1
            self.seen["demanded"] += 1
            return True
        self.check_expert(layer, job)
        assert segment == ((0, layer.loaded[-1]) if layer.is_moe else None)
        return layer.is_moe

    def check_expert(self, layer: Layer, job: Job) -> None:
        """An expert is loaded in its turn, and for a reason."""
        known = self.executor == layer.index and self.active and self.routed
        first = layer.loaded[-1] + 1 if layer.loaded else 0
        later = [e for e in range(first, layer.op.experts) if job == layer.expert(e)]
        assert later, f"{job} is no expert from {first} on of {layer.op}"
        expert = later[0] if layer.op.expert_stride else first
        if layer.is_moe:
            assert known or (layer.guessed and not self.wait_for), "loaded on a guess that is not allowed"
            assert not known or expert in layer.used, "an expert that nobody uses"
        assert known or expert == first, "skipped before the tokens are routed"
        self.seen["guessed"] += layer.is_moe and not known
        self.seen["skipped"] += expert - first
        layer.loaded.append(expert)

    def check_mark(self) -> None:
        """The end of a layer's list."""
        while not (layer := self.layers[self.cursor]).is_moe or layer.marked:
            layer.finish(bool(self.on_demand))
            self.cursor += 1
        layer.marked = True
        layer.finish(False)

    def move(self, loader: int) -> None:
        """Executor and router: an operation begins, its tokens are routed, it ends, each some time later."""
        layer, rng = self.layers[self.executor], self.dice.random
        if rng.random() > 0.15:
            return
        if not self.active:
            self.active, self.routed = True, self.routed and not layer.is_moe
            self.demands = rng.randint(1, 6) if layer.is_moe and self.on_demand else 0
        elif layer.is_moe and not self.routed:
            self.routed = rng.random() < 0.3
        elif layer.is_moe and (self.demands or (not self.on_demand and loader <= self.executor)):
            return
        elif self.executor + 1 < len(self.layers):
            self.executor, self.active = self.executor + 1, False

    @property
    def ended(self) -> bool:
        """All has been read."""
        return self.executor + 1 == len(self.layers) and int(self.unit.index.value) + 1 == len(self.layers)


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES), mode=list(MODES), stall=[0.0, 0.5])
async def programs(dut: Any, shape: str, mode: str, stall: float) -> None:
    """Random programs one after the other, some cut short."""
    unit, dice = getattr(dut, f"u_loader{shape}"), Dice((shape, mode, stall), stall)
    await start(dut, unit.start, unit.clear, unit.demand_valid, unit.job_ready, unit.segment_ready, unit.executor_valid)
    system = System(dut, shape, mode, dice)
    author = Author(system.hardware, dice.random)
    for case in range(24):
        system.begin(author.program(5))
        unit.start.value = 1
        await system.cycle()
        unit.start.value = 0
        limit = dice.random.randrange(60) if case % 4 == 3 else LIMIT
        for _ in range(limit):
            await system.cycle()
            if system.ended:
                break
        else:
            assert limit < LIMIT, f"stops at operation {int(unit.index.value)}"
            unit.clear.value = 1
            await RisingEdge(dut.clk_i)
            unit.clear.value = unit.demand_valid.value = 0
            system.served, system.demands = False, 0
            continue
        for _ in range(20):
            await system.cycle()
        for layer in system.layers[system.cursor :]:
            layer.finish(bool(system.on_demand))
    cocotb.log.info("%s", dict(system.seen))
    assert system.seen["skipped"] > 10 or mode == "on demand"
    assert system.seen["demanded"] > 10 or mode != "on demand"
    assert mode != "own" or min(system.seen["guessed"], system.seen["ahead"]) > 10, "nothing is read ahead"
