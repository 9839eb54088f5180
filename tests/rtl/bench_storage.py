# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Queues, RAM, buffers and patches: m3vit_fifo, m3vit_ram, m3vit_buffers, m3vit_patches."""

from collections import deque
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.triggers import RisingEdge

from m3vit.sim.golden.embed import patches
from rtl.handshake import Dice, Scoreboard, join, receive, send, start, until, word_ints

FIFOS = {"u_fifo1": 1, "u_fifo3": 3, "u_fifo4": 4}
RAMS = {"u_ram4100": 4100, "u_ram8257": 8257, "u_ram37": 37}
BUFFERS = {"u_buffers8": (8, 2, 8), "u_buffers32": (32, 3, 8), "u_buffers16": (16, 4, 16)}
"""Lanes, groups and lent words of each instance."""
TOKENS, DIM, HIDDEN = 9, 160, 256
ACT_LATENCY, KV_LATENCY = 5, 3
SOURCES = ("x", "queue", "h", "patches", "query")
"""In the order of source_e."""


@cocotb.test()
@cocotb.parametrize(name=list(FIFOS), stalls=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
async def order(dut: Any, name: str, stalls: tuple[float, float]) -> None:
    """Everything comes out once, in order."""
    unit = getattr(dut, name)
    await start(dut, unit.in_valid, unit.out_ready)
    dice = Dice(name)
    items = [dice.noise(32) for _ in range(300)]
    board = Scoreboard(name)
    board.expect(*items)
    sink = (unit.out_data, unit.out_valid, unit.out_ready)
    cocotb.start_soon(receive(dut.clk_i, sink, board.check, Dice((name, "out"), stalls[1])))
    source = (unit.in_data, unit.in_valid, unit.in_ready)
    cocotb.start_soon(send(dut.clk_i, source, items, Dice((name, "in"), stalls[0])))
    cycles = await until(dut.clk_i, lambda: board.complete, 4000, "the last item")
    board.finish()
    if stalls == (0.0, 0.0) and FIFOS[name] > 2:
        assert cycles <= len(items) + 6, f"{cycles} cycles for {len(items)} items: not full throughput"
    for _ in range(8):
        await RisingEdge(dut.clk_i)
        assert not unit.out_valid.value


@cocotb.test()
@cocotb.parametrize(name=list(FIFOS))
async def capacity(dut: Any, name: str) -> None:
    """Takes exactly as much as it promises."""
    unit, taken = getattr(dut, name), 0
    await start(dut, unit.in_valid, unit.out_ready)
    unit.in_valid.value = 1
    for item in range(20):
        unit.in_data.value = item
        await RisingEdge(dut.clk_i)
        taken += bool(unit.in_ready.value)
    assert taken == FIFOS[name]


@cocotb.test()
@cocotb.parametrize(name=list(RAMS))
async def ram(dut: Any, name: str) -> None:
    """Every word has its own place, also behind a whole row; a read returns the old word and is held."""
    unit, depth, rng = getattr(dut, name), RAMS[name], np.random.default_rng(4)
    await start(dut)
    unit.read.value = 0
    memory = rng.permutation(1 << 16)[:depth]
    for address in rng.permutation(depth):
        unit.write.value, unit.write_addr.value, unit.write_data.value = 1, int(address), int(memory[address])
        await RisingEdge(dut.clk_i)
    edges = np.array([a for a in (0, 1, 4095, 4096, 4097, 8191, 8192, depth - 1) if a < depth])
    board, held = Scoreboard(name), None
    for address in [*rng.permutation(depth), *rng.choice(edges, 400)]:
        write_addr = int(address if rng.random() < 0.3 else rng.choice(edges))
        write, read, data = rng.random() < 0.5, rng.random() < 0.9, int(rng.integers(0, 1 << 16))
        unit.write.value, unit.write_addr.value, unit.write_data.value = write, write_addr, data
        unit.read.value, unit.read_addr.value = read, int(address)
        await RisingEdge(dut.clk_i)
        if held is not None:
            board.expect(held)
            board.check(int(unit.read_data.value))
        if read:
            held = int(memory[address])
        if write:
            memory[write_addr] = data
    board.finish()


class Buffers:
    """Model of one m3vit_buffers and its stimuli; words are rows of bytes."""

    def __init__(self, dut: Any, name: str) -> None:
        self.unit, self.clock, self.rng = getattr(dut, name), dut.clk_i, np.random.default_rng(6)
        self.lanes, self.groups, self.lent = BUFFERS[name]
        self.inputs = 32 * self.groups
        self.row_words = {b: -(-n // self.inputs) for b, n in (("x", DIM), ("h", HIDDEN), ("kv", 2 * DIM))}
        self.memory = {b: np.zeros((TOKENS * n, self.inputs), np.uint8) for b, n in self.row_words.items()}
        self.queue = np.zeros((2, TOKENS, 2), np.int64)
        self.act: deque[int | None] = deque([None] * ACT_LATENCY)
        self.kv: deque[int | None] = deque([None] * KV_LATENCY)
        self.borrowed: deque[int | None] = deque([None])
        self.busy: deque[set[tuple[str, int]]] = deque([set()] * ACT_LATENCY)
        self.checks = dict.fromkeys((*SOURCES, "kv", "lent"), 0)

    def integer(self, data: npt.NDArray[np.uint8]) -> int:
        """Bytes as a bus value."""
        return int.from_bytes(data.tobytes(), "little")

    def place(self, buffer: str, words: int | None = None) -> tuple[int, int, int, int]:
        """Random row, word and pitch, and the address that they mean; only the first `words` if given."""
        while True:
            pitch = int(self.rng.integers(1, self.row_words[buffer] + 1))
            row, word = int(self.rng.integers(0, TOKENS)), int(self.rng.integers(0, pitch))
            if words is None or row * pitch + word < words:
                return row, word, pitch, row * pitch + word

    def write_granule(self, buffer: str, words: int | None = None) -> None:
        """One granule to a place that no pending request reads."""
        unit = self.unit
        row, word, pitch, address = self.place(buffer, words)
        valid = bool(self.rng.random() < 0.7) and not any((buffer, address) in busy for busy in self.busy)
        sub = int(self.rng.integers(0, self.inputs // self.lanes))
        data = self.rng.integers(0, 256, self.lanes).astype(np.uint8)
        getattr(unit, f"{buffer}_write").value = valid
        getattr(unit, f"{buffer}_place").value = join((row, 13), (word, 8), (sub, 4), (pitch, 8))
        getattr(unit, f"{buffer}_data").value = self.integer(data)
        if valid:
            self.memory[buffer][address, sub * self.lanes : (sub + 1) * self.lanes] = data

    def write_pieces(self, words: int | None) -> None:
        """Some pieces of a patch."""
        unit, count = self.unit, self.inputs // 8
        *_, address = self.place("kv", words)
        valid = not any(("kv", address) in busy for busy in self.busy)
        mask = self.rng.random(count) < 0.5
        data = self.rng.integers(0, 256, self.inputs).astype(np.uint8)
        unit.patch_write.value, unit.patch_addr.value, unit.patch_data.value = valid, address, self.integer(data)
        unit.patch_pieces.value = sum(1 << int(piece) for piece in np.flatnonzero(mask))
        unit.kv_write.value = 0
        if valid:
            self.memory["kv"][address] = np.where(np.repeat(mask, 8), data, self.memory["kv"][address])

    def request(self, sources: tuple[str, ...], words: int | None) -> None:
        """Perhaps a request for a row."""
        rng, unit = self.rng, self.unit
        source = str(rng.choice(sources))
        buffer = {"x": "x", "queue": "x", "h": "h", "query": "h", "patches": "kv"}[source]
        row, word, pitch, address = self.place(buffer, words if buffer == "kv" else None)
        bank, sub, units = (
            int(rng.integers(0, 2)),
            int(rng.integers(0, self.groups)),
            int(rng.integers(1, self.groups + 1)),
        )
        if source == "queue":
            address = int(self.queue[bank, row, 0]) * pitch + word
        fields = [(SOURCES.index(source), 3), (bank, 1), (row, 13), (word, 8), (pitch, 8), (sub, 2), (units, 3)]
        unit.req.value = join(*fields, (int(rng.integers(0, 1 << 13)), 13), (0, 1), (0, 16), (0, 6))
        unit.req_valid.value = valid = bool(rng.random() < 0.8)
        if not valid:
            self.act.append(None)
            self.busy.append(set())
            return
        data = self.memory[buffer][address].copy()
        if source == "query":
            unit_GB = data.reshape(self.groups, 32)
            if units == 1:
                unit_GB[:] = unit_GB[sub].copy()
            else:
                unit_GB[units:] = 0
        self.checks[source] += 1
        self.act.append(self.integer(data))
        self.busy.append({(buffer, address)})

    def request_unit(self, words: int | None) -> None:
        """Perhaps a request for a unit."""
        rng, unit = self.rng, self.unit
        row, word, pitch, address = self.place("kv", words)
        group = int(rng.integers(0, self.groups))
        unit.kv_req.value = join((row, 13), (word * self.groups + group, 8), (pitch, 8))
        unit.kv_valid.value = valid = bool(rng.random() < 0.8)
        self.kv.append(None)
        if valid:
            self.kv[-1] = self.integer(self.memory["kv"][address, 32 * group : 32 * (group + 1)])
            self.busy[-1] |= {("kv", address)}
            self.checks["kv"] += 1

    def borrow(self, lend: bool, lent: npt.NDArray[np.uint8]) -> None:
        """The stream's side of the lent words."""
        rng, unit = self.rng, self.unit
        unit.lend.value = lend
        write, read = int(rng.integers(0, self.lent)), int(rng.integers(0, self.lent))
        data = rng.integers(0, 256, self.inputs).astype(np.uint8)
        unit.lend_write.value, unit.lend_write_addr.value = lend, write
        unit.lend_write_data.value, unit.lend_read.value, unit.lend_read_addr.value = self.integer(data), lend, read
        self.borrowed.append(None)
        if lend:
            self.borrowed[-1] = self.integer(lent[read])
            lent[write] = data
            self.checks["lent"] += 1

    def write_queue(self) -> None:
        """One entry of a queue, seen by the requests that follow."""
        rng, unit = self.rng, self.unit
        bank, index, token = int(rng.integers(0, 2)), int(rng.integers(0, TOKENS)), int(rng.integers(0, TOKENS))
        unit.queue_write.value, unit.queue_bank.value, unit.queue_index.value = 1, bank, index
        unit.queue_entry.value = join((token, 13), (int(rng.integers(0, 1 << 16)), 16))
        self.queue[bank, index, 0] = token

    async def cycle(self) -> None:
        """Next cycle; what was asked for in time must be there."""
        await RisingEdge(self.clock)
        for name, pending, got in (
            ("act", self.act, self.unit.act),
            ("kv_unit", self.kv, self.unit.kv_unit),
            ("lend_read_data", self.borrowed, self.unit.lend_read_data),
        ):
            wanted = pending.popleft()
            assert wanted is None or int(got.value) == wanted, f"{name}: got {int(got.value):x}, expected {wanted:x}"
        self.busy.popleft()


@cocotb.test()
@cocotb.parametrize(name=list(BUFFERS))
async def buffers(dut: Any, name: str) -> None:
    """Reads from every source, full rate, exact latency, while all buffers are written; then with lent words."""
    await start(dut)
    model = Buffers(dut, name)
    unit, lent = model.unit, model.memory["kv"][-model.lent :]
    for signal in (unit.patch_write, unit.req_valid, unit.kv_valid, unit.h_write, unit.kv_write, unit.lend):
        signal.value = 0
    for buffer, data in model.memory.items():  # known contents
        pitch = model.row_words[buffer]
        for address in range(len(data)):
            for sub in range(model.inputs // model.lanes):
                getattr(unit, f"{buffer}_write").value = 1
                getattr(unit, f"{buffer}_place").value = join(
                    (address // pitch, 13), (address % pitch, 8), (sub, 4), (pitch, 8)
                )
                getattr(unit, f"{buffer}_data").value = 0
                await RisingEdge(dut.clk_i)
        getattr(unit, f"{buffer}_write").value = 0
    for bank in range(2):
        for index in range(TOKENS):
            unit.queue_write.value, unit.queue_bank.value, unit.queue_index.value = 1, bank, index
            unit.queue_entry.value = 0
            await RisingEdge(dut.clk_i)
    # Patches and units share a read port and never come together.
    for by_patch, lend in ((True, False), (False, False), (False, True), (True, False), (False, True)):
        words = len(model.memory["kv"]) - model.lent if lend else None
        for _ in range(500):
            model.request(SOURCES if by_patch else (*SOURCES[:3], "query"), words)
            if by_patch:
                model.kv.append(None)
                unit.kv_valid.value = 0
            else:
                model.request_unit(words)
            model.borrow(lend, lent)
            model.write_granule("x")
            model.write_granule("h")
            unit.patch_write.value = 0
            if by_patch and model.rng.random() < 0.5:
                model.write_pieces(words)
            else:
                model.write_granule("kv", words)
            model.write_queue()
            await model.cycle()
        for signal in (unit.req_valid, unit.kv_valid, unit.patch_write, unit.kv_write, unit.x_write, unit.h_write):
            signal.value = 0
        unit.lend_write.value = unit.queue_write.value = unit.lend_read.value = 0
        for _ in range(ACT_LATENCY):
            for pending in (model.act, model.kv, model.borrowed):
                pending.append(None)
            model.busy.append(set())
            await model.cycle()
    assert min(model.checks.values()) > 100, model.checks


@cocotb.test()
@cocotb.parametrize(groups=[2, 3, 4], stall=[0.0, 0.4])
async def image_patches(dut: Any, groups: int, stall: float) -> None:
    """Images of several shapes; every patch lies where the linear engine reads it when `done` rises."""
    unit, inputs, rng = getattr(dut, f"u_patches{groups}"), 32 * groups, np.random.default_rng(11)
    await start(dut, unit.start, unit.in_valid)
    moved = 0
    for patch, rows, columns in ((8, 2, 3), (16, 1, 5), (8, 3, 1), (16, 2, 4), (24, 1, 2), (8, 1, 1), (32, 2, 1)):
        image_HW3 = rng.integers(0, 256, (rows * patch, columns * patch, 3)).astype(np.uint8)
        wanted_NP = patches(image_HW3, patch)
        pitch = -(-wanted_NP.shape[1] // inputs)
        words = word_ints(image_HW3.reshape(-1))
        unit.row_pieces.value, unit.patch_rows.value, unit.columns.value = 3 * patch // 8, patch, columns
        unit.pitch.value, unit.words.value, unit.start.value = pitch, len(words), 1
        await RisingEdge(dut.clk_i)
        unit.start.value = 0
        memory = np.zeros((rows * columns * pitch, inputs), np.uint8)
        written = np.zeros((rows * columns * pitch, inputs // 8), np.int64)
        dice = Dice(("patches", groups, patch), stall)
        source = cocotb.start_soon(send(dut.clk_i, (unit.in_data, unit.in_valid, unit.in_ready), words, dice))
        for cycle in range(9000):
            await RisingEdge(dut.clk_i)
            if cycle and unit.complete.value:
                break
            if unit.write.value:
                address, mask = int(unit.write_addr.value), int(unit.write_pieces.value)
                data = np.frombuffer(int(unit.write_data.value).to_bytes(inputs, "little"), np.uint8)
                piece_P = np.array([mask >> piece & 1 for piece in range(inputs // 8)])
                memory[address] = np.where(np.repeat(piece_P, 8), data, memory[address])
                written[address] += piece_P
        assert source.done()
        got_NP = memory.reshape(rows * columns, -1)[:, : wanted_NP.shape[1]].view(np.int8)
        assert np.array_equal(got_NP, wanted_NP)
        assert written.sum() == wanted_NP.size // 8, "something was written twice"
        if stall == 0.0 and patch >= 16 and len(words) > 20:
            rate = wanted_NP.size / cycle
            cocotb.log.info("patch %d, %d groups: %.1f bytes per cycle", patch, groups, rate)
            assert rate > 24
        moved += wanted_NP.size
        unit.in_valid.value = 1
        for _ in range(3):
            await RisingEdge(dut.clk_i)
            assert unit.complete.value
            assert not unit.in_ready.value, "takes words of the next image"
            assert not unit.write.value
        unit.in_valid.value = 0
    assert moved > 20000
