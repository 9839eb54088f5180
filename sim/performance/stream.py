# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""From DRAM to the weight stream: when the words that the feeder takes are there.

Words move in chunks (a weight tile, a table). A chunk has arrived when the DRAM ports have delivered it at the
sustained bandwidth, when the DMA's window let it be asked for, and when the ring had room, which depends on when
earlier chunks were taken. RTL: m3vit_dma_read, m3vit_read_port, m3vit_stream; memory: sim/tb/m3vit_dram.sv.
"""

from bisect import bisect_left

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.performance.timing import READ_WINDOW

REQUEST_CYCLES = 2
"""From a job's acceptance to the request of its first burst."""
BURST_WORDS = 4
"""DRAM words of a burst, which come over one port."""
PORT_BEATS = 4
"""Beats of a DRAM word on its port."""
SAVED_WORDS = 2
"""DRAM words that a memory delivers at once after it was idle (the token bucket of sim/tb/m3vit_dram.sv)."""


class Reader:
    """The read DMA: jobs in order, words in order.

    Args:
        hardware: memory and ports.
    """

    def __init__(self, hardware: HardwareConfig) -> None:
        memory = hardware.memory
        self._period = WORD_BYTES / memory.bytes_per_cycle
        self._latency = memory.latency_cycles + REQUEST_CYCLES
        self._window = READ_WINDOW * memory.ports
        self._skew = BURST_WORDS * (memory.ports - 1)  # words of a stripe that wait for the first port's
        self._ends: list[float] = [0.0]  # words delivered so far, and when they were taken
        self._times: list[float] = [0.0]
        self._position = 0.0
        self._ready = 0.0
        self.free = 0.0
        """When the next job can be accepted: all bursts of the last one are asked for."""

    def begin(self, request: float, words: int) -> float:
        """Accept a job of `words` DRAM words at `request` or when the one before is asked for; returns when."""
        accepted = max(request, self.free)
        self._start = accepted + self._latency
        self._ready = max(self._ready, self._start - SAVED_WORDS * self._period)
        self._job_begin, self._job_end = self._position, self._position + words
        self._accepted = accepted
        return accepted

    def deliver(self, words: float) -> float:
        """When the next `words` of the job have come, if nobody holds them up."""
        self._position += words
        asked = self._taken(self._position - self._window)
        self._ready = max(self._ready + words * self._period, asked + self._latency)
        within = self._position - self._job_begin
        first_port = self._start + PORT_BEATS * min(within, BURST_WORDS)
        behind = min(max(within - BURST_WORDS, 0), self._skew)
        # In order, a word per cycle, behind those before.
        return max(self._ready + behind, first_port + behind, self._times[-1] + words)

    def taken(self, time: float) -> None:
        """The words delivered last were taken at `time`."""
        self._ends.append(self._position)
        self._times.append(time)

    def end(self) -> None:
        """The job is delivered; the next one may have been accepted long before."""
        self.free = max(self._accepted + 1, self._taken(self._job_end - self._window) + 1)

    def _taken(self, position: float) -> float:
        if position <= 0:
            return 0.0
        index = bisect_left(self._ends, position, max(0, len(self._ends) - 64))
        if index == len(self._ends):
            return self._times[-1]
        start, stop = self._ends[index - 1], self._ends[index]
        share = (position - start) / (stop - start)
        return self._times[index] - (1 - share) * (stop - start)


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
        self._pushed = 0.0
        self._position = 0
        self._ends: list[int] = [0]
        self._pops: list[float] = [0.0]
        self._together: set[int] = set()  # chunks whose words were all dropped in one cycle

    def arrive(self, words: int) -> float:
        """When the next `words` stream words are in the ring."""
        delivered = self.reader.deliver(words * self._dram_words)
        self._position += words
        room = self._popped(self._position - self._depth)
        self._pushed = max(delivered, self._pushed + words, room + 1)
        self.reader.taken(self._pushed)
        return self._pushed

    def pop(self, time: float) -> None:
        """All words that have arrived were taken, the last one at `time`."""
        self._ends.append(self._position)
        self._pops.append(time)

    def drop(self, time: float) -> None:
        """All words that have arrived were skipped at `time`."""
        self._together.add(len(self._ends))
        self.pop(time)

    def _popped(self, position: int) -> float:
        if position <= 0:
            return 0.0
        index = bisect_left(self._ends, position)
        return self._pops[index] - (0 if index in self._together else self._ends[index] - position)
