# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""4-bit weights of experts: another layout of the same arithmetic, in the experts of MoE layers and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from m3vit.model.config import DEMO, HARDWARE, MODELS, Config, QuantConfig
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.scenes import load_split
from m3vit.model.vit import M3ViT
from m3vit.scripts.export import with_expert_bits
from m3vit.sim.bound import weight_bytes
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.linear import accumulate
from m3vit.sim.integerise import quantise_linear
from m3vit.sim.network import compile_network, plan_programs
from m3vit.sim.pathway import Pathways
from m3vit.sim.performance.stream import Stream
from m3vit.sim.program import Flag, Op, Opcode
from m3vit.sim.program_check import check_sizes
from m3vit.sim.repack import repack, unpack_network
from m3vit.sim.synthetic import random_image, random_pathways

INT4 = QuantConfig(expert_bits=4)
MODEL = DEMO.model.model_copy(update={"tasks": ("depth", "edges")})
OTHER = DEMO.hardware.model_copy(update={"name": "other", "lanes": 16, "groups": 4})


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, DEMO.hardware, seed=3, quant=INT4)


def largest(pathways: Pathways) -> dict[str, int]:
    """Largest magnitude of a weight, by the opcode; of MOE without the router."""
    executor, found = Executor(pathways.first), dict[str, int]()
    for op in pathways.first.program:
        if op.opcode in (Opcode.MOE, Opcode.MLP):
            layers = [layer for expert in executor.experts(op) for layer in (expert.fc1, expert.fc2)]
        elif op.weights:
            layers = [executor.layer(op)]
        else:
            continue
        most = max(int(np.abs(layer.weight_MK.astype(int)).max()) for layer in layers)
        found[op.opcode.name] = max(found.get(op.opcode.name, 0), most)
    return found


def test_the_same_integers_in_8_bits_give_the_same_outputs(pathways: Pathways) -> None:
    config = pathways.first.config
    network, scales = unpack_network(pathways, 2), {task: p.scales for task, p in pathways.tasks.items()}
    wide = compile_network(network, config.model_copy(update={"quant": QuantConfig()}), scales)
    image = random_image(MODEL, 5)
    for task in MODEL.tasks:
        expected_NC = Executor(wide.task(task)).run(image).output_NC
        assert len(np.unique(expected_NC)) > 100
        np.testing.assert_array_equal(Executor(pathways.task(task)).run(image).output_NC, expected_NC)


def test_only_experts_are_smaller(pathways: Pathways) -> None:
    wide = random_pathways(MODEL, DEMO.hardware, seed=3)
    for op, same in zip(pathways.first.program, wide.first.program, strict=True):
        narrow, whole = (weight_bytes(one, DEMO.hardware) for one in (op, same))
        assert (op.flags, same.flags) == (Flag.EXPERTS_4BIT if op.opcode is Opcode.MOE else Flag.NONE, Flag.NONE)
        # 24 tiles of an expert have one word of records and 8 words of weights for each chunk (16 of 1, 8 of 2)
        saved = op.experts * (16 * 4 + 8 * 8) * 64 if op.opcode is Opcode.MOE else 0
        assert whole - narrow == saved
    assert largest(pathways)["MOE"] == 7
    assert min(most for opcode, most in largest(pathways).items() if opcode != "MOE") > 100


def test_another_design_keeps_the_integers(pathways: Pathways) -> None:
    """Laid out for other words, and back for its own."""
    other, image = repack(pathways, OTHER), random_image(MODEL, 6)
    assert other.first.config.quant == INT4
    expected_NC = Executor(pathways.first).run(image).output_NC
    np.testing.assert_array_equal(Executor(other.first).run(image).output_NC, expected_NC)
    np.testing.assert_array_equal(repack(other, DEMO.hardware).first.image, pathways.first.image)


@pytest.mark.parametrize("hardware", ["demo", "zcu104"])
def test_planned_programs_are_the_compiled_ones(hardware: str) -> None:
    model = MODEL.model_copy(update={"expert_hidden": 192, "mlp_hidden": 384})
    model = model if hardware == "zcu104" else MODEL
    planned = plan_programs(model, HARDWARE[hardware], INT4)
    compiled = random_pathways(model, HARDWARE[hardware], quant=INT4)
    for task, program in planned.items():
        for op, same in zip(program, compiled.task(task).program, strict=True):
            assert replace(op, operands=()) == replace(same, operands=())


