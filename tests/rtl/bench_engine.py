# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The linear engine against golden: a small network per run, with every kind of command, stalls on every side.

The bench stands for everything around the engine. It keeps the buffers at their real addresses and writes a result
there some cycles after it has come, so a wrong address and a read that comes too early both give wrong numbers.

Shapes: N tokens, K inputs, M outputs, D channels, C channels of a head.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.attention import reciprocal, weighted_values
from m3vit.sim.golden.linear import Linear, gelu, linear
from m3vit.sim.golden.norm import Requant, fold_multiplier
from rtl.handshake import Dice, Scoreboard, fields, join, send, start, unpack, until, word_ints

UNIT = 32
ACT_LATENCY, KV_LATENCY, FACTOR_LATENCY = 5, 3, 30
RETURN = 4
"""Cycles after which a row may return to the accumulator, at the earliest."""
LINEAR, SCORES, VALUES, GELU, NORM, DROP = range(6)
SRC_X, SRC_QUEUE, SRC_HIDDEN, SRC_PATCHES, SRC_QUERY, SRC_SCORES = range(6)
DST_LOGITS, DST_GELU, DST_QKV, DST_COMBINE, DST_RESIDUAL, DST_OUTPUT, DST_SCORES, DST_ATTENTION = range(8)
FENCE_NONE, FENCE_LAST, FENCE_ALL, FENCE_FEED = range(4)
NORM_NONE, NORM_ROWS, NORM_ALL = range(3)
BITS = {DST_GELU: 10, DST_QKV: 8, DST_ATTENTION: 8}
SHIFTS = {16: (14, 24), 10: (20, 28), 8: (22, 30)}
COMMAND = {
    "kind": 3, "op": 7, "rows": 13, "first": 13, "dest_first": 13, "k_chunks": 8, "m_tiles": 10, "source": 3, "dest": 3,
    "fence": 2, "norm": 2, "bank": 1, "seek": 1, "expert": 10, "expert_words": 26, "pitch": 8, "word": 8, "sub": 2,
    "dest_pitch": 8, "dest_word": 8, "dest_sub": 4, "split": 10, "head_tiles": 4, "split_pitch": 8, "keys": 13,
    "key_unit": 8, "units": 3, "score_shift": 5, "multiplier": 16, "shift": 6,
}  # fmt: skip
REQUEST = (3, 1, 13, 8, 8, 2, 3, 13, 1, 16, 6)
TAG = (7, 13, 13, 10, 8, 4, 8, 3, 1, 1, 1)
SCORE_TAG = (13, 10, 3, 5, 13)
Int8s = npt.NDArray[np.int8]


