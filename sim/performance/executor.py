# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Walks a program: asks for what its operations read and pushes their commands into the engine.

RTL: m3vit_executor (commands), m3vit_loader (jobs), m3vit_sequencer (begin), m3vit_dma_write (end).
"""

from collections.abc import Mapping, Sequence

from m3vit.model.config import UNIT_BYTES, WORD_BYTES, HardwareConfig
from m3vit.sim.layout import ceil_div, stream_words
from m3vit.sim.performance.engine import Arrive, Command, Engine, Fence, NormStart, Turn
from m3vit.sim.performance.loader import Loader
from m3vit.sim.performance.moe import MoeLayer
from m3vit.sim.performance.patches import cycles_per_word
from m3vit.sim.performance.reader import BURST_WORDS, PORT_BEATS, SAVED_BEATS
from m3vit.sim.performance.routing import Routing
from m3vit.sim.performance.stream import Stream
from m3vit.sim.performance.timing import (
    GELU_LATENCY,
    OP_CYCLES,
    RESIDUAL_DRAIN,
    SHORT_BLOCK,
    START_CYCLES,
    WRITE_CYCLES,
)
from m3vit.sim.performance.writer import cycles_per_word as write_cycles_per_word
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import GELU_BYTES, expert_words
from m3vit.sim.regmap import Mode


class Executor:
    """One run of a program.

    Args:
        program: the operations.
        hardware: that they are laid out for.
        routing: experts of the tokens.
        mode: schedule.
        experts_on_chip: experts need not be read.
    """

    def __init__(
        self, program: Sequence[Op], hardware: HardwareConfig, routing: Routing, mode: Mode, experts_on_chip: bool
    ) -> None:
        self.program, self.hardware, self.routing, self.mode = program, hardware, routing, mode
        self.stream = Stream(hardware, lends(program[0], hardware))
        self.engine = Engine(hardware, self.stream)
        self.engine.turns.append(Turn(0, 1, 0))
        self.loader = Loader(self.stream, hardware, wait=bool(mode & (Mode.NO_PREFETCH | Mode.TOKEN_ORDER)))
        self.experts_on_chip = experts_on_chip
        self.visits: dict[int, int] = {}
        self.loads: dict[int, int] = {}
        self.write_words: dict[int, int] = {}
        self.time = 0.0
        """When the last command entered the queues."""
        self._norm: NormStart | None = None

    @property
    def read_words(self) -> Mapping[int, int]:
        """DRAM words of each operation."""
        return self.loader.words

    def run(self) -> float:
        """Run the program; returns its cycles."""
        fetched = self.loader.fetch(len(self.program))
        self.time = fetched + START_CYCLES - OP_CYCLES
        self.loader.start(fetched + START_CYCLES)
        for index, op in enumerate(self.program):
            begin = self.time + OP_CYCLES - 1
            if self.mode & Mode.NO_PREFETCH:
                begin = max(begin, self.idle + 1)
            self.time = begin
            self.loader.begin(begin)
            self._execute(index, op)
        return self.time

    @property
    def idle(self) -> float:
        """When nothing is under way."""
        return max(self.engine.quiet, self.engine.norm_end + 1, self.engine.fed + 1)

    def push(self, time: float = 0.0) -> float:
        """The next command enters the queues, at `time` at the earliest."""
        self.time = self.engine.push(max(self.time + 1, time))
        return self.time

    def _execute(self, index: int, op: Op) -> None:
        match op.opcode:
            case Opcode.PATCH_EMBED:
                self._patch_embed(index, op)
            case Opcode.LOAD:
                self._load(index, op)
            case Opcode.LAYER_NORM:
                self._layer_norm(index, op)
            case Opcode.LINEAR | Opcode.LINEAR_RESIDUAL | Opcode.HEAD:
                self._linear(index, op)
            case Opcode.ATTENTION:
                self._attention(index, op)
            case Opcode.MLP:
                self._mlp(index, op)
            case Opcode.MOE:
                MoeLayer(self, index, op).run()
            case Opcode.STORE:
                self._store(index, op)

    def _patch_embed(self, index: int, op: Op) -> None:
        patch, height, width, columns = op.operands[:4]
        self.loader.residual(index, op.rows * op.out_features // UNIT_BYTES)
        pixels = 3 * height * width // WORD_BYTES
        ready = self.loader.image(index, pixels, cycles_per_word(patch, columns, self.hardware.inputs))
        words = stream_words(op.out_features, op.in_features, self.hardware)
        self.loader.stream_job(index, words)
        self.engine.linear(
            self._command(index, op, rows=op.rows - 1, drain=RESIDUAL_DRAIN, source=ready), self.push(), 0.0
        )
        self.loader.done()

    def _load(self, index: int, op: Op) -> None:
        loaded = self.loader.residual(index, op.rows * op.in_features // UNIT_BYTES)
        self.time = max(self.time + 1, loaded + 1)

    def _layer_norm(self, index: int, op: Op) -> None:
        """The table of the norm, for the command behind it."""
        posted = max(self.time + 1, self.engine.norm_start + 1)
        self.time = posted
        words = ceil_div(op.in_features, self.hardware.inputs)
        self.loader.stream_job(index, words)
        pushed = self.push()
        _, loaded = self.engine.table(pushed, words, self.engine.norm_end + 1)
        self.loader.done()
        granules = op.in_features // self.hardware.lanes
        whole = bool(self.mode & Mode.NO_OVERLAP)
        self._norm = NormStart(index, posted, loaded, granules, op.rows, whole)

    def norm(self, *, whole: bool = False) -> NormStart | None:
        """The norm that the next command waits for, once."""
        norm, self._norm = self._norm, None
        if norm is None or not whole:
            return norm
        return NormStart(norm.op, norm.posted, norm.loaded, norm.granules, norm.rows, whole=True)

    def _command(
        self,
        index: int,
        op: Op,
        *,
        rows: int,
        drain: int,
        fence: Fence = Fence.NONE,
        norm: NormStart | None = None,
        source: float = 0.0,
    ) -> Command:
        chunks = ceil_div(op.in_features, self.hardware.inputs)
        tiles = ceil_div(op.out_features, self.hardware.lanes)
        return Command(index, rows, chunks, tiles, drain, fence, norm, source)

    def _linear(self, index: int, op: Op) -> None:
        self.loader.stream_job(index, stream_words(op.out_features, op.in_features, self.hardware))
        is_qkv, is_head = op.opcode is Opcode.LINEAR, op.opcode is Opcode.HEAD
        command = self._command(
            index,
            op,
            rows=op.rows - is_head,
            drain=Command.drain if is_qkv else RESIDUAL_DRAIN,
            fence=Fence.ALL if op.opcode is Opcode.LINEAR_RESIDUAL else Fence.NONE,
            norm=self.norm(whole=is_head),
        )
        self.engine.linear(command, self.push(), 0.0)
        self.loader.done()

    def _attention(self, index: int, op: Op) -> None:
        block, channels = op.operands[3:5]
        units, lanes, inputs = channels // UNIT_BYTES, self.hardware.lanes, self.hardware.inputs
        keys = lanes * self.hardware.groups if units == 1 else lanes
        blocks = [min(block, op.rows - first) for first in range(0, op.rows, block)]
        passes = 3 if self.mode & Mode.MULTIPASS_SOFTMAX else 1
        wait = bool(self.mode & Mode.NO_OVERLAP)
        self.loader.skip()
        first = True
        for _ in range(op.heads):
            for rows in blocks:
                for again in range(passes):
                    fence = Fence.FEED if first else Fence.ALL if again else Fence.NONE
                    self.engine.scores(index, rows, ceil_div(op.rows, keys), units, fence, self.push())
                    first = False
                fence = Fence.ALL if rows < SHORT_BLOCK or wait else Fence.NONE
                self.engine.values(index, rows, ceil_div(op.rows, inputs), channels // lanes, fence, self.push())

    def gelu_table(self, index: int) -> float:
        """Load the GELU table of an operation; returns when it is complete."""
        words = ceil_div(GELU_BYTES, self.hardware.inputs)
        self.loader.stream_job(index, words)
        first, last = self.engine.table(self.push(), words, self.engine.gelu_free + 1)
        self.loader.done()
        return max(first + GELU_LATENCY, last + ceil_div(GELU_BYTES, 8 * words))

    def _mlp(self, index: int, op: Op) -> None:
        source, norm = self.gelu_table(index), self.norm()
        for _ in range(op.experts):
            self.loader.stream_job(index, expert_words(op.in_features, op.out_features, self.hardware, op.expert_bits))
            self.expert(index, op, op.rows, self.push(), source, norm)
            self.loader.done()
            norm = None

    def expert(
        self,
        index: int,
        op: Op,
        rows: int,
        pushed: float,
        source: float,
        norm: NormStart | None = None,
        arrive: Arrive | None = None,
    ) -> float:
        """Both layers of an expert or slice; returns when the second command entered the queues.

        Args:
            index: of the operation.
            op: the operation.
            rows: tokens.
            pushed: when the first command entered the queues.
            source: when the GELU table is complete.
            norm: before the first layer.
            arrive: the words' arrival in place of the stream's.
        """
        hidden, dim = op.out_features, op.in_features
        inputs, lanes, nibbles = self.hardware.inputs, self.hardware.lanes, op.expert_bits == 4
        chunks, tiles = ceil_div(dim, inputs), ceil_div(hidden, lanes)
        first = Command(index, rows, chunks, tiles, norm=norm, source=source, gelu=True, nibbles=nibbles)
        chunks, tiles = ceil_div(hidden, inputs), ceil_div(dim, lanes)
        second = Command(index, rows, chunks, tiles, RESIDUAL_DRAIN, Fence.LAST, nibbles=nibbles)
        self.engine.linear(first, pushed, self.loader.seek, arrive)
        pushed = self.push()
        self.engine.linear(second, pushed, 0.0, arrive)
        return pushed

    def _store(self, index: int, op: Op) -> None:
        words = op.rows * ceil_div(op.out_features, UNIT_BYTES)
        begin = max(self.time + 1, self.idle) + 2
        memory = self.hardware.memory
        period = write_cycles_per_word(memory.ports, memory.efficiency_percent)
        saved = min(words, SAVED_BEATS * memory.ports / PORT_BEATS)
        last = min(words, BURST_WORDS) * max(0.0, PORT_BEATS - period)  # the last burst has a port for itself
        end = begin + WRITE_CYCLES + (words - saved) * period + last + memory.latency_cycles
        self.write_words[index] = words
        self.engine.turns[-1].stall_input += begin - 1 - self.engine.turns[-1].end
        self.engine.turns[-1].end = begin - 1
        self.engine.turns.append(Turn(index, begin, end, stall_input=end - begin + 1))
        self.time = end


def lends(first: Op, hardware: HardwareConfig) -> bool:
    """Whether the model leaves the upper part of the key-value buffer to the stream (m3vit_program)."""
    dim = first.in_features if first.opcode is Opcode.LOAD else first.out_features
    used = max(ceil_div(2 * dim, hardware.inputs), ceil_div(first.in_features, hardware.inputs))
    kept = hardware.max_tokens * ceil_div(2 * hardware.max_dim, hardware.inputs) - hardware.lend_words
    return first.rows * used <= kept
