# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A second M3ViT: one image in float64 NumPy, written from the papers' equations and sharing no code with the model.

It tells whether the float model, its import and its layouts are right. Every operator is recorded with its input, so
the float model's can be compared one by one on equal input.

Shapes: N tokens (class token first), D channels, H hidden channels, E experts, K chosen ones, P x P pixels of a patch,
G heads, C channels of a head.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from m3vit.model.config import ModelConfig, TaskName

Floats = npt.NDArray[np.float64]
Weights = Mapping[str, Floats]

EPSILON = 1e-6
"""Of the norms, as in timm's and upstream's models."""


@dataclass(frozen=True)
class Operation:
    """One executed operator."""

    name: str
    """Of the module that computes it in the float model."""
    kind: str
    """patch_embed, norm, attention, mlp, router (its output: logits), experts or head."""
    input: Floats
    output: Floats


def patch_embed(image_3HW: Floats, weight_D3PP: Floats, bias_D: Floats) -> Floats:
    """Linear projection of flattened patches (ViT, arXiv 2010.11929, equation 1). Shape (N - 1, D)."""
    dim, _, side, _ = weight_D3PP.shape
    _, height, width = image_3HW.shape
    tiles = image_3HW.reshape(3, height // side, side, width // side, side).transpose(1, 3, 0, 2, 4)
    patches: Floats = tiles.reshape(-1, 3 * side * side) @ weight_D3PP.reshape(dim, -1).T + bias_D
    return patches


def layer_norm(x_ND: Floats, gain_D: Floats, bias_D: Floats) -> Floats:
    """Ba et al., arXiv 1607.06450, equation 4."""
    centred_ND = x_ND - x_ND.mean(axis=1, keepdims=True)
    variance_N1 = (centred_ND**2).mean(axis=1, keepdims=True)
    return np.asarray(centred_ND / np.sqrt(variance_N1 + EPSILON) * gain_D + bias_D)


def softmax(x: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def attention(x_ND: Floats, qkv: tuple[Floats, Floats], proj: tuple[Floats, Floats], heads: int) -> Floats:
    """Multi-head self-attention (ViT, appendix A, equations 5 to 8), head by head."""
    q_ND, k_ND, v_ND = np.split(x_ND @ qkv[0].T + qkv[1], 3, axis=1)
    outputs = []
    for q_NC, k_NC, v_NC in zip(*(np.split(y_ND, heads, axis=1) for y_ND in (q_ND, k_ND, v_ND)), strict=True):
        outputs.append(softmax(q_NC @ k_NC.T / np.sqrt(q_NC.shape[1])) @ v_NC)
    return np.asarray(np.concatenate(outputs, axis=1) @ proj[0].T + proj[1])


def mlp(x_ND: Floats, fc1: tuple[Floats, Floats], fc2: tuple[Floats, Floats]) -> Floats:
    """Two linear layers with an exact GELU between (arXiv 1606.08415, section 2)."""
    hidden_NH = x_ND @ fc1[0].T + fc1[1]
    hidden_NH = 0.5 * hidden_NH * (1 + erf(hidden_NH / np.sqrt(2)))
    return np.asarray(hidden_NH @ fc2[0].T + fc2[1])


def router_logits(x_ND: Floats, weights: Weights, prefix: str, task: TaskName) -> Floats:
    """Gate of one task (M3ViT, arXiv 2210.14793, section 3.1): own, shared, or of token and task embedding. (N, E)."""
    embedding = weights.get(f"{prefix}embedding.{task}")
    if embedding is not None:
        x_ND = np.concatenate([x_ND, np.tile(embedding, (len(x_ND), 1))], axis=1)
    weight = weights.get(f"{prefix}gates.{task}.weight")
    return x_ND @ (weights[f"{prefix}gate.weight"] if weight is None else weight).T


def choose(logits_NE: Floats, k: int, renormalise: bool) -> tuple[npt.NDArray[np.int64], Floats]:
    """Experts of each token, best first, lower index first among equals, and their gates (V-MoE, section 2.1)."""
    expert_NK = np.array([sorted(range(len(row)), key=lambda e: (-row[e], e))[:k] for row in logits_NE])
    gate_NK = np.take_along_axis(softmax(logits_NE), expert_NK, axis=1)
    return expert_NK, gate_NK / gate_NK.sum(axis=1, keepdims=True) if renormalise else gate_NK


def moe(x_ND: Floats, expert_NK: npt.NDArray[np.int64], gate_NK: Floats, weights: Weights, prefix: str) -> Floats:
    """Gated sum of the chosen experts (V-MoE, arXiv 2106.05974, equation 1), token by token."""
    out_ND = np.zeros_like(x_ND)
    layers = [(weights[f"{prefix}{layer}_weight"], weights[f"{prefix}{layer}_bias"]) for layer in ("fc1", "fc2")]
    for token, (experts, gates) in enumerate(zip(expert_NK, gate_NK, strict=True)):
        for expert, gate in zip(experts, gates, strict=True):
            fc1, fc2 = ((weight[expert], bias[expert]) for weight, bias in layers)
            out_ND[token] += gate * mlp(x_ND[token][None], fc1, fc2)[0]
    return out_ND


class Reference:
    """The whole network.

    Args:
        config: of the model.
        weights: its state dict as float64 arrays.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights

    def run(self, image_3HW: Floats, task: TaskName) -> Iterator[Operation]:
        """All operators in order.

        Args:
            image_3HW: normalised like the float model's input.
            task: one of the config's.
        """
        w = self._weights
        patches_ND = patch_embed(image_3HW, *self._pair("patch_embed.proj"))
        yield Operation("patch_embed", "patch_embed", image_3HW, patches_ND)
        x_ND = np.concatenate([w["cls_token"][0], patches_ND]) + w["pos_embed"][0]
        for layer in range(self._config.layers):
            x_ND = yield from self._block(f"blocks.{layer}.", x_ND, task)
        normed_ND = layer_norm(x_ND, *self._pair("norm"))
        yield Operation("norm", "norm", x_ND, normed_ND)
        weight, bias = self._pair(f"heads.{task}.linear")
        yield Operation(f"heads.{task}.linear", "head", normed_ND[1:], normed_ND[1:] @ weight.T + bias)

    def _pair(self, name: str) -> tuple[Floats, Floats]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    def _block(self, name: str, x_ND: Floats, task: TaskName) -> Generator[Operation, None, Floats]:
        """Pre-norm block (ViT, equations 2 and 3); its value is the residual stream behind it."""
        normed_ND = layer_norm(x_ND, *self._pair(f"{name}norm1"))
        yield Operation(f"{name}norm1", "norm", x_ND, normed_ND)
        y_ND = attention(normed_ND, self._pair(f"{name}attn.qkv"), self._pair(f"{name}attn.proj"), self._config.heads)
        yield Operation(f"{name}attn", "attention", normed_ND, y_ND)
        x_ND = x_ND + y_ND
        normed_ND = layer_norm(x_ND, *self._pair(f"{name}norm2"))
        yield Operation(f"{name}norm2", "norm", x_ND, normed_ND)
        if f"{name}mlp.fc1.weight" in self._weights:
            y_ND = mlp(normed_ND, self._pair(f"{name}mlp.fc1"), self._pair(f"{name}mlp.fc2"))
            yield Operation(f"{name}mlp", "mlp", normed_ND, y_ND)
        else:
            logits_NE = router_logits(normed_ND, self._weights, f"{name}mlp.router.", task)
            yield Operation(f"{name}mlp.router", "router", normed_ND, logits_NE)
            chosen = choose(logits_NE, self._config.top_k, self._config.renormalise)
            y_ND = moe(normed_ND, *chosen, self._weights, f"{name}mlp.experts.")
            yield Operation(f"{name}mlp", "experts", normed_ND, y_ND)
        return x_ND + y_ND
