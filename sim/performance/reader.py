# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The read DMA and the memory behind it, burst by burst.

A job is cut into bursts of up to four words, one port after the other. A port asks for a burst when it has a place for
all its words, so no more than READ_WINDOW words per port are asked for and not yet taken. The data of a burst come
after the latency, a beat per cycle and port at most, and all ports together at the sustained bandwidth. Words leave in
order, one per cycle. RTL: m3vit_dma_read, m3vit_read_port; memory: sim/tb/m3vit_dram.sv.
"""

from collections import deque
from dataclasses import dataclass

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.performance.timing import READ_WINDOW, REQUEST_CYCLES

BURST_WORDS = 4
"""DRAM words of a burst."""
PORT_BEATS = 4
"""Beats of a DRAM word on its port."""
SAVED_BEATS = 2
"""Beats per port that the memory can deliver at once after it was idle (the token bucket of sim/tb/m3vit_dram.sv)."""


@dataclass(frozen=True)
class Consumer:
    """When the taker of the words has room for them.

    Attributes:
        room: for the last word of a part.
        slope: cycles by which there is room for each word before the last earlier.
        period: least cycles between two words.
    """

    room: float = 0.0
    slope: float = 1.0
    period: float = 1.0


ALWAYS = Consumer()
"""Takes a word per cycle."""


class Reader:
    """Jobs in order, words in order.

    Args:
        hardware: memory and ports.
    """

    def __init__(self, hardware: HardwareConfig) -> None:
        memory = hardware.memory
        self._ports = memory.ports
        self._period = WORD_BYTES / memory.bytes_per_cycle
        self._latency = memory.latency_cycles + REQUEST_CYCLES
        places = READ_WINDOW - BURST_WORDS + 1  # a burst is asked for when all words but so many less one are taken
        self._freed = [deque([0.0] * places, places) for _ in range(self._ports)]  # when a port's last words were taken
        self._port_end = [0.0] * self._ports  # when the last burst of a port had come
        self._bandwidth = 0.0  # when the memory has delivered all stripes so far
        self._share = 0.0  # when it has delivered the present one up to here, port after port
        self._together = False  # the ports ask for it at about the same time, so they share the bandwidth
        self._issued = 0.0  # when the last burst was asked for
        self._taken = 0.0  # when the last word was taken
        self._left = self._done = 0  # words of the job
        self._port = 0

    @property
    def free(self) -> float:
        """When the next job can be accepted: all bursts of the last one are asked for."""
        return self._issued + 1

    def begin(self, request: float, words: int) -> float:
        """Accept a job of `words` DRAM words, at `request` at the earliest; returns when."""
        accepted = max(request, self.free)
        self._issued = accepted
        self._left, self._done, self._port = words, 0, 0
        return accepted

    def take(self, words: float, consumer: Consumer = ALWAYS) -> float:
        """When the words of the job up to `words` from its beginning are taken."""
        room, slope, pace = consumer.room, consumer.slope, consumer.period
        period, ports, port_end = self._period, self._ports, self._port_end
        saved = SAVED_BEATS * ports / PORT_BEATS * period
        issued, taken, share, done, left, port = (
            self._issued, self._taken, self._share, self._done, self._left, self._port,
        )  # fmt: skip
        while done < words and left:
            size = left if left < BURST_WORDS else BURST_WORDS
            freed = self._freed[port]
            issued = (issued if issued > freed[0] else freed[0]) + 1
            begin = issued + self._latency - 1
            if port == 0:
                self._together = self._bandwidth > begin or self._freed[-1][0] < issued + BURST_WORDS
                share = max(self._bandwidth, begin - saved)
                self._bandwidth = share + min(left, BURST_WORDS * ports) * period
            share += size * period
            served = self._bandwidth if self._together else share
            end = port_end[port] = max(max(begin, port_end[port]) + PORT_BEATS * size, served)
            done += size
            left -= size
            taken = max(end, taken + size * pace, room - (words - done) * slope if words > done else room)
            freed.extend((taken - 3, taken - 2, taken - 1, taken)[-size:])
            port = port + 1 if port + 1 < ports else 0
        self._issued, self._taken, self._share, self._done, self._left, self._port = (
            issued, taken, share, done, left, port,
        )  # fmt: skip
        return taken - (done - words if words < done else 0)

    def end(self) -> None:
        """Take what is left of the job: bytes behind its last stream word."""
        self.take(self._done + self._left)
