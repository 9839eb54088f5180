# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The patch unit: cycles that an image takes on its way into patches. RTL: m3vit_patches."""

from functools import cache
from math import lcm

import numpy as np

from m3vit.model.config import WORD_BYTES

PIECE_BYTES = 8
"""The unit moves pieces of eight bytes."""


@cache
def cycles_per_word(patch: int, columns: int, inputs: int) -> float:
    """Mean cycles per DRAM word: one per run of pieces that word, pixel row of a patch and buffer word have in common.

    Args:
        patch: height and width of a patch in pixels.
        columns: patches side by side.
        inputs: bytes of a buffer word.
    """
    row, word, dest = 3 * patch // PIECE_BYTES, WORD_BYTES // PIECE_BYTES, inputs // PIECE_BYTES
    lines = lcm(patch, word)  # of pixels, after which everything repeats
    position = np.arange(lines * columns * row)
    line, within = position // (columns * row) % patch, position % row
    starts = (position % word == 0) | (within == 0) | ((line * row + within) % dest == 0)
    return float(starts.sum()) / (position.size / word)
