# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `moe-speed`: a training step of the MoE layer beside a dense MLP of equal FLOPs and two usual loops."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from timm.layers import Mlp
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from m3vit.model.config import MODELS, ModelConfig
from m3vit.model.moe import MoE
from m3vit.model.moe_variants import index_loop, mask_loop
from m3vit.scripts.cli import run_verb
from m3vit.scripts.train import choose_device

LAYERS = ("dense", "queues", "mask loop", "index loop")
"""Ways to write the layer; `queues` is ours."""
IMAGES = {"m3vit_demo_patch8": 16, "m3vit_tiny_patch16": 8, "m3vit_small_patch16": 1}
"""Images per update; with five tasks the layer sees five times their tokens."""
STD = 0.02


@dataclass(frozen=True)
class Speed:
    """Milliseconds of a forward and backward pass of each way to write the layer.

    Attributes:
        name: of the model.
        tokens: that the layer sees.
        milliseconds: by way, one of LAYERS.
    """

    name: str
    tokens: int
    milliseconds: dict[str, float]

    def ratio(self, layer: str, to: str) -> float:
        """How many times the other layer's time."""
        return self.milliseconds[layer] / self.milliseconds[to]


def moe_speed(
    device: Annotated[str, typer.Option(help="auto (CPU, and a GPU if there is one), cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; with one the times are steady.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements; the fastest counts.")] = 5,
) -> None:
    """Time a training step of the MoE layer against a dense MLP of equal FLOPs and against loops over experts."""
    places = {"cpu": torch.device("cpu")} | {choose_device(device).type: choose_device(device)}
    for name, place in places.items() if device == "auto" else [(device, choose_device(device))]:
        console = Console()
        title = f"forward and backward on {name}, ms" + (f", {threads} thread(s)" if place.type == "cpu" else "")
        table = Table(title=title)
        for column in ("layer", "tokens", *LAYERS, "queues/dense", "mask/queues", "index/queues"):
            table.add_column(column, justify="left" if column == "layer" else "right")
        for model, images in IMAGES.items():
            add_row(table, measure(MODELS[model], images, place, threads, rounds))
        console.print(table)


def add_row(table: Table, speed: Speed) -> None:
    """Times and ratios of one layer."""
    ratios = [speed.ratio("queues", "dense"), speed.ratio("mask loop", "queues"), speed.ratio("index loop", "queues")]
    times = [f"{speed.milliseconds[layer]:.2f}" for layer in LAYERS]
    table.add_row(speed.name, str(speed.tokens), *times, *(f"{ratio:.2f}" for ratio in ratios))


def measure(config: ModelConfig, images: int, device: torch.device, threads: int, rounds: int) -> Speed:
    """Time the MoE layer of a model on the tokens of `images` images in all its tasks; rounds take turns."""
    torch.manual_seed(0)
    layer, dense = MoE(config).to(device), Mlp(config.dim, config.top_k * config.expert_hidden).to(device)
    for weight in (layer.experts.fc1_weight, layer.experts.fc2_weight):
        nn.init.trunc_normal_(weight, std=STD)
    tokens = images * len(config.tasks) * config.tokens
    x_ND = torch.randn(tokens, config.dim, device=device, requires_grad=True)
    task = config.tasks[0]
    forwards: dict[str, Callable[[], Tensor]] = {
        "dense": lambda: dense(x_ND),
        "queues": lambda: layer(x_ND[None], [task])[0],
        "mask loop": lambda: mask_loop(layer, x_ND, task),
        "index loop": lambda: index_loop(layer, x_ND, task),
    }
    best = dict.fromkeys(LAYERS, float("inf"))
    for _ in range(rounds):
        for name, forward in forwards.items():
            best[name] = min(best[name], 1e3 * step_seconds(forward, x_ND, threads))
    return Speed(config.name.removeprefix("m3vit_"), tokens, best)


def step_seconds(forward: Callable[[], Tensor], x_ND: Tensor, threads: int) -> float:
    """Median seconds of a forward and backward pass."""

    def step() -> None:
        x_ND.grad = None
        torch.autograd.backward(forward().square().mean())

    seconds: float = Timer("step()", globals={"step": step}, num_threads=threads).blocked_autorange().median
    return seconds


if __name__ == "__main__":
    run_verb(moe_speed)
