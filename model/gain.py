# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What multi-task learning and experts gain: the same recipe trains every variant, with several seeds.

The variants are those of M3ViT (arXiv 2210.14793, section 4): one dense ViT per task, one dense ViT for all tasks, and
M3ViT with one gate for all tasks, one gate per task, or a gate that reads an embedding of the task. A token meets as
many multiply-accumulates in each but for the routers, since top_k experts of hidden size h equal an MLP of top_k x h.

Their figure of merit is the mean relative gain over the single-task models (Maninis et al., ASTMT, arXiv 1904.08918,
equation 6): dm = 100 / T * sum over tasks of +-(value - single) / single, + where higher is better.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from m3vit.model.config import Config, TaskName
from m3vit.model.errors import UserError, read_file
from m3vit.model.tasks import Task
from m3vit.model.train import METRICS, RESUME, train

SINGLE = "single-task"


@dataclass(frozen=True)
class Variant:
    """One way to learn the tasks: `changes` are fields of `ModelConfig`."""

    name: str
    title: str
    changes: dict[str, Any]


VARIANTS: tuple[Variant, ...] = (
    Variant(SINGLE, "one dense ViT per task", {"dense": True}),
    Variant("dense", "dense multi-task ViT", {"dense": True}),
    Variant("single-gate", "M3ViT, one gate", {"router": "single"}),
    Variant("multi-gate", "M3ViT, a gate per task", {"router": "multi"}),
    Variant("task-conditioned", "M3ViT, task-conditioned gate", {"router": "task_conditioned"}),
)


@dataclass(frozen=True)
class Run:
    """One training: a variant, its seed, and the tasks that the model learns together."""

    variant: Variant
    seed: int
    tasks: tuple[TaskName, ...]

    def config(self, base: Config) -> Config:
        """The recipe of `base` for this variant."""
        changes: dict[str, Any] = {"dense": False, **self.variant.changes, "tasks": self.tasks}
        model = base.model.model_copy(update=changes)
        return base.model_copy(update={"model": model, "train": base.train.model_copy(update={"seed": self.seed})})

    def folder(self, out: Path) -> Path:
        """Where it is trained."""
        name = f"seed-{self.seed}"
        if self.variant.name == SINGLE:
            name = f"{self.tasks[0]}-{name}"
        return out / self.variant.name / name


def plan(base: Config, variants: Sequence[Variant], seeds: int) -> list[Run]:
    """All trainings, seed by seed, so that an interrupted comparison has whole seeds.

    Raises:
        UserError: the model's MLP is not as wide as its chosen experts together, so FLOPs would differ.
    """
    model = base.model
    if model.mlp_hidden != model.top_k * model.expert_hidden:
        raise UserError(
            f"mlp_hidden {model.mlp_hidden} differs from top_k x expert_hidden = {model.top_k * model.expert_hidden}; "
            f"make them equal, or the variants have different FLOPs"
        )
    return [run for seed in range(seeds) for variant in variants for run in _runs(variant, seed, model.tasks)]


def _runs(variant: Variant, seed: int, tasks: tuple[TaskName, ...]) -> Iterator[Run]:
    if variant.name == SINGLE:
        yield from (Run(variant, seed, (task,)) for task in tasks)
    else:
        yield Run(variant, seed, tasks)


def train_run(run: Run, base: Config, out: Path, device: torch.device) -> None:
    """Train one run, continue it, or leave it as it is if it is finished."""
    folder = run.folder(out)
    train(run.config(base), folder, (folder / RESUME).exists(), device)


Values = dict[str, dict[int, dict[TaskName, float]]]
"""Metric of variant, seed and task."""


def read_values(runs: Sequence[Run], out: Path) -> Values:
    """The last validation of all runs.

    Raises:
        UserError: a run is not finished.
    """
    values: Values = {}
    for run in runs:
        facts = json.loads(read_file(run.folder(out) / METRICS))["tasks"]
        of_seed = values.setdefault(run.variant.name, {}).setdefault(run.seed, {})
        of_seed |= {task: facts[task]["value"] for task in run.tasks}
    return values


def mean_and_spread(numbers: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 of a single number)."""
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def relative_gain(value: float, single: float, higher_is_better: bool) -> float:
    """How much better than the single-task model, in percent of it; negative is worse."""
    gain = 100 * (value - single) / single
    return gain if higher_is_better else -gain


def gains(values: Values, tasks: Mapping[TaskName, Task]) -> dict[str, dict[int, dict[TaskName, float]]]:
    """Relative gain of every variant, seed and task over the mean of the single-task models.

    Args:
        values: metrics, the single-task models' among them.
        tasks: facts of each, in order.
    """
    single = {task: statistics.fmean(seed[task] for seed in values[SINGLE].values()) for task in tasks}
    return {
        variant: {
            seed: {
                task: relative_gain(of_task[task], single[task], facts.higher_is_better)
                for task, facts in tasks.items()
            }
            for seed, of_task in seeds.items()
        }
        for variant, seeds in values.items()
    }


def delta_m(of_tasks: dict[TaskName, float]) -> float:
    """dm of one model: the mean of its tasks' relative gains, in percent."""
    return statistics.fmean(of_tasks.values())
