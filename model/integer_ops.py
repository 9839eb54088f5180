# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The golden integer operators in torch: batched, exact, and with straight-through gradients.

Tensors hold integers in float32; matrix products of int8 are exact there as long as sums stay below 2**24, everything
after them is computed in float64 or int64. The forward passes equal `m3vit.sim.golden` in every bit
(tests/test_integer_model.py). The backward passes are those of the real functions that the integers approximate, and
zero where a result is saturated (straight-through estimate, Bengio et al., arXiv 1308.3432).

Shapes: R rows (images, or images of every task), N tokens, D channels, M outputs, K inputs, S heads, C = D / S channels
of a head, E experts, J chosen experts of a token.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from m3vit.sim.golden.arith import MULTIPLIER_BITS
from m3vit.sim.golden.attention import AttentionScales, probabilities
from m3vit.sim.golden.linear import GELU_INDEX_BITS, Linear
from m3vit.sim.golden.moe import EXP2_MANTISSA, GATE_FRACTION_BITS, LOGIT_CLIP_OCTAVES, LOGIT_FRACTION_BITS
from m3vit.sim.golden.norm import RSQRT_FIRST, RSQRT_FRACTION_BITS, RSQRT_INDEX_BITS, RSQRT_MANTISSA, Norm

EXACT_INPUTS = 1024
"""Sums of so many products of int8 stay below 2**24: exact in float32."""
LOGIT_UNIT = log(2) / (1 << LOGIT_FRACTION_BITS)
"""Nats in one unit of a score or router logit."""
NEGATIVE_POWERS = torch.from_numpy(2.0 ** -np.arange(128))
RSQRT = torch.from_numpy(RSQRT_MANTISSA)
EXP2 = torch.from_numpy(EXP2_MANTISSA)
PROBABILITY = torch.from_numpy(probabilities(-np.arange(17 << LOGIT_FRACTION_BITS)[None])[0].astype(np.float32))
"""Probability of a score by how far it is below its row's maximum; the last one, and all further ones, are 0."""


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    out: Tensor = _StraightThrough.apply(soft, hard.to(soft.dtype))
    return out


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2) with the gradient of the identity; exact if x is a float64 integer over a power of two."""
    return straight_through(x, torch.floor(x.detach() + 0.5))


def saturate(x: Tensor, bits: int) -> Tensor:
    """Clip to the range of a signed integer."""
    return x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@dataclass(frozen=True)
class IntLinear:
    """An integer linear layer, or a stack of them along leading axes.

    Attributes:
        weight_MK: float32.
        bias_M: float64, in accumulator units.
        factor_M: float64, multiplier over 2**shift.
    """

    weight_MK: Tensor
    bias_M: Tensor
    factor_M: Tensor

    @classmethod
    def of(cls, layer: Linear) -> "IntLinear":
        """A golden layer."""
        factor_M = layer.multiplier_M * 2.0 ** -layer.shift_M.astype(np.float64)
        weight_MK, bias_M = layer.weight_MK.astype(np.float32), layer.bias_M.astype(np.float64)
        return cls(torch.from_numpy(weight_MK), torch.from_numpy(bias_M), torch.from_numpy(factor_M))

    @classmethod
    def stack(cls, layers: "list[IntLinear]") -> "IntLinear":
        """Layers of one shape along a new first axis."""
        weights, biases, factors = zip(*((x.weight_MK, x.bias_M, x.factor_M) for x in layers), strict=True)
        return cls(torch.stack(weights), torch.stack(biases), torch.stack(factors))

    def unbind(self) -> "list[IntLinear]":
        """Layers of a stack."""
        parts = (self.weight_MK.unbind(), self.bias_M.unbind(), self.factor_M.unbind())
        return [IntLinear(*layer) for layer in zip(*parts, strict=True)]


class _Requantise(Function):
    @staticmethod
    def forward(ctx: Any, acc_NM: Tensor, bias_M: Tensor, factor_M: Tensor, bits: int) -> Tensor:
        rounded_NM = (acc_NM + bias_M).mul_(factor_M).add_(0.5).floor_()
        out_NM = saturate(rounded_NM, bits)
        ctx.save_for_backward(out_NM == rounded_NM, factor_M)
        return out_NM.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        inside_NM, factor_M = ctx.saved_tensors
        grad_NM = grads[0] * inside_NM * factor_M.float()
        return grad_NM, grad_NM.flatten(0, -2).sum(0).double(), None, None


def linear(x_NK: Tensor, layer: IntLinear, bits: int) -> Tensor:
    """Requantised linear layer with `bits` wide outputs: (..., K) to (..., M)."""
    exact = torch.float32 if x_NK.shape[-1] <= EXACT_INPUTS else torch.float64
    acc_NM = x_NK.to(exact) @ layer.weight_MK.to(exact).mT
    out_NM: Tensor = _Requantise.apply(acc_NM, layer.bias_M, layer.factor_M, bits)
    return out_NM


def bit_length(x: Tensor) -> Tensor:
    """Bits of positive int64 numbers below 2**53."""
    return torch.frexp(x.double()).exponent.long()


def rsqrt(variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissa and exponent as `golden.norm.rsqrt` gives them, int64."""
    v = variance.clamp_min(1)
    exponent = (bit_length(v) - RSQRT_INDEX_BITS + 1) >> 1
    index = torch.where(exponent >= 0, v >> (2 * exponent).clamp_min(0), v << (-2 * exponent).clamp_min(0))
    return RSQRT[index - RSQRT_FIRST], exponent


