# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""MAC counts of programs against torch's own counter on the real model, and against arithmetic done by hand."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from m3vit.model.config import HARDWARE, MODELS, ModelConfig
from m3vit.model.vit import M3ViT
from m3vit.sim.flops import all_experts_macs, common_prefix, flops, macs, program_macs, vector_elements
from m3vit.sim.program import Op, Opcode
from m3vit.sim.synthetic import random_pathways

MOE = Op(opcode=Opcode.MOE, rows=10, top_k=2, in_features=64, out_features=128, experts=8)
TINY = MODELS["m3vit_tiny_patch16"].model_copy(update={"image_hw": (64, 64), "layers": 4})


def torch_macs(config: ModelConfig, task: str) -> float:
    """MACs that torch counts in one forward pass of the float model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = M3ViT(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(1, 3, *config.image_hw), task)
    return float(counter.get_total_flops()) / 2


@pytest.mark.parametrize(
    ("config", "hardware"), [(MODELS["m3vit_demo_patch8"], "demo"), (TINY, "zcu104")], ids=["demo", "tiny"]
)
@pytest.mark.parametrize("task", ["normals", "edges"])
def test_program_counts_what_torch_counts(config: ModelConfig, hardware: str, task: str) -> None:
    program = random_pathways(config, HARDWARE[hardware]).task(task).program
    assert program_macs(program) == torch_macs(config, task)


def test_moe_by_hand() -> None:
    assert macs(MOE) == 10 * 64 * 8 + 10 * 2 * (64 * 128 + 128 * 64)
    assert all_experts_macs(MOE) == 10 * 64 * 8 + 10 * 8 * (64 * 128 + 128 * 64)
    assert vector_elements(MOE) == 10 * 8 + 20 * (128 + 64)


def test_attention_by_hand() -> None:
    op = Op(opcode=Opcode.ATTENTION, rows=7, heads=2, in_features=96, out_features=32)
    assert macs(op) == 2 * (7 * 7 * 16) + 2 * (7 * 7 * 16)
    assert vector_elements(op) == 2 * 7 * 7 + 7 * 32


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_opcode_is_counted(opcode: Opcode) -> None:
    op = Op(opcode=opcode, rows=4, top_k=1, heads=1, in_features=8, out_features=8, experts=2)
    moves = opcode in (Opcode.LOAD, Opcode.STORE)
    assert (macs(op) > 0) is (opcode is not Opcode.LAYER_NORM and not moves)
    assert all_experts_macs(op) >= macs(op)
    assert (vector_elements(op) > 0) is not moves


def test_slices_of_an_mlp_add_up() -> None:
    whole = Op(opcode=Opcode.MLP, rows=10, in_features=64, out_features=256, experts=1)
    halves = replace(whole, out_features=128, experts=2)
    assert macs(whole) == macs(halves) == 10 * 2 * 64 * 256
    assert vector_elements(halves) - vector_elements(whole) == 10 * 64


def test_shared_start_is_counted_once() -> None:
    shared = Op(opcode=Opcode.LINEAR, rows=10, in_features=64, out_features=192)
    other = replace(MOE, weights=64)
    programs = [(shared, MOE, shared), (shared, other, shared)]
    counts = flops(programs[0], programs)
    assert common_prefix(programs) == [shared]
    assert counts.all_tasks_gmac == pytest.approx((4 * macs(shared) + 2 * macs(MOE)) / 1e9)
    assert counts.all_tasks_shared_gmac == pytest.approx((3 * macs(shared) + 2 * macs(MOE)) / 1e9)
    assert counts.moe_gmac == pytest.approx(macs(MOE) / 1e9)


def test_one_task_is_all_tasks() -> None:
    counts = flops([MOE], [[MOE]])
    assert counts.task_gmac == counts.all_tasks_gmac
    assert counts.all_tasks_shared_gmac == pytest.approx(counts.task_gmac)
