# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""M3ViT: a Vision Transformer whose odd blocks hold task-routed experts (arXiv 2210.14793, section 3.1).

Every part that timm has comes from timm; the numerics are those of its `vit_*` models (pre-norm, class token, learned
positions, qkv bias, exact GELU, LayerNorm epsilon 1e-6). A pass serves one task or several. Importing this module
registers `m3vit_{demo_patch8,tiny_patch16,small_patch16,small_nyud_patch16,base_patch16}` with timm.

Shapes: B images, H x W pixels, N tokens (class token first), D channels, C channels of a task's prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import Mlp, PatchEmbed, trunc_normal_
from timm.models import register_model
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from m3vit.model.config import MODELS, ModelConfig, TaskName
from m3vit.model.heads import TokenHead
from m3vit.model.moe import Experts, MoE, RouterNoise, Routing

NORM_EPS = 1e-6

TIMM_ARGUMENTS = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
"""What `timm.create_model` hands to every entry point."""


def normalise_image(image: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 to float32 in [-1, 1], the input of `M3ViT.forward`: (x / 255 - 0.5) / 0.5."""
    return image.float() / 127.5 - 1.0


class DenseBlock(nn.Module):
    """Pre-norm transformer block with one MLP for all tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.attn = Attention(config.dim, num_heads=config.heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.mlp = Mlp(config.dim, config.mlp_hidden)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        y_BND: Tensor = x_BND + self.mlp(self.norm2(x_BND))
        return y_BND


class MoEBlock(nn.Module):
    """Pre-norm transformer block with experts in place of the MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.attn = Attention(config.dim, num_heads=config.heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.mlp = MoE(config)

    def forward(
        self, x_BND: Tensor, tasks: Sequence[TaskName], noise: RouterNoise | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """(B, N, D), the first task's images first, to (B, N, D), and the decision of each task's router."""
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        y_BND, routings = self.mlp(self.norm2(x_BND), tasks, noise)
        return x_BND + y_BND, routings


@dataclass(frozen=True)
class Prediction:
    """What the model says of one task."""

    map_BCHW: Tensor
    """Raw prediction at image resolution: logits or values."""
    routings: list[Routing]
    """The task's router in each MoE block, in order."""


class M3ViT(nn.Module):
    """Multi-task Vision Transformer with mixture-of-experts blocks.

    Args:
        config: Sizes, router kind and tasks.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.image_hw, config.patch, embed_dim=config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        self.blocks = nn.ModuleList(
            MoEBlock(config) if config.is_moe(layer) else DenseBlock(config) for layer in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.heads = nn.ModuleDict({task: TokenHead(config, config.channels(task)) for task in config.tasks})
        self.apply(_init_weights)
        trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)

    @property
    def shared_blocks(self) -> int:
        """Blocks before the first one with experts: the same for all tasks."""
        return min(self.config.moe_layers, default=self.config.layers)

    def forward(self, image: Tensor, task: TaskName) -> Tensor:
        """Predict one task.

        Args:
            image: (B, 3, H, W), normalised by `normalise_image`.
            task: One of the config's tasks.

        Returns:
            (B, C, H, W) raw prediction: logits for segmentation, edges and saliency, values for depth and normals.

        Raises:
            ValueError: the model has no such task.
        """
        return self.forward_tasks(image, (task,))[task].map_BCHW

    def forward_tasks(
        self, image: Tensor, tasks: Sequence[TaskName], noise: RouterNoise | None = None
    ) -> dict[TaskName, Prediction]:
        """Predict several tasks of the same images in one pass, in which the experts see the tokens of all tasks.

        Args:
            image: (B, 3, H, W), normalised by `normalise_image`.
            tasks: Some of the config's tasks.
            noise: Of the routers, in training.

        Raises:
            ValueError: the model lacks one of the tasks.
        """
        features, routings = self.forward_blocks(image, tasks, noise)
        return {task: Prediction(self.forward_head(features[task], task), routings[task]) for task in tasks}

    def forward_features(self, image: Tensor, task: TaskName) -> Tensor:
        """(B, N, D) tokens after the last block, before the final norm."""
        return self.forward_blocks(image, (task,))[0][task]

    def forward_blocks(
        self, image: Tensor, tasks: Sequence[TaskName], noise: RouterNoise | None = None
    ) -> tuple[dict[TaskName, Tensor], dict[TaskName, list[Routing]]]:
        """Each task's (B, N, D) tokens after the last block, and its routers' decisions in the MoE blocks, in order."""
        for task in tasks:
            if task not in self.config.tasks:
                raise ValueError(f"{self.config.name} has no task '{task}'; it has {', '.join(self.config.tasks)}")
        x_BND = self.forward_shared(image)
        routings: dict[TaskName, list[Routing]] = {task: [] for task in tasks}
        if self.shared_blocks < len(self.blocks):
            x_BND = x_BND.repeat(len(tasks), 1, 1)
        for block in self.blocks[self.shared_blocks :]:
            if isinstance(block, MoEBlock):
                x_BND, decisions = block(x_BND, tasks, noise)
                for task, decision in zip(tasks, decisions, strict=True):
                    routings[task].append(decision)
            else:
                x_BND = block(x_BND)
        parts = torch.split(x_BND, len(image)) * (len(tasks) * len(image) // len(x_BND))
        return dict(zip(tasks, parts, strict=True)), routings

    def forward_shared(self, image: Tensor) -> Tensor:
        """The part that no task changes: embedding and the blocks before the first MoE block, to (B, N, D)."""
        patches_BND = self.patch_embed(image)
        x_BND = torch.cat((self.cls_token.expand(len(patches_BND), -1, -1), patches_BND), dim=1) + self.pos_embed
        for block in self.blocks[: self.shared_blocks]:
            x_BND = block(x_BND)
        return x_BND

    def forward_head(self, x_BND: Tensor, task: TaskName) -> Tensor:
        """Final norm and the task's head on the patch tokens: (B, N, D) to (B, C, H, W)."""
        prediction: Tensor = self.heads[task](self.norm(x_BND)[:, 1:])
        return prediction


def _init_weights(module: nn.Module) -> None:
    """timm's ViT initialisation: truncated normal 0.02 and zero biases; the patch embedding keeps torch's."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Experts):
        trunc_normal_(module.fc1_weight, std=0.02)
        trunc_normal_(module.fc2_weight, std=0.02)


def _build(name: str, pretrained: bool, overrides: dict[str, Any]) -> M3ViT:
    """Build a preset; `overrides` are fields of `ModelConfig` and the arguments that timm adds by itself."""
    if pretrained:
        raise ValueError(f"there are no pretrained weights for {name}; train it with `m3vit train`")
    fields = {key: value for key, value in overrides.items() if key not in TIMM_ARGUMENTS}
    return M3ViT(ModelConfig.model_validate(MODELS[name].model_dump() | fields))


@register_model
def m3vit_demo_patch8(pretrained: bool = False, **kwargs: Any) -> M3ViT:
    """The demo on 64 x 64 images; keyword arguments replace fields of `ModelConfig`."""
    return _build("m3vit_demo_patch8", pretrained, kwargs)


@register_model
def m3vit_tiny_patch16(pretrained: bool = False, **kwargs: Any) -> M3ViT:
    """M3ViT-tiny on 128 x 256 images; keyword arguments replace fields of `ModelConfig`."""
    return _build("m3vit_tiny_patch16", pretrained, kwargs)


@register_model
def m3vit_small_patch16(pretrained: bool = False, **kwargs: Any) -> M3ViT:
    """M3ViT-small on 512 x 512 images; keyword arguments replace fields of `ModelConfig`."""
    return _build("m3vit_small_patch16", pretrained, kwargs)


@register_model
def m3vit_small_nyud_patch16(pretrained: bool = False, **kwargs: Any) -> M3ViT:
    """M3ViT-small on 480 x 640 images; keyword arguments replace fields of `ModelConfig`."""
    return _build("m3vit_small_nyud_patch16", pretrained, kwargs)


@register_model
def m3vit_base_patch16(pretrained: bool = False, **kwargs: Any) -> M3ViT:
    """M3ViT-base on 512 x 512 images; keyword arguments replace fields of `ModelConfig`."""
    return _build("m3vit_base_patch16", pretrained, kwargs)
