# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""When what the operations read is asked for. RTL: m3vit_loader; the program itself: m3vit_sequencer."""

from collections import deque

from m3vit.model.config import WORD_BYTES, HardwareConfig
from m3vit.sim.layout import job_bytes
from m3vit.sim.performance.reader import Consumer
from m3vit.sim.performance.stream import Stream
from m3vit.sim.performance.timing import FETCH_CYCLES, LOADER_OP_CYCLES, PATCH_LATENCY, SEGMENTS


class Loader:
    """Jobs in the order of the program.

    Args:
        stream: where weights go.
        hardware: sizes of the jobs.
        wait: ask for what an operation needs when the executor is there, not before.
    """

    def __init__(self, stream: Stream, hardware: HardwareConfig, *, wait: bool) -> None:
        self._stream, self._hardware, self.wait = stream, hardware, wait
        self.words: dict[int, int] = {}
        self.asked = 0.0
        """When the last job was accepted."""
        self.seek = 0.0
        """When the feeder may take the first word of an expert."""
        self._next = 0.0
        self._begun = 0.0
        self._segments: deque[float] = deque(maxlen=SEGMENTS)

    def fetch(self, operations: int) -> float:
        """Read the program; returns when its last word has come."""
        self._stream.begin(FETCH_CYCLES, operations)
        return self.receive(operations, 1.0)

    def start(self, time: float) -> None:
        """The program is checked."""
        self._next = time

    def begin(self, time: float) -> None:
        """The executor begins the next operation; the loader may have begun it before."""
        self._begun = time
        self._next = max(self._next, self.asked + LOADER_OP_CYCLES)

    def skip(self) -> None:
        """An operation that reads nothing."""
        self.asked = self._next

    def residual(self, index: int, words: int) -> float:
        """Positions or a residual stream; returns when the last word has come."""
        self._ask(index, words)
        return self.receive(words, 1.0)

    def image(self, index: int, words: int, cycles_per_word: float) -> float:
        """The image; returns when the last patch is complete."""
        self._ask(index, words)
        return self.receive(words, cycles_per_word) + PATCH_LATENCY

    def stream_job(self, index: int, words: int) -> None:
        """A job for the stream, in words of the stream; `done` follows when all of it has arrived."""
        self._ask(index, job_bytes(words, self._hardware) // WORD_BYTES)

    def done(self) -> None:
        """The words of the last job have arrived."""
        self._stream.reader.end()

    def expert(self, index: int, words: int, time: float) -> None:
        """The job of an expert, at `time` at the earliest; waits for a place in the list of experts."""
        self._next = max(time, self.candidate)
        self.stream_job(index, words)

    def pass_over(self, routed: float) -> None:
        """An expert that is known to have no tokens."""
        self._next = max(self._next, routed) + 1

    def sought(self, time: float) -> None:
        """The feeder took an expert off the list."""
        self._segments.append(time)

    @property
    def candidate(self) -> float:
        """When the job of the next expert could be accepted: the DMA is free, the list of experts has a place."""
        listed = self._segments[0] + 1 if len(self._segments) == SEGMENTS else 0.0
        return max(self._next, self._stream.reader.free, listed)

    def _ask(self, index: int, words: int) -> None:
        self.words[index] = self.words.get(index, 0) + words
        self._job(max(self._next, self._begun if self.wait else 0.0), words)

    def _job(self, request: float, words: int) -> None:
        self.asked = self._stream.begin(request, words)
        self._next = self.asked + 1

    def receive(self, words: int, period: float) -> float:
        """Take `words` DRAM words of the last job, at least `period` cycles apart; returns when the last has come."""
        return self._stream.reader.take(words, Consumer(period=period))
