# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit_executor: every command that the linear engine gets for random programs, and what it waits for.

Golden is what the operations of sim/program.py mean in words, tiles and units; a command's fields that its kind does
not use may hold anything.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from m3vit.model.config import UNIT_BYTES, HardwareConfig
from m3vit.sim.layout import ceil_div
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_words, query_words
from m3vit.sim.regmap import Mode
from rtl.handshake import Dice, fields, start
from rtl.programs import SHAPES, Author

SHORT_BLOCK = 96
"""Fewer rows could overtake their scores in the engine."""
COMMAND = {
    "kind": 3, "op": 7, "rows": 13, "first": 13, "dest_first": 13, "k_chunks": 8, "m_tiles": 10, "source": 3, "dest": 3,
    "fence": 2, "norm": 2, "bank": 1, "seek": 1, "nibbles": 1, "expert": 10, "expert_words": 26, "pitch": 8, "word": 8,
    "sub": 2, "dest_pitch": 8, "dest_word": 8, "dest_sub": 4, "split": 10, "head_tiles": 4, "split_pitch": 8,
    "keys": 13, "key_unit": 8, "units": 3, "score_shift": 5, "multiplier": 16, "shift": 6,
}  # fmt: skip
"""Fields of command_t and their widths."""
NORM = {"rows": 13, "tiles": 8, "dim": 16, "pitch": 8, "multiplier": 16, "shift": 6}
"""Fields of norm_cmd_t."""
MODES = (0, *Mode, Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX)
LIMIT = 40000
Command = dict[str, int]

Kind = IntEnum("Kind", "LINEAR SCORES VALUES GELU NORM DROP", start=0)
Source = IntEnum("Source", "X QUEUE HIDDEN PATCHES QUERY SCORES", start=0)
Dest = IntEnum("Dest", "LOGITS GELU QKV COMBINE RESIDUAL OUTPUT SCORES ATTENTION", start=0)
Fence = IntEnum("Fence", "NONE LAST ALL FEED", start=0)
Norm = IntEnum("Norm", "NONE ROWS ALL", start=0)


@dataclass(frozen=True)
class Queue:
    """A token queue, as the queue builder offers it."""

    expert: int
    bank: int
    rows: int


