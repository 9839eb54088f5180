# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Random programs within the limits of a hardware, for the benches of the control modules."""

import random
from typing import Any

from m3vit.model.config import HARDWARE, UNIT_BYTES, HardwareConfig
from m3vit.sim.golden.norm import MAX_ROW_SHIFT
from m3vit.sim.program import Flag, Op, Opcode
from m3vit.sim.program_check import MAX_HEAD_TILES, check_program, check_sizes, expert_words, key_words, query_words

SHAPES: dict[str, HardwareConfig] = {
    "16": HARDWARE["demo"].model_copy(update={"stream_words": 4096}),
    "32": HardwareConfig(
        name="wide words", lanes=8, groups=4, max_tokens=40, max_dim=256, max_hidden=256, max_top_k=16, max_block=7,
        stream_words=2048, lend_words=64,
    ),
    "96": HardwareConfig(
        name="wide array", lanes=32, groups=3, max_tokens=300, max_dim=352, max_hidden=384, max_top_k=4, max_block=136,
        stream_words=8192, lend_words=1024,
    ),
}  # fmt: skip
"""By the number behind the name of an instance in tb_control.sv."""


class Author:
    """Writes random programs that a hardware takes; no two fields of an operation are alike without need."""

    def __init__(self, hardware: HardwareConfig, rng: random.Random, experts: int = 40) -> None:
        self._hardware, self._rng, self._experts = hardware, rng, experts

    def program(self, layers: int = 3) -> list[Op]:
        """A program from LOAD or PATCH_EMBED to STORE."""
        rng, hardware = self._rng, self._hardware
        self._dim = UNIT_BYTES * rng.randint(1, hardware.max_dim // UNIT_BYTES)
        ops = [self._load() if rng.random() < 0.4 else self._patches()]
        self._rows = ops[0].rows
        for _ in range(layers):
            ops += self._layer()
        outputs, rows = self._dim, self._rows
        if rng.random() < 0.6:
            outputs, rows = rng.randint(1, hardware.max_dim), self._rows - 1
            ops += [self._norm(), self._op(Opcode.HEAD, out_features=outputs, weights=self._offset())]
        ops.append(Op(opcode=Opcode.STORE, rows=rows, out_features=outputs))
        check_program(ops)
        for op in ops:
            check_sizes(op, hardware, "a random program")
        return ops

    def _offset(self) -> int:
        return 64 * self._rng.randrange(1 << 24)

    def _op(self, opcode: Opcode, **values: Any) -> Op:
        return Op(opcode=opcode, rows=self._rows, in_features=self._dim, **values)

    def _load(self) -> Op:
        self._rows = self._rng.choice([2, self._hardware.max_tokens, self._rng.randint(2, self._hardware.max_tokens)])
        return self._op(Opcode.LOAD)

    def _patches(self) -> Op:
        hardware, rng = self._hardware, self._rng
        limit = key_words(hardware) * hardware.inputs
        patch = rng.choice([size for size in range(8, 256, 8) if 3 * size * size <= limit])
        patches = rng.choice([1, hardware.max_tokens - 1, rng.randint(1, hardware.max_tokens - 1)])
        columns = rng.choice([n for n in range(1, patches + 1) if patches % n == 0])
        return Op(
            opcode=Opcode.PATCH_EMBED, rows=patches + 1, in_features=3 * patch * patch, out_features=self._dim,
            weights=self._offset(), table=self._offset(),
            operands=(patch, patches // columns * patch, columns * patch, columns, patches // columns),
        )  # fmt: skip

    def _norm(self) -> Op:
        operands = (self._rng.randrange(1 << 16), self._rng.randint(1, MAX_ROW_SHIFT))
        return self._op(Opcode.LAYER_NORM, table=self._offset(), operands=operands)

    def _layer(self) -> list[Op]:
        kind = self._rng.choice(["attention", "attention", "mlp", "moe"])
        if kind == "attention" and self._channels():
            return [self._norm(), *self._attention(self._rng.choice(self._channels()))]
        return [self._norm(), self._moe() if kind == "moe" else self._mlp()]

    def _channels(self) -> list[int]:
        """Channels per head that this dim allows."""
        hardware, dim = self._hardware, self._dim
        limit = min(hardware.inputs, MAX_HEAD_TILES * hardware.lanes)
        words = -(-hardware.max_hidden // hardware.inputs)
        sizes = range(UNIT_BYTES, limit + 1, UNIT_BYTES)
        return [c for c in sizes if dim % c == 0 and query_words(dim // c, c, hardware) <= words]

    def _attention(self, channels: int) -> list[Op]:
        rng, dim, heads = self._rng, self._dim, self._dim // channels
        block = rng.choice([1, self._hardware.max_block, rng.randint(1, self._hardware.max_block)])
        block = max(block, self._rows // 12)  # short benches
        scales = (rng.randrange(32), rng.randrange(1 << 16), rng.randint(1, MAX_ROW_SHIFT))
        qkv = self._op(Opcode.LINEAR, out_features=3 * dim, heads=heads, weights=self._offset(), operands=(channels,))
        attention = Op(
            opcode=Opcode.ATTENTION, rows=self._rows, in_features=3 * dim, out_features=dim, heads=heads,
            operands=(*scales, min(block, self._hardware.max_block), channels),
        )  # fmt: skip
        return [qkv, attention, self._op(Opcode.LINEAR_RESIDUAL, out_features=dim, weights=self._offset())]

    def _hidden(self) -> int:
        inputs, hardware = self._hardware.inputs, self._hardware
        sizes = range(inputs, hardware.max_hidden + 1, inputs)
        return self._rng.choice([n for n in sizes if expert_words(self._dim, n, hardware) <= hardware.stream_words])

    def _mlp(self) -> Op:
        return self._op(
            Opcode.MLP, out_features=self._hidden(), experts=self._rng.randint(1, 5), table=self._offset(),
            expert_base=self._offset(), expert_stride=self._offset() // 64,
        )  # fmt: skip

    def _moe(self) -> Op:
        rng = self._rng
        top_k = rng.randint(1, min(self._experts, self._hardware.max_top_k))
        experts, even = rng.randint(top_k, self._experts), self._rows * top_k // 4
        if top_k <= even <= self._experts and rng.random() < 0.4:
            experts = even + rng.choice([0, 0, 1])  # around four tokens for each
        return self._op(
            Opcode.MOE, out_features=self._hidden(), experts=experts, flags=Flag(rng.randrange(4)),
            top_k=top_k, weights=self._offset(), table=self._offset(),
            expert_base=self._offset(), expert_stride=64 * rng.randrange(1 << 14),
        )  # fmt: skip
