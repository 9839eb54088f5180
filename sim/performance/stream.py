# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The weight stream: when the words that the feeder takes are there.

Words move in chunks (a weight tile, a table). A chunk has arrived when the DMA has delivered it and the ring had room,
which depends on when earlier chunks were taken. RTL: m3vit_stream.
"""

from bisect import bisect_left

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.performance.reader import Consumer, Reader


class Stream:
    """The ring of weight words behind the DMA.

    Args:
        hardware: sizes.
        lend: whether the ring may use the free part of the key-value buffer.
    """

    def __init__(self, hardware: HardwareConfig, lend: bool) -> None:
        self.reader = Reader(hardware)
        self._dram_words = hardware.inputs / WORD_BYTES
        self._depth = hardware.stream_words + (hardware.lend_words if lend else 0)
        self._job = self._position = 0  # first word of the job; words so far
        self._pushed = 0.0
        self._ends: list[int] = [0]
        self._pops: list[float] = [0.0]
        self._periods: list[int] = [1]
        self._dropped: set[int] = set()  # chunks whose words all left in one cycle

    def begin(self, request: float, words: int) -> float:
        """Accept a job of `words` DRAM words; returns when."""
        self._job = self._position
        return self.reader.begin(request, words)

    def arrive(self, words: int) -> float:
        """When the next `words` of the job are in the ring."""
        self._position += words
        room, slope = self._room(self._position - self._depth)
        consumer = Consumer(room, slope / self._dram_words)
        delivered = self.reader.take((self._position - self._job) * self._dram_words, consumer)
        self._pushed = max(delivered, self._pushed + words)
        return self._pushed

    def pop(self, time: float, period: int = 1) -> None:
        """All words that have arrived were taken `period` cycles apart, the last one at `time`."""
        self._ends.append(self._position)
        self._pops.append(time)
        self._periods.append(period)

    def drop(self, time: float) -> None:
        """All words that have arrived were skipped at `time`."""
        self._dropped.add(len(self._ends))
        self.pop(time)

    def _room(self, position: int) -> tuple[float, int]:
        """When a word had left, and by how much each word before it left earlier."""
        if position <= 0:
            return 0.0, 0
        index = bisect_left(self._ends, position)
        if index in self._dropped:
            return self._pops[index] + 1, 0
        period = self._periods[index]
        return self._pops[index] - period * (self._ends[index] - position) + 1, period
