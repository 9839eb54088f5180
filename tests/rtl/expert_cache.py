# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Golden of m3vit_expert_cache, and what it loads for whole layers."""

from collections import deque

from m3vit.model.config import HardwareConfig
from m3vit.sim.golden.executor import Step
from m3vit.sim.program_check import expert_words

SLOTS = 16


class Cache:
    """Golden: whole experts side by side in a buffer of `size` words, the oldest makes room."""

    def __init__(self, size: int, words: int) -> None:
        self._capacity, self._words = min(SLOTS, size // words), words
        self._slots: deque[tuple[int, int]] = deque()  # expert and slot, the oldest first

    def find(self, expert: int) -> int | None:
        """Word at which the expert lies."""
        return next((slot * self._words for held, slot in self._slots if held == expert), None)

    def load(self, expert: int) -> int:
        """Make room; returns the word at which the expert must be put."""
        full = len(self._slots) == self._capacity
        slot = self._slots.popleft()[1] if full else len(self._slots)
        self._slots.append((expert, slot))
        return slot * self._words


def token_order_loads(step: Step, hardware: HardwareConfig) -> int:
    """How many experts a MOE operation loads in ModeTokenOrder: token by token, the experts of each ascending."""
    op = step.op
    words = expert_words(op.in_features, op.out_features, hardware, op.expert_bits)
    cache, loads = Cache(hardware.stream_words, words), 0
    for token in range(op.rows):
        for queue in step.queues:
            if token in queue.token_Q and cache.find(queue.expert) is None:
                cache.load(queue.expert)
                loads += 1
    return loads
