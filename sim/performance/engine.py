# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The linear engine, pass by pass: feeder, row issuer and what they wait for.

A pass sends the rows of a command past one weight tile. The feeder fills the shadow registers with the next tile as
soon as the array has taken the last one, so a pass takes max(rows, time of a tile) plus what weights, fences, norms and
the router withhold. Times are cycles. RTL: m3vit_weight_feeder, m3vit_row_issuer, m3vit_linear_engine.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from m3vit.model.config import HardwareConfig
from m3vit.sim.layout import record_words
from m3vit.sim.performance.stream import Stream
from m3vit.sim.performance.timing import (
    ACT_LATENCY,
    BYTES_DRAIN,
    COMMAND_QUEUE,
    KV_LATENCY,
    NORM_PIPELINE,
    OUTPUT_LATENCY,
    SCORE_DRAIN,
    SETTLE_CYCLES,
    STREAM_LATENCY,
    SWAP_CYCLES,
)

Arrive = Callable[[int], float]
"""Says when the next words of the stream have come, given their number."""
Accept = Callable[[float, float, int], float]
"""Says when the last row of a tile can be issued, given the first and the last issue and the tile."""
SHORT_ROWS = 4
"""Rows below which a pass holds the next one until its last row is in the array (m3vit_row_issuer short)."""


class Fence(Enum):
    """What a command waits for (m3vit_pkg fence_e)."""

    NONE = auto()
    FEED = auto()
    """Its feeder: until all earlier results have arrived."""
    LAST = auto()
    """Its first last chunk: until all earlier results have arrived."""
    ALL = auto()
    """Its first pass."""


@dataclass(frozen=True)
class NormStart:
    """A LayerNorm that a command waits for.

    Attributes:
        op: index of the LAYER_NORM operation.
        posted: when the executor made it known.
        loaded: when its table was complete.
        granules: cycles per row: channels / lanes.
        rows: of the residual.
        whole: the command waits for all rows, not for each of its own.
    """

    op: int
    posted: float
    loaded: float
    granules: int
    rows: int
    whole: bool


@dataclass(frozen=True)
class Command:
    """A command with weights from the stream.

    Attributes:
        op: index of the operation.
        rows: that each pass issues.
        chunks: words of input channels.
        tiles: of output channels.
        drain: from the last issue until the results have arrived.
        fence: what it waits for.
        norm: LayerNorm before it.
        source: when its input or its table is there.
        gelu: its results pass the GELU table.
        nibbles: its weights have 4 bits, and each word of the stream holds two lanes.
    """

    op: int
    rows: int
    chunks: int
    tiles: int
    drain: int = BYTES_DRAIN
    fence: Fence = Fence.NONE
    norm: NormStart | None = None
    source: float = 0.0
    gelu: bool = False
    nibbles: bool = False


@dataclass
class Turn:
    """What a command, or the LayerNorm before it, did while it was the engine's oldest.

    Attributes:
        op: index of the operation.
        begin: its first cycle.
        end: its last cycle.
        issued: rows.
        stall_weight, stall_input, stall_output: cycles without a row, by cause.
    """

    op: int
    begin: float
    end: float
    issued: int = 0
    stall_weight: float = 0.0
    stall_input: float = 0.0
    stall_output: float = 0.0


