# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""MACs of the baselines against arithmetic by hand and torchvision's own figures; what their layers compute."""

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, resnet50

from m3vit.model.baselines.backbone import STAGES, Depth, DilatedResNet, OutputStride
from m3vit.model.baselines.counts import (
    NETWORKS,
    count_macs,
    network_macs,
    stages_macs,
    vit_decoder_macs,
    vit_encoder_macs,
)
from m3vit.model.baselines.datasets import NYUD, PASCAL
from m3vit.model.baselines.heads import deeplab
from m3vit.model.baselines.mtan import Mtan
from m3vit.model.baselines.networks import CrossStitchUnit, NddrLayer, SharedEncoder, cross_stitch, nddr_cnn
from m3vit.model.config import HARDWARE, MODELS
from m3vit.sim.flops import program_macs
from m3vit.sim.network import plan_programs
from m3vit.sim.program import Opcode

torch.set_num_threads(1)
TASKS, CELLS = len(PASCAL.tasks), 64 * 64
"""Tasks of PASCAL-Context; features of a 512 x 512 image at output stride 8."""
ENCODER_18 = (
    7 * 7 * 3 * 64 * 256**2  # stem
    + 4 * 9 * 64 * 64 * 128**2
    + (9 * 64 * 128 + 3 * 9 * 128 * 128 + 64 * 128) * CELLS
    + (9 * 128 * 256 + 3 * 9 * 256 * 256 + 128 * 256) * CELLS
    + (9 * 256 * 512 + 3 * 9 * 512 * 512 + 256 * 512) * CELLS
)
"""ResNet-18 on 512 x 512 at output stride 8."""


def head_18(outputs: int) -> int:
    """DeepLabV3's head: one 1 x 1, three 3 x 3 and a pooled 1 x 1 convolution side by side, then three in a row."""
    pyramid = (1 + 3 * 9) * 512 * 256
    return (pyramid + 5 * 256 * 256 + 9 * 256 * 256 + 256 * outputs) * CELLS + 512 * 256


def meta_macs(module: nn.Module, *shape: int) -> int:
    module = module.to("meta").eval()
    return count_macs(lambda: module(torch.empty(*shape, device="meta")))


@pytest.mark.parametrize(("depth", "weights"), [(18, ResNet18_Weights), (50, ResNet50_Weights)])
def test_undilated_encoder_is_torchvisions(depth: Depth, weights: type) -> None:
    encoder = DilatedResNet(depth, 32)
    documented = weights.DEFAULT.meta["_ops"] if depth == 18 else weights.IMAGENET1K_V1.meta["_ops"]
    classifier = encoder.channels["layer4"] * 1000
    assert (meta_macs(encoder, 1, 3, 224, 224) + classifier) / 1e9 == pytest.approx(documented, abs=0.001)


