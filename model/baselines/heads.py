# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Decoders: from the features of one task to its prediction, at the encoder's resolution or above.

Shapes: B images, C channels, h x w features, T channels of the prediction.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

MakeHead = Callable[[int, int], nn.Module]
"""Channels of the features and of the prediction to a decoder."""
PUP_CHANNELS, PUP_STEPS = 256, 4


def deeplab(channels: int, outputs: int) -> nn.Module:
    """DeepLabV3's head: atrous spatial pyramid pooling, one 3 x 3 and one 1 x 1 convolution (arXiv 1706.05587)."""
    head: nn.Module = DeepLabHead(channels, outputs)
    return head


def fcn(channels: int, outputs: int) -> nn.Module:
    """torchvision's head of a fully convolutional network: one 3 x 3 and one 1 x 1 convolution (arXiv 1411.4038)."""
    head: nn.Module = FCNHead(channels, outputs)
    return head


class UpsamplingHead(nn.Module):
    """Progressive upsampling (SETR-PUP, arXiv 2012.15840, section 3.2): the decoder of the M-ViTs.

    Four 3 x 3 convolutions with 256 channels, each but the last followed by a bilinear upsampling by 2, then a 1 x 1
    convolution; the prediction is upsampled by the rest.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [channels, *[PUP_CHANNELS] * PUP_STEPS]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, PUP_CHANNELS, 3, padding=1), nn.BatchNorm2d(PUP_CHANNELS), nn.ReLU())
            for width in widths[:-1]
        )
        self.classify = nn.Conv2d(PUP_CHANNELS, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, T, 8 h, 8 w)."""
        features = self.steps[0](features)
        for step in self.steps[1:]:
            features = step(functional.interpolate(features, scale_factor=2, mode="bilinear"))
        prediction: Tensor = self.classify(features)
        return prediction


class Decoders(nn.Module):
    """One decoder per task.

    Args:
        outputs: channels of each task's prediction.
        channels: of the features.
        make: the kind of decoder.
    """

    def __init__(self, outputs: Mapping[str, int], channels: int, make: MakeHead = deeplab) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({task: make(channels, count) for task, count in outputs.items()})

    def forward(
        self, features: Mapping[str, Tensor], tasks: Sequence[str], image_hw: Sequence[int]
    ) -> dict[str, Tensor]:
        """Decode the chosen tasks: (B, C, h, w) each to (B, T, *image_hw)."""
        size = list(image_hw)
        return {task: functional.interpolate(self.heads[task](features[task]), size, mode="bilinear") for task in tasks}
