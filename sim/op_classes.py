# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The operations of a program in classes, one per opcode, and their rows of the report added up."""

from collections.abc import Sequence
from typing import Any, Literal

from m3vit.sim.program import OP_BYTES

Source = Literal["rtl", "model"]
Kind = Literal["measured", "counted", "modelled", "assumed"]
COUNTED = ("cycles", "compute", "stall_weight", "stall_input", "stall_output")


def kind_of_source(source: Source | None) -> Kind | None:
    """What a figure is that comes from the RTL's counters, from the cycle model's, or from neither."""
    if source is None:
        return None
    return "measured" if source == "rtl" else "modelled"


def by_opcode(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Operations of each class together, in the order in which they first appear.

    Args:
        rows: `cycles.per_op` of a report.

    Returns:
        `opcode`, `count`, `source`, `macs`, `bytes` (moved, as counted or modelled, the operations themselves included;
        without cycles those of the bound), `bound`, and the sums of the cycle counters, None unless all have them.
    """
    kinds = dict.fromkeys(row["opcode"] for row in rows)
    return [_together(kind, [row for row in rows if row["opcode"] == kind]) for kind in kinds]


def _together(kind: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ran = all(row["cycles"] is not None for row in rows)
    bound = max(sum(row["bound_compute"] for row in rows), sum(row["bound_memory"] for row in rows))
    return {
        "opcode": kind,
        "count": len(rows),
        "source": source_of(rows),
        "macs": sum(row["macs"] for row in rows),
        "bytes": sum(moved(row) for row in rows),
        "bound": bound,
        **{name: sum(row[name] for row in rows) if ran else None for name in COUNTED},
    }


def source_of(rows: Sequence[dict[str, Any]]) -> Source | None:
    """`rtl` if all cycles were measured, `model` if some were modelled, None if some are missing."""
    if any(row["cycles"] is None for row in rows):
        return None
    return "rtl" if all(row["source"] == "rtl" for row in rows) else "model"


def moved(row: dict[str, Any]) -> float:
    """DRAM bytes of an operation: as counted in RTL or by the cycle model, itself included, else those of its bound."""
    if row["read_bytes"] is None:
        return float(row["bytes"])
    return float(OP_BYTES + row["read_bytes"] + row["write_bytes"])
