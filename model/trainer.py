# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""One optimiser update after the other, and everything that the next one depends on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from m3vit.model import pcgrad, tasks
from m3vit.model.checkpoint import Checkpoint, check_fit
from m3vit.model.config import Config, TaskName
from m3vit.model.distributed import Processes, clip_gradients, placed_like, replicate, shard_experts, whole
from m3vit.model.ema import Average
from m3vit.model.errors import UserError
from m3vit.model.evaluate import Split
from m3vit.model.moe import RouterNoise, Routing
from m3vit.model.objective import Counts, Losses, Objective
from m3vit.model.optimisers import Parameters, make_optimiser, optimiser_state, restore_optimiser
from m3vit.model.precision import make_scaler, restore_scaler, scaler_state
from m3vit.model.router_health import load_entropy
from m3vit.model.sampling import NOISE, PROJECTION, seeded
from m3vit.model.schedules import learning_rate
from m3vit.model.vit import M3ViT

SMALLEST_SCALE = 2.0**-14
"""A float16 run whose loss scale falls below this has diverged."""


@dataclass(frozen=True)
class Scored:
    """A batch's losses, over all processes."""

    total: float
    task: dict[TaskName, float]
    load_TLE: Tensor
    """Share of the assignments of each expert, per task and MoE layer."""


