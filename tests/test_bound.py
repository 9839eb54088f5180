# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Bytes and bounds against numbers worked out by hand, and against the memory image."""

import pytest

from m3vit.model.config import HARDWARE, MODELS, BoardConfig, MemoryConfig
from m3vit.sim.bound import (
    activation_bytes,
    activations_fit,
    bound,
    frame_activation_bytes,
    op_bound,
    weight_bytes,
)
from m3vit.sim.program import Op, Opcode
from m3vit.sim.synthetic import random_pathways

DEMO, ZCU104 = HARDWARE["demo"], HARDWARE["zcu104"]
MOE = Op(opcode=Opcode.MOE, rows=65, top_k=2, in_features=64, out_features=128, experts=8)


def test_moe_layer_by_hand() -> None:
    # demo: 8 lanes = 512 MAC/cycle; 64 B x 80 % = 51.2 B/cycle
    router = 8 * (8 + 64)
    expert = 128 * (8 + 64) + 64 * (8 + 128)
    moved = router + 1024 + 5 * expert + 5 * 65 * 64
    found = op_bound(MOE, DEMO, activation_bytes(MOE), experts_used=5)
    assert (router, expert, moved) == (576, 17920, 112000)
    assert found.bytes == moved
    assert found.macs == 65 * 64 * 8 + 65 * 2 * 2 * 64 * 128
    assert found.compute == 4225  # 2,163,200 / 512 exactly
    assert found.memory == 2188  # 112,000 / 51.2 = 2187.5
    assert found.cycles == 4225


def test_both_bounds_round_up() -> None:
    found = bound(513, 51.3, DEMO)
    assert (found.compute, found.memory) == (2, 2)
    assert bound(512, 51.2, DEMO).cycles == 1


def test_memory_can_be_the_limit() -> None:
    slow = DEMO.model_copy(update={"memory": MemoryConfig(efficiency_percent=10)})
    found = op_bound(MOE, slow, activation_bytes(MOE))
    assert found.memory > found.compute
    assert found.cycles == found.memory


def test_fewer_experts_move_fewer_bytes_and_the_same_macs() -> None:
    one, every = op_bound(MOE, DEMO, 0, experts_used=1), op_bound(MOE, DEMO, 0)
    assert every.bytes - one.bytes == 7 * 17920
    assert every.macs == one.macs


def test_weights_are_the_blocks_of_the_image() -> None:
    pathway = random_pathways(MODELS["m3vit_demo_patch8"], DEMO).task("depth")
    others = tuple(f".{task}" for task in pathway.config.model.tasks if task != "depth")
    blocks = {
        name: block.size
        for name, block in pathway.blocks.items()
        if not name.startswith("program.") and not name.endswith(others)
    }
    # The image pads experts (17,920 bytes) and MLPs (35,328) to stripes of 1,024; the bound counts them without.
    padding = 512 * sum(op.experts for op in pathway.program)
    counted = sum(weight_bytes(op, DEMO.lanes) for op in pathway.program)
    assert counted == sum(blocks.values()) - padding


@pytest.mark.parametrize(
    ("op", "alone", "inside"),
    [
        (Op(opcode=Opcode.PATCH_EMBED, rows=5, in_features=192, out_features=64, operands=(8, 16, 16)), 1408, 768),
        (Op(opcode=Opcode.LAYER_NORM, rows=5, in_features=64), 960, 0),
        (Op(opcode=Opcode.LINEAR, rows=5, in_features=64, out_features=192), 1280, 0),
        (Op(opcode=Opcode.ATTENTION, rows=5, in_features=192, out_features=64), 1280, 0),
        (Op(opcode=Opcode.LINEAR_RESIDUAL, rows=5, in_features=64, out_features=64), 1600, 0),
        (Op(opcode=Opcode.MLP, rows=5, in_features=64, out_features=256), 1600, 0),
        (Op(opcode=Opcode.MOE, rows=5, in_features=64, out_features=128), 1600, 0),
        (Op(opcode=Opcode.HEAD, rows=5, in_features=64, out_features=48), 704, 384),
    ],
    ids=lambda value: value.opcode.name if isinstance(value, Op) else "",
)
def test_activations_by_hand(op: Op, alone: int, inside: int) -> None:
    assert activation_bytes(op) == alone
    assert frame_activation_bytes(op, fits_on_chip=True) == inside
    assert frame_activation_bytes(op, fits_on_chip=False) == alone


def test_activations_must_fit_the_board() -> None:
    small = Op(opcode=Opcode.LAYER_NORM, rows=1025, in_features=384)
    large = Op(opcode=Opcode.LAYER_NORM, rows=1025, in_features=768)
    assert activations_fit((small,), BoardConfig())  # 2.36 MB of 4.48 MB
    assert not activations_fit((small, large), BoardConfig())  # 4.72 MB


def test_small_is_bound_by_compute() -> None:
    op = Op(opcode=Opcode.MOE, rows=1025, top_k=4, in_features=384, out_features=384, experts=16)
    found = op_bound(op, ZCU104, activation_bytes(op))
    assert found.compute == -(-(1025 * 384 * 16 + 4100 * 2 * 384 * 384) // 2048)
    assert found.cycles == found.compute
