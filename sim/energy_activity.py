# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What a frame does, from its program and the counters of its operations: the counts behind the energy estimate.

The counters are those of the RTL or of a model of it; nothing here asks which. Accesses to on-chip RAM are derived from
what each operation computes and from the geometry of the buffers (`resources.MEMORIES`): an access is one read or write
of one RAM (a memory can be several side by side), and enables as many primitives as lie side by side in that RAM.
Primitives stacked in depth: only the addressed one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil

from m3vit.model.config import UNIT_BYTES, WORD_BYTES, HardwareConfig
from m3vit.sim.bound import activation_bytes
from m3vit.sim.flops import entries, macs, vector_elements
from m3vit.sim.golden.linear import GELU_INDEX_BITS
from m3vit.sim.performance.executor import lends
from m3vit.sim.program import OP_BYTES, Op, Opcode
from m3vit.sim.resources import MEMORIES, RAMB36_SHAPES, URAM_SHAPES, Ram, block_words, estimate
from m3vit.sim.results import OpResult

HARD_BLOCK_LOADS = 32
"""Flip-flops that load the clock as much as one DSP48E2, RAMB36 or URAM288; our assumption, inside the clock's band."""


STREAM = "stream buffer"
"""The parts of the weight stream together."""


@dataclass(frozen=True)
class Activity:
    """What was done, for one frame.

    Attributes:
        macs: int8 multiply-accumulates.
        vector_elements: values that passed requantisation, a table, a norm or a softmax.
        bram_accesses: reads and writes of a RAMB36, up to 72 bits each.
        uram_accesses: reads and writes of a URAM288, 72 bits each.
        dram_bytes: bytes over the DRAM ports.
        clock_loads: flip-flops that the clock drives, DSPs and RAMs counted as `HARD_BLOCK_LOADS` each.
        cycles: of the accelerator's clock.
        seconds: duration.
        device_luts: LUTs of the whole device, used or not: the measure of its leakage.
    """

    macs: float
    vector_elements: float
    bram_accesses: float
    uram_accesses: float
    dram_bytes: float
    clock_loads: float
    cycles: float
    seconds: float
    device_luts: float


def mean_activity(frames: Sequence[Activity]) -> Activity:
    """The mean of several frames, count by count."""
    sums = {field.name: sum(getattr(frame, field.name) for frame in frames) for field in fields(Activity)}
    return Activity(**{name: total / len(frames) for name, total in sums.items()})


def frame_activity(program: Sequence[Op], hardware: HardwareConfig, ops: Sequence[OpResult], cycles: float) -> Activity:
    """Activity of one frame.

    Args:
        program: the operations.
        hardware: what they ran on.
        ops: counters of every operation, in order; from RTL or from a model.
        cycles: of the whole frame, from START to DONE.
    """
    bram, uram = primitive_accesses(ram_accesses(program, hardware, ops), hardware)
    words = sum(op.read_words + op.write_words for op in ops)
    return Activity(
        macs=sum(macs(op) for op in program),
        vector_elements=sum(vector_elements(op) for op in program),
        bram_accesses=bram,
        uram_accesses=uram,
        dram_bytes=len(program) * OP_BYTES + words * WORD_BYTES,
        clock_loads=clock_loads(hardware),
        cycles=cycles,
        seconds=cycles / (hardware.clock_mhz * 1e6),
        device_luts=hardware.board.lut,
    )


def clock_loads(hardware: HardwareConfig) -> float:
    """Flip-flops that the clock drives, hard blocks included."""
    need = estimate(hardware)
    return need.ff + HARD_BLOCK_LOADS * (need.dsp + need.bram36 + need.uram)


def ram_accesses(program: Sequence[Op], hardware: HardwareConfig, ops: Sequence[OpResult]) -> dict[str, float]:
    """Reads and writes of single RAMs in one frame, by the name of the memory in `resources.MEMORIES`."""
    total: dict[str, float] = {}
    for op, counted in zip(program, ops, strict=True):
        for part in (_engine, _stream, _results, _vectors, _tables):
            for name, count in part(op, counted, hardware).items():
                total[name] = total.get(name, 0.0) + count
    return total | _stream_parts(total.pop(STREAM, 0.0), hardware, lends(program[0], hardware))


