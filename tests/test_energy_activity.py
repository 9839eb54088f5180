# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Activity of a frame: accesses to every memory against counts by hand, and against each other."""

from dataclasses import asdict, replace
from functools import cache

import pytest

from m3vit.model.config import HARDWARE, MODELS, HardwareConfig
from m3vit.sim.energy_activity import (
    Activity,
    clock_loads,
    frame_activity,
    mean_activity,
    primitive_accesses,
    ram_accesses,
    row_primitives,
)
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import model_frame, random_routing
from m3vit.sim.program import Op, Opcode
from m3vit.sim.resources import MEMORIES
from m3vit.sim.results import OpResult

DEMO, ZCU104 = HARDWARE["demo"], HARDWARE["zcu104"]


def counters(
    compute: int = 0, read: int = 0, write: int = 0, queues: dict[int, int] | None = None, loads: int = 0
) -> OpResult:
    used = queues or {}
    return OpResult(
        op=0, cycles=compute, compute=compute, read_words=read, write_words=write, stall_weight=0, stall_input=0,
        stall_output=0, experts=len(used), loads=loads, queue_lengths=used,
    )  # fmt: skip


def accesses(op: Op, counted: OpResult) -> dict[str, float]:
    """On `demo`: 8 lanes, words of 64 bytes in 8 granules, units of 32 channels in 4 granules; the stream in one."""
    found = ram_accesses([op], DEMO, [counted])
    found["weight stream"] += found.pop("kv buffer, lent part") / 8
    return {name: count for name, count in found.items() if count and name != "program, two copies"}


@cache
def modelled(ops: tuple[Op, ...], hardware: HardwareConfig) -> tuple[int, list[OpResult]]:
    """Cycles of a frame and counters of its operations."""
    frame = model_frame(ops, hardware, random_routing(ops))
    return frame.cycles, list(frame.ops)


def program(model: str, hardware: str) -> tuple[Op, ...]:
    return next(iter(plan_programs(MODELS[model], HARDWARE[hardware]).values()))


def test_primitives_of_an_access_by_hand() -> None:
    assert {name: row_primitives(make(ZCU104)) for name, make in MEMORIES.items() if make(ZCU104).style == "ultra"} == {
        "x buffer": 4,  # 256 bits in 72
        "h buffer": 4,
        "kv buffer": 1,  # 64 bits
        "kv buffer, lent part": 1,
        "residual": 8,  # 512 bits
        "weight stream": 11,  # 768 bits
    }
    assert {name: row_primitives(make(ZCU104)) for name, make in MEMORIES.items() if make(ZCU104).style == "block"} == {
        "weight stream, block RAM": 43,  # 768 bits as 18 x 2048, two deep
        "attention scores": 8,  # 512 bits as 72 x 512
        "accumulators": 12,  # 864 bits as 72 x 512
        "route table": 3,  # 166 bits as 72 x 512
        "token queues": 1,  # 29 bits as 36 x 1024
        "program, two copies": 8,  # 512 bits
        "GELU tables": 1,  # 64 bits
    }


def test_primitive_accesses_by_hand() -> None:
    counted = {"x buffer": 10.0, "residual": 2.0, "accumulators": 3.0, "token queues": 5.0}
    assert primitive_accesses(counted, ZCU104) == (3 * 12 + 5, 10 * 4 + 2 * 8)


def test_linear_by_hand() -> None:
    op = Op(opcode=Opcode.LINEAR, rows=65, heads=2, in_features=64, out_features=192, operands=(32,))
    results = 65 * 192
    assert accesses(op, counters(compute=2000, read=200)) == pytest.approx(
        {
            "x buffer": 2000 * 8,
            "token queues": 2000,
            "accumulators": 2000 + 2000 - results / 8,
            "weight stream": 2 * 200,
            "h buffer": results / 3 / 8,
            "kv buffer": results * 2 / 3 / 8,
        }
    )


def test_attention_by_hand() -> None:
    operands = (0, 0, 0, 40, 32)  # two blocks of 40 query rows for 65
    op = Op(opcode=Opcode.ATTENTION, rows=65, heads=2, in_features=192, out_features=64, operands=operands)
    scores, out = 65 * 65 * 2, 65 * 64
    # Per head: 65 keys in five tiles of 2 x 8; values in four tiles of 8 channels, two chunks of 64 tokens each.
    loads = 5 * 16 + 4 * 2 * 64
    assert accesses(op, counters(compute=2600)) == pytest.approx(
        {
            "h buffer": 1000 * 8,  # five of thirteen passes
            "attention scores": 1600 * 8 + scores / 8,
            "token queues": 2600,
            "accumulators": 2600 + 2600 - (scores + out) / 8,
            "x buffer": out / 8,
            "kv buffer": 2 * 2 * loads * 8,  # blocks, heads, units, pieces
        }
    )


def test_wide_heads_fill_the_array_with_one_set_of_keys() -> None:
    op = Op(opcode=Opcode.ATTENTION, rows=65, heads=1, in_features=192, out_features=64, operands=(0, 0, 0, 80, 64))
    keys, values = 9 * 8 * 2, 8 * 2 * 64  # nine tiles of 8 keys of two units; eight tiles of channels
    found = accesses(op, counters(compute=2500))
    assert found["kv buffer"] == (keys + values) * 8
    assert found["h buffer"] == pytest.approx(2500 * 8 * 9 / (9 + 16))


