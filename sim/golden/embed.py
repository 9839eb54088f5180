# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Integer patch embedding and position embedding: from pixels to the residual stream.

Shapes: H x W pixels, N tokens (class token first), P = 3 * patch * patch values of a patch, D channels.
"""

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.arith import Ints, saturate
from m3vit.sim.golden.linear import Linear, linear

PIXEL_OFFSET = 128
"""Subtracted from a uint8 pixel to make it int8; the exporter folds it into the bias."""


def patches(image_HW3: npt.NDArray[np.uint8], patch: int) -> npt.NDArray[np.int8]:
    """int8 patches, left to right, top to bottom; inside a patch: pixel row, pixel column, colour. Shape (N-1, P)."""
    rows, columns = image_HW3.shape[0] // patch, image_HW3.shape[1] // patch
    cells = image_HW3.reshape(rows, patch, columns, patch, 3).transpose(0, 2, 1, 3, 4)
    return (cells.reshape(rows * columns, -1).astype(np.int16) - PIXEL_OFFSET).astype(np.int8)


def patch_embed(
    image_HW3: npt.NDArray[np.uint8], patch: int, layer: Linear, position_ND: Ints
) -> npt.NDArray[np.int16]:
    """int16 residual stream: projected patches plus positions, saturated. Shape (N, D).

    Args:
        image_HW3: uint8 pixels.
        patch: side of a patch in pixels.
        layer: projection with outputs in units of the residual stream.
        position_ND: int16; row 0 is the class token with its position, a constant.
    """
    out_ND = np.array(position_ND, dtype=np.int64)
    out_ND[1:] += linear(patches(image_HW3, patch), layer, 16)
    return saturate(out_ND, 16).astype(np.int16)


def linear_residual(residual_ND: Ints, x_NK: Ints, layer: Linear) -> npt.NDArray[np.int16]:
    """int16 residual stream plus a linear layer in its units, saturated. Shape (N, D)."""
    return saturate(np.asarray(residual_ND, np.int64) + linear(x_NK, layer, 16), 16).astype(np.int16)
