# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Bytes and bounds against numbers worked out by hand, and against the memory image."""

import numpy as np
import pytest

from m3vit.model.config import HARDWARE, MODELS, HardwareConfig, MemoryConfig
from m3vit.sim.bound import activation_bytes, bound, frame_bound, moved_bytes, op_bound, weight_bytes
from m3vit.sim.cycles import Task, cycles, queued_routing
from m3vit.sim.flops import macs
from m3vit.sim.layout import align
from m3vit.sim.performance import model_frame, random_routing
from m3vit.sim.program import OP_BYTES, Op, Opcode
from m3vit.sim.program_check import expert_stride, expert_words, regions
from m3vit.sim.results import FrameResult, OpResult
from m3vit.sim.synthetic import random_pathways

DEMO, ZCU104 = HARDWARE["demo"], HARDWARE["zcu104"]
MOE = Op(opcode=Opcode.MOE, rows=65, top_k=2, in_features=64, out_features=128, experts=8)


def test_moe_layer_by_hand() -> None:
    # demo: 8 lanes x 64 inputs = 512 MAC/cycle; 64 B x 80 % = 51.2 B/cycle
    router = 8 * (8 + 64)
    expert = 128 * (8 + 64) + 64 * (8 + 128)
    moved = 64 + router + 1024 + 5 * expert
    found = op_bound(MOE, DEMO, experts_used=5)
    assert (router, expert, moved) == (576, 17920, 91264)
    assert found.bytes == moved
    assert found.macs == 65 * 64 * 8 + 65 * 2 * 2 * 64 * 128
    assert found.compute == 4225  # 2,163,200 / 512 exactly
    assert found.memory == 1783  # 91,264 / 51.2 = 1782.5
    assert found.cycles == 4225


def test_both_bounds_round_up() -> None:
    found = bound(513, 51.3, DEMO)
    assert (found.compute, found.memory) == (2, 2)
    assert bound(512, 51.2, DEMO).cycles == 1


def test_memory_can_be_the_limit() -> None:
    slow = DEMO.model_copy(update={"memory": MemoryConfig(efficiency_percent=10)})
    found = op_bound(MOE, slow)
    assert found.memory > found.compute
    assert found.cycles == found.memory


def test_fewer_experts_move_fewer_bytes_and_the_same_macs() -> None:
    one, every = op_bound(MOE, DEMO, experts_used=1), op_bound(MOE, DEMO)
    assert every.bytes - one.bytes == 7 * 17920
    assert every.macs == one.macs


@pytest.mark.parametrize(
    ("name", "hardware"), [("m3vit_demo_patch8", DEMO), ("m3vit_tiny_patch16", ZCU104)], ids=["demo", "tiny"]
)
def test_weights_are_the_blocks_of_the_image(name: str, hardware: HardwareConfig) -> None:
    """Each block is read once; DRAM words are whole, and experts lie in stripes that the bound does not count."""
    pathway = random_pathways(MODELS[name], hardware).task("depth")
    others = tuple(f".{task}" for task in pathway.config.model.tasks if task != "depth")
    blocks = {
        block: align(where.size, 64)
        for block, where in pathway.blocks.items()
        if not block.startswith("program.") and not block.endswith(others)
    }
    expert_ops = [op for op in pathway.program if op.opcode in (Opcode.MOE, Opcode.MLP)]
    padding = sum(
        op.experts
        * (op.expert_stride - align(expert_words(op.in_features, op.out_features, hardware) * hardware.inputs, 64))
        for op in expert_ops
    )
    table = 0 if hardware is DEMO else 64  # 1,024 bytes do not fill the last of eleven words of 96
    counted = sum(weight_bytes(op, hardware) for op in pathway.program)
    assert counted == sum(blocks.values()) - padding + table * len(expert_ops)


def test_regions_follow_the_blocks() -> None:
    """The last byte that an operation may read lies in its block, or in the DRAM word behind a table."""
    pathway = random_pathways(MODELS["m3vit_tiny_patch16"], ZCU104).first
    ends = {block.offset: block.offset + align(block.size, 64) for block in pathway.blocks.values()}
    for op in pathway.program:
        for region in regions(op, ZCU104):
            assert region.offset + region.size <= ends[region.offset] + 64
        if op.opcode in (Opcode.MOE, Opcode.MLP):
            assert op.expert_stride == expert_stride(192, 384, ZCU104)


@pytest.mark.parametrize(
    ("op", "moved"),
    [
        (Op(opcode=Opcode.PATCH_EMBED, rows=5, in_features=192, out_features=64, operands=(8, 16, 16, 2)), 768),
        (Op(opcode=Opcode.LOAD, rows=5, in_features=64), 640),
        (Op(opcode=Opcode.LAYER_NORM, rows=5, in_features=64), 0),
        (Op(opcode=Opcode.LINEAR, rows=5, in_features=64, out_features=192), 0),
        (Op(opcode=Opcode.ATTENTION, rows=5, in_features=192, out_features=64), 0),
        (Op(opcode=Opcode.LINEAR_RESIDUAL, rows=5, in_features=64, out_features=64), 0),
        (Op(opcode=Opcode.MLP, rows=5, in_features=64, out_features=256), 0),
        (Op(opcode=Opcode.MOE, rows=5, in_features=64, out_features=128), 0),
        (Op(opcode=Opcode.HEAD, rows=5, in_features=64, out_features=48), 0),
        (Op(opcode=Opcode.STORE, rows=4, out_features=48), 512),  # 64 channels a row
    ],
    ids=lambda value: value.opcode.name if isinstance(value, Op) else "",
)
def test_activations_by_hand(op: Op, moved: int) -> None:
    assert activation_bytes(op) == moved


