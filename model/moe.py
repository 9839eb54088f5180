# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Sparse mixture of experts: router, dispatch, experts, combine (V-MoE, arXiv 2106.05974, section 2).

Routers come in the three kinds of M3ViT (arXiv 2210.14793, section 3.1): one gate for all tasks, one gate per task, or
one gate that reads the token and an embedding of the task.

Shapes: N tokens (of all images in the batch), D channels, E experts, K chosen experts per token, H hidden channels of
an expert, S = N * K assignments of a token to an expert.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from m3vit.model.config import ModelConfig, TaskName


@dataclass(frozen=True)
class RouterNoise:
    """Gaussian noise on the logits in training: standard deviation and the generator that draws it.

    With the batch divided among `world` processes, each draws for the whole batch and takes the part of its `rank`.
    """

    std: float
    generator: torch.Generator
    rank: int = 0
    world: int = 1

    def sample(self, like_NE: Tensor) -> Tensor:
        """Standard normal noise for the logits of N tokens of this process."""
        tokens, experts = like_NE.shape
        shape = (self.world * tokens, experts)
        whole = torch.randn(shape, generator=self.generator, device=like_NE.device, dtype=like_NE.dtype)
        return whole[self.rank * tokens : (self.rank + 1) * tokens]


@dataclass(frozen=True)
class Routing:
    """What one router decided for N tokens."""

    logits_NE: Tensor
    """Without noise."""
    noisy_NE: Tensor
    """The logits that decided; equal to `logits_NE` outside training."""
    expert_NK: Tensor
    """int64, best expert first."""
    gate_NK: Tensor
    """Weight of each chosen expert."""

    def detached(self) -> "Routing":
        """The same decision without the graph behind it."""
        return Routing(self.logits_NE.detach(), self.noisy_NE.detach(), self.expert_NK, self.gate_NK.detach())

    @classmethod
    def of_tasks(cls, routings: Sequence["Routing"]) -> "Routing":
        """The decisions of several tasks' routers in one layer, as if one router had taken them."""
        parts = zip(*((r.logits_NE, r.noisy_NE, r.expert_NK, r.gate_NK) for r in routings), strict=True)
        return cls(*(torch.cat(part) for part in parts))

    def load(self) -> Tensor:
        """Share of the N * K assignments that each expert received, (E); sums to 1."""
        counts = torch.bincount(self.expert_NK.flatten(), minlength=self.logits_NE.shape[-1])
        return counts / self.expert_NK.numel()


class Router(nn.Module, ABC):
    """Chooses `top_k` of E experts for every token.

    Gates are a softmax over all experts, kept for the top k and divided by their sum only if the config says
    `renormalise`. Equal logits go to the lower expert index, as in the hardware.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.top_k, self.renormalise = config.top_k, config.renormalise

    @abstractmethod
    def logits(self, x_ND: Tensor, task: TaskName) -> Tensor:
        """(N, D) tokens to (N, E) logits."""

    @abstractmethod
    def effective(self, task: TaskName) -> tuple[Tensor, Tensor]:
        """The affine map from token to logits for one task: weight (E, D) and bias (E)."""

    def forward(self, x_ND: Tensor, task: TaskName, noise: RouterNoise | None = None) -> Routing:
        """Route (N, D) tokens; with `noise`, noisy top-k gating (V-MoE, section 2). In float32 under autocast."""
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NE = self.logits(x_ND, task)
        noisy_NE = logits_NE if noise is None else logits_NE + noise.std * noise.sample(logits_NE)
        expert_NK = top_k_lower_index_first(noisy_NE, self.top_k)
        gate_NK = noisy_NE.softmax(-1).gather(-1, expert_NK)
        if self.renormalise:
            gate_NK = gate_NK / gate_NK.sum(-1, keepdim=True)
        return Routing(logits_NE, noisy_NE, expert_NK, gate_NK)


def top_k_lower_index_first(scores_NE: Tensor, k: int) -> Tensor:
    """Indices of the k largest scores, best first, ties to the lower index (which torch.topk does not promise)."""
    return scores_NE.sort(dim=-1, descending=True, stable=True).indices[..., :k]


class SingleRouter(Router):
    """One gate shared by all tasks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gate = nn.Linear(config.dim, config.experts, bias=False)

    def logits(self, x_ND: Tensor, task: TaskName) -> Tensor:
        """W x for every task."""
        return functional.linear(x_ND, self.gate.weight)

    def effective(self, task: TaskName) -> tuple[Tensor, Tensor]:
        """The shared weight and no bias."""
        return self.gate.weight, self.gate.weight.new_zeros(self.gate.out_features)