def fold_multiplier(mantissa: Tensor, multiplier: int) -> Tensor:
    """Product of two 16-bit factors, rounded to 16 bits."""
    return (mantissa * multiplier + (1 << (MULTIPLIER_BITS - 1))) >> MULTIPLIER_BITS


def scaled(factor: Tensor, shift: Tensor) -> Tensor:
    """factor / 2**shift as float64."""
    return factor * NEGATIVE_POWERS[shift]


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, multiplier: int, shift: int, coarse_D: Tensor) -> Tensor:
        x64_ND, dim = x_ND.double(), x_ND.shape[-1]
        sum_N1 = x64_ND.sum(-1, keepdim=True)
        variance_N1 = dim * x64_ND.square().sum(-1, keepdim=True) - sum_N1 * sum_N1
        mantissa_N1, exponent_N1 = rsqrt(variance_N1.long())
        shift_N1 = shift + exponent_N1 + (RSQRT_FRACTION_BITS - MULTIPLIER_BITS)
        factor_N1 = scaled(fold_multiplier(mantissa_N1, multiplier), shift_N1)
        centred_ND, channel_D = x64_ND.mul_(dim).sub_(sum_N1), NEGATIVE_POWERS[coarse_D.long()]
        rounded_ND = (centred_ND * factor_N1).mul_(channel_D).add_(0.5).floor_()
        out_ND = saturate(rounded_ND, 8)
        inverse_N1 = torch.where(variance_N1 > 0, variance_N1.rsqrt(), 0.0)
        score_ND = (centred_ND * inverse_N1).float()
        gain_D = (multiplier * 2.0**-shift * channel_D).float()
        ctx.save_for_backward(out_ND == rounded_ND, score_ND, (dim * inverse_N1).float(), gain_D)
        return out_ND.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        inside_ND, score_ND, inverse_N1, gain_D = ctx.saved_tensors
        grad_ND = grads[0] * inside_ND * gain_D
        along_N1 = (grad_ND * score_ND).mean(-1, keepdim=True)
        return (grad_ND - grad_ND.mean(-1, keepdim=True) - score_ND * along_N1) * inverse_N1, None, None, None


def layer_norm(residual_ND: Tensor, norm: Norm) -> Tensor:
    """int8 standard scores of each row of the residual stream, (..., D) to (..., D)."""
    scale, coarse_D = norm.scale, torch.from_numpy(np.array(norm.coarse_D))
    out_ND: Tensor = _LayerNorm.apply(residual_ND, scale.multiplier, scale.shift, coarse_D)
    return out_ND