def ceil_div(value: int, unit: int) -> int:
    """Smallest number of units that hold `value`."""
    return -(-value // unit)


def stream_words(layer: Linear, lanes: int, inputs: int) -> list[int]:
    """Words of a layer in stream order: per tile the channel records, then per chunk a word for each channel."""
    out_features, in_features = layer.weight_MK.shape
    tiles, chunks = ceil_div(out_features, lanes), ceil_div(in_features, inputs)
    weight = np.zeros((tiles * lanes, chunks * inputs), np.int8)
    weight[:out_features, :in_features] = layer.weight_MK
    record = np.zeros((tiles * lanes, 8), np.uint8)
    record[:out_features, 0:4] = layer.bias_M.astype("<i4").view(np.uint8).reshape(-1, 4)
    record[:out_features, 4:6] = layer.multiplier_M.astype("<u2").view(np.uint8).reshape(-1, 2)
    record[:out_features, 6] = layer.shift_M
    record[out_features:, 6] = 1
    words = []
    for tile in range(tiles):
        records = record[tile * lanes : (tile + 1) * lanes].reshape(-1)
        words += word_ints(np.pad(records, (0, -len(records) % inputs)), inputs)
        block = weight[tile * lanes : (tile + 1) * lanes].reshape(lanes, chunks, inputs).transpose(1, 0, 2)
        words += word_ints(np.ascontiguousarray(block).view(np.uint8), inputs)
    return words


def draw_layer(rng: np.random.Generator, out_features: int, in_features: int, bits: int) -> Linear:
    """Weights and biases of full range, requantised to values that sometimes saturate `bits` bits."""
    weight_MK = rng.integers(-127, 128, (out_features, in_features), np.int8)
    if rng.integers(0, 4) == 0:
        values = [-127, 127, 0, 1, -1, 50] if rng.integers(0, 2) else [-127]
        weight_MK = rng.choice(values, (out_features, in_features)).astype(np.int8)
    return Linear(
        weight_MK,
        rng.integers(-(1 << 22), 1 << 22, out_features).astype(np.int32),
        rng.integers(1 << 15, 1 << 16, out_features).astype(np.uint16),
        rng.integers(*SHIFTS[bits], out_features).astype(np.uint8),
    )


def draw_x(rng: np.random.Generator, rows: int, channels: int) -> Int8s:
    """Full-range activations, sometimes only extremes."""
    if rng.integers(0, 3) == 0:
        return rng.choice(np.array([-128, 127] if rng.integers(0, 2) else [-128], np.int8), (rows, channels))
    return rng.integers(-128, 128, (rows, channels), np.int8)


@dataclass
class Work:
    """One command that issues rows, and what must come of it.

    Attributes:
        command: fields of command_t.
        out_NM: results, None for scores.
        place: (word, sub, pitch, keys) of a tile.
        score_NK: exact products of queries and keys.
        act_NK: probabilities minus 128 (uint8 view), for SRC_SCORES.
        factors: (multiplier, shift) of each row.
    """

    command: dict[str, int]
    out_NM: npt.NDArray[np.int64] | None = None
    place: Callable[[int], tuple[int, int, int, int]] = lambda _: (0, 0, 0, 0)
    score_NK: npt.NDArray[np.int64] | None = None
    act_NK: Int8s | None = None
    factors: list[tuple[int, int]] = field(default_factory=list)

    def nest(self) -> Iterator[tuple[int, int, int]]:
        """(tile, chunk, row) in the order of issue."""
        c = self.command
        for tile in range(c["m_tiles"]):
            for chunk in range(c["k_chunks"]):
                for row in range(c["rows"]):
                    yield tile, chunk, row


class Plan:
    """A list of commands in the order of the executor, their stream, and the tables and rows that others deliver."""

    def __init__(self, rng: np.random.Generator, lanes: int, groups: int) -> None:
        self.rng, self.lanes, self.groups, self.inputs = rng, lanes, groups, UNIT * groups
        self.commands: list[int] = []
        self.words: list[int] = []
        self.segments: list[int] = []
        self.works: list[Work] = []
        self.tables: list[Int8s] = []
        self.norms: list[tuple[list[int], Int8s]] = []
        self.patches_NK = draw_x(rng, 0, 0)
        self.queues: deque[tuple[int, list[int]]] = deque()
        self.op = 0

    def push(self, **values: int) -> dict[str, int]:
        """A command; fields that are not given are zero."""
        command = dict.fromkeys(COMMAND, 0) | {"op": self.op} | values
        self.commands.append(join(*((command[name], width) for name, width in COMMAND.items())))
        return command

    def pitch(self, channels: int) -> int:
        """Words of a row of bytes."""
        return ceil_div(channels, self.inputs)

    def granules(self, first: int, pitch: int, size: int) -> Callable[[int], tuple[int, int, int, int]]:
        """Places of tiles that lie side by side in words or units of `size` bytes or channels."""
        per = size // self.lanes
        return lambda tile: ((first + tile) // per, (first + tile) % per, pitch, 0)

    def linear(
        self,
        x_NK: Int8s,
        layer: Linear,
        dest: int,
        place: Callable[[int], tuple[int, int, int, int]] | None = None,
        **values: int,
    ) -> npt.NDArray[np.int64]:
        """A layer; returns what it computes."""
        out_features, in_features = layer.weight_MK.shape
        tiles = ceil_div(out_features, self.lanes)
        out_NM = linear(x_NK, layer, BITS.get(dest, 16))
        chunks, word, sub = self.pitch(in_features), values.get("dest_word", 0), values.get("dest_sub", 0)
        if place is None:
            size = UNIT if dest in (DST_COMBINE, DST_RESIDUAL, DST_OUTPUT) else self.inputs
            place = self.granules(word * (size // self.lanes) + sub, values.get("dest_pitch", 0), size)
        command = self.push(
            kind=LINEAR, rows=len(x_NK), k_chunks=chunks, m_tiles=tiles, dest=dest, pitch=chunks, **values
        )
        padded_NM = np.pad(out_NM, ((0, 0), (0, tiles * self.lanes - out_features)))
        self.works.append(Work(command, padded_NM, place))
        self.words += stream_words(layer, self.lanes, self.inputs)
        return out_NM

    def layer(self, out_features: int, in_features: int, bits: int) -> Linear:
        """Random layer."""
        return draw_layer(self.rng, out_features, in_features, bits)

    def norm(self, x_ND: Int8s) -> None:
        """LayerNorm unit: the bench delivers x_ND when it has started."""
        self.op += 1
        words = word_ints(self.rng.integers(0, 256, self.pitch(x_ND.shape[1]) * self.inputs, np.uint8), self.inputs)
        self.push(kind=NORM, k_chunks=len(words))
        self.words += words
        self.norms.append((words, x_ND))
        self.op += 1

    def gelu(self) -> Int8s:
        """A GELU table of random bytes, the end of its last word is padding."""
        words = ceil_div(1024, self.inputs)
        data = self.rng.integers(-128, 128, words * self.inputs, np.int8)
        self.push(kind=GELU, k_chunks=words)
        self.words += word_ints(data.view(np.uint8), self.inputs)
        self.tables.append(data[:1024])
        return data[:1024]

    def patch_embed(self, tokens: int, dim: int, channels: int) -> None:
        """First operation: patches of all tokens but the class token."""
        self.patches_NK = draw_x(self.rng, tokens - 1, channels)
        self.linear(
            self.patches_NK, self.layer(dim, channels, 16), DST_RESIDUAL, source=SRC_PATCHES, dest_first=1,
            dest_pitch=dim // UNIT,
        )  # fmt: skip

    def attention(self, tokens: int, heads: int, channels: int, block: int) -> None:
        """QKV layer, all heads in blocks of queries, projection."""
        rng, dim, per = self.rng, heads * channels, self.inputs // self.lanes
        units, kv_pitch = channels // UNIT, self.pitch(2 * dim)
        head_tiles = 0 if units == 1 else channels // self.lanes
        query_pitch = self.pitch(dim) if units == 1 else heads
        split = dim // self.lanes

        def place(tile: int) -> tuple[int, int, int, int]:
            if tile >= split:
                return (tile - split) // per, (tile - split) % per, kv_pitch, 1
            if head_tiles:
                return tile // head_tiles, tile % head_tiles, query_pitch, 0
            return tile // per, tile % per, query_pitch, 0

        x_ND = draw_x(rng, tokens, dim)
        self.norm(x_ND)
        layer = self.layer(3 * dim, dim, 8)
        if rng.integers(0, 3) == 0:  # queries, keys and values of -128
            layer = replace(
                layer, weight_MK=layer.weight_MK // 64, bias_M=np.full_like(layer.bias_M, -(1 << 26) + (1 << 20))
            )
        qkv_NM = self.linear(
            x_ND, layer, DST_QKV, place, source=SRC_X, norm=NORM_ROWS, dest_pitch=query_pitch,
            split=split, head_tiles=head_tiles, split_pitch=kv_pitch,
        )  # fmt: skip
        self.op += 1
        out_ND = np.zeros((tokens, dim), np.int8)
        q_NSC, k_NSC, v_NSC = qkv_NM.reshape(tokens, 3, heads, channels).transpose(1, 0, 2, 3)
        sets = self.groups if units == 1 else 1
        first = True
        for head in range(heads):
            for start_row in range(0, tokens, block):
                rows = min(block, tokens - start_row)
                part = slice(start_row, start_row + rows)
                scale = Requant(int(rng.integers(1 << 15, 1 << 16)), int(rng.choice([14, 15, 16, 18, 30])))
                common = {
                    "rows": rows, "keys": tokens, "units": units, "split_pitch": kv_pitch,
                    "score_shift": int(rng.integers(0, 32)), "multiplier": scale.multiplier, "shift": scale.shift,
                }  # fmt: skip
                command = self.push(
                    kind=SCORES, first=start_row, k_chunks=1, m_tiles=ceil_div(tokens, sets * self.lanes),
                    source=SRC_QUERY, dest=DST_SCORES, fence=FENCE_FEED if first else FENCE_NONE, pitch=query_pitch,
                    word=head // self.groups if units == 1 else head, sub=head % self.groups if units == 1 else 0,
                    key_unit=head * units, **common,
                )  # fmt: skip
                first = False
                self.works.append(Work(command, score_NK=q_NSC[part, head] @ k_NSC[:, head].T))
                granule = head * channels // self.lanes
                command = self.push(
                    kind=VALUES, dest_first=start_row, k_chunks=self.pitch(tokens), m_tiles=channels // self.lanes,
                    source=SRC_SCORES, dest=DST_ATTENTION, fence=FENCE_ALL if rows < 96 else FENCE_NONE,
                    dest_pitch=self.pitch(dim), dest_word=granule // per, dest_sub=granule % per,
                    key_unit=(dim + head * channels) // UNIT, **common,
                )  # fmt: skip
                p_NK = rng.integers(0, 256, (rows, tokens))
                p_NK[:, 0] = 255
                if rng.integers(0, 4) == 0:
                    p_NK = rng.choice([0, 255], (rows, tokens))
                    p_NK[:, -1] = 255
                mantissa_N, exponent_N = reciprocal(p_NK.sum(axis=1))
                factor_N = fold_multiplier(mantissa_N, scale.multiplier).tolist()
                shift_N = (scale.shift + exponent_N - 16).tolist()
                out_NC = weighted_values(p_NK, v_NSC[:, head], scale)
                out_ND[part, head * channels : (head + 1) * channels] = out_NC
                self.works.append(
                    Work(
                        command, out_NC, self.granules(granule, self.pitch(dim), self.inputs),
                        act_NK=(p_NK - 128).astype(np.int8), factors=list(zip(factor_N, shift_N, strict=True)),
                    )
                )  # fmt: skip
        self.op += 1
        self.linear(
            out_ND, self.layer(dim, dim, 16), DST_RESIDUAL, source=SRC_X, fence=FENCE_ALL, dest_pitch=dim // UNIT
        )

    def mlp(self, tokens: int, dim: int, hidden: int, slices: int) -> None:
        """Slices of a dense MLP."""
        x_ND = draw_x(self.rng, tokens, dim)
        self.norm(x_ND)
        table = self.gelu()
        for part in range(slices):
            pre_NM = self.linear(
                x_ND, self.layer(hidden, dim, 10), DST_GELU, source=SRC_X, norm=NORM_NONE if part else NORM_ROWS,
                dest_pitch=self.pitch(hidden),
            )  # fmt: skip
            self.linear(
                gelu(pre_NM, table), self.layer(dim, hidden, 16), DST_RESIDUAL, source=SRC_HIDDEN, fence=FENCE_LAST,
                dest_pitch=dim // UNIT,
            )  # fmt: skip

    def moe(self, tokens: int, dim: int, hidden: int, experts: int) -> None:
        """Router and the experts that have tokens; others are in the stream as well."""
        rng, lanes, inputs = self.rng, self.lanes, self.inputs
        x_ND = draw_x(rng, tokens, dim)
        self.norm(x_ND)
        table = self.gelu()
        self.linear(x_ND, self.layer(experts, dim, 16), DST_LOGITS, source=SRC_X, norm=NORM_ROWS)
        loaded = sorted(rng.choice(experts, int(rng.integers(1, experts + 1)), replace=False).tolist())
        used = [expert for expert in loaded if rng.integers(0, 2)]
        for index, expert in enumerate(loaded):
            first, second = self.layer(hidden, dim, 10), self.layer(dim, hidden, 16)
            words = stream_words(first, lanes, inputs) + stream_words(second, lanes, inputs)
            self.segments.append(join((0, 1), (expert, 10)))
            if expert not in used:
                self.words += words
                continue
            rows, bank = int(rng.integers(1, tokens + 1)), index % 2
            queue = sorted(rng.choice(tokens, rows, replace=False).tolist())
            self.queues.append((bank, queue))
            pre_NM = self.linear(
                x_ND[queue], first, DST_GELU, source=SRC_QUEUE, bank=bank, seek=1, expert=expert,
                expert_words=len(words), dest_pitch=self.pitch(hidden),
            )  # fmt: skip
            self.linear(
                gelu(pre_NM, table), second, DST_COMBINE, source=SRC_HIDDEN, bank=bank, fence=FENCE_LAST,
                dest_pitch=dim // UNIT,
            )  # fmt: skip
        self.segments.append(join((1, 1), (0, 10)))
        self.push(kind=DROP, expert_words=len(words))

    def head(self, tokens: int, dim: int, out_features: int) -> None:
        """All tokens but the class token."""
        x_ND = draw_x(self.rng, tokens, dim)
        self.norm(x_ND)
        self.linear(
            x_ND[1:], self.layer(out_features, dim, 16), DST_OUTPUT, source=SRC_X, first=1, norm=NORM_ALL,
            dest_pitch=ceil_div(out_features, UNIT),
        )  # fmt: skip


class Bench:
    """Everything around the engine; `pace` is how often a cycle brings a row of the norm, unless as all else."""

    def __init__(self, dut: Any, plan: Plan, dice: Dice, *, calm: bool = False, pace: float | None = None) -> None:
        self.dut, self.plan, self.dice, self.calm, self.pace = dut, plan, dice, calm, pace
        self.lanes, self.groups, self.inputs = plan.lanes, plan.groups, plan.inputs
        self.results, self.scores, self.requests = Scoreboard("result"), Scoreboard("score"), Scoreboard("request")
        self.cycle = 0
        self.request_cycles: dict[int, list[int]] = {}
        noise = np.random.default_rng(1)
        self.x, self.h, self.kv = (noise.integers(-128, 128, 1 << 16, np.int8) for _ in range(3))
        self.queues: dict[int, list[int]] = {}
        self.owners: Iterator[tuple[int, Work, int, int, int]] = (
            (index, work, *place) for index, work in enumerate(plan.works) for place in work.nest()
        )
        self.answers: deque[int | None] = deque([None] * (ACT_LATENCY - 1))
        self.units: deque[int | None] = deque([None] * (KV_LATENCY - 1))
        self.arriving: deque[tuple[int, npt.NDArray[np.int8], int, npt.NDArray[np.int8]]] = deque()
        self.factors: deque[tuple[int, int, int]] = deque()  # due, multiplier, shift
        self.tables, self.norms = deque(plan.tables), deque(plan.norms)
        self.table = np.zeros(1024, np.int8)
        self.table_words = 0
        self.table_due: int | None = None
        self.norm_words = 0
        self.norm_rows = 0
        self.norming: npt.NDArray[np.int8] | None = None
        self.starting = False
        self.patches_at = dice.random.randrange(100)
        self.expected_requests = sum(c["rows"] * c["k_chunks"] * c["m_tiles"] for c in (w.command for w in plan.works))
        for work in plan.works:
            self._expect(work)

    def _expect(self, work: Work) -> None:
        c = work.command
        for tile in range(c["m_tiles"]):
            word, sub, pitch, keys = work.place(tile)
            for row in range(c["rows"]):
                if work.score_NK is not None:
                    tag = (row, tile, c["units"], c["score_shift"], c["keys"])
                    self.scores.expect((*tag, *self._sums(work, tile, row)))
                    continue
                assert work.out_NM is not None
                last = int(tile == c["m_tiles"] - 1 and row == c["rows"] - 1)
                place = (word, sub, pitch) if c["dest"] != DST_LOGITS else (0, 0, 0)
                values = work.out_NM[row, tile * self.lanes : (tile + 1) * self.lanes].tolist()
                dest_row = c["dest_first"] + row
                self.results.expect((c["op"], row, dest_row, tile, *place, c["dest"], keys, c["bank"], last, *values))

    def _sums(self, work: Work, tile: int, row: int) -> list[int]:
        """Scores of the keys that exist, in the order of groups and lanes."""
        assert work.score_NK is not None
        per = self.lanes * (self.groups if work.command["units"] == 1 else 1)
        return [int(v) for v in work.score_NK[row, tile * per : (tile + 1) * per]]

    @property
    def complete(self) -> bool:
        """All has come."""
        return self.results.complete and self.scores.complete and not self.arriving

    def finish(self) -> None:
        """Exactly what was expected has come."""
        self.results.finish()
        if self.scores.expected:
            self.scores.finish()
        seen = sum(map(len, self.request_cycles.values()))
        assert seen == self.expected_requests, f"{seen} of {self.expected_requests} rows were requested"
        assert not self.norms
        assert not self.tables
        assert not self.factors

    def _chance(self) -> bool:
        return self.calm or self.dice.random.random() < 0.6

    async def run(self) -> None:
        """Serve until all results have come."""
        dut = self.dut
        while not self.complete:
            dut.out_ready.value = ready = not self.dice.stalls()
            dut.consumer_idle.value = not self.arriving
            dut.gelu_ready.value = self._chance()
            dut.norm_ready.value = self._chance()
            dut.gelu_loaded.value = self.table_due is not None and self.table_due <= self.cycle
            dut.norm_idle.value = self.norming is None
            dut.norm_busy.value = self.norming is not None
            dut.norm_rows.value = self.norm_rows
            dut.patches_ready.value = self.cycle > self.patches_at
            if self.cycle == self.patches_at:
                self._write_rows(self.kv, self.plan.patches_NK, 0)
            due = bool(self.factors) and self.factors[0][0] <= self.cycle + 1
            dut.factor_valid.value = due
            dut.factor.value = join((self.factors[0][1], 16), (self.factors[0][2], 6)) if due else self.dice.noise(22)
            dut.norm_start.value = starting = self.starting
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            dut.act.value = self._answer(self.answers, self.inputs)
            dut.kv_unit.value = self._answer(self.units, UNIT)
            self._see_request()
            self._see_key()
            self._see_score()
            self._see_tables()
            self._norm(starting)
            if dut.factor_ready.value:
                assert due, "a factor is taken that is not there"
                self.factors.popleft()
            if ready and dut.out_valid.value:
                self._see_result()
            while self.arriving and self.arriving[0][0] <= self.cycle:
                _, memory, at, data = self.arriving.popleft()
                memory[at : at + len(data)] = data
            states = [dut.act_valid, dut.stall_weight, dut.stall_input, dut.stall_output]
            assert sum(int(state.value) for state in states) == 1, "a cycle is counted twice or not at all"

    def _answer(self, queue: deque[int | None], size: int) -> int:
        """The word that belongs to this cycle, noise otherwise."""
        word = queue.popleft()
        return self.dice.noise(8 * size) if word is None else word

    def _write_rows(self, memory: Int8s, rows_NK: Int8s, first: int) -> None:
        pitch = self.plan.pitch(rows_NK.shape[1]) * self.inputs if len(rows_NK) else 0
        for row, data in enumerate(rows_NK, first):
            memory[row * pitch : row * pitch + len(data)] = data

    def _see_request(self) -> None:
        dut = self.dut
        if not dut.act_valid.value:
            self.answers.append(None)
            return
        index, work, tile, chunk, row = next(self.owners)
        c = work.command
        source, bank, at, word, pitch, sub, units, keys, last, multiplier, shift = fields(
            int(dut.act_req.value), *REQUEST
        )
        assert (source, at) == (c["source"], c["first"] + row), f"command {index} asks for row {at} of {source}"
        assert int(dut.op.value) == c["op"]
        cycles = self.request_cycles.setdefault(index, [])
        cycles.append(self.cycle)
        returns = (tile, chunk) != (0, 0)
        assert not returns or self.cycle - cycles[-1 - c["rows"]] >= RETURN, f"row {row} of {index} returns too early"
        if source == SRC_QUEUE:
            if len(cycles) == 1:
                self.queues.update([self.plan.queues.popleft()])
            assert bank == c["bank"]
            at = self.queues[bank][at]
        if source == SRC_SCORES:
            assert work.act_NK is not None
            assert (word, last) == (chunk, int(chunk == c["k_chunks"] - 1))
            assert (keys, multiplier, shift) == (c["keys"], c["multiplier"], c["shift"])
            data = work.act_NK[row, chunk * self.inputs : (chunk + 1) * self.inputs]
            data = np.pad(data, (0, self.inputs - len(data)))
            if last:
                delay = ACT_LATENCY + (FACTOR_LATENCY if self.calm or self.dice.random.random() < 0.7 else 10)
                due = max(self.cycle + delay, self.factors[-1][0] if self.factors else 0)
                self.factors.append((due, *work.factors[row]))
        else:
            memory = {SRC_HIDDEN: self.h, SRC_PATCHES: self.kv, SRC_QUERY: self.h}.get(source, self.x)
            assert word == (c["word"] if source == SRC_QUERY else chunk)
            start_byte = (at * pitch + word) * self.inputs
            data = memory[start_byte : start_byte + self.inputs]
            if source == SRC_QUERY:
                assert units == c["units"]
                unit = data[sub * UNIT : (sub + 1) * UNIT]
                data = np.tile(unit, self.groups) if units == 1 else data.copy()
                if units > 1:
                    data[units * UNIT :] = 0
        self.answers.append(int.from_bytes(data.tobytes(), "little"))

    def _see_key(self) -> None:
        dut = self.dut
        if not dut.kv_valid.value:
            self.units.append(None)
            return
        row, unit, pitch = fields(int(dut.kv_req.value), 13, 8, 8)
        at = row * pitch * self.inputs + unit * UNIT
        self.units.append(int.from_bytes(self.kv[at : at + UNIT].tobytes(), "little"))

    def _see_score(self) -> None:
        dut = self.dut
        if not dut.score_valid.value:
            return
        row, tile, units, shift, keys = fields(int(dut.score_tag.value), *SCORE_TAG)
        per = self.lanes * (self.groups if units == 1 else 1)
        exist = max(0, min(per, keys - tile * per))
        sums = unpack(int(dut.score_sum.value), 23, self.groups * self.lanes, signed=True)[:exist]
        self.scores.check((row, tile, units, shift, keys, *sums))

    def _see_tables(self) -> None:
        dut = self.dut
        if dut.gelu_valid.value and dut.gelu_ready.value:
            words = ceil_div(1024, self.inputs)
            if self.table_words == 0:
                self.table = self.table ^ np.int8(0x55)  # half written
                self.table_due = None
            at = self.table_words * self.inputs
            data = np.frombuffer(int(dut.word.value).to_bytes(self.inputs, "little"), np.int8)[: 1024 - at]
            assert np.array_equal(data, self.tables[0][at : at + self.inputs]), "a word of the GELU table is wrong"
            self.table_words += 1
            if self.table_words == words:
                self.table_words = 0
                self.table = self.tables.popleft()
                self.table_due = self.cycle + self.dice.random.randrange(20)
        if dut.norm_valid.value and dut.norm_ready.value:
            assert self.norming is None, "the norm's table changes while it is busy"
            wanted = self.norms[0][0]
            assert self.norm_words < len(wanted), "a norm's table is overwritten before it has started"
            assert int(dut.word.value) == wanted[self.norm_words], "a word of the norm's table is wrong"
            self.norm_words += 1

    def _norm(self, starting: bool) -> None:
        """The unit starts when the engine waits for it, and writes a row now and then."""
        dut = self.dut
        self.starting = False
        if starting:
            self.norm_words, self.norm_rows = 0, 0
            self.norming = self.norms.popleft()[1]
            self.x[:] ^= 0x55
        elif self.norming is not None:
            if self.norm_rows == len(self.norming):
                if self._chance():
                    self.norming = None
            elif self._chance() if self.pace is None else self.dice.random.random() < self.pace:
                pitch = self.plan.pitch(self.norming.shape[1]) * self.inputs
                at = self.norm_rows * pitch
                self.x[at : at + self.norming.shape[1]] = self.norming[self.norm_rows]
                self.norm_rows += 1
        elif dut.norm_wait.value and dut.quiet.value and self.norms and self.norm_words == len(self.norms[0][0]):
            assert not self.arriving, "the norm starts before all results have come"
            self.starting = self._chance()

    def _see_result(self) -> None:
        dut = self.dut
        tag = fields(int(dut.out_tag.value), *TAG)
        _, _, dest_row, _, word, sub, pitch, dest, keys, _, _ = tag
        values = unpack(int(dut.out_value.value), 16, self.lanes, signed=True)
        seen = tag if dest != DST_LOGITS else (*tag[:4], 0, 0, 0, *tag[7:])
        self.results.check((*seen, *values))
        if dest not in (DST_GELU, DST_QKV, DST_ATTENTION):
            memory, data, at = self.x, np.zeros(0, np.int8), 0
        else:
            memory = {DST_GELU: self.h, DST_ATTENTION: self.x, DST_QKV: self.kv if keys else self.h}[dest]
            data = np.array(values, np.int64)
            data = (gelu(data, self.table) if dest == DST_GELU else data).astype(np.int8)
            at = (dest_row * pitch + word) * self.inputs + sub * self.lanes
        due = self.cycle + (1 if self.calm else self.dice.random.randrange(1, 7))
        self.arriving.append((max(due, self.arriving[-1][0] if self.arriving else 0), memory, at, data))


async def play(
    dut: Any, plan: Plan, name: str, stalls: tuple[float, float], limit: int, pace: float | None = None
) -> Bench:
    """Run a plan; stalls of the sources and of the output."""
    bench = Bench(dut, plan, Dice((name, "bench"), stalls[1]), calm=stalls == (0.0, 0.0), pace=pace)
    await start(dut, dut.cmd_valid, dut.weight_valid, dut.segment_valid, dut.norm_start, dut.out_ready, dut.gelu_loaded,
                dut.norm_busy, dut.norm_rows, dut.patches_ready, dut.factor_valid)  # fmt: skip
    serving = cocotb.start_soon(bench.run())
    ports = {
        "weight": (dut.weight, dut.weight_valid, dut.weight_ready),
        "segment": (dut.segment, dut.segment_valid, dut.segment_ready),
        "cmd": (dut.cmd, dut.cmd_valid, dut.cmd_ready),
    }
    for port, items in (("weight", plan.words), ("segment", plan.segments), ("cmd", plan.commands)):
        cocotb.start_soon(send(dut.clk_i, ports[port], items, Dice((name, port), stalls[0])))
    await until(dut.clk_i, serving.done, limit, "the last result")
    serving.result()
    bench.finish()
    await until(dut.clk_i, lambda: bool(dut.idle.value), 40, "idle")
    return bench


def shape(dut: Any) -> tuple[int, int]:
    """Lanes and groups."""
    return len(dut.out_value) // 16, len(dut.act) // 8 // UNIT


@cocotb.test()
@cocotb.parametrize(seed=range(4), stalls=[(0.0, 0.0), (0.5, 0.0), (0.05, 0.6), (0.2, 0.2)])
async def network(dut: Any, seed: int, stalls: tuple[float, float]) -> None:
    """A network of one layer of each kind with random sizes."""
    lanes, groups = shape(dut)
    rng = np.random.default_rng([seed, lanes, groups])
    plan = Plan(rng, lanes, groups)
    inputs = plan.inputs
    tokens = int(rng.choice([2, 3, 17, 33, inputs, inputs + 1, 40]))
    channels = UNIT * int(rng.integers(1, groups + 1))
    heads = int(rng.integers(1, 4))
    dim = heads * channels
    plan.patch_embed(tokens, dim, int(rng.integers(1, 3)) * 48)
    plan.attention(tokens, heads, channels, int(rng.integers(max(1, tokens // 3), tokens + 1)))
    plan.mlp(tokens, dim, inputs * int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    plan.moe(tokens, dim, inputs * int(rng.integers(1, 3)), int(rng.integers(2, 8)))
    plan.mlp(1, dim, inputs * int(rng.integers(1, 4)), 2)
    plan.head(tokens, dim, int(rng.integers(1, 80)))
    await play(dut, plan, f"network {seed} {stalls}", stalls, 60000)


@cocotb.test()
@cocotb.parametrize(rows=[2, 3])
async def short_passes(dut: Any, rows: int) -> None:
    """Passes of few rows, one of which waits for its norm until the next tile is there: the next pass waits as well."""
    lanes, groups = shape(dut)
    rng = np.random.default_rng([rows, lanes, groups])
    plan = Plan(rng, lanes, groups)
    for _ in range(12):
        plan.mlp(rows, UNIT * int(rng.integers(groups + 1, 3 * groups)), plan.inputs, 1)
    bench = await play(dut, plan, f"short passes {rows}", (0.0, 0.0), 20000, pace=0.5 / lanes)
    firsts = [bench.request_cycles[index] for index, work in enumerate(plan.works) if work.command["norm"]]
    late = [cycles for cycles in firsts if cycles[rows - 1] - cycles[0] > 2 * lanes]
    assert len(late) >= 3, "no row waits longer than a tile"


@cocotb.test()
async def long_passes(dut: Any) -> None:
    """Passes that are longer than a tile takes to load follow each other without a pause."""
    lanes, groups = shape(dut)
    rows = 2 * lanes + 16
    plan = Plan(np.random.default_rng([lanes, groups]), lanes, groups)
    plan.mlp(rows, UNIT * 2 * groups, 2 * plan.inputs, 3)
    bench = await play(dut, plan, "long passes", (0.0, 0.0), 20000)
    for index, work in enumerate(plan.works):
        cycles, fenced = bench.request_cycles[index], work.command["k_chunks"] - 1 if work.command["fence"] else 0
        pauses = [cycles[at] - cycles[at - 1] - 1 for at in range(rows, len(cycles), rows)]
        assert not any(pauses[fenced:]), f"command {index} pauses: {pauses}"