class MultiRouter(Router):
    """One gate per task: M3ViT's default."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gates = nn.ModuleDict({task: nn.Linear(config.dim, config.experts, bias=False) for task in config.tasks})

    def logits(self, x_ND: Tensor, task: TaskName) -> Tensor:
        """W_task x."""
        logits_NE: Tensor = self.gates[task](x_ND)
        return logits_NE

    def effective(self, task: TaskName) -> tuple[Tensor, Tensor]:
        """The task's weight and no bias."""
        weight_ED = self.gates[task].get_parameter("weight")
        return weight_ED, weight_ED.new_zeros(len(weight_ED))


class TaskConditionedRouter(Router):
    """One gate over the token concatenated with a learned embedding of the task."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dim = config.dim
        self.gate = nn.Linear(config.dim + config.task_embedding, config.experts, bias=False)
        self.embedding = nn.ParameterDict(
            {task: nn.Parameter(torch.randn(config.task_embedding)) for task in config.tasks}
        )

    def logits(self, x_ND: Tensor, task: TaskName) -> Tensor:
        """W [x, embedding of the task]."""
        task_NT = self.embedding[task].expand(len(x_ND), -1)
        logits_NE: Tensor = self.gate(torch.cat((x_ND, task_NT), dim=-1))
        return logits_NE

    def effective(self, task: TaskName) -> tuple[Tensor, Tensor]:
        """The token part of the weight; the embedding part becomes the bias."""
        token_ED, task_ET = torch.split(self.gate.weight, [self.dim, self.gate.in_features - self.dim], dim=1)
        return token_ED, task_ET @ self.embedding[task]


def make_router(config: ModelConfig) -> Router:
    """The router of the configured kind."""
    match config.router:
        case "single":
            return SingleRouter(config)
        case "multi":
            return MultiRouter(config)
        case "task_conditioned":
            return TaskConditionedRouter(config)


@dataclass(frozen=True)
class Dispatch:
    """The permutation that queues assignments by expert, and back.

    Assignment `n * K + j` is token n's j-th choice. Inside a queue the assignments keep their order, so each expert
    sees its tokens in ascending order, as the hardware's queues do.
    """

    order_S: Tensor
    """Assignment at each place of the concatenated queues."""
    lengths: list[int]
    """Queue length of each expert; they sum to S."""
    top_k: int

    @classmethod
    def of(cls, expert_NK: Tensor, experts: int) -> "Dispatch":
        """Queue the (N, K) chosen experts."""
        expert_S = expert_NK.flatten()
        order_S = expert_S.argsort(stable=True)
        return cls(order_S, torch.bincount(expert_S, minlength=experts).tolist(), expert_NK.shape[1])

    def scatter(self, x_ND: Tensor) -> Tensor:
        """(N, D) tokens to (S, D) queue entries, K copies of each token."""
        copies_SD = x_ND[:, None].expand(-1, self.top_k, -1).reshape(-1, x_ND.shape[1])
        return copies_SD.index_select(0, self.order_S)

    def gather(self, y_SD: Tensor) -> Tensor:
        """(S, D) queue entries back to (N, K, D)."""
        place_S = torch.empty_like(self.order_S)
        place_S[self.order_S] = torch.arange(len(place_S), device=place_S.device)
        return y_SD.index_select(0, place_S).view(-1, self.top_k, y_SD.shape[1])


def mlp(x_SD: Tensor, fc1_HD: Tensor, bias_H: Tensor, fc2_DH: Tensor, bias_D: Tensor) -> Tensor:
    """One expert on its (S, D) tokens: fc1, exact GELU, fc2."""
    return functional.linear(functional.gelu(functional.linear(x_SD, fc1_HD, bias_H)), fc2_DH, bias_D)


class Experts(nn.Module):
    """E two-layer perceptrons over queued tokens.

    One matrix product per expert's segment: on a CPU with 8 experts this was faster than a padded batched product and
    than `torch.nn.functional.grouped_mm`, which also lacks float64.
    """

    def __init__(self, experts: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1_weight = nn.Parameter(torch.empty(experts, hidden, dim))
        self.fc1_bias = nn.Parameter(torch.zeros(experts, hidden))
        self.fc2_weight = nn.Parameter(torch.empty(experts, dim, hidden))
        self.fc2_bias = nn.Parameter(torch.zeros(experts, dim))

    def forward(self, x_SD: Tensor, lengths: list[int]) -> Tensor:
        """(S, D) tokens, queued by expert with the given queue lengths, to (S, D) outputs in the same order."""
        segments = torch.split(x_SD, lengths)
        first = zip(self.fc1_weight.unbind(), self.fc1_bias.unbind(), strict=True)
        second = zip(self.fc2_weight.unbind(), self.fc2_bias.unbind(), strict=True)
        outputs = [mlp(x, *fc1, *fc2) for x, fc1, fc2 in zip(segments, first, second, strict=True)]
        return torch.cat(outputs)


def combine(y_NKD: Tensor, gate_NK: Tensor) -> Tensor:
    """Sum of each token's K expert outputs, weighted by its gates."""
    return (y_NKD * gate_NK[..., None]).sum(1)


