# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Router and queue builder: when a token is routed and when the queue of an expert is complete.

RTL: m3vit_router, m3vit_router_lane, m3vit_queue_builder.
"""

import numpy as np

from m3vit.model.config import HardwareConfig
from m3vit.sim.performance.timing import (
    OUTPUT_LATENCY,
    OUTPUT_QUEUE,
    QUEUE_DRAIN,
    RENORMALISE,
    ROUTER_LANE,
)
from m3vit.sim.program import Flag, Op

ROW_CYCLES = 2
"""Cycles between two rows that the router takes: it reads the route table in between."""
BANKS = 2
"""Queues at a time: one is computed, the next is built."""


class Router:
    """Takes the rows of logits of one MOE operation.

    Args:
        op: the operation.
        hardware: its router lanes.
    """

    def __init__(self, op: Op, hardware: HardwareConfig) -> None:
        self._op, self._lanes, self._outputs = op, hardware.router_lanes, hardware.lanes
        self.routed = 0.0
        """When the last token so far was routed."""
        self._idle = 0.0
        self._takes = np.empty(0)  # when each row of logits so far is taken

    def accept(self, first: float, last: float, tile: int) -> float:
        """When the last row of a tile can be issued, if the engine issues its rows from `first` to `last`."""
        op, last_tile = self._op, (tile + 1) * self._outputs >= self._op.experts
        experts = op.experts - tile * self._outputs if last_tile else self._outputs
        lane = experts + ROUTER_LANE
        if last_tile and op.flags & Flag.RENORMALISE:
            lane += op.top_k + RENORMALISE
        base = max(first + OUTPUT_LATENCY, self._idle)
        turns, position = np.divmod(np.arange(op.rows), self._lanes)
        takes = base + turns * max(lane, ROW_CYCLES * self._lanes) + ROW_CYCLES * position
        self._takes = np.concatenate([self._takes, takes])
        if (freed := len(self._takes) - 1 - OUTPUT_QUEUE) >= 0:
            last = max(last, float(self._takes[freed]) + 1)
        self._idle = max(float(takes[-1]), last + OUTPUT_LATENCY) + lane
        self.routed = self._idle - 1
        return last


class QueueBuilder:
    """Builds the queues of one MOE operation, expert by expert.

    Args:
        rows: tokens.
        routed: when the last token was routed.
        from_zero: expert 0 has tokens, so its scan follows the router.
    """

    def __init__(self, rows: int, routed: float, from_zero: bool) -> None:
        self._rows = rows
        self.ready = routed + 2 + QUEUE_DRAIN if from_zero else routed + 3 + rows + QUEUE_DRAIN
        """When the next queue is complete."""
        self._released: list[float] = []

    def take(self, time: float) -> None:
        """The queue was taken at `time`; the scan for the next one begins when a bank is free."""
        taken = len(self._released) + 1
        free = self._released[taken - BANKS] if taken >= BANKS else 0.0
        self.ready = max(time + 2, free + 1) + self._rows + QUEUE_DRAIN

    def release(self, time: float) -> None:
        """The oldest queue is no longer needed from `time` on."""
        self._released.append(time)
