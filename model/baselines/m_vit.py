# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The tables' Vision Transformers: this project's encoder, dense or with experts, and the papers' decoder.

The accelerator's own head is one linear layer per token (`m3vit.model.heads`); the papers use progressive upsampling,
which takes more multiply-accumulates than the whole encoder.

Shapes: B images, N tokens (class token first), D channels, h x w patches.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from m3vit.model.baselines.datasets import Dataset
from m3vit.model.baselines.heads import Decoders, UpsamplingHead
from m3vit.model.config import ModelConfig
from m3vit.model.vit import NORM_EPS, M3ViT


class PaperViT(nn.Module):
    """An encoder of `m3vit.model.vit` with a decoder per task of a dataset.

    Args:
        dataset: tasks and their outputs.
        config: of the encoder, for the dataset's images.
    """

    def __init__(self, dataset: Dataset, config: ModelConfig) -> None:
        super().__init__()
        assert config.image_hw == dataset.image_hw, "the encoder is for other images"
        self.encoder = M3ViT(config)
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.decoders = Decoders(dataset.outputs, config.dim, UpsamplingHead)

    def forward(self, image: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(B, 3, H, W) to the predictions of `tasks`: the encoder runs once for each, with the experts of that task.

        A dense encoder knows no tasks and runs once. All tasks of one that has experts use its first router: the count
        is the same for each.
        """
        if self.encoder.config.dense:
            return self.decoders.forward(dict.fromkeys(tasks, self._encode(image)), tasks, image.shape[-2:])
        return self.decoders.forward({task: self._encode(image) for task in tasks}, tasks, image.shape[-2:])

    def _encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D, h, w)."""
        config = self.encoder.config
        patches_BND = self.norm(self.encoder.forward_features(image, config.tasks[0]))[:, 1:]
        features: Tensor = patches_BND.transpose(1, 2).unflatten(2, config.grid_hw)
        return features
