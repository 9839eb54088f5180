# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Golden vectors of a project folder: one random frame of every task and what golden makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3vit.sim.golden.executor import Executor, source_format
from m3vit.sim.pathway import Pathway, Pathways


@dataclass(frozen=True, eq=False)
class Vector:
    """A frame of a task.

    Attributes:
        task: its name.
        source: image uint8 (H, W, 3); of a program that begins with LOAD int16 (N, D).
        expected: int16 (rows, channels).
    """

    task: str
    source: npt.NDArray[Any]
    expected: npt.NDArray[np.int16]


def make_vectors(pathways: Pathways) -> dict[str, Vector]:
    """A vector of every task; the same pathways give the same vectors."""
    return {task: make_vector(pathway, seed) for seed, (task, pathway) in enumerate(pathways.tasks.items())}


def make_vector(pathway: Pathway, seed: int) -> Vector:
    """A random input of a task's program and golden's result."""
    shape, kind = source_format(pathway.program[0])
    limits = np.iinfo(kind)
    source = np.random.default_rng(seed).integers(limits.min // 2, limits.max // 2, shape, kind)
    return Vector(pathway.task, source, Executor(pathway).run(source).output_NC)


def write_vectors(vectors: Iterable[Vector], folder: Path) -> None:
    """Write vectors for the host: TASK.npz with `source` and `expected`."""
    folder.mkdir()
    for vector in vectors:
        np.savez_compressed(folder / f"{vector.task}.npz", source=vector.source, expected=vector.expected)