class Trainer:
    """A model, its optimiser and the number of updates done.

    Args:
        config: Model and recipe. The initial weights depend on `config.train.seed` only.
        device: Where to compute.
        processes: Among which every batch is divided.

    Raises:
        UserError: the recipe combines what does not go together, or the batch cannot be divided.
    """

    def __init__(self, config: Config, device: torch.device, processes: Processes | None = None) -> None:
        self.config, self.device, self.step = config, device, 0
        self.processes = processes or Processes()
        check_recipe(config, self.processes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.train.seed)
            self.model = M3ViT(config.model)
        self.model.to(device).train()
        if config.train.experts == "sharded" and self.processes.world > 1:
            shard_experts(self.model, device, self.processes)
        self.objective = Objective(self.model, config, self.processes).to(device)
        self.parameters = trained_parameters(self.objective)
        self.optimiser = make_optimiser(self.parameters, config.train)
        self.scaler = make_scaler(config.train, device)
        self.average = Average(dict(self.model.named_parameters()), config.train.ema) if config.train.ema else None
        # PCGrad needs each task's gradient before the processes' are averaged.
        self.replicated = (
            replicate(self.objective, self.processes) if config.train.conflict == "none" else self.objective
        )

    def update(self, batch: Split) -> dict[str, float]:
        """One optimiser update on all tasks.

        Args:
            batch: This process's share: `image` uint8 (B, 3, H, W) and one target per task.

        Returns:
            Scalars of the whole batch by name, for the log.

        Raises:
            UserError: the loss is no longer finite.
        """
        recipe, step = self.config.train, self.step
        rate = learning_rate(recipe, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        parts = cut({key: tensor.to(self.device) for key, tensor in batch.items()}, recipe.accumulate)
        shares = self.backward_projected(parts) if recipe.conflict == "pcgrad" else self.backward(parts)
        scored = self.score(shares)
        self.scaler.unscale_(self.optimiser)
        norm = clip_gradients(list(self.parameters.values()), recipe.grad_clip)
        self.check_finite(norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(step)
        self.step += 1
        return self.scalars(scored) | {"optimiser/gradient": float(norm), "optimiser/rate": rate}

    def backward(self, parts: list[Split]) -> list[Losses]:
        """Add the gradients of the parts; the last one averages them over the processes."""
        counts, shares = self.counts(parts), []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if isinstance(self.replicated, nn.parallel.DistributedDataParallel):
                self.replicated.require_backward_grad_sync = last
            losses: Losses = self.replicated(part, self.config.model.tasks, counts, self.router_noise(index))
            torch.autograd.backward(self.scaler.scale(sum_of(losses.weighted)))
            shares.append(detached(losses))
        return shares

    def backward_projected(self, parts: list[Split]) -> list[Losses]:
        """Set the gradients that PCGrad makes of the tasks' gradients."""
        counts, shares = self.counts(parts), []
        parameters = list(self.parameters.values())
        gradients: list[pcgrad.Gradients] = []
        for index, part in enumerate(parts):
            noise = self.router_noise(index)
            for number, task in enumerate(self.config.model.tasks):
                losses: Losses = self.objective(part, (task,), counts, noise)
                loss = self.scaler.scale(losses.weighted[task])
                gradient = torch.autograd.grad(loss, parameters, allow_unused=True)
                if index == 0:
                    gradients.append(gradient)
                else:
                    gradients[number] = pcgrad.add(gradients[number], gradient)
                shares.append(detached(losses))
        averaged = [self.averaged(gradient) for gradient in gradients]
        order = seeded(self.config.train.seed, PROJECTION, self.step)
        for parameter, projected in zip(parameters, pcgrad.combine(averaged, order), strict=True):
            parameter.grad = projected
        return shares

    def averaged(self, gradient: pcgrad.Gradients) -> pcgrad.Gradients:
        """The mean over the processes."""
        return tuple(g if g is None else self.processes.sum(g) / self.processes.world for g in gradient)

    def counts(self, parts: list[Split]) -> Counts | None:
        """Valid pixels per task of the whole batch; None if this process holds all of it in one part."""
        if self.processes.world == len(parts) == 1:
            return None
        return {
            task: self.processes.sum(
                torch.stack([tasks.valid_count(task, part[task]) for part in parts]).sum().to(self.device)
            )
            for task in self.config.model.tasks
        }

    def router_noise(self, part: int) -> RouterNoise | None:
        """The noise of a part of this step, None if the recipe has none."""
        recipe = self.config.train
        std = recipe.router_noise / self.config.model.experts
        generator = seeded(recipe.seed, NOISE, self.step * recipe.accumulate + part, self.device)
        return RouterNoise(std, generator, self.processes.rank, self.processes.world) if std > 0 else None

    def score(self, shares: list[Losses]) -> Scored:
        """Add the parts up and average them over the processes."""
        names = self.config.model.tasks
        values = [sum(share.task[task] for share in shares if task in share.task) for task in names]
        total = sum(sum_of(share.weighted) for share in shares)
        sums = self.processes.sum(torch.stack([torch.as_tensor(value) for value in (*values, total)]))
        means = (sums / self.processes.world).tolist()
        loads = [[load_share(shares, task, i) for i in range(len(self.config.model.moe_layers))] for task in names]
        load_TLE = torch.stack([torch.stack(layers) for layers in loads]) if loads[0] else torch.zeros(len(names), 0, 1)
        load_TLE = self.processes.sum(load_TLE.to(self.device)).cpu() / self.processes.world
        return Scored(means[-1], dict(zip(names, means, strict=False)), load_TLE)

    def scalars(self, scored: Scored) -> dict[str, float]:
        """The log's names and values."""
        scalars = {f"loss/{task}": value for task, value in scored.task.items()} | {"loss/total": scored.total}
        for task, load_LE in zip(self.config.model.tasks, scored.load_TLE, strict=True):
            for layer, load_E in zip(self.config.model.moe_layers, load_LE.tolist(), strict=True):
                scalars[f"load_entropy/{task}/{layer}"] = load_entropy(load_E)
        return scalars

    def check_finite(self, norm: Tensor) -> None:
        """Refuse a gradient that is not finite; float16 skips such updates and lowers its scale.

        Raises:
            UserError: training diverged.
        """
        tolerated = self.scaler.is_enabled() and self.scaler.get_scale() >= SMALLEST_SCALE
        if not norm.isfinite() and not tolerated:
            raise UserError(f"training diverged at step {self.step}: the gradient is not finite; lower train.lr")

    def validated_model(self) -> M3ViT | None:
        """The model with the averaged weights, if the recipe averages; None in all processes but the first."""
        if self.average is None and self.processes.world == 1:
            return self.model
        weights = self.weights()
        if not self.processes.first:
            return None
        model = M3ViT(self.config.model)
        model.load_state_dict(weights)
        return model.to(self.device)

    def weights(self) -> dict[str, Tensor]:
        """What is validated and shipped: whole tensors, averaged if the recipe averages."""
        averages = {} if self.average is None else self.average.tensors
        return {name: whole(averages.get(name, tensor)) for name, tensor in self.model.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Start from whole tensors, one for every name of the model's state dict."""
        self.model.load_state_dict(
            {name: placed_like(tensor, weights[name]) for name, tensor in self.model.state_dict().items()}
        )
        if self.average is not None:
            self.average.restore(weights)

    def checkpoint(self) -> Checkpoint:
        """Everything that the next update depends on, whole; all processes must call this."""
        optimiser = optimiser_state(self.parameters, self.optimiser)
        averages = {} if self.average is None else self.average.tensors
        extra: dict[str, Tensor] = {name: p for name, p in self.parameters.items() if name.startswith(WEIGHTING)}
        extra |= {SCALER + name: tensor for name, tensor in scaler_state(self.scaler).items()}
        groups = (self.model.state_dict(), optimiser, averages, extra)
        model, optimiser, averages, extra_state = (
            {name: whole(tensor) for name, tensor in group.items()} for group in groups
        )
        return Checkpoint(self.config, self.step, model, optimiser, average=averages, extra=extra_state)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Continue from a checkpoint; `path` names its file in error messages.

        Raises:
            UserError: the checkpoint's tensors do not fit the model.
        """
        check_fit(self.model, checkpoint, path)
        self.load_weights(checkpoint.model)
        self.step = checkpoint.step
        try:
            if checkpoint.step:
                restore_optimiser(self.parameters, self.optimiser, self.config.train, checkpoint.optimiser)
            if self.average is not None:
                self.average.restore(checkpoint.average)
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    if name.startswith(WEIGHTING):
                        parameter.copy_(checkpoint.extra[name])
            scales = {name.removeprefix(SCALER): tensor for name, tensor in checkpoint.extra.items()}
            restore_scaler(self.scaler, scales)
        except KeyError as error:
            raise UserError(
                f"{path} has no training state for {error.args[0]}; train again in another folder"
            ) from error


WEIGHTING, SCALER = "weighting.", "scaler."
"""Prefixes of names in a checkpoint's `extra`."""


def trained_parameters(objective: Objective) -> Parameters:
    """The model's parameters under their own names, and those of the weighting."""
    weighting = {WEIGHTING + name: parameter for name, parameter in objective.weighting.named_parameters()}
    return dict(objective.model.named_parameters()) | weighting


def check_recipe(config: Config, processes: Processes) -> None:
    """Refuse what does not go together.

    Raises:
        UserError: with the key to change.
    """
    recipe, world = config.train, processes.world
    if recipe.batch % (world * recipe.accumulate):
        raise UserError(
            f"train.batch {recipe.batch} cannot be divided into {recipe.accumulate} parts on {world} processes; "
            f"make it a multiple of {world * recipe.accumulate}"
        )
    if recipe.balance == "all" and recipe.conflict == "pcgrad":
        raise UserError('train.conflict "pcgrad" has a pass per task; set train.balance to "task"')
    if world > 1 and recipe.experts == "sharded":
        if recipe.conflict == "pcgrad":
            raise UserError('train.conflict "pcgrad" needs whole gradients; set train.experts to "replicated"')
        if recipe.precision == "float16":
            raise UserError('train.precision "float16" needs replicated experts; take "bfloat16"')


def cut(batch: Split, parts: int) -> list[Split]:
    """Every `parts`-th image, from each of the first ones on: the same parts with any number of processes."""
    return [{key: tensor[first::parts] for key, tensor in batch.items()} for first in range(parts)]


def sum_of(losses: dict[TaskName, Tensor]) -> Tensor:
    """Sum over the tasks."""
    return torch.stack(list(losses.values())).sum()


def detached(losses: Losses) -> Losses:
    """The values alone, so that the graph of a part is freed."""
    weighted = {task: loss.detach() for task, loss in losses.weighted.items()}
    routings = {task: [routing.detached() for routing in layers] for task, layers in losses.routings.items()}
    return Losses(weighted, losses.task, routings)


def load_share(shares: list[Losses], task: TaskName, layer: int) -> Tensor:
    """(E) shares of the assignments of one router over the parts."""
    routings: list[Routing] = [share.routings[task][layer] for share in shares if task in share.routings]
    return torch.stack([routing.load() for routing in routings]).mean(0)
