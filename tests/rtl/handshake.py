# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Building blocks of the in-simulator benches: clock, random handshakes, bit fields, expected queues."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.clock import Clock
from cocotb.handle import LogicArrayObject, LogicObject
from cocotb.triggers import ClockCycles, RisingEdge

Signal = LogicObject | LogicArrayObject
Port = tuple[Any, Signal, Signal]
"""Data, valid and ready; data has a length and a value that can be set."""
RESET_CYCLES = 24
"""Longer than the longest pipeline without reset."""


def pack(values: Iterable[Any], bits: int) -> int:
    """Integers side by side, the first in the lowest bits; negative ones as two's complement."""
    word, mask = 0, (1 << bits) - 1
    for index, value in enumerate(values):
        word |= (int(value) & mask) << (bits * index)
    return word


def unpack(word: int, bits: int, count: int, *, signed: bool = False) -> list[int]:
    """Inverse of `pack`."""
    values = [word >> (bits * index) & ((1 << bits) - 1) for index in range(count)]
    return [value - (1 << bits) if signed and value >> (bits - 1) else value for value in values]


def fields(word: int, *widths: int) -> tuple[int, ...]:
    """Fields of a packed struct; widths and results in the order of the declaration, highest bits first."""
    return tuple(reversed(unpack_mixed(word, list(reversed(widths)))))


def unpack_mixed(word: int, widths: Sequence[int]) -> list[int]:
    """Fields of different widths, lowest bits first."""
    values = []
    for width in widths:
        values.append(word & ((1 << width) - 1))
        word >>= width
    return values


def join(*parts: tuple[int, int]) -> int:
    """A packed struct from (value, width) pairs, highest bits first."""
    word = 0
    for value, width in parts:
        assert 0 <= int(value) < 1 << width, f"{value} does not fit {width} bits"
        word = word << width | int(value)
    return word


def word_ints(data: npt.NDArray[np.uint8], size: int = 64) -> list[int]:
    """Bytes as integers of `size` bytes, little endian."""
    raw = data.tobytes()
    assert len(raw) % size == 0
    return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]


class Scoreboard:
    """Expected items in order; counts what was checked."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: deque[Any] = deque()
        self.expected = 0
        self.checked = 0

    def expect(self, *items: Any) -> None:
        """Append items that must come."""
        self._queue.extend(items)
        self.expected += len(items)

    def check(self, item: Any) -> None:
        """Compare the next item."""
        assert self._queue, f"{self._name}: {item} came, nothing was expected"
        wanted = self._queue.popleft()
        assert item == wanted, f"{self._name} {self.checked}: got {item}, expected {wanted}"
        self.checked += 1

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return not self._queue

    def finish(self) -> None:
        """All that was expected has come, and that is not nothing."""
        assert self.checked == self.expected > 0, f"{self._name}: {self.checked} of {self.expected} came"


class Dice:
    """Random decisions of one bench, reproducible: a stall probability and a generator."""

    def __init__(self, seed: object, stall: float = 0.0) -> None:
        self.random = random.Random(f"{cocotb.RANDOM_SEED} {seed}")
        self.stall = stall

    def stalls(self) -> bool:
        """Whether to pause in this cycle."""
        return self.random.random() < self.stall

    def noise(self, bits: int) -> int:
        """Garbage for a bus that nobody may look at."""
        return self.random.getrandbits(bits)


async def start(dut: Any, *idle: Signal) -> None:
    """Start the clock and reset everything, with the signals in `idle` low; all others start with random values."""
    Clock(dut.clk_i, 10, "ns", impl="gpi").start()
    dut.rst_ni.value = 0
    for signal in idle:
        signal.value = 0
    await ClockCycles(dut.clk_i, RESET_CYCLES)
    dut.rst_ni.value = 1
    await RisingEdge(dut.clk_i)


async def send(clock: LogicObject, port: Port, items: Iterable[int], dice: Dice) -> None:
    """Offer items on (data, valid, ready), keeping each until it is taken, with random pauses and noise between."""
    data, valid, ready = port
    width = len(data)
    for item in items:
        while dice.stalls():
            data.value = dice.noise(width)
            await RisingEdge(clock)
        data.value = item
        valid.value = 1
        await RisingEdge(clock)
        while not ready.value:
            await RisingEdge(clock)
        valid.value = 0


async def receive(clock: LogicObject, port: Port, check: Callable[[int], None], dice: Dice) -> None:
    """Take items from (data, valid, ready) for ever, with random pauses."""
    data, valid, ready = port
    while True:
        ready.value = not dice.stalls()
        await RisingEdge(clock)
        if valid.value and ready.value:
            check(int(data.value))


async def until(clock: LogicObject, condition: Callable[[], bool], limit: int, what: str) -> int:
    """Wait for a condition; returns the number of cycles.

    Raises:
        AssertionError: it does not become true within `limit` cycles.
    """
    for cycle in range(limit):
        if condition():
            return cycle
        await RisingEdge(clock)
    raise AssertionError(f"{what} did not happen within {limit} cycles")
