# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A ResNet (arXiv 1512.03385) without its classifier, dilated for dense prediction (DeepLabV3, arXiv 1706.05587, 3.1).

Shapes: B images, H x W pixels, C channels of a stage, S its output stride.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import ResNet

Depth = Literal[18, 50]
OutputStride = Literal[8, 16, 32]
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
"""In order; the stem is the first convolution and the max pooling."""
BASE_CHANNELS = {"stem": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
NETWORKS = {18: resnet18, 50: resnet50}
EXPANSION = {18: 1, 50: 4}
"""Outputs of a block over its inner channels: basic blocks and bottlenecks."""


def dilate(stage: nn.Module, before: int) -> None:
    """Replace a stage's stride by dilation: its first 3 x 3 convolution keeps the dilation `before`, others double it.

    torchvision offers this for bottlenecks only.
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            factor = before if module.stride == (2, 2) else 2 * before
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (factor, factor)


class DilatedResNet(nn.Module):
    """Stages of a ResNet.

    Args:
        depth: of the torchvision network.
        output_stride: pixels per feature at the end; 32 is the network for classification.
    """

    def __init__(self, depth: Depth, output_stride: OutputStride = 8) -> None:
        super().__init__()
        net: ResNet = NETWORKS[depth]()
        if output_stride == 8:
            dilate(net.layer3, 1)
        if output_stride <= 16:
            dilate(net.layer4, 16 // output_stride)
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        parts = (stem, net.layer1, net.layer2, net.layer3, net.layer4)
        self.stages = nn.Sequential(OrderedDict(zip(STAGES, parts, strict=True)))
        scale = EXPANSION[depth]
        self.channels = {name: BASE_CHANNELS[name] * (1 if name == "stem" else scale) for name in STAGES}
        """Channels after each stage."""

    def stage(self, name: str) -> nn.Sequential:
        """One stage: a sequence of blocks, or the stem."""
        stage = self.stages[STAGES.index(name)]
        assert isinstance(stage, nn.Sequential)
        return stage

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H / S, W / S)."""
        features: Tensor = self.stages(image)
        return features