def test_moe_by_hand() -> None:
    op = Op(opcode=Opcode.MOE, rows=65, top_k=2, in_features=64, out_features=128, experts=8)
    hidden, out, routed = 65 * 2 * 128, 65 * 2 * 64, 65 * 8
    # First layer 16 tiles x 1 chunk, second 8 x 2, for 130 entries; router one tile for 65 tokens.
    in_h = 130 * 16 / (130 * (16 + 16) + 65)
    assert accesses(op, counters(5000, read=100, queues={0: 100, 3: 30}, loads=3)) == pytest.approx(
        {
            "h buffer": in_h * 5000 * 8 + hidden / 8,
            "x buffer": (1 - in_h) * 5000 * 8,
            "accumulators": 5000 + 5000 - (hidden + out + routed) / 8,
            "weight stream": 100 + 100 * 2 / 3,  # three experts were loaded, two used
            "GELU tables": hidden + 128 * 8,
            "residual": out / 8 * 5,  # four granules read, one written
            "route table": 2 * 65 + 2 * 65,  # one tile of eight experts, two scans
            "token queues": 5000 + out / 8 + 2 * 130,
        }
    )


def test_norm_image_and_result_by_hand() -> None:
    norm = Op(opcode=Opcode.LAYER_NORM, rows=65, in_features=64)
    assert accesses(norm, counters(read=1)) == {"weight stream": 2, "residual": 65 * 8 * 4, "x buffer": 65 * 8}
    store = Op(opcode=Opcode.STORE, rows=64, out_features=40)
    assert accesses(store, counters(write=100)) == {"residual": 64 * 2 * 4}
    embed = Op(opcode=Opcode.PATCH_EMBED, rows=65, in_features=192, out_features=64, operands=(8, 64, 64, 8, 8))
    pixels, positions = 3 * 64 * 64, 2 * 65 * 64
    assert accesses(embed, counters(compute=900, read=(pixels + positions) // 64 + 7)) == pytest.approx(
        {
            "kv buffer": 900 * 8 + pixels / 8,
            "token queues": 900 + 65 * 64 / 8,
            "accumulators": 900 + 900 - 65 * 64 / 8,
            "weight stream": 2 * 7,
            "residual": 65 * 64 / 8 * 5 + 65 * 2 * 4,
        }
    )


def test_second_layers_of_uneven_sizes() -> None:
    # zcu104: 32 lanes, words of 96. Slices of 64 x 160: first layer 5 tiles x 1 chunk, second 2 tiles x 2 chunks.
    op = Op(opcode=Opcode.MLP, rows=9, in_features=64, out_features=160, experts=2)
    found = ram_accesses([op], ZCU104, [counters(compute=900)])
    hidden = 9 * 160 * 2
    assert found["h buffer"] == pytest.approx(400 * 3 + hidden / 32)
    assert found["x buffer"] == pytest.approx(500 * 3)


@pytest.mark.parametrize(("rows", "lent"), [(129, 4096), (1025, 0)])
def test_stream_buffer_in_three_parts(rows: int, lent: int) -> None:
    # zcu104: 4,096 words each in URAM and block RAM, 4,096 of 96 bytes from the key-value buffer if that is not full
    op = Op(opcode=Opcode.LOAD, rows=rows, in_features=384)
    source = 2 * rows * 384 // 64
    found = ram_accesses([op], ZCU104, [counters(read=source + 96)])
    words = 2 * 96 * 64 / 96
    assert found["weight stream"] == found["weight stream, block RAM"] == pytest.approx(words * 4096 / (8192 + lent))
    assert found["kv buffer, lent part"] == pytest.approx(12 * words * lent / (8192 + lent))


def test_both_copies_of_the_program_are_read_in_every_cycle() -> None:
    op = Op(opcode=Opcode.STORE, rows=64, out_features=40)
    assert ram_accesses([op], DEMO, [counters(compute=700)])["program, two copies"] == 2 + 2 * 700


def test_every_memory_is_used_by_a_whole_program() -> None:
    ops = program("m3vit_tiny_patch16", "zcu104")
    found = ram_accesses(ops, ZCU104, modelled(ops, ZCU104)[1])
    inside = {name for name, make in MEMORIES.items() if make(ZCU104).style in ("block", "ultra")}
    assert {name for name, count in found.items() if count > 0} == inside


def test_activity_by_hand() -> None:
    ops = (
        Op(opcode=Opcode.LINEAR, rows=10, heads=1, in_features=64, out_features=96, operands=(32,)),
        Op(opcode=Opcode.STORE, rows=10, out_features=64),
    )
    found = frame_activity(ops, DEMO, [counters(200, read=7), counters(write=20)], 600)
    assert found.macs == 10 * 64 * 96
    assert found.vector_elements == 10 * 96
    assert found.dram_bytes == 2 * 64 + 27 * 64
    assert found.seconds == pytest.approx(2e-6)
    assert (found.cycles, found.device_luts) == (600, 230_400)


def test_clock_loads_come_near_the_synthesised_design() -> None:
    # Yosys: 98,503 flip-flops, 1,656 DSP, 248 RAMB36, 81 URAM288
    assert clock_loads(ZCU104) == pytest.approx(98_503 + 32 * (1656 + 248 + 81), rel=0.02)


@pytest.mark.parametrize("name", ["compute", "read_words", "write_words"])
def test_more_work_is_more_activity(name: str) -> None:
    ops = program("m3vit_demo_patch8", "demo")
    cycles, counted = modelled(ops, DEMO)
    more = [one.model_copy(update={name: getattr(one, name) + 1000}) for one in counted]
    before, after = frame_activity(ops, DEMO, counted, cycles), frame_activity(ops, DEMO, more, cycles)
    grows = ("bram_accesses",) if name == "compute" else ("dram_bytes",)
    assert all(getattr(after, field) > getattr(before, field) for field in grows)
    assert all(getattr(after, field) >= getattr(before, field) for field in asdict(before))


def test_mean_of_frames() -> None:
    one = Activity(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert mean_activity([one, replace(one, macs=3, device_luts=9)]) == replace(one, macs=2)
