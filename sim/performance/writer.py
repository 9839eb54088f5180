# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The write DMA: cycles per word of a long result. RTL: m3vit_write_port; memory: sim/tb/m3vit_dram.sv."""

from functools import cache

BURST_BEATS = 16
BURST_PAUSE = 2
"""Cycles between the last beat of a burst and the first of the next one on a port."""
BEAT_TOKENS, SAVED_CYCLES = 100, 2
"""Tokens of a beat, and cycles of the peak that the memory's token bucket holds."""
WORD_BEATS = 4
CYCLES = 4000
"""That are followed; the rate is constant long before."""


@cache
def cycles_per_word(ports: int, efficiency_percent: int) -> float:
    """Mean cycles per DRAM word when words always wait.

    The memory offers a port to take a beat in the next cycle if there are tokens for one now, so a nearly full bucket
    overflows and a few ports attain less than the sustained bandwidth.

    Args:
        ports: in use.
        efficiency_percent: of the peak of one beat per port and cycle.
    """
    full = SAVED_CYCLES * BEAT_TOKENS * ports
    tokens, beats, ready, left = full, 0, [False] * ports, [BURST_BEATS] * ports
    for cycle in range(CYCLES):
        tokens = min(tokens + efficiency_percent * ports, full)
        for place in range(ports):
            port = (place + cycle) % ports
            if left[port] <= 0:  # between two bursts
                left[port] = left[port] - 1 if left[port] > 1 - BURST_PAUSE else BURST_BEATS
            elif ready[port]:
                tokens, beats, left[port] = tokens - BEAT_TOKENS, beats + 1, left[port] - 1
            ready[port] = left[port] > 0 and tokens >= BEAT_TOKENS
    return max(1.0, WORD_BEATS * CYCLES / beats)
