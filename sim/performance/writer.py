# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The write DMA: cycles per word of a long result. RTL: m3vit_write_port; memory: sim/tb/m3vit_dram.sv."""

from dataclasses import dataclass
from functools import cache

BURST_WORDS, WORD_BEATS, QUEUE_WORDS = 4, 4, 8
BURST_PAUSE = 2
"""Cycles between the last beat of a burst and the first of the next one on a port."""
BEAT_TOKENS, SAVED_CYCLES = 100, 2
"""Tokens of a beat, and cycles of the peak that the memory's token bucket holds."""
CYCLES = 4000
"""That are followed; the rate is constant long before."""


@dataclass
class _Port:
    words: int = 0  # that wait
    beats: int = 0  # left of the burst
    pause: int = 0
    ready: bool = False  # the memory takes a beat in the next cycle


@cache
def cycles_per_word(ports: int, efficiency_percent: int) -> float:
    """Mean cycles per DRAM word of a long result.

    Words come one per cycle, four to a port in turn. The memory offers a port to take a beat in the next cycle if there
    are tokens for one now, so a nearly full bucket overflows and few ports attain less than the sustained bandwidth.

    Args:
        ports: in use.
        efficiency_percent: of the peak of one beat per port and cycle.
    """
    full = tokens = SAVED_CYCLES * BEAT_TOKENS * ports
    state = [_Port() for _ in range(ports)]
    given = sent = 0
    for cycle in range(CYCLES):
        tokens = min(tokens + efficiency_percent * ports, full)
        for place in range(ports):
            port = state[(place + cycle) % ports]
            if port.ready:
                tokens, sent = tokens - BEAT_TOKENS, sent + 1
                _beat(port)
            elif not port.beats and port.words >= BURST_WORDS:
                port.pause += 1
                if port.pause == BURST_PAUSE:
                    port.beats, port.pause = BURST_WORDS * WORD_BEATS, 0
            port.ready = port.beats > 0 and tokens >= BEAT_TOKENS
        target = state[given // BURST_WORDS % ports]
        if target.words < QUEUE_WORDS:
            target.words, given = target.words + 1, given + 1
    return WORD_BEATS * CYCLES / sent


def _beat(port: _Port) -> None:
    port.beats -= 1
    if port.beats % WORD_BEATS == 0:
        port.words -= 1
