# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Calibration: run the float model over all tasks and sample every tensor that becomes an integer.

All tasks share weights, hence scales: each sample mixes all tasks. Values are drawn with a fixed seed, so a calibration
is a function of the model and the images.

Shapes: B images, N tokens, D channels, E experts, Q tokens of an expert.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.moe import MoE
from m3vit.model.vit import NORM_EPS, DenseBlock, M3ViT, MoEBlock, normalise_image

Floats = npt.NDArray[np.float64]

SAMPLE = 1 << 18
"""About as many values are kept of a tensor, in whole rows."""
BATCH = 8
RESIDUAL = "residual"


class Calibration:
    """Samples and extremes of named tensors.

    Args:
        observations: how often each tensor will be seen.
    """

    def __init__(self, observations: int) -> None:
        self._budget = SAMPLE // observations
        self._rng = np.random.default_rng(0)
        self._samples: defaultdict[str, list[npt.NDArray[np.float32]]] = defaultdict(list)
        self._largest: defaultdict[str, float] = defaultdict(float)
        self.top_logits: defaultdict[tuple[str, TaskName], list[float]] = defaultdict(list)
        """Smallest and largest per-token maximum of the router logits, in nats, per layer, task and batch."""

    def sample(self, name: str, x: Tensor) -> None:
        """Keep some rows (along the last axis) of a tensor."""
        rows_ND = x.detach().flatten(0, -2)
        count, channels = rows_ND.shape
        if not count:
            return
        kept = min(count, max(1, self._budget // channels))
        index = torch.from_numpy(self._rng.choice(count, kept, replace=False)).to(rows_ND.device)
        self._samples[name].append(rows_ND[index].float().cpu().numpy())

    def range(self, name: str, x: Tensor) -> None:
        """Keep the largest magnitude of a tensor."""
        if x.numel():
            self._largest[name] = max(self._largest[name], float(x.detach().abs().max()))

    def values(self, name: str) -> Floats:
        """Kept rows of a tensor, (S, D); a single zero if it never occurred."""
        if not self._samples[name]:
            return np.zeros((1, 1))
        return np.concatenate(self._samples[name]).astype(np.float64)

    def largest(self, name: str) -> float:
        """Largest magnitude seen."""
        return self._largest[name]


@torch.no_grad()
def calibrate(model: M3ViT, images: Tensor, progress: bool = False) -> Calibration:
    """Observe a model on images.

    Args:
        model: in evaluation mode.
        images: uint8 (B, 3, H, W).
        progress: show a progress bar.
    """
    batches = torch.split(images, BATCH)
    calibration = Calibration(observations=len(batches) * len(model.config.tasks))
    with tqdm(total=len(batches) * len(model.config.tasks), desc="calibrate", disable=not progress) as bar:
        for task in model.config.tasks:
            with observed(model, calibration, task):
                for batch in batches:
                    model(normalise_image(batch.to(model.pos_embed.device)), task)
                    bar.update()
    return calibration


@contextmanager
def observed(model: M3ViT, calibration: Calibration, task: TaskName) -> Iterator[None]:
    """Within the context, every forward pass of `task` is sampled."""
    with ExitStack() as stack:

        def watch(module: nn.Module, observe: Any) -> None:
            handle = module.register_forward_hook(lambda _, inputs, output: observe(inputs[0], output))
            stack.callback(handle.remove)

        watch(model.patch_embed.proj, lambda _, y: calibration.range(RESIDUAL, y))
        for index, block in enumerate(model.blocks):
            assert isinstance(block, DenseBlock | MoEBlock)
            _watch_block(f"blocks.{index}", block, calibration, task, watch)
        watch(model.norm, lambda x, _: _see_norm(calibration, "norm", x))
        head = model.heads[task].get_submodule("linear")
        watch(head, lambda _, y: calibration.range(f"head.{task}", y))
        yield


def _watch_block(name: str, block: DenseBlock | MoEBlock, calibration: Calibration, task: TaskName, watch: Any) -> None:
    watch(block.norm1, lambda x, _: _see_norm(calibration, f"{name}.norm1", x))
    watch(block.norm2, lambda x, _: _see_norm(calibration, f"{name}.norm2", x))
    watch(block.attn.qkv, lambda _, y: _see_qkv(calibration, name, y))
    watch(block.attn.proj, lambda x, _: calibration.sample(f"{name}.attention", x))
    watch(block.attn.proj, lambda _, y: calibration.range(RESIDUAL, y))
    if isinstance(block, MoEBlock):
        layer = block.mlp
        watch(layer, lambda x, _: _see_moe(calibration, name, layer, x, task))
    else:
        watch(block.mlp.fc1, lambda _, y: calibration.sample(f"{name}.hidden", y))
        watch(block.mlp.fc2, lambda _, y: calibration.range(RESIDUAL, y))


def _see_norm(calibration: Calibration, name: str, x_BND: Tensor) -> None:
    """The residual stream and its rows' standard scores, without the norm's gain and bias."""
    calibration.range(RESIDUAL, x_BND)
    calibration.sample(name, functional.layer_norm(x_BND, x_BND.shape[-1:], eps=NORM_EPS))


def _see_qkv(calibration: Calibration, name: str, qkv_BNM: Tensor) -> None:
    for part, x in zip("qkv", qkv_BNM.chunk(3, dim=-1), strict=True):
        calibration.sample(f"{name}.{part}", x)


def _see_moe(calibration: Calibration, name: str, layer: MoE, x_BND: Tensor, task: TaskName) -> None:
    """Router logits, and the hidden layer of each expert on the tokens that it serves."""
    x_ND = x_BND.flatten(0, 1)
    routing = layer.router(x_ND, task)
    top_N = routing.logits_NE.amax(-1)
    calibration.top_logits[name, task] += [float(top_N.min()), float(top_N.max())]
    experts, hidden = layer.experts, []
    for expert in range(len(experts.fc1_weight)):
        x_QD = x_ND[(routing.expert_NK == expert).any(-1)]
        pre_QH = functional.linear(x_QD, experts.fc1_weight[expert], experts.fc1_bias[expert])
        hidden.append(pre_QH)
        out_QD = functional.linear(functional.gelu(pre_QH), experts.fc2_weight[expert], experts.fc2_bias[expert])
        calibration.range(RESIDUAL, out_QD)
    calibration.sample(f"{name}.hidden", torch.cat(hidden))