class MoE(nn.Module):
    """The sparse layer that replaces a block's MLP.

    Routers stay in float32 under autocast, experts do not (Switch Transformer, arXiv 2101.03961, section 2.4).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.router = make_router(config)
        self.experts = Experts(config.experts, config.dim, config.expert_hidden)

    def forward(
        self, x_BND: Tensor, tasks: Sequence[TaskName], noise: RouterNoise | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Run the tokens of one or several tasks, each task's through its own router and all through the same experts.

        Args:
            x_BND: (B, N, D) tokens; B is a multiple of the number of tasks, and the first task's images come first.
            tasks: Whose router the images take, in order.
            noise: Of the routers, in training.

        Returns:
            (B, N, D) outputs, and what each task's router decided for its B * N / T tokens.

        Raises:
            ValueError: the batch cannot be divided among the tasks.
        """
        if isinstance(tasks, str) or len(x_BND) % len(tasks):
            raise ValueError(f"a batch of {len(x_BND)} images cannot be divided among the tasks {tasks}")
        x_ND = x_BND.flatten(0, 1)
        exact_ND = x_ND.float() if torch.is_autocast_enabled(x_ND.device.type) else x_ND
        parts = exact_ND.chunk(len(tasks))
        with torch.autocast(x_ND.device.type, enabled=False):
            routings: list[Routing] = [self.router(part, task, noise) for part, task in zip(parts, tasks, strict=True)]
        dispatch = Dispatch.of(torch.cat([routing.expert_NK for routing in routings]), len(self.experts.fc1_weight))
        y_SD = self.experts(dispatch.scatter(x_ND), dispatch.lengths)
        gate_NK = torch.cat([routing.gate_NK for routing in routings])
        return combine(dispatch.gather(y_SD), gate_NK).view_as(x_BND), routings


Total = Callable[[Tensor], Tensor]
"""Turns a sum over one process's tokens into the sum over all processes'."""


def _alone(x: Tensor) -> Tensor:
    return x


def importance_loss(routing: Routing, total: Total = _alone) -> Tensor:
    """Squared coefficient of variation of the experts' summed softmax weights (V-MoE, appendix A.2)."""
    return _squared_variation(total(routing.logits_NE.softmax(-1).sum(0)))


def load_loss(routing: Routing, std: float, total: Total = _alone) -> Tensor:
    """Squared coefficient of variation of the experts' smoothed load (V-MoE, appendix A.2).

    The load of an expert is the sum over tokens of the probability that it stays in the top k when only its own noise
    is drawn again.

    Args:
        routing: A decision made with noise.
        std: Standard deviation of that noise, positive.
        total: Sums over the processes that share a batch.

    Raises:
        ValueError: `std` is not positive, so that the load has no gradient.
    """
    if std <= 0:
        raise ValueError(f"the load loss needs router noise, got standard deviation {std}")
    threshold_N1 = routing.noisy_NE.gather(-1, routing.expert_NK[:, -1:])
    stays_NE = torch.special.ndtr((routing.logits_NE - threshold_N1) / std)
    return _squared_variation(total(stays_NE.sum(0)))


def _squared_variation(x_E: Tensor) -> Tensor:
    return x_E.var(correction=0) / x_E.mean().square()