@pytest.mark.parametrize("opcode", [Opcode.MLP, Opcode.LAYER_NORM, Opcode.STORE])
def test_other_operations_take_no_flags(pathways: Pathways, opcode: Opcode) -> None:
    op = next(op for op in pathways.first.program if op.opcode is opcode)
    check_sizes(op, DEMO.hardware, "it")
    with pytest.raises(UserError, match=f"it has flags 2 that a {opcode.name} does not take"):
        check_sizes(replace(op, flags=Flag.EXPERTS_4BIT), DEMO.hardware, "it")


def test_unknown_flags_are_refused(pathways: Pathways) -> None:
    op = next(op for op in pathways.first.program if op.opcode is Opcode.MOE)
    foreign = Op.decode(replace(op, flags=Flag(0x47)).encode())
    with pytest.raises(UserError, match="has flags 68 that a MOE does not take"):
        check_sizes(foreign, DEMO.hardware, "it")


def test_quantised_to_4_bits() -> None:
    """A channel's largest weight is 7; errors are at most half a step of it, and the sums close to float's."""
    rng = np.random.default_rng(2)
    weight_MK, bias_M = rng.normal(size=(64, 256)), rng.normal(size=64)
    layer = quantise_linear(weight_MK, bias_M, 0.03, 0.02, bits=4)
    assert (np.abs(layer.weight_MK).max(axis=1) == 7).all()
    step_M = np.abs(weight_MK).max(axis=1) / 7
    assert np.abs(layer.weight_MK * step_M[:, None] - weight_MK).max() <= step_M.max() / 2 * 1.0001
    x_NK = rng.integers(-128, 128, (50, 256), np.int8)
    expected_NM = x_NK * 0.03 @ weight_MK.T + bias_M
    found_NM = accumulate(x_NK, layer) * layer.multiplier_M / 2.0**layer.shift_M * 0.02
    noise = np.square(found_NM - expected_NM).mean() / np.square(expected_NM).mean()
    assert 0.001 < noise < 0.03  # a step of 3 / 7 of the deviation: (3 / 7) ** 2 / 12 = 0.015


def test_the_exporter_follows_the_config() -> None:
    config = Config(model=MODEL, hardware=DEMO.hardware, quant=INT4)
    config = config.model_copy(update={"scenes": config.scenes.model_copy(update={"train_size": 2, "val_size": 1})})
    torch.manual_seed(0)
    images = load_split(config.scenes, MODEL.image_hw, "train", progress=False, workers=1)["image"]
    model = M3ViT(MODEL).eval()
    made = largest(quantise(model, config, calibrate_units(model, config, images)))
    assert made.pop("MOE") == 7
    assert set(made.values()) == {127}


def test_the_width_of_the_command_line() -> None:
    assert with_expert_bits(INT4, None) == INT4
    assert with_expert_bits(QuantConfig(residual_headroom=2), 4) == QuantConfig(residual_headroom=2, expert_bits=4)
    with pytest.raises(UserError, match="have 4 or 8 bits, not 5"):
        with_expert_bits(INT4, 5)


@pytest.mark.parametrize(("period", "room"), [(1, 4499), (2, 3997)])
def test_the_ring_has_room_when_words_have_left(period: int, room: int) -> None:
    """512 words left, the last one at 5,000: a 10th word comes when the 10th of them has left, 502 words earlier."""
    stream = Stream(DEMO.hardware, lend=False)
    stream.begin(0, 1024)
    assert stream.arrive(512) < 1000
    stream.pop(5000, period)
    assert stream.arrive(10) == pytest.approx(room, abs=2)


def test_an_expert_of_tiny_takes_half_the_bytes() -> None:
    """53 %: records stay what they are."""
    tiny = MODELS["m3vit_tiny_patch16"]
    narrow, wide = (plan_programs(tiny, HARDWARE["zcu104"], quant)["depth"] for quant in (INT4, QuantConfig()))
    pairs = [(op, same) for op, same in zip(narrow, wide, strict=True) if op.opcode is Opcode.MOE]
    assert {(op.expert_stride, same.expert_stride) for op, same in pairs} == {(79_872, 153_600)}