class Engine:
    """Feeder and issuer with their command queues.

    Args:
        hardware: shape.
        stream: where weights come from.
    """

    def __init__(self, hardware: HardwareConfig, stream: Stream) -> None:
        self.lanes, self.inputs, self.groups = hardware.lanes, hardware.inputs, hardware.groups
        self.record_words = record_words(hardware)
        self.granules = hardware.inputs // hardware.lanes
        self.stream = stream
        self.turns: list[Turn] = []
        self.fed = 0.0
        """When the feeder gave the last command back."""
        self.issued = 0.0
        """When the last row was issued."""
        self.quiet = 0.0
        """When all results so far have arrived."""
        self.gelu_free = 0.0
        """When the GELU table may be overwritten."""
        self.norm_start = 0.0
        self.norm_end = 0.0
        self._swap = 0.0  # when the array may swap again
        self._taken = 0.0  # when the array took the last tile
        self._tile_ends: deque[float] = deque(maxlen=self.granules)  # last rows of the last output tiles
        self._fed: deque[float] = deque(maxlen=COMMAND_QUEUE)
        self._issued: deque[float] = deque(maxlen=COMMAND_QUEUE)

    def push(self, time: float) -> float:
        """When a command that is ready at `time` enters the queues."""
        for queue in (self._fed, self._issued):
            if len(queue) == COMMAND_QUEUE:
                time = max(time, queue[0] + 1)
        return time

    def table(self, pushed: float, words: int, allowed: float) -> tuple[float, float]:
        """A command that hands a table of the stream on; returns when its first and its last word left."""
        start = max(self.fed + 3, pushed + 3, allowed + 1)
        first = max(start, self.stream.arrive(1) + STREAM_LATENCY)
        last = max(first + words - 1, self.stream.arrive(words - 1) + STREAM_LATENCY) if words > 1 else first
        self.stream.pop(last)
        self._give_back(last)
        return first, last

    def idle(self, done: float) -> None:
        """A command without rows or words that the feeder gave back at `done`."""
        self._give_back(done)

    def linear(
        self, command: Command, pushed: float, start: float, arrive: Arrive | None = None, accept: Accept | None = None
    ) -> None:
        """A command with weights from the stream.

        Args:
            command: what to do.
            pushed: when it entered the queues.
            start: when the feeder may take its first record, if its commands before are done.
            arrive: the words' arrival in place of the stream's.
            accept: the consumer of its results, if it is slower than the engine.
        """
        turn = self._turn(command, pushed)
        rows, last_chunk = command.rows, command.chunks - 1
        arrive, pop = arrive or self.stream.arrive, self.stream.pop if arrive is None else _nothing
        load = self._load_nibbles if command.nibbles else self._load
        period = 2 if command.nibbles else 1
        loaded = max(start, self.fed + 3, pushed + 3) - 1
        gate, settled = self._gates(command)
        for tile in range(command.tiles):
            loaded = max(loaded + self.record_words, arrive(self.record_words) + STREAM_LATENCY) + 1
            pop(loaded - 1)
            for chunk in range(command.chunks):
                begin = max(loaded, self._taken) + 1
                loaded, visible = load(begin, arrive)
                pop(loaded, period)
                opened = gate if tile == 0 else 0.0
                if tile == 0 and command.fence is Fence.LAST:
                    opened = max(gate, self.quiet if chunk == last_chunk else settled)
                first = self._pass(turn, rows, max(loaded - ACT_LATENCY + 1, visible), opened)
                if tile == 0 and chunk == 0 and command.norm:
                    self._follow_norm(turn, command.norm)
            if accept:
                self._hold(turn, accept(first, self.issued, tile))
            self._tile_ends.append(self.issued)
        self._give_back(loaded)
        self._finish(turn, command.drain)
        if command.gelu:
            self.gelu_free = self.issued + OUTPUT_LATENCY

    def _load(self, begin: float, arrive: Arrive) -> tuple[float, float]:
        """A tile whose first word can be taken at `begin`: when its last lane is loaded, its last word visible."""
        visible = arrive(self.lanes) + STREAM_LATENCY
        return max(begin + self.lanes - 1, visible), visible

    def _load_nibbles(self, begin: float, arrive: Arrive) -> tuple[float, float]:
        """The same with 4-bit weights: a word stays for two lanes, so words may come faster than they leave."""
        first = max(begin, arrive(1) + STREAM_LATENCY)
        visible = arrive(self.lanes // 2 - 1) + STREAM_LATENCY
        return max(first + self.lanes - 1, visible + 1), visible

    def scores(self, op: int, rows: int, tiles: int, units: int, fence: Fence, pushed: float) -> None:
        """Queries times keys: every tile is fetched from the key-value buffer, a unit per cycle.

        Args:
            op: index of the operation.
            rows: queries.
            tiles: of keys.
            units: of 32 channels per head.
            fence: FEED, ALL or NONE.
            pushed: when the command entered the queues.
        """
        fetch = self.lanes * (self.groups if units == 1 else units)
        turn = self._turn(Command(op, rows, 1, tiles), pushed)
        landed = max(self.fed + 2, pushed + 2, self.quiet if fence is Fence.FEED else 0.0)
        opened = self.quiet if fence is Fence.ALL else 0.0
        for _ in range(tiles):
            landed = max(landed, self._taken) + fetch + KV_LATENCY
            self._pass(turn, rows, landed + 1, opened)
        self._give_back(landed)
        self._finish(turn, SCORE_DRAIN)

    def values(self, op: int, rows: int, chunks: int, tiles: int, fence: Fence, pushed: float) -> None:
        """Probabilities times values: every tile is fetched from the key-value buffer, a key per cycle.

        Args:
            op: index of the operation.
            rows: queries.
            chunks: words of keys.
            tiles: of channels.
            fence: ALL or NONE.
            pushed: when the command entered the queues.
        """
        turn = self._turn(Command(op, rows, chunks, tiles), pushed)
        landed = max(self.fed + 2, pushed + 2)
        opened = self.quiet if fence is Fence.ALL else 0.0
        for _ in range(tiles):
            for _ in range(chunks):
                landed = max(landed, self._taken) + self.inputs + KV_LATENCY
                self._pass(turn, rows, landed + 1, opened)
            landed += 1  # the sums of the values
        self._give_back(landed)
        self._finish(turn, BYTES_DRAIN)

    def wait_until(self, time: float) -> None:
        """Nothing else happens before `time`."""
        self.issued = max(self.issued, time - 1)
        self.quiet, self.fed = max(self.quiet, time), max(self.fed, time)

    def _turn(self, command: Command, pushed: float) -> Turn:
        """The command is the engine's oldest from now on; its LayerNorm has a turn of its own."""
        head = max(self.issued, pushed) + 1
        if self.turns:  # until then the operation before counts as the oldest
            self.turns[-1].stall_input += head - 1 - self.turns[-1].end
            self.turns[-1].end = head - 1
        self.issued = head - 1
        if norm := command.norm:
            self.norm_start = max(head, norm.posted + 1, self.quiet, norm.loaded + 1, self.norm_end + 1)
            self.norm_end = self.norm_start + (norm.rows + 1) * norm.granules + NORM_PIPELINE
            issued = 0 if norm.whole else command.rows - 1
            self.turns.append(Turn(norm.op, head, self.norm_end, issued, stall_input=self.norm_end - head + 1 - issued))
            head = self.norm_end + 1
        self.turns.append(Turn(command.op, head, head))
        return self.turns[-1]

    def _gates(self, command: Command) -> tuple[float, float]:
        """When the first pass may begin, and when a fenced command's chunks before the last may."""
        gate = command.source
        if command.norm:
            norm = command.norm
            first_row = self.norm_end - (norm.rows - 1) * norm.granules + 1
            gate = max(gate, self.norm_end + 1 if norm.whole else first_row)
        if command.fence is Fence.ALL:
            gate = max(gate, self.quiet)
        settled = 0.0
        full = len(self._tile_ends) == self.granules
        if full and command.rows * (self.granules - 1) <= OUTPUT_LATENCY:
            settled = self._tile_ends[0] + OUTPUT_LATENCY + 1 + SETTLE_CYCLES
        return gate, settled

    def _pass(self, turn: Turn, rows: int, soon: float, opened: float) -> float:
        """One pass; returns its first cycle."""
        free = self.issued + 1
        begin = max(free, opened)
        first = max(begin, soon, self._swap)
        turn.stall_input += begin - free
        turn.stall_weight += first - begin
        turn.issued += rows
        self.issued = first + rows - 1
        self._taken = first + ACT_LATENCY
        self._swap = (first if rows >= SHORT_ROWS else self.issued) + SWAP_CYCLES
        return first

    def _follow_norm(self, turn: Turn, norm: NormStart) -> None:
        """The rows of a first pass come as the norm writes them; they count for the norm's turn."""
        if norm.whole:
            turn.stall_input = 0.0
            return
        turn.issued = 1
        turn.stall_input = turn.stall_weight = 0.0
        self.issued = max(self.issued, self.norm_end + 1)

    def _hold(self, turn: Turn, last: float) -> None:
        """The last row of a pass could not be issued before `last`."""
        turn.stall_output += max(0.0, last - self.issued)
        self.issued = max(self.issued, last)

    def _finish(self, turn: Turn, drain: int) -> None:
        turn.end = self.issued
        self._issued.append(self.issued)
        self.quiet = max(self.quiet, self.issued + drain)

    def _give_back(self, time: float) -> None:
        self.fed = time
        self._fed.append(time)


def _nothing(_: float, __: int = 1) -> None:
    """Words that come from elsewhere leave no room in the stream."""