def row_primitives(ram: Ram) -> int:
    """Primitives that lie side by side in a RAM: what one access enables."""
    shapes = URAM_SHAPES if ram.style == "ultra" else RAMB36_SHAPES
    width, _ = min(shapes, key=lambda shape: ceil(ram.width / shape[0]) * ceil(ram.depth / shape[1]))
    return ceil(ram.width / width)


def primitive_accesses(accesses: Mapping[str, float], hardware: HardwareConfig) -> tuple[float, float]:
    """Accesses of RAMB36 and of URAM288 primitives."""
    found = {"block": 0.0, "ultra": 0.0}
    for name, count in accesses.items():
        ram = MEMORIES[name](hardware)
        found[ram.style] += count * row_primitives(ram)
    return found["block"], found["ultra"]


def _granules(hardware: HardwareConfig) -> int:
    return hardware.inputs // hardware.lanes


def _engine(op: Op, counted: OpResult, hardware: HardwareConfig) -> dict[str, float]:
    """A word of activations, a queue entry and the accumulators are read per cycle of the linear engine.

    Sums go back to the accumulators in all cycles but those of the last chunk, whose results leave.
    """
    cycles, results = counted.compute, vector_elements(op) / hardware.lanes
    h_share, score_share, kv_share = _sources(op, hardware)
    x_share = 1 - h_share - score_share - kv_share
    return {
        "x buffer": x_share * cycles * _granules(hardware),
        "h buffer": h_share * cycles * _granules(hardware),
        "kv buffer": kv_share * cycles * hardware.inputs // 8,
        "attention scores": score_share * cycles * _granules(hardware),
        "token queues": cycles,
        "accumulators": cycles + max(cycles - results, 0) if macs(op) else cycles,
    }


def _sources(op: Op, hardware: HardwareConfig) -> tuple[float, float, float]:
    """Shares of the engine's cycles that read h, the scores and kv; the rest reads x."""
    match op.opcode:
        case Opcode.PATCH_EMBED:
            return 0.0, 0.0, 1.0
        case Opcode.ATTENTION:
            head = _head(op, hardware)
            scores = head.value_passes / (head.key_passes + head.value_passes)
            return 1 - scores, scores, 0.0
        case Opcode.MLP | Opcode.MOE:
            return _second_layer(op, hardware), 0.0, 0.0
    return 0.0, 0.0, 0.0


def _second_layer(op: Op, hardware: HardwareConfig) -> float:
    """Share of the second layers in the engine's cycles of experts or of an MLP: a row takes tiles x chunks cycles."""

    def row(inputs: int, outputs: int) -> int:
        return ceil(outputs / hardware.lanes) * ceil(inputs / hardware.inputs)

    outer, hidden = op.in_features, op.out_features
    moe = op.opcode is Opcode.MOE
    rows, router = (entries(op), op.rows * row(outer, op.experts)) if moe else (op.rows * op.experts, 0)
    second = rows * row(hidden, outer)
    return second / (router + rows * row(outer, hidden) + second)


@dataclass(frozen=True)
class _Head:
    """Passes over the rows of a block, and units of 32 channels of keys and values loaded for it; one head."""

    key_passes: int
    value_passes: int
    units: int


