# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Accesses to on-chip RAM: the model of sim/energy_activity.py against the enables in a waveform of the RTL.

`m3vit verify PATHWAY --wave`, then `python -m m3vit.sim.energy_check PATHWAY`: reads the waveform (1 GB for a frame of
the demo, about 15 s) and prints for every memory what the model counts and what the RTL did.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.errors import UserError
from m3vit.sim.energy_activity import ram_accesses
from m3vit.sim.pathway import read_pathways
from m3vit.sim.results import RESULTS, OpResult

ENABLES = (b"read_i", b"write_i")
CLOCK = b"clk_i"
INSTANCES = {
    "x buffer": (".u_buffers", ".u_x"),
    "h buffer": (".u_buffers", ".u_h"),
    "kv buffer": (".u_buffers", ".u_lower"),
    "kv buffer, lent part": (".u_buffers", ".u_upper"),
    "residual": (".u_residual", ".u_ram"),
    "weight stream": (".u_stream", ".u_ultra"),
    "weight stream, block RAM": (".u_stream", ".u_block"),
    "attention scores": (".u_attention", ".u_scores"),
    "accumulators": (".u_accumulator", ".u_ram"),
    "route table": (".u_routing", ".u_table"),
    "token queues": (".u_datapath", ".u_queue"),
    "GELU tables": (".u_gelu", ".u_table"),
    "program, two copies": (".u_program", ""),
}
"""Parts of the hierarchical names of the m3vit_ram instances of a memory."""
KEY_VALUE = ("kv buffer", "kv buffer, lent part")


@dataclass(frozen=True)
class Wave:
    """Declarations of a waveform: code of the clock, and the instances whose enable has a code."""

    clock: bytes
    enables: Mapping[bytes, tuple[str, ...]]


def read_header(lines: Iterator[bytes]) -> Wave:
    """Consume the declarations of a VCD.

    Raises:
        UserError: it has no clock or no RAM.
    """
    scope: list[str] = []
    enables: dict[bytes, tuple[str, ...]] = {}
    clock = b""
    for line in lines:
        words = line.split()
        match words:
            case [b"$scope", _, name, *_]:
                scope.append(name.decode())
            case [b"$upscope", *_]:
                scope.pop()
            case [b"$var", _, b"1", code, name, *_]:
                where = "." + ".".join(scope)
                clock = code if name == CLOCK and not clock else clock
                if name in ENABLES:
                    enables[code] = (*enables.get(code, ()), where)
            case [b"$enddefinitions", *_]:
                break
    if not clock or not enables:
        raise UserError("the waveform shows no clock or no RAM; make it with `m3vit verify PATHWAY --wave`")
    return Wave(clock, enables)


def count_enables(lines: Iterator[bytes]) -> dict[str, int]:
    """Cycles in which each RAM read plus those in which it wrote, by instance: enables just before rising edges."""
    wave = read_header(lines)
    counts = dict.fromkeys(wave.enables, 0)
    high: set[bytes] = set()
    changed: dict[bytes, bool] = {}
    rising = False
    for line in lines:
        first = line[:1]
        if first == b"#":
            if rising:
                for code in high:
                    counts[code] += 1
            high = (high | {code for code, on in changed.items() if on}) - {c for c, on in changed.items() if not on}
            changed, rising = {}, False
        elif first in (b"0", b"1"):
            code = line[1:].strip()
            if code == wave.clock:
                rising = first == b"1"
            elif code in counts:
                changed[code] = first == b"1"
    return _by_instance(wave, counts)


def _by_instance(wave: Wave, counts: Mapping[bytes, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for code, instances in wave.enables.items():
        for instance in instances:
            found[instance] = found.get(instance, 0) + counts[code]
    return found


def by_memory(instances: Mapping[str, int]) -> dict[str, int]:
    """Sums over the instances of each memory, see INSTANCES."""
    return {
        name: sum(count for where, count in instances.items() if all(part in where for part in parts))
        for name, parts in INSTANCES.items()
    }


def joined(accesses: Mapping[str, float]) -> dict[str, float]:
    """Both parts of the key-value buffer as one row: keys and values lie in either, and cost the same there."""
    rest = {name: count for name, count in accesses.items() if name not in KEY_VALUE}
    return rest | {" and ".join(KEY_VALUE): sum(accesses.get(name, 0) for name in KEY_VALUE)}


def read_counters(path: Path) -> list[OpResult]:
    """Counters of the frame in the journal of `m3vit verify --wave`: a line with its key, then a line per frame.

    Raises:
        UserError: there is no frame in it.
    """
    lines: Iterable[str] = path.read_text().splitlines()[1:] if path.exists() else []
    frame = next((json.loads(line) for line in lines), None)
    if frame is None:
        raise UserError(f"{path} holds no frame; run `m3vit verify PATHWAY --wave` first")
    return [OpResult(op=index, queue_lengths={}, **counted) for index, counted in enumerate(frame["ops"])]


def compare(pathway: Path) -> Table:
    """Accesses to every on-chip memory in one frame, the energy model's beside the RTL's.

    Args:
        pathway: folder after `m3vit verify --wave`.

    Raises:
        UserError: there is no waveform in it.
    """
    folder = (pathway / RESULTS).parent / "experiments"
    pathways, counted = read_pathways(pathway), read_counters(folder / "outcome.jsonl")
    modelled = ram_accesses(pathways.first.program, pathways.first.config.hardware, counted)
    with (folder / "dump.vcd").open("rb") as wave:
        measured = by_memory(count_enables(wave))
    table = Table("memory", "modelled", "in RTL", "error", box=box.SIMPLE_HEAD, title="Reads and writes of RAMs")
    for name, count in joined(measured).items():
        value = joined(modelled)[name]
        table.add_row(name, f"{value:,.0f}", f"{count:,.0f}", f"{100 * (value / count - 1):+.1f} %" if count else "-")
    return table


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        Console(highlight=False).print(compare(Path(sys.argv[1])))
    except UserError as error:
        sys.exit(f"m3vit: {error}")