@dataclass(frozen=True)
class Golden:
    """Commands of operations on one hardware in one mode."""

    hardware: HardwareConfig
    mode: int

    def words(self, channels: int) -> int:
        """Words that hold a row of one-byte channels."""
        return ceil_div(channels, self.hardware.inputs)

    def tiles(self, channels: int) -> int:
        """Output tiles."""
        return ceil_div(channels, self.hardware.lanes)

    def commands(self, op: Op, before: Op | None, queues: list[Queue]) -> Iterator[Command]:
        """All commands of an operation, in order."""
        normed = before is not None and before.opcode is Opcode.LAYER_NORM
        norm = (Norm.ALL if self.mode & Mode.NO_OVERLAP else Norm.ROWS) if normed else Norm.NONE
        match op.opcode:
            case Opcode.LAYER_NORM:
                yield {"kind": Kind.NORM, "k_chunks": self.words(op.in_features)}
            case Opcode.PATCH_EMBED | Opcode.LINEAR | Opcode.LINEAR_RESIDUAL | Opcode.HEAD:
                yield self.dense(op) | self.layer(op, norm)
            case Opcode.ATTENTION:
                yield from self.attention(op)
            case Opcode.MLP:
                yield {"kind": Kind.GELU, "k_chunks": self.words(GELU_BYTES)}
                for index in range(op.experts):
                    yield from self.pair(op, {"norm": Norm.NONE if index else norm, "source": Source.X}, Dest.RESIDUAL)
            case Opcode.MOE:
                yield {"kind": Kind.GELU, "k_chunks": self.words(GELU_BYTES)}
                yield self.dense(op) | {
                    "m_tiles": self.tiles(op.experts), "norm": norm, "dest": Dest.LOGITS, "fence": Fence.NONE,
                }  # fmt: skip
                yield from self.experts(op, queues)

    def dense(self, op: Op) -> Command:
        """A linear layer on all rows."""
        return {
            "kind": Kind.LINEAR, "rows": op.rows, "first": 0, "dest_first": 0, "k_chunks": self.words(op.in_features),
            "m_tiles": self.tiles(op.out_features), "source": Source.X, "pitch": self.words(op.in_features),
            "dest_word": 0, "dest_sub": 0, "nibbles": 0,
        }  # fmt: skip

    def layer(self, op: Op, norm: int) -> Command:
        """Where rows of a linear layer come from and go to."""
        residual_units = ceil_div(op.out_features, UNIT_BYTES)
        match op.opcode:
            case Opcode.PATCH_EMBED:  # behind the class token
                return {
                    "rows": op.rows - 1, "source": Source.PATCHES, "dest": Dest.RESIDUAL, "dest_first": 1,
                    "dest_pitch": residual_units, "fence": Fence.NONE, "norm": Norm.NONE,
                }  # fmt: skip
            case Opcode.LINEAR:
                channels, dim = op.operands[0], op.in_features
                return {
                    "dest": Dest.QKV, "dest_pitch": query_words(op.heads, channels, self.hardware),
                    "split": self.tiles(dim), "split_pitch": self.words(2 * dim),
                    "head_tiles": 0 if channels == UNIT_BYTES else self.tiles(channels),
                    "fence": Fence.NONE, "norm": norm,
                }  # fmt: skip
            case Opcode.LINEAR_RESIDUAL:
                return {"dest": Dest.RESIDUAL, "dest_pitch": residual_units, "fence": Fence.ALL, "norm": Norm.NONE}
            case _:  # without the class token
                return {
                    "rows": op.rows - 1, "first": 1, "dest": Dest.OUTPUT, "dest_pitch": residual_units,
                    "fence": Fence.NONE, "norm": Norm.ALL,
                }  # fmt: skip

    def attention(self, op: Op) -> Iterator[Command]:
        """Scores, in one pass or three, then values, block by block and head by head."""
        score_shift, multiplier, shift, block, channels = op.operands
        dim, lanes, groups = op.out_features, self.hardware.lanes, self.hardware.groups
        units, passes = channels // UNIT_BYTES, 3 if self.mode & Mode.MULTIPASS_SOFTMAX else 1
        keys = lanes * groups if units == 1 else lanes  # keys of a score tile
        common = {"norm": Norm.NONE, "keys": op.rows, "units": units, "split_pitch": self.words(2 * dim)}
        is_first = True
        for head in range(op.heads):
            word, sub = divmod(head, groups) if units == 1 else (head, 0)
            place, within = divmod(head * channels, self.hardware.inputs)
            for first in range(0, op.rows, block):
                rows = min(block, op.rows - first)
                for again in range(passes):
                    yield common | {
                        "kind": Kind.SCORES, "rows": rows, "first": first, "source": Source.QUERY, "dest": Dest.SCORES,
                        "k_chunks": 1, "m_tiles": ceil_div(op.rows, keys), "score_shift": score_shift,
                        "fence": Fence.FEED if is_first else Fence.ALL if again else Fence.NONE,
                        "pitch": query_words(op.heads, channels, self.hardware), "word": word, "sub": sub,
                        "key_unit": head * units,
                    }  # fmt: skip
                    is_first = False
                waits = rows < SHORT_BLOCK or self.mode & Mode.NO_OVERLAP
                yield common | {
                    "kind": Kind.VALUES, "rows": rows, "dest_first": first, "source": Source.SCORES,
                    "dest": Dest.ATTENTION, "k_chunks": self.words(op.rows), "m_tiles": self.tiles(channels),
                    "fence": Fence.ALL if waits else Fence.NONE, "dest_pitch": self.words(dim),
                    "dest_word": place, "dest_sub": within // lanes, "key_unit": dim // UNIT_BYTES + head * units,
                    "multiplier": multiplier, "shift": shift,
                }  # fmt: skip

    def pair(self, op: Op, first: Command, dest: int) -> Iterator[Command]:
        """The two layers of an expert or slice."""
        hidden = self.words(op.out_features)
        yield self.dense(op) | {"dest": Dest.GELU, "dest_pitch": hidden, "fence": Fence.NONE} | first
        yield {
            "kind": Kind.LINEAR, "rows": first.get("rows", op.rows), "first": 0, "dest_first": 0, "k_chunks": hidden,
            "nibbles": 0, "m_tiles": self.tiles(op.in_features), "source": Source.HIDDEN, "dest": dest, "pitch": hidden,
            "dest_pitch": op.in_features // UNIT_BYTES, "dest_word": 0, "dest_sub": 0,
            "fence": Fence.LAST, "norm": Norm.NONE,
        }  # fmt: skip

    def experts(self, op: Op, queues: list[Queue]) -> Iterator[Command]:
        """A pass for each queue; what was loaded in vain is dropped at the end."""
        words = expert_words(op.in_features, op.out_features, self.hardware, op.expert_bits)
        nibbles = {"nibbles": int(op.expert_bits == 4)}
        in_order = not self.mode & Mode.TOKEN_ORDER
        for queue in queues:
            first = {
                "source": Source.QUEUE,
                "rows": queue.rows,
                "bank": queue.bank,
                "norm": Norm.NONE,
                "seek": in_order,
            }
            first |= nibbles
            if in_order:
                first |= {"expert": queue.expert, "expert_words": words}
            up, down = self.pair(op, first, Dest.COMBINE)
            yield from (up, down | {"bank": queue.bank} | nibbles)
        if in_order:
            yield {"kind": Kind.DROP, "expert_words": words}

    def norm(self, op: Op) -> Command:
        """Command of the LayerNorm unit."""
        multiplier, shift, *_ = op.operands
        return {
            "rows": op.rows, "tiles": self.tiles(op.in_features), "dim": op.in_features,
            "pitch": self.words(op.in_features), "multiplier": multiplier, "shift": shift,
        }  # fmt: skip


