# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""MTAN: one shared encoder, and per task a chain of attention masks over it (arXiv 1803.10704, section 3).

In the form for residual networks that the survey compares (arXiv 2004.13379, section 4.1): a stage's mask is made from
what enters the last block and applied to what leaves it; the extractor between two stages is a bottleneck that all
tasks share.

Shapes: B images, C channels of a stage, D of the next one, h x w features.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from m3vit.model.baselines.backbone import STAGES, Depth, DilatedResNet, OutputStride
from m3vit.model.baselines.datasets import Dataset
from m3vit.model.baselines.heads import Decoders, MakeHead, deeplab

ATTENDED = STAGES[1:]
REDUCTION = 4
"""Channels of a stage over the inner channels of its mask."""


def attention(inputs: int, channels: int) -> nn.Sequential:
    """Mask of a task: (B, inputs, h, w) to (B, C, h, w) in 0..1."""
    inner = channels // REDUCTION
    return nn.Sequential(
        nn.Conv2d(inputs, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, channels, 1),
        nn.BatchNorm2d(channels),
        nn.Sigmoid(),
    )


def extractor(channels: int, following: int) -> Bottleneck:
    """Attended features of a stage to the width of the next: (B, C, h, w) to (B, D, h, w)."""
    shortcut = nn.Sequential(nn.Conv2d(channels, following, 1, bias=False), nn.BatchNorm2d(following))
    return Bottleneck(channels, following // Bottleneck.expansion, downsample=shortcut)


class Mtan(nn.Module):
    """Multi-task attention network.

    Args:
        dataset: tasks and their outputs.
        depth: of the shared encoder.
        head: kind of decoder.
        output_stride: of the shared encoder.
    """

    def __init__(
        self, dataset: Dataset, depth: Depth, head: MakeHead = deeplab, output_stride: OutputStride = 8
    ) -> None:
        super().__init__()
        self.tasks = dataset.tasks
        self.encoder = DilatedResNet(depth, output_stride)
        widths = [self.encoder.channels[stage] for stage in ATTENDED]
        self.masks = nn.ModuleDict({task: self._masks(widths) for task in self.tasks})
        self.extractors = nn.ModuleList(extractor(*pair) for pair in pairwise(widths))
        self.decoders = Decoders(dataset.outputs, widths[-1], head)

    @staticmethod
    def _masks(widths: Sequence[int]) -> nn.ModuleList:
        """One per stage; each but the first also sees the stage before."""
        inputs = [widths[0], *[2 * width for width in widths[1:]]]
        return nn.ModuleList(attention(*pair) for pair in zip(inputs, widths, strict=True))

    def forward(self, image: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(B, 3, H, W) to the predictions of `tasks`; see `m3vit.model.baselines.networks`."""
        stages = self._shared(image)
        features = {task: self._attend(stages, task) for task in self.tasks}
        return self.decoders.forward(features, tasks, image.shape[-2:])

    def _shared(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What enters and what leaves the last block of each stage."""
        features, pairs = self.encoder.stage("stem")(image), []
        for name in ATTENDED:
            stage = self.encoder.stage(name)
            before = stage[:-1](features)
            features = stage[-1](before)
            pairs.append((before, features))
        return pairs

    def _attend(self, stages: Sequence[tuple[Tensor, Tensor]], task: str) -> Tensor:
        """The task's features of the last stage."""
        attended: Tensor | None = None
        masks = self.masks[task]
        assert isinstance(masks, nn.ModuleList)
        for index, (before, after) in enumerate(stages):
            if attended is not None:
                attended = self._carry(attended, index - 1, before)
                before = torch.cat((before, attended), dim=1)
            attended = masks[index](before) * after
        assert attended is not None
        return attended

    def _carry(self, attended: Tensor, stage: int, following: Tensor) -> Tensor:
        """Features of a stage through its extractor, pooled to the next stage's size."""
        extracted: Tensor = self.extractors[stage](attended)
        size = following.shape[-2:]
        return extracted if extracted.shape[-2:] == size else nn.functional.adaptive_max_pool2d(extracted, size)
