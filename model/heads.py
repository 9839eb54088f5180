# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Dense prediction heads: one linear layer per token, a pure re-arrangement, a bilinear upsampling.

The linear layer runs on the accelerator. The other two functions have no weights and run after it; the integer
executors reuse them on dequantised cells, so they exist here once.

Shapes: B images, N patches (without the class token), C channels, g = head_grid, D = dim, H x W pixels.
"""

from torch import Tensor, nn
from torch.nn import functional

from m3vit.model.config import ModelConfig


def grid_to_map(grid_BNC: Tensor, channels: int, grid_hw: tuple[int, int], head_grid: int) -> Tensor:
    """Lay the cells that each token predicts out as one coarse map.

    Args:
        grid_BNC: (B, N, channels * g * g), the last axis ordered channel, cell row, cell column.
        channels: Channels of the task.
        grid_hw: Patches per column and row, N = their product.
        head_grid: g, cells per patch side.

    Returns:
        (B, channels, rows * g, columns * g).
    """
    rows, columns = grid_hw
    cells = grid_BNC.reshape(-1, rows, columns, channels, head_grid, head_grid)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, rows * head_grid, columns * head_grid)


def upsample(map_BCHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of a coarse map to the image's size (pixel centres aligned, corners not)."""
    return functional.interpolate(map_BCHW, size=image_hw, mode="bilinear", align_corners=False)


class TokenHead(nn.Module):
    """Predicts head_grid x head_grid cells per token and upsamples them to pixels.

    Args:
        config: Sizes of the model.
        channels: Channels of the task's prediction.
    """

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.grid_hw, self.head_grid, self.image_hw = config.grid_hw, config.head_grid, config.image_hw
        self.linear = nn.Linear(config.dim, channels * config.head_grid**2)

    def forward(self, patches_BND: Tensor) -> Tensor:
        """(B, N, D) normalised patch tokens to a (B, C, H, W) prediction."""
        grid_BNC: Tensor = self.linear(patches_BND)
        return upsample(grid_to_map(grid_BNC, self.channels, self.grid_hw, self.head_grid), self.image_hw)
