# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Quantisation-aware training: exactly the exporter's integers forward, the float model's gradients backward."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_integer_model import random_images
from test_quantise import make_config, spread_out
from typer.testing import CliRunner

from m3vit.model import integer_ops as ops
from m3vit.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from m3vit.model.config import Config
from m3vit.model.datasets import SceneData
from m3vit.model.errors import UserError
from m3vit.model.integer_model import IntegerModel, IntNetwork
from m3vit.model.qat import QatModel, gelu_slope
from m3vit.model.qat_train import QatTrainer, qat_train
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.units import Units, load_units, units_from_tensors, units_to_tensors
from m3vit.model.vit import M3ViT, normalise_image
from m3vit.scripts import cli
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.norm import Norm, Requant
from m3vit.sim.integerise import hidden_activation
from m3vit.sim.pathway import read_pathways
from m3vit.sim.repack import unpack_network

RECIPE = {"steps": 4, "batch": 2, "lr": 1e-3, "warmup": 1, "checkpoint_every": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def qat_config(expert_bits: int = 8) -> Config:
    config = make_config()
    quant = config.quant.model_copy(update={"expert_bits": expert_bits})
    return config.model_copy(update={"train": config.train.model_copy(update=RECIPE), "quant": quant})


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return random_images(2, make_config().model.image_hw)


@pytest.fixture(scope="module")
def model() -> M3ViT:
    return spread_out(make_config(), seed=5)


@pytest.fixture(scope="module")
def units(model: M3ViT, images: torch.Tensor) -> Units:
    return calibrate_units(model, make_config(), images)


def assert_same_tensors(one: IntNetwork, other: IntNetwork) -> None:
    pairs = [(one.patch, other.patch)]
    for a, b in zip(one.blocks, other.blocks, strict=True):
        pairs += [(a.qkv, b.qkv), (a.proj, b.proj), (a.mlp.fc1, b.mlp.fc1), (a.mlp.fc2, b.mlp.fc2)]
        pairs += [(a.mlp.routers[task], b.mlp.routers[task]) for task in a.mlp.routers]
        assert torch.equal(a.mlp.table, b.mlp.table)
    pairs += [(one.heads[task], other.heads[task]) for task in one.heads]
    for a, b in pairs:
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("weight_MK", "bias_M", "factor_M"))
    assert torch.equal(one.position_ND, other.position_ND)


@pytest.mark.parametrize("expert_bits", [8, 4])
def test_forward_uses_the_exported_integers(model: M3ViT, units: Units, images: torch.Tensor, expert_bits: int) -> None:
    """What training sees of the weights is what an export writes, read back from the memory image; so are outputs."""
    config = qat_config(expert_bits)
    pathways, qat = quantise(model, config, units), QatModel(model, config, units)
    network = qat.network()
    assert_same_tensors(network, IntNetwork.of(unpack_network(pathways, slices=2)))
    assert float(network.blocks[1].mlp.fc1.weight_MK.detach().abs().max()) == (127 if expert_bits == 8 else 7)
    outputs = IntegerModel(network, config.model)(images)
    for task, pathway in pathways.tasks.items():
        for image, output in zip(images, outputs[task].detach().numpy(), strict=True):
            golden = Executor(pathway).run(image.permute(1, 2, 0).contiguous().numpy()).output_NC
            np.testing.assert_array_equal(output, golden)