def reciprocal(total: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissa and exponent as `golden.attention.reciprocal` gives them, int64."""
    exponent = bit_length(total) + (MULTIPLIER_BITS - 1)
    return ((1 << exponent) // total).clamp_max((1 << MULTIPLIER_BITS) - 1), exponent


class _Attention(Function):
    """Queries, keys and values (R, S, N, C) to weighted values.

    Backward: probabilities are p = P / sum(P), the exact softmax of the scores up to their 8 bits.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scales: AttentionScales) -> Tensor:
        score = saturate((q @ k.mT).mul_(2.0**-scales.score).add_(0.5).floor_(), 16)
        below = score.amax(-1, keepdim=True).sub(score).clamp_max_(len(PROBABILITY) - 1)
        weight = PROBABILITY[below.int()]
        total = weight.sum(-1, keepdim=True).long()
        mantissa, exponent = reciprocal(total)
        shift = scales.output.shift + exponent - MULTIPLIER_BITS
        factor = scaled(fold_multiplier(mantissa, scales.output.multiplier), shift)
        exact = torch.float32 if weight.shape[-1] <= EXACT_INPUTS // 2 else torch.float64
        rounded = ((weight.to(exact) @ v.to(exact)) * factor).add_(0.5).floor_()
        out = saturate(rounded, 8)
        ctx.save_for_backward(q, k, v, weight / total, out == rounded)
        ctx.gains = (2.0**-scales.score * LOGIT_UNIT, scales.output.multiplier * 2.0**-scales.output.shift)
        return out.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, p, inside = ctx.saved_tensors
        score_gain, output_gain = ctx.gains
        grad = grads[0] * inside * output_gain
        grad_p = grad @ v.mT
        grad_score = p * (grad_p - (grad_p * p).sum(-1, keepdim=True)) * score_gain
        return grad_score @ k, grad_score.mT @ q, p.mT @ grad, None


def attention(qkv_RNM: Tensor, heads: int, scales: AttentionScales) -> Tensor:
    """Self-attention of all heads, (R, N, 3 D) to (R, N, D)."""
    rows, tokens, width = qkv_RNM.shape
    q, k, v = qkv_RNM.view(rows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind()
    out: Tensor = _Attention.apply(q, k, v, scales)
    return out.transpose(1, 2).reshape(rows, tokens, width // 3)


class _Gelu(Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, table: Tensor, slope: Tensor) -> Tensor:
        index = pre.int().add_(1 << (GELU_INDEX_BITS - 1))
        ctx.save_for_backward(index, slope)
        return table[index]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        index, slope = ctx.saved_tensors
        return grads[0] * slope[index], None, None


def gelu(pre: Tensor, table: Tensor, slope: Tensor) -> Tensor:
    """Table look-up of pre-activations; `slope` is the gradient of each entry."""
    out: Tensor = _Gelu.apply(pre, table, slope)
    return out


def top_k(logit_NE: Tensor, k: int) -> Tensor:
    """Indices of the k largest logits in ascending order (not by size); ties go to the lower expert. (N, J)."""
    best_NJ = logit_NE.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return best_NJ.sort(dim=-1).values


def gates(logit_NE: Tensor, expert_NJ: Tensor, renormalise: bool) -> Tensor:
    """Softmax probabilities of the chosen experts in Q1.15, rounded down. (N, J), float32."""
    limit = LOGIT_CLIP_OCTAVES << LOGIT_FRACTION_BITS
    clipped_NE = logit_NE.detach().long().clamp(-limit, limit - 1)
    octave_NE = (clipped_NE >> LOGIT_FRACTION_BITS) + LOGIT_CLIP_OCTAVES
    exp_NE = EXP2[clipped_NE & ((1 << LOGIT_FRACTION_BITS) - 1)] << octave_NE
    exp_NJ = exp_NE.gather(-1, expert_NJ)
    total_N1 = (exp_NJ if renormalise else exp_NE).sum(-1, keepdim=True)
    hard_NJ = (exp_NJ << GATE_FRACTION_BITS) // total_N1
    soft_NJ = (logit_NE * LOGIT_UNIT).softmax(-1).gather(-1, expert_NJ)
    if renormalise:
        soft_NJ = soft_NJ / soft_NJ.sum(-1, keepdim=True)
    return straight_through(soft_NJ * (1 << GATE_FRACTION_BITS), hard_NJ)


def gated(out_SD: Tensor, gate_S: Tensor) -> Tensor:
    """What an expert adds to the residual stream: round_half_up_shift(out * gate, 15). (S, D), float32."""
    return round_half_up(out_SD.double() * gate_S[:, None].double() * 2.0**-GATE_FRACTION_BITS).float()
