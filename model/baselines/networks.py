# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Encoder-focused multi-task networks: who shares what before the decoders.

Every network maps an image to the predictions of the tasks it is asked for. Its encoder runs as a whole, whichever
tasks these are, as in M3ViT's comparison ("current multi-task regimes have to activate nearly the entire model even to
just execute a single task"); only the decoders of the other tasks are left out.

Shapes: B images, C channels of a stage, h x w features, T tasks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from m3vit.model.baselines.backbone import STAGES, Depth, DilatedResNet, OutputStride
from m3vit.model.baselines.datasets import Dataset
from m3vit.model.baselines.heads import Decoders, MakeHead, deeplab

Features = dict[str, Tensor]


class SharedEncoder(nn.Module):
    """One encoder, one decoder per task: the multi-task baseline, and with one task the single-task baseline."""

    def __init__(
        self, dataset: Dataset, depth: Depth, head: MakeHead = deeplab, output_stride: OutputStride = 8
    ) -> None:
        super().__init__()
        self.tasks = dataset.tasks
        self.encoder = DilatedResNet(depth, output_stride)
        self.decoders = Decoders(dataset.outputs, self.encoder.channels["layer4"], head)

    def forward(self, image: Tensor, tasks: Sequence[str]) -> Features:
        """(B, 3, H, W) to the predictions of `tasks`."""
        features = self.encoder(image)
        return self.decoders.forward(dict.fromkeys(self.tasks, features), tasks, image.shape[-2:])


class CrossStitchUnit(nn.Module):
    """Every task's features become a channel-wise weighted sum of all tasks' (arXiv 1604.03539, section 3.2)."""

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        self.weight_TTC = nn.Parameter(torch.eye(tasks)[..., None].expand(-1, -1, channels).clone())

    def forward(self, features: Features) -> Features:
        """(B, C, h, w) per task to the same."""
        stacked = torch.stack(list(features.values()))
        weights_TT1C11 = self.weight_TTC[:, :, None, :, None, None]
        return {task: (weights * stacked).sum(0) for task, weights in zip(features, weights_TT1C11, strict=True)}


class NddrLayer(nn.Module):
    """A 1 x 1 convolution from all tasks' concatenated features to each task's (arXiv 1801.08297, section 3.2)."""

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.fuse = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Conv2d(len(tasks) * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
                )
                for task in tasks
            }
        )

    def forward(self, features: Features) -> Features:
        """(B, C, h, w) per task to the same."""
        joined = torch.cat(list(features.values()), dim=1)
        return {task: fuse(joined) for task, fuse in self.fuse.items()}


class FusedEncoders(nn.Module):
    """One whole encoder per task; after some stages a fusion layer lets them exchange features.

    Args:
        dataset: tasks and their outputs.
        depth: of the encoders.
        fusions: the layer after each fused stage.
        head: kind of decoder.
        output_stride: of the encoders.
    """

    def __init__(
        self,
        dataset: Dataset,
        depth: Depth,
        fusions: dict[str, nn.Module],
        head: MakeHead = deeplab,
        output_stride: OutputStride = 8,
    ) -> None:
        super().__init__()
        self.tasks = dataset.tasks
        self.encoders = nn.ModuleDict({task: DilatedResNet(depth, output_stride) for task in self.tasks})
        self.fusions = nn.ModuleDict(fusions)
        channels = DilatedResNet(depth).channels["layer4"]
        self.decoders = Decoders(dataset.outputs, channels, head)

    def forward(self, image: Tensor, tasks: Sequence[str]) -> Features:
        """(B, 3, H, W) to the predictions of `tasks`."""
        features = dict.fromkeys(self.tasks, image)
        for stage in STAGES:
            features = {task: self._encoder(task).stage(stage)(features[task]) for task in self.tasks}
            if stage in self.fusions:
                features = self.fusions[stage](features)
        return self.decoders.forward(features, tasks, image.shape[-2:])

    def _encoder(self, task: str) -> DilatedResNet:
        encoder = self.encoders[task]
        assert isinstance(encoder, DilatedResNet)
        return encoder


def cross_stitch(
    dataset: Dataset, depth: Depth, head: MakeHead = deeplab, output_stride: OutputStride = 8
) -> FusedEncoders:
    """Cross-Stitch network: a unit after each of the four stages."""
    channels = DilatedResNet(depth).channels
    units: dict[str, nn.Module] = {
        stage: CrossStitchUnit(len(dataset.tasks), channels[stage]) for stage in STAGES if stage != "stem"
    }
    return FusedEncoders(dataset, depth, units, head, output_stride)


def nddr_cnn(
    dataset: Dataset,
    depth: Depth,
    head: MakeHead = deeplab,
    output_stride: OutputStride = 8,
    stages: Sequence[str] = STAGES,
) -> FusedEncoders:
    """NDDR-CNN: a layer after the stem and after each of the four stages."""
    channels = DilatedResNet(depth).channels
    layers: dict[str, nn.Module] = {stage: NddrLayer(dataset.tasks, channels[stage]) for stage in stages}
    return FusedEncoders(dataset, depth, layers, head, output_stride)