def gradients(model: M3ViT, predictions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weight = torch.Generator().manual_seed(7)
    loss = sum((x * torch.randn(x.shape, generator=weight)).mean() for x in predictions.values())
    assert isinstance(loss, torch.Tensor)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_gradients_are_those_of_the_float_model(model: M3ViT, units: Units, images: torch.Tensor) -> None:
    config = qat_config()
    predictions = model.forward_tasks(normalise_image(images), config.model.tasks)
    expected = gradients(model, {task: x.map_BCHW for task, x in predictions.items()})
    found = gradients(model, dict(QatModel(model, config, units)(images)))
    for name, gradient in expected.items():
        cosine = torch.nn.functional.cosine_similarity(gradient.flatten(), found[name].flatten(), dim=0)
        ratio = float(found[name].norm() / gradient.norm())
        assert float(cosine) > 0.9, name
        assert 0.8 < ratio < 1.25, name


def test_slopes_are_differences_of_the_table() -> None:
    pre = np.linspace(-6, 6, 2001)
    hidden = hidden_activation(pre, torch.nn.functional.gelu(torch.from_numpy(pre)).numpy())
    slope, table = gelu_slope(hidden).numpy(), hidden.table.astype(float)
    wide = (table[64:] - table[:-64]) / 64  # over 64 entries the rounding of the table averages out
    assert np.abs(slope[32:-32] - wide).max() < 0.05 * slope.max()
    clipped = hidden_activation(pre, torch.nn.functional.gelu(torch.from_numpy(pre)).numpy())
    clipped = replace(clipped, output_scale=clipped.output_scale / 2)
    assert float(gelu_slope(clipped)[-1]) == 0


def test_saturated_results_have_no_gradient() -> None:
    layer = ops.IntLinear(torch.eye(2), torch.zeros(2).double(), torch.tensor([1.0, 100.0]).double())
    x_NK = torch.tensor([[5.0, 5.0]], requires_grad=True)
    out_NM = ops.linear(x_NK, layer, 8)
    assert out_NM.tolist() == [[5.0, 127.0]]
    (gradient,) = torch.autograd.grad(out_NM.sum(), x_NK)
    assert gradient.tolist() == [[1.0, 0.0]]


def test_norm_gradient_is_that_of_layer_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randint(-20000, 20000, (3, 64), generator=generator).float().requires_grad_()
    weight_ND = torch.randn(3, 64, generator=generator)
    norm = Norm(Requant(40000, 11), np.zeros(64, np.uint8))
    (found,) = torch.autograd.grad((ops.layer_norm(x_ND, norm) * weight_ND).sum(), x_ND)
    float_ND = torch.nn.functional.layer_norm(x_ND, (64,), eps=0.0) * (40000 / 2**11)
    (expected,) = torch.autograd.grad((float_ND * weight_ND).sum(), x_ND)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


def test_attention_gradient_is_that_of_softmax() -> None:
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randint(-60, 60, (2, 9, 96), generator=generator).float().requires_grad_()
    weight = torch.randn(2, 9, 32, generator=generator)
    scales = AttentionScales(5, Requant(65535, 16))
    (found,) = torch.autograd.grad((ops.attention(qkv, 2, scales) * weight).sum(), qkv)
    q, k, v = qkv.view(2, 9, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind()
    soft = (q @ k.mT * 2.0**-5 * ops.LOGIT_UNIT).softmax(-1) @ v
    (expected,) = torch.autograd.grad((soft.transpose(1, 2).reshape(2, 9, 32) * weight).sum(), qkv)
    assert float((found - expected).norm() / expected.norm()) < 0.02


def test_units_survive_a_checkpoint(model: M3ViT, units: Units, tmp_path: Path) -> None:
    path, config = tmp_path / "model.safetensors", make_config()
    write_checkpoint(path, Checkpoint(config, 0, model.state_dict(), {}, quant=units_to_tensors(units)))
    loaded = load_units(path)
    assert loaded is not None
    expected = quantise(model, config, units).first.image
    np.testing.assert_array_equal(quantise(model, config, loaded).first.image, expected)


def test_units_of_another_model_are_refused(units: Units) -> None:
    other = make_config().model.model_copy(update={"layers": 4})
    with pytest.raises(UserError, match="do not fit its model m3vit_demo_patch8"):
        units_from_tensors(units_to_tensors(units), other)


def test_export_with_units_needs_no_images(
    model: M3ViT, units: Units, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_images(*_: object, **__: object) -> None:
        raise AssertionError("scenes were rendered")

    monkeypatch.setattr("m3vit.model.scenes.load_split", no_images)
    path, config = tmp_path / "model.safetensors", make_config()
    write_checkpoint(path, Checkpoint(config, 0, model.state_dict(), {}, quant=units_to_tensors(units)))
    arguments = ["export", "--checkpoint", str(path), "--out", str(tmp_path / "out"), "--images", "0"]
    done = CliRunner().invoke(cli.build_app("export"), arguments)
    assert done.exit_code == 0, done.output
    written = read_pathways(tmp_path / "out").first
    assert written.accuracy is None
    np.testing.assert_array_equal(written.image, quantise(model, config, units).first.image)


def new_trainer(config: Config, seed: int = 5) -> QatTrainer:
    model = spread_out(config, seed)
    units = calibrate_units(model, config, random_images(2, config.model.image_hw))
    return QatTrainer(config, model, copy.deepcopy(model), units, distillation=1.0)


@pytest.fixture(scope="module")
def data() -> SceneData:
    config = make_config()
    return SceneData(config, progress=False)


def test_training_lowers_the_loss(data: SceneData) -> None:
    config = qat_config(expert_bits=4)
    recipe = config.train.model_copy(update={"steps": 99})
    trainer = new_trainer(config.model_copy(update={"train": recipe}))
    batch = next(data.train(config, 0))
    losses = [trainer.update(batch) for _ in range(10)]
    assert losses[-1] < 0.985 * losses[0]


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, data: SceneData) -> None:
    config = qat_config(expert_bits=4)
    whole = new_trainer(config)
    finished = qat_train(whole, data.train(config, 0), tmp_path / "whole")
    first = new_trainer(config)
    for step, part in zip(range(2), data.train(config, 0), strict=False):
        assert first.step == step
        first.update(part)
    write_checkpoint(tmp_path / "part.safetensors", first.checkpoint(final=False))
    second = new_trainer(config, seed=6)
    second = QatTrainer(config, second.model, copy.deepcopy(spread_out(config, 5)), first.units, 1.0)
    second.restore(read_checkpoint(tmp_path / "part.safetensors"), tmp_path / "part.safetensors")
    resumed = qat_train(second, data.train(config, second.step), tmp_path / "resumed")
    one, other = read_checkpoint(resumed), read_checkpoint(finished)
    assert one.step == other.step == RECIPE["steps"]
    for found, expected in ((one.model, other.model), (one.quant, other.quant)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not torch.equal(one.model["pos_embed"], whole._teacher.pos_embed)


def test_qat_verb(model: M3ViT, tmp_path: Path) -> None:
    path, out = tmp_path / "model.safetensors", tmp_path / "qat"
    write_checkpoint(path, Checkpoint(make_config(), 0, model.state_dict(), {}))
    arguments = ["qat", "--checkpoint", str(path), "--out", str(out), "--steps", "2", "--batch", "2"]
    app = cli.build_app("qat")
    done = CliRunner().invoke(app, [*arguments, "--expert-bits", "4"])
    assert done.exit_code == 0, done.output
    assert "4-bit experts" in done.output
    assert read_checkpoint(out / "model.safetensors").config.quant.expert_bits == 4
    assert load_units(out / "model.safetensors") is not None
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "is not empty" in again.output
    other = CliRunner().invoke(app, [*arguments, "--resume"])
    assert other.exit_code == 2
    assert "quant.expert_bits is 4 there and 8 here" in other.output
    bad = CliRunner().invoke(app, [*arguments[:-4], "--out", str(tmp_path / "x"), "--expert-bits", "5"])
    assert bad.exit_code == 2
    assert "quant.expert_bits" in bad.output
