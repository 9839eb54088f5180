# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What the engine bench plays: random layers, their commands and weight words, and what must come out."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.attention import reciprocal, weighted_values
from m3vit.sim.golden.linear import Linear, gelu, linear
from m3vit.sim.golden.norm import Requant, fold_multiplier
from rtl.handshake import join, word_ints

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
    "fence": 2, "norm": 2, "bank": 1, "seek": 1, "nibbles": 1, "expert": 10, "expert_words": 26, "pitch": 8, "word": 8,
    "sub": 2, "dest_pitch": 8, "dest_word": 8, "dest_sub": 4, "split": 10, "head_tiles": 4, "split_pitch": 8,
    "keys": 13, "key_unit": 8, "units": 3, "score_shift": 5, "multiplier": 16, "shift": 6,
}  # fmt: skip
REQUEST = (3, 1, 13, 8, 8, 2, 3, 13, 1, 16, 6)
TAG = (7, 13, 13, 10, 8, 4, 8, 3, 1, 1, 1)
SCORE_TAG = (13, 10, 3, 5, 13)
Int8s = npt.NDArray[np.int8]


def ceil_div(value: int, unit: int) -> int:
    """Smallest number of units that hold `value`."""
    return -(-value // unit)


def stream_words(layer: Linear, lanes: int, inputs: int, nibbles: bool = False) -> list[int]:
    """Words of a layer in stream order: per tile the channel records, then per chunk a word for each channel.

    With 4-bit weights (`nibbles`) two words after each other become one: the first in the low halves of its bytes.
    """
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
        if nibbles:
            block = block[:, 0::2] % 16 + block[:, 1::2] % 16 * 16
        words += word_ints(np.ascontiguousarray(block).view(np.uint8), inputs)
    return words


def draw_layer(
    rng: np.random.Generator, out_features: int, in_features: int, bits: int, nibbles: bool = False
) -> Linear:
    """Weights and biases of full range, requantised to values that sometimes saturate `bits` bits."""
    weight_MK = rng.integers(-127, 128, (out_features, in_features), np.int8)
    if nibbles:
        weight_MK = rng.integers(-8, 8, (out_features, in_features), np.int8)
    elif rng.integers(0, 4) == 0:
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
        nibbles = bool(values.get("nibbles"))
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
        self.words += stream_words(layer, self.lanes, self.inputs, nibbles)
        return out_NM

    def layer(self, out_features: int, in_features: int, bits: int, nibbles: bool = False) -> Linear:
        """Random layer."""
        return draw_layer(self.rng, out_features, in_features, bits, nibbles)

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
        """Router and the experts that have tokens, others are in the stream as well; every other time in 4 bits."""
        rng, lanes, inputs, nibbles = self.rng, self.lanes, self.inputs, bool(self.rng.integers(0, 2))
        x_ND = draw_x(rng, tokens, dim)
        self.norm(x_ND)
        table = self.gelu()
        self.linear(x_ND, self.layer(experts, dim, 16), DST_LOGITS, source=SRC_X, norm=NORM_ROWS)
        loaded = sorted(rng.choice(experts, int(rng.integers(1, experts + 1)), replace=False).tolist())
        used = [expert for expert in loaded if rng.integers(0, 2)]
        for index, expert in enumerate(loaded):
            first, second = self.layer(hidden, dim, 10, nibbles), self.layer(dim, hidden, 16, nibbles)
            words = stream_words(first, lanes, inputs, nibbles) + stream_words(second, lanes, inputs, nibbles)
            self.segments.append(join((0, 1), (expert, 10)))
            if expert not in used:
                self.words += words
                continue
            rows, bank = int(rng.integers(1, tokens + 1)), index % 2
            queue = sorted(rng.choice(tokens, rows, replace=False).tolist())
            self.queues.append((bank, queue))
            pre_NM = self.linear(
                x_ND[queue], first, DST_GELU, source=SRC_QUEUE, bank=bank, seek=1, expert=expert,
                expert_words=len(words), dest_pitch=self.pitch(hidden), nibbles=int(nibbles),
            )  # fmt: skip
            self.linear(
                gelu(pre_NM, table), second, DST_COMBINE, source=SRC_HIDDEN, bank=bank, fence=FENCE_LAST,
                dest_pitch=dim // UNIT, nibbles=int(nibbles),
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