class System:
    """Program, loader, engine, queue builder and memory around one executor."""

    def __init__(self, dut: Any, shape: str, mode: int, dice: Dice) -> None:
        self.unit, self.clock, self.dice = getattr(dut, f"u_executor{shape}"), dut.clk_i, dice
        self.golden, self.mode = Golden(SHAPES[shape], mode), mode
        self.unit.mode.value = mode
        self.seen = Counter[str]()

    def begin(self, program: list[Op]) -> None:
        """Take over a program."""
        self.program = program
        self.codes = [int.from_bytes(op.encode(), "little") for op in program]
        self.queues = [self.draw_queues(op) for op in program]
        befores = [None, *program[:-1]]
        self.commands = deque(
            command | {"op": index}
            for index, op in enumerate(program)
            for command in self.golden.commands(op, befores[index], self.queues[index])
        )
        self.norms = deque(
            (index, self.golden.norm(op)) for index, op in enumerate(program) if op.opcode is Opcode.LAYER_NORM
        )
        self.begun, self.loader, self.loaded, self.stored = 0, 0, False, False
        self.offered: deque[Queue] = deque()
        self.offering, self.all_offered, self.served, self.storing, self.done = False, False, False, False, False

    def draw_queues(self, op: Op) -> list[Queue]:
        """Queues of a layer; in token order each has one token."""
        if op.opcode is not Opcode.MOE:
            return []
        rng, single = self.dice.random, self.mode & Mode.TOKEN_ORDER
        used = sorted(rng.sample(range(op.experts), rng.randint(1, min(6, op.experts))))
        return [Queue(expert, index % 2, 1 if single else rng.randint(1, op.rows)) for index, expert in enumerate(used)]

    def drive(self) -> None:
        """Values for the next cycle."""
        unit, dice, rng = self.unit, self.dice, self.dice.random
        unit.cmd_ready.value = not dice.stalls()
        unit.idle.value = rng.random() < 0.4 and not unit.norm_valid.value
        unit.loader.value, unit.loaded.value, unit.stored.value = self.loader, self.loaded, self.stored
        unit.norm_taken.value = bool(unit.norm_valid.value) and rng.random() < 0.2
        queue = self.offered[0] if self.offered and self.offering else None
        unit.queue_valid.value, unit.queues_done.value = queue is not None, self.all_offered
        unit.queue_expert.value = queue.expert if queue else dice.noise(10)
        unit.queue_bank.value = queue.bank if queue else dice.noise(1)
        unit.queue_rows.value = queue.rows if queue else dice.noise(13)
        unit.demand_ready.value = rng.random() < 0.3

    async def cycle(self) -> None:
        """A cycle: what the executor does is checked, then all others move on."""
        unit = self.unit
        self.drive()
        await RisingEdge(self.clock)
        index = int(unit.index.value)
        unit.op.value = self.codes[index] if index < len(self.codes) else self.dice.noise(512)
        self.rested = self.rested or bool(unit.idle.value)
        if unit.op_begin.value:
            self.check_begin(index)
        if unit.active.value:
            assert int(unit.present_op.value) == self.codes[index]
            assert self.begun == index + 1
        assert bool(unit.moe_start.value) == bool(unit.op_begin.value and self.program[index].opcode is Opcode.MOE)
        if unit.cmd_valid.value and unit.cmd_ready.value:
            self.check_command(index)
        else:
            assert not unit.queue_ready.value, "a queue is taken before its last command"
        if unit.norm_valid.value and unit.norm_taken.value:
            op_index, norm = self.norms.popleft()
            assert int(unit.norm_op.value) == op_index
            assert dict(zip(NORM, fields(int(unit.norm.value), *NORM.values()), strict=True)) == norm
        self.check_demand()
        self.check_store(index)
        self.move(index)

    def check_begin(self, index: int) -> None:
        """An operation begins in its turn, and not before it may."""
        assert index == self.begun
        assert not self.commands or self.commands[0]["op"] >= index, f"{self.commands[0]} was left out"
        self.begun += 1
        self.seen["overlap"] += not self.rested
        if self.mode & Mode.NO_PREFETCH:
            assert self.was_idle, "begins while another is under way"
        if index and self.program[index - 1].opcode is Opcode.MOE:
            if self.mode & Mode.TOKEN_ORDER:
                assert self.rested, "the engine still needs the cached experts"
            else:
                assert self.loader >= index, "the loader still needs the used experts"
        if index:
            assert self.loaded or self.program[0].opcode is not Opcode.LOAD
        if self.program[index].opcode is Opcode.MOE:
            self.offered, self.offering = deque(self.queues[index]), False

    was_idle = False
    rested = False  # idle since the last command

    def check_command(self, index: int) -> None:
        """The next command has come."""
        got = dict(zip(COMMAND, fields(int(self.unit.cmd.value), *COMMAND.values()), strict=True))
        assert self.commands, f"too many commands: {got}"
        wanted = self.commands.popleft()
        wrong = {name: (got[name], value) for name, value in wanted.items() if got[name] != value}
        assert not wrong, f"{self.program[index]}: got and expected {wrong} in {wanted}"
        self.seen[Kind(wanted["kind"]).name] += 1
        self.rested = False
        assert wanted["op"] == index
        if self.mode & Mode.TOKEN_ORDER and wanted.get("source") == Source.QUEUE:
            assert self.served, "its weights are not there"
            self.served = False
        took_queue = wanted["kind"] == Kind.LINEAR and wanted["dest"] == Dest.COMBINE
        assert bool(self.unit.queue_ready.value) == took_queue
        if took_queue:
            self.offered.popleft()
            self.offering = False

    def check_demand(self) -> None:
        """Weights are demanded for the queue that waits, once, when the engine has ended what came before."""
        unit = self.unit
        if not unit.demand_valid.value:
            return
        assert self.mode & Mode.TOKEN_ORDER
        assert unit.idle.value
        assert not self.served
        assert int(unit.demand_expert.value) == self.offered[0].expert
        if unit.demand_ready.value:
            self.served = True
            self.seen["demand"] += 1

    def check_store(self, index: int) -> None:
        """The result is stored when all has ended."""
        unit = self.unit
        if unit.store_start.value:
            op = self.program[index]
            assert op.opcode is Opcode.STORE
            assert self.was_idle
            assert not self.commands
            assert int(unit.store_words.value) == op.rows * ceil_div(op.out_features, UNIT_BYTES)
            self.storing = True
        else:
            assert bool(unit.store.value) == (self.storing and not self.done)
        assert bool(unit.done.value) == bool(unit.store.value and unit.stored.value)
        self.done = self.done or bool(unit.done.value)

    def move(self, index: int) -> None:
        """Loader, memory and queue builder."""
        rng = self.dice.random
        self.was_idle = bool(self.unit.idle.value)
        if self.unit.moe_start.value:
            self.all_offered = False
        elif self.offered and not self.offering:
            self.offering = rng.random() < 0.1 and not self.router_waits(index)
        elif not self.offered and self.queues[min(self.begun, len(self.queues)) - 1]:
            self.all_offered = self.all_offered or rng.random() < 0.2
        if rng.random() < 0.1 and self.loader + 1 < len(self.program):
            self.loader += 1
        self.loaded = self.loaded or (self.begun > 0 and rng.random() < 0.05)
        self.stored = self.storing and not self.done and rng.random() < 0.2

    def router_waits(self, index: int) -> bool:
        """The router's command is still to come, so there are no queues."""
        return any(c["op"] == index and c.get("dest") == Dest.LOGITS for c in self.commands)


