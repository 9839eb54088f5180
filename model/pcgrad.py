# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""PCGrad: gradients of tasks that point against each other are projected (Yu et al., arXiv 2001.06782, algorithm 1).

Only parameters that every task uses are projected; a head or a task's own router keeps its gradient.
"""

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]
"""One task's gradient of every parameter; None where the task does not use it."""


def project(gradients: list[Tensor], generator: torch.Generator) -> Tensor:
    """Sum of the tasks' gradients, each without its parts along the gradients that it conflicts with.

    Args:
        gradients: One flat gradient per task, all of one length.
        generator: On the CPU; draws the order in which each task meets the others.
    """
    result = torch.zeros_like(gradients[0])
    for own, gradient in enumerate(gradients):
        projected = gradient.clone()
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            along = torch.dot(projected, gradients[other])
            if other != own and along < 0:
                projected -= along / gradients[other].square().sum() * gradients[other]
        result += projected
    return result


def combine(per_task: list[Gradients], generator: torch.Generator) -> list[Tensor | None]:
    """One gradient per parameter from the tasks' gradients: projected where all tasks have one, summed elsewhere."""
    columns = list(zip(*per_task, strict=True))
    combined = [_sum(column) for column in columns]
    shared = [i for i, column in enumerate(columns) if all(gradient is not None for gradient in column)]
    if shared:
        flat = [torch.cat([_present(task[i]).flatten() for i in shared]) for task in per_task]
        sizes = [_present(columns[i][0]).numel() for i in shared]
        for i, part in zip(shared, torch.split(project(flat, generator), sizes), strict=True):
            combined[i] = part.view_as(_present(columns[i][0]))
    return combined


def add(a: Gradients, b: Gradients) -> Gradients:
    """The sum of two parts of a batch."""
    return tuple(_sum(pair) for pair in zip(a, b, strict=True))


def _sum(gradients: tuple[Tensor | None, ...]) -> Tensor | None:
    present = [gradient for gradient in gradients if gradient is not None]
    return torch.stack(present).sum(0) if present else None


def _present(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient
