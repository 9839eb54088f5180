# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Multiply-accumulates (MACs) of the tables' networks on one image, counted by torch on the modules.

The counter is `torch.utils.flop_counter`; it counts convolutions, linear layers and attention, two operations per MAC.
The tables' "GFLOPs" are 10^9 MACs: the dense ViT shows it (see docs/reproduce.md).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from m3vit.model.baselines.backbone import Depth, OutputStride
from m3vit.model.baselines.datasets import Dataset
from m3vit.model.baselines.heads import MakeHead, deeplab
from m3vit.model.baselines.m_vit import PaperDecoder
from m3vit.model.baselines.mtan import Mtan
from m3vit.model.baselines.networks import SharedEncoder, cross_stitch, nddr_cnn
from m3vit.model.config import ModelConfig
from m3vit.model.vit import M3ViT, MoEBlock

Build = Callable[[Dataset, Depth, MakeHead, OutputStride], nn.Module]
Decoded = Literal["one", "all"]
"""Whether one task's decoder runs, or every task's."""
FLOPS_PER_MAC = 2
GIGA = 1e9
NETWORKS: dict[str, Build] = {
    "single": SharedEncoder,
    "shared": SharedEncoder,
    "mtan": Mtan,
    "cross_stitch": cross_stitch,
    "nddr_cnn": nddr_cnn,
}
"""Networks on ResNets: single-task and multi-task baseline, and those that exchange features."""


def count_macs(run: Callable[[], object]) -> int:
    """MACs that torch counts while `run` runs; on meta tensors nothing is computed."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // FLOPS_PER_MAC


def network_macs(
    key: str,
    dataset: Dataset,
    depth: Depth,
    decoded: Decoded = "one",
    head: MakeHead = deeplab,
    output_stride: OutputStride = 8,
) -> int:
    """MACs of a network of NETWORKS; its encoder runs as a whole, see `m3vit.model.baselines.networks`.

    Args:
        key: names the network. "single" with all tasks is one network per task.
        dataset: image size, tasks and outputs.
        depth: of the ResNet.
        decoded: whose decoders run; with one, the first task's.
        head: kind of decoder.
        output_stride: of the ResNet.
    """
    if key == "single" and decoded == "all":
        return sum(network_macs(key, dataset.only(task), depth, "one", head, output_stride) for task in dataset.tasks)
    seen = dataset.only(dataset.tasks[0]) if key == "single" else dataset
    with torch.device("meta"):
        network = NETWORKS[key](seen, depth, head, output_stride).eval()
        image = torch.empty(1, 3, *dataset.image_hw)
    return count_macs(lambda: network(image, seen.tasks[:1] if decoded == "one" else seen.tasks))


def stages_macs(dataset: Dataset, depth: Depth, stages: Sequence[str]) -> int:
    """As `network_macs` of NDDR-CNN with fusion layers after the given stages only."""
    with torch.device("meta"):
        network = nddr_cnn(dataset, depth, stages=stages).eval()
        image = torch.empty(1, 3, *dataset.image_hw)
    return count_macs(lambda: network(image, dataset.tasks[:1]))


def vit_encoder_macs(config: ModelConfig) -> int:
    """MACs of an encoder of `m3vit.model.vit` for one task, without the final norm and the head, block by block."""
    with torch.device("meta"):
        encoder = M3ViT(config).eval()
        image, tokens = torch.empty(1, 3, *config.image_hw), torch.empty(1, config.tokens, config.dim)
    blocks = sum(_block_macs(block, tokens, config) for block in encoder.blocks)
    return count_macs(lambda: encoder.patch_embed(image)) + blocks


def _block_macs(block: nn.Module, x_BND: torch.Tensor, config: ModelConfig) -> int:
    """Of one block. Experts compute, on zeros: how long their queues are is not known on meta tensors."""
    if not isinstance(block, MoEBlock):
        return count_macs(lambda: block(x_BND))
    experts = block.mlp.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.zero_()
    zeros = torch.zeros(x_BND.shape)
    return count_macs(lambda: block.attn(x_BND)) + count_macs(lambda: experts(zeros, config.tasks[:1]))


def vit_decoder_macs(config: ModelConfig, dataset: Dataset, task: str) -> int:
    """MACs of the papers' decoder of a task."""
    with torch.device("meta"):
        decoder = PaperDecoder(dataset, config).eval()
        tokens = torch.empty(1, config.tokens, config.dim)
    return count_macs(lambda: decoder(tokens, task))
