# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The tables' Vision Transformers: this project's encoder, dense or with experts, and the papers' decoder.

The accelerator's own head is one linear layer per token (`m3vit.model.heads`); the papers use progressive upsampling,
which takes more multiply-accumulates than the whole encoder.

Shapes: B images, N tokens (class token first), D channels, h x w patches.
"""

from torch import Tensor, nn

from m3vit.model.baselines.datasets import Dataset
from m3vit.model.baselines.heads import Decoders, UpsamplingHead
from m3vit.model.config import ModelConfig
from m3vit.model.vit import NORM_EPS


class PaperDecoder(nn.Module):
    """Norm of the tokens and one decoder per task, as in SETR.

    Args:
        dataset: tasks and their outputs.
        config: of the encoder.
    """

    def __init__(self, dataset: Dataset, config: ModelConfig) -> None:
        super().__init__()
        self.grid_hw, self.image_hw = config.grid_hw, config.image_hw
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.decoders = Decoders(dataset.outputs, config.dim, UpsamplingHead)

    def forward(self, x_BND: Tensor, task: str) -> Tensor:
        """(B, N, D) tokens after the last block to the prediction of a task, (B, T, H, W)."""
        patches_BND = self.norm(x_BND)[:, 1:]
        features = patches_BND.transpose(1, 2).unflatten(2, self.grid_hw)
        return self.decoders.forward({task: features}, [task], self.image_hw)[task]
