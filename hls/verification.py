# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Verifies the HLS accelerator in C-simulation: whole frames through the host driver, every element against golden."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from m3vit.hls.csim import HlsBoard
from m3vit.sim.pathway import Pathways

DRAM_MARGIN = 16 << 20
"""Bytes of simulated DRAM besides the memory image: image, result and slack."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: task, input (uint8 image or int16 residual stream), golden's int16 result (R, C)."""

    task: str
    source: npt.NDArray[Any]
    expected_RC: npt.NDArray[np.int16]


def count_mismatches(folder: Path, pathways: Pathways, frames: Sequence[Frame]) -> list[int]:
    """Elements of each frame in which the C-simulation differs from golden.

    Args:
        folder: the pathway folder.
        pathways: its contents.
        frames: what to run, in this order.

    Raises:
        UserError: g++ is missing.
        SimulationError: the kernels do not compile, or the C-simulation died.
        AcceleratorError: it refused the pathway or a program.
    """
    first = pathways.first
    with HlsBoard(first.config.hardware, dram_bytes=first.image.size + DRAM_MARGIN) as board:
        accelerator = board.accelerator()
        accelerator.load(folder)
        return [
            int(np.count_nonzero(accelerator.run(frame.task, frame.source) != frame.expected_RC))
            for frame in tqdm(frames, desc="HLS C-simulation", unit="frame")
        ]
