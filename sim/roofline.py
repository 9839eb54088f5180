# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Roofline (Williams, Waterman, Patterson, CACM 52(4), 2009, section 3) of a frame and of its operation classes.

The roof is the smaller of the peak MAC/cycle of the linear engine and of the sustained DRAM bytes/cycle times the
operational intensity (MAC per DRAM byte). A class counts the cycles in which its operations were the engine's oldest:
what was loaded or begun ahead, in the cycles of another, can lift it above the roof. A whole frame cannot be above it.
"""

from dataclasses import asdict, dataclass
from typing import Any

from m3vit.model.config import HardwareConfig
from m3vit.sim.op_classes import Source, by_opcode, moved, source_of

FRAME, MODELLED_FRAME = "whole frame", "whole frame, cycle model"


@dataclass(frozen=True)
class Point:
    """What some operations attained.

    Attributes:
        name: opcode of the class, or which frame.
        macs: int8 multiply-accumulates.
        bytes: moved over the DRAM ports, the operations themselves included.
        cycles: that they took.
        source: where the cycles come from.
        intensity: MAC per byte.
        macs_per_cycle: attained.
        roof: MAC/cycle that the roof allows at this intensity.
    """

    name: str
    macs: float
    bytes: float
    cycles: float
    source: Source
    intensity: float
    macs_per_cycle: float
    roof: float


def roof(intensity: float, peak: float, bytes_per_cycle: float) -> float:
    """Attainable MAC/cycle at an intensity in MAC per byte."""
    return min(peak, bytes_per_cycle * intensity)


def roofline(cycles: dict[str, Any], hardware: HardwareConfig) -> dict[str, Any]:
    """The `roofline` part of the report.

    Args:
        cycles: the `cycles` part.
        hardware: gives the roof.

    Returns:
        `peak_macs_per_cycle`, `bytes_per_cycle`, `ridge` (the intensity in MAC per byte from which computing is the
        limit), `points` (see `Point`), and `left_out`: the classes without MACs or without cycles.
    """
    peak, width = float(hardware.macs_per_cycle), hardware.memory.bytes_per_cycle
    rows = cycles["per_op"]
    whole = {"macs": cycles["macs"], "bytes": sum(moved(row) for row in rows)}
    frames = [{"opcode": FRAME, **whole, "cycles": cycles["total"], "source": source_of(rows)}]
    if model := cycles.get("model"):
        frames.append({"opcode": MODELLED_FRAME, **whole, "cycles": model["total"], "source": "model"})
    return {
        "peak_macs_per_cycle": peak,
        "bytes_per_cycle": width,
        "ridge": peak / width,
        "points": [asdict(_point(part, peak, width)) for part in (*frames, *by_opcode(rows)) if _has_point(part)],
        "left_out": [part["opcode"] for part in by_opcode(rows) if not _has_point(part)],
    }


def _has_point(part: dict[str, Any]) -> bool:
    return bool(part["macs"] and part["bytes"] and part["cycles"])


def _point(part: dict[str, Any], peak: float, bytes_per_cycle: float) -> Point:
    intensity = part["macs"] / part["bytes"]
    return Point(
        name=part["opcode"], macs=part["macs"], bytes=part["bytes"], cycles=part["cycles"], source=part["source"],
        intensity=intensity, macs_per_cycle=part["macs"] / part["cycles"], roof=roof(intensity, peak, bytes_per_cycle),
    )  # fmt: skip