def test_dilation_is_torchvisions() -> None:
    ours, theirs = DilatedResNet(50, 8), resnet50(replace_stride_with_dilation=[False, True, True])
    for name in ("layer2", "layer3", "layer4"):
        pairs = zip(ours.stage(name).modules(), getattr(theirs, name).modules(), strict=True)
        for a, b in pairs:
            if isinstance(a, nn.Conv2d):
                assert (a.stride, a.padding, a.dilation) == (b.stride, b.padding, b.dilation)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_and_channels(depth: Depth, output_stride: OutputStride) -> None:
    encoder = DilatedResNet(depth, output_stride).to("meta").eval()
    features = encoder(torch.empty(1, 3, 64, 96, device="meta"))
    assert features.shape == (1, 512 * (1 if depth == 18 else 4), 64 // output_stride, 96 // output_stride)
    stage = torch.empty(1, 3, 64, 96, device="meta")
    for name in STAGES:
        stage = encoder.stage(name)(stage)
        assert stage.shape[1] == encoder.channels[name]


def test_encoder_and_head_by_hand() -> None:
    assert meta_macs(DilatedResNet(18), 1, 3, 512, 512) == ENCODER_18
    assert meta_macs(deeplab(512, 21), 1, 512, 64, 64) == head_18(21)


def test_shared_encoder_by_hand() -> None:
    heads = sum(head_18(outputs) for outputs in PASCAL.outputs.values())
    one = ENCODER_18 + head_18(21)
    assert network_macs("single", PASCAL, 18) == network_macs("shared", PASCAL, 18) == one
    assert network_macs("shared", PASCAL, 18, "all") == ENCODER_18 + heads
    assert network_macs("single", PASCAL, 18, "all") == TASKS * ENCODER_18 + heads


def test_cross_stitch_adds_no_products_but_an_encoder_per_task() -> None:
    assert network_macs("cross_stitch", PASCAL, 18) == TASKS * ENCODER_18 + head_18(21)


def test_nddr_by_hand() -> None:
    fused = {"stem": 64**2 * 128**2, "layer1": 64**2 * 128**2}
    fused |= {f"layer{i}": width**2 * CELLS for i, width in ((2, 128), (3, 256), (4, 512))}
    without = TASKS * ENCODER_18 + head_18(21)
    assert network_macs("nddr_cnn", PASCAL, 18) == without + TASKS**2 * sum(fused.values())
    assert stages_macs(PASCAL, 18, STAGES[:-1]) == without + TASKS**2 * (sum(fused.values()) - fused["layer4"])


def test_mtan_by_hand() -> None:
    masks = 2 * 64 * 16 * 128**2
    masks += sum((2 * width * width // 4 + width // 4 * width) * CELLS for width in (128, 256, 512))
    extractors = 0
    for width, following, cells in ((64, 128, 128**2), (128, 256, CELLS), (256, 512, CELLS)):
        inner = following // 4
        extractors += (width * inner + 9 * inner**2 + inner * following + width * following) * cells
    assert network_macs("mtan", PASCAL, 18) == ENCODER_18 + TASKS * (masks + extractors) + head_18(21)


@pytest.mark.parametrize("key", NETWORKS)
def test_networks_predict_what_they_are_asked_for(key: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[key](NYUD, 50, deeplab, 8).eval()
        predictions = network(torch.empty(2, 3, 64, 96), ["depth"])
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {"depth": (2, 1, 64, 96)}
        predictions = network(torch.empty(2, 3, 64, 96), NYUD.tasks)
        assert {task: p.shape[1] for task, p in predictions.items()} == NYUD.outputs


def test_cross_stitch_unit_mixes_channel_by_channel() -> None:
    unit = CrossStitchUnit(2, 3)
    a, b = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        same = unit({"a": a, "b": b})
        assert torch.equal(same["a"], a)
        assert torch.equal(same["b"], b)
        unit.weight_TTC[0, 1, 2] = 0.5  # channel 2 of a takes half of b's
        mixed = unit({"a": a, "b": b})
    torch.testing.assert_close(mixed["a"][:, 2], a[:, 2] + 0.5 * b[:, 2])
    torch.testing.assert_close(mixed["a"][:, :2], a[:, :2])
    torch.testing.assert_close(mixed["b"], b)


def test_nddr_layer_sees_all_tasks() -> None:
    layer = NddrLayer(("a", "b"), 2).eval()
    a, b = torch.rand(1, 2, 1, 1), torch.rand(1, 2, 1, 1)
    with torch.no_grad():
        layer.fuse["a"][0].weight.copy_(torch.tensor([[1.0, 0, 0, 2], [0, 1, 0, 0]])[..., None, None])
        fused = layer({"a": a, "b": b})["a"]
    expected = torch.stack((a[0, 0] + 2 * b[0, 1], a[0, 1])) / (1 + layer.fuse["a"][1].eps) ** 0.5
    torch.testing.assert_close(fused[0], expected)


@torch.no_grad()
def test_fused_encoders_exchange_features_and_others_do_not() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 32)
    for network, exchange in ((nddr_cnn(NYUD, 18).eval(), True), (cross_stitch(NYUD, 18).eval(), False)):
        before = network(image, ["segmentation"])["segmentation"]
        nn.init.zeros_(network.encoders["depth"].stage("layer2")[0].conv1.weight)
        after = network(image, ["segmentation"])["segmentation"]
        assert torch.equal(before, after) is not exchange  # cross-stitch starts as the identity


@torch.no_grad()
def test_mtan_attends_each_task_on_its_own() -> None:
    torch.manual_seed(0)
    network, image = Mtan(NYUD, 18).eval(), torch.randn(1, 3, 32, 32)
    before = network(image, NYUD.tasks)
    nn.init.zeros_(network.masks["depth"][3][3].weight)
    after = network(image, NYUD.tasks)
    assert torch.equal(before["segmentation"], after["segmentation"])
    assert not torch.equal(before["depth"], after["depth"])


@torch.no_grad()
def test_shared_encoder_shares() -> None:
    network, image = SharedEncoder(NYUD, 18).eval(), torch.randn(1, 3, 32, 32)
    before = network(image, NYUD.tasks)
    nn.init.zeros_(network.encoder.stage("layer1")[0].conv1.weight)
    after = network(image, NYUD.tasks)
    assert not any(torch.equal(before[task], after[task]) for task in NYUD.tasks)


def test_dense_vit_by_hand() -> None:
    config = MODELS["m3vit_small_patch16"].model_copy(update={"dense": True})
    block = 12 * 384**2 * 1025 + 2 * 1025**2 * 384
    assert vit_encoder_macs(config) == 16 * 16 * 3 * 384 * 1024 + 12 * block
    convolutions = 9 * 384 * 256 * 32**2 + 9 * 256 * 256 * (64**2 + 128**2 + 256**2)
    assert vit_decoder_macs(config, PASCAL, "segmentation") == convolutions + 256 * 21 * 256**2


@pytest.mark.parametrize("dense", [False, True])
def test_vit_encoder_counts_what_the_program_counts(dense: bool) -> None:
    config = MODELS["m3vit_tiny_patch16"].model_copy(update={"dense": dense, "layers": 4, "tasks": ("depth",)})
    program = plan_programs(config, HARDWARE["zcu104"])["depth"]
    assert vit_encoder_macs(config) == program_macs(op for op in program if op.opcode is not Opcode.HEAD)