@cocotb.test()
@cocotb.parametrize(shape=list(SHAPES), mode=[int(mode) for mode in MODES], stall=[0.0, 0.5])
async def programs(dut: Any, shape: str, mode: int, stall: float) -> None:
    """Random programs one after the other, some cut short in the middle of anything."""
    unit, dice = getattr(dut, f"u_executor{shape}"), Dice((shape, mode, stall), stall)
    idle = ("start", "clear", "cmd_ready", "idle", "norm_taken", "queue_valid", "demand_ready", "loaded", "stored")
    await start(dut, *(getattr(unit, name) for name in idle))
    system, author = System(dut, shape, mode, dice), Author(SHAPES[shape], dice.random, experts=300)
    for case in range(14):
        unit.clear.value = 1  # as the core does before every run
        await RisingEdge(dut.clk_i)
        unit.clear.value = 0
        system.begin(author.program(5))
        unit.start.value = 1
        await system.cycle()
        unit.start.value = 0
        limit = dice.random.randrange(120) if case % 3 == 2 else LIMIT
        for _ in range(limit):
            await system.cycle()
            if system.done:
                break
        else:
            assert limit < LIMIT, f"stops at operation {int(unit.index.value)}, {list(system.commands)[:1]}"
            continue
        assert not system.commands
        assert not system.norms
        assert system.begun == len(system.program)
        for _ in range(10):
            await system.cycle()
    cocotb.log.info("%s", dict(system.seen))
    assert min(system.seen[kind.name] for kind in Kind if kind is not Kind.DROP) > 0
    assert system.seen["demand" if mode & Mode.TOKEN_ORDER else "DROP"] > 0
    assert mode & Mode.NO_PREFETCH or system.seen["overlap"] > 0, "operations wait for each other"