def test_frame_is_the_sum_of_its_operations() -> None:
    program = random_pathways(MODELS["m3vit_demo_patch8"], DEMO).first.program
    moe = [index for index, op in enumerate(program) if op.opcode is Opcode.MOE]
    found = frame_bound(program, DEMO, {moe[0]: 3})
    used = [3 if index == moe[0] else None for index in range(len(program))]
    assert found.macs == sum(macs(op) for op in program)
    assert found.bytes == sum(moved_bytes(op, DEMO, count) for op, count in zip(program, used, strict=True))
    assert found.bytes == frame_bound(program, DEMO, {}).bytes - 5 * 17920


def test_frame_moves_image_weights_program_and_result() -> None:
    pathway = random_pathways(MODELS["m3vit_demo_patch8"], DEMO).first
    weights = sum(weight_bytes(op, DEMO) for op in pathway.program)
    moved = frame_bound(pathway.program, DEMO, {}).bytes
    assert moved - weights == 64 * 64 * 3 + OP_BYTES * len(pathway.program) + 64 * 2 * np.ceil(80 / 32) * 32


def test_small_is_bound_by_compute() -> None:
    op = Op(opcode=Opcode.MOE, rows=1025, top_k=4, in_features=384, out_features=384, experts=16)
    found = op_bound(op, ZCU104)
    assert found.compute == -(-(1025 * 384 * 16 + 4100 * 2 * 384 * 384) // 3072)
    assert found.cycles == found.compute


def test_cycles_of_frames_against_the_bound() -> None:
    """Two frames with made-up counters: means, totals and experts as measured."""
    pathway = random_pathways(MODELS["m3vit_demo_patch8"], DEMO).first
    program = pathway.program
    moe = [index for index, op in enumerate(program) if op.opcode is Opcode.MOE]
    frames = []
    for image in (0, 1):
        ops = [
            OpResult(
                op=index, cycles=1000 + 100 * image + index, compute=900, read_words=7, write_words=1, stall_weight=3,
                stall_input=2, stall_output=1, experts=(4 + image) * (index in moe), loads=8 * (index in moe),
                queue_lengths={1: 60, 2: 40 + 10 * image, 3: 30 - 10 * image} if index in moe else {},
            )
            for index in range(len(program))
        ]  # fmt: skip
        total = sum(op.cycles for op in ops)
        frames.append(FrameResult(task=pathway.task, image=image, cycles=total, elements=1, mismatches=0, ops=ops))
    task = Task(pathway, DEMO, frames)
    tree = cycles(task)
    count = len(program)
    assert task.frame_cycles == [sum(range(1000, 1000 + count)), sum(range(1100, 1100 + count))]
    assert tree["total"] == sum(task.frame_cycles) / 2
    assert task.experts_used == dict.fromkeys(moe, 4.5)
    assert tree["bytes"] == frame_bound(program, DEMO, dict.fromkeys(moe, 4.5)).bytes
    assert tree["ratio_to_bound"] == tree["total"] / tree["bound"]
    modelled = [model_frame(program, DEMO, queued_routing(program, frame)).cycles for frame in frames]
    assert tree["model"]["total"] == sum(modelled) / 2
    assert tree["model"]["deviation_percent"] == pytest.approx(100 * (sum(modelled) / sum(task.frame_cycles) - 1))
    rows = tree["per_op"]
    assert sum(row["cycles"] for row in rows) == tree["total"]
    assert sum(row["bytes"] for row in rows) == tree["bytes"]
    assert [row["layer"] for row in rows] == [None, *(i for i in range(4) for _ in range(6)), None, None, None]
    assert (rows[2]["cycles_min"], rows[2]["cycles_max"], rows[2]["read_bytes"]) == (1002, 1102, 448)
    assert rows[2]["expert_tokens"] is None
    assert rows[moe[0]]["expert_tokens"] == [0, 60, 45, 25, 0, 0, 0, 0]


def test_cycles_without_frames_are_the_models() -> None:
    pathway = random_pathways(MODELS["m3vit_demo_patch8"], DEMO).first
    tree = cycles(Task(pathway, DEMO, []))
    frame = model_frame(pathway.program, DEMO, random_routing(pathway.program))
    assert (tree["source"], tree["total"], tree["model"]) == ("model", frame.cycles, None)
    assert "nothing was run in RTL" in tree["covers"]
    assert [row["cycles"] for row in tree["per_op"]] == [op.cycles for op in frame.ops]
    assert {row["source"] for row in tree["per_op"]} == {"model"}
    used = {op.op: float(op.experts) for op in frame.ops if op.queue_lengths}
    assert tree["bound"] == frame_bound(pathway.program, DEMO, used).cycles