def _head(op: Op, hardware: HardwareConfig) -> _Head:
    """Attention of one head: narrow heads put several sets of keys into the array, values are read once per tile."""
    channels = op.out_features // op.heads
    per_key = ceil(channels / UNIT_BYTES)
    keys = hardware.lanes * max(hardware.groups // per_key, 1)
    key_tiles, value_chunks = ceil(op.rows / keys), ceil(op.rows / hardware.inputs)
    values = ceil(channels / hardware.lanes) * value_chunks
    return _Head(
        key_passes=key_tiles * ceil(channels / hardware.inputs),
        value_passes=values,
        units=key_tiles * keys * per_key + values * hardware.inputs,
    )


def _stream(op: Op, counted: OpResult, hardware: HardwareConfig) -> dict[str, float]:
    """Weights are written to the stream buffer and read from it; pixels and positions pass by it.

    Of an expert that was loaded and not used nothing is read; a cached one is read at every visit. Both copies of the
    program are read in every cycle.
    """
    past = activation_bytes(op) if op.opcode is not Opcode.STORE else 0
    if op.opcode is Opcode.PATCH_EMBED:
        past += 2 * op.rows * op.out_features
    reads = counted.experts / counted.loads if counted.loads else 1
    words = (1 + reads) * max(counted.read_words * WORD_BYTES - past, 0) / hardware.inputs
    return {STREAM: words, "program, two copies": 2 + 2 * counted.cycles}


def _stream_parts(words: float, hardware: HardwareConfig, lent: bool) -> dict[str, float]:
    """Accesses to the parts of the stream buffer, which take turns; the lent one is made of RAMs of eight bytes."""
    share = words / (hardware.stream_words + (hardware.lend_words if lent else 0))
    block = block_words(hardware)
    return {
        "weight stream": share * (hardware.stream_words - block),
        "weight stream, block RAM": share * block,
        "kv buffer, lent part": share * hardware.lend_words * hardware.inputs / 8 if lent else 0.0,
    }


def _results(op: Op, counted: OpResult, hardware: HardwareConfig) -> dict[str, float]:
    """Where the results of the engine go, `lanes` values at a time."""
    lanes, rows = hardware.lanes, op.rows
    match op.opcode:
        case Opcode.LINEAR:  # a third are queries
            values = rows * op.out_features
            return {"h buffer": values / 3 / lanes, "kv buffer": values * 2 / 3 / 8}
        case Opcode.ATTENTION:
            return {
                "attention scores": rows * rows * op.heads / lanes,
                "x buffer": rows * op.out_features / lanes,
            }
        case Opcode.MLP:
            hidden, out = rows * op.experts * op.out_features, rows * op.experts * op.in_features
        case Opcode.MOE:
            hidden, out = entries(op) * op.out_features, entries(op) * op.in_features
        case Opcode.LINEAR_RESIDUAL | Opcode.PATCH_EMBED | Opcode.HEAD:
            hidden, out = 0, vector_elements(op)
        case _:
            return {}
    # The residual is read, all granules of a unit at once, added to, and written back; the queue holds the gates.
    added = out / lanes * (UNIT_BYTES // lanes + 1)
    return {"h buffer": hidden / lanes, "GELU tables": hidden, "residual": added, "token queues": out / lanes}


def _vectors(op: Op, counted: OpResult, hardware: HardwareConfig) -> dict[str, float]:
    """LayerNorm, keys and values as weights, what comes in and goes out."""
    lanes, units = hardware.lanes, UNIT_BYTES // hardware.lanes
    match op.opcode:
        case Opcode.LAYER_NORM:
            granules = op.rows * op.in_features / lanes
            return {"residual": granules * units, "x buffer": granules}
        case Opcode.ATTENTION:
            blocks = ceil(op.rows / op.operands[3])
            units = blocks * op.heads * _head(op, hardware).units
            return {"kv buffer": units * hardware.inputs / 8}
        case Opcode.PATCH_EMBED:
            positions = op.rows * op.out_features / UNIT_BYTES
            return {"kv buffer": activation_bytes(op) / 8, "residual": positions * units}
        case Opcode.LOAD | Opcode.STORE:
            return {"residual": op.rows * ceil(max(op.in_features, op.out_features) / UNIT_BYTES) * units}
    return {}


def _tables(op: Op, counted: OpResult, hardware: HardwareConfig) -> dict[str, float]:
    """GELU tables are loaded for each lane; routes are updated per tile of experts and scanned per used expert."""
    loaded: dict[str, float] = {"GELU tables": (1 << GELU_INDEX_BITS) // 8 * hardware.lanes}
    if op.opcode is Opcode.MLP:
        return loaded
    if op.opcode is not Opcode.MOE:
        return {}
    used = len(counted.queue_lengths) or counted.experts
    updates = 2 * op.rows * ceil(op.experts / hardware.lanes)
    return loaded | {"route table": updates + used * op.rows, "token queues": 2 * entries(op)}
