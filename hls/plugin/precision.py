# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Fixed-point types: what hls4ml's configuration says, and what the plug-in makes of it.

Streams round to nearest and saturate; hls4ml's default truncates and wraps. Weights are put on their grid here, so that
the generated constants are exact.
"""

from math import ceil, frexp, log2
from typing import Any

import numpy as np
from hls4ml.model.types import FixedPrecisionType, IntegerPrecisionType, UnspecifiedPrecisionType

from m3vit.model.errors import UserError
from m3vit.sim.integerise import Floats

WEIGHT_BITS = 16
MAX_WIDTH, MAX_FRACTION = 32, 20
"""Of a stream's elements."""
MODEL_TYPES = ("model_default_t", "result_default_t")
"""Type names that hls4ml gives to layers without a precision of their own."""


def stream_precision(width: int, integer: int, signed: bool = True) -> Any:
    """A type that rounds to nearest (ties up) and saturates."""
    return FixedPrecisionType(width, integer, signed, "RND", "SAT")


def configured(node: Any) -> tuple[Any, bool]:
    """Output type of a node, and whether the configuration gives it to this node or its class.

    Raises:
        UserError: it is not a fixed-point type within the kernels' limits.
    """
    config = node.model.config
    precision, name = config.get_precision(node, "result")
    own = name not in MODEL_TYPES and not isinstance(precision, UnspecifiedPrecisionType)
    if isinstance(precision, UnspecifiedPrecisionType):
        precision = config.backend.convert_precision_string(config.model_precision["default"])
    if not isinstance(precision, FixedPrecisionType | IntegerPrecisionType):
        raise UserError(f"layer '{node.name}' has type {precision}; the M3ViT backend takes ap_fixed and ap_int types")
    if precision.width > MAX_WIDTH or not 0 <= precision.fractional <= MAX_FRACTION:
        raise UserError(
            f"layer '{node.name}' has type {precision}; choose at most {MAX_WIDTH} bits, 0 to {MAX_FRACTION} of them "
            "behind the point"
        )
    return stream_precision(precision.width, precision.integer, precision.signed), own


def weight_precision(node: Any, name: str, data: Floats) -> Any:
    """The configured type of a node's weights, or WEIGHT_BITS bits that just hold the largest one."""
    precision, type_name = node.model.config.get_precision(node, name)
    default = type_name in ("model_default_t", f"{name}_default_t")
    if not default and isinstance(precision, FixedPrecisionType):
        return precision
    return FixedPrecisionType(WEIGHT_BITS, integer_bits(data, WEIGHT_BITS))


def integer_bits(data: Floats, width: int) -> int:
    """Least integer bits, sign included, of a signed type of `width` bits that holds the rounded data."""
    largest = float(np.abs(data).max(initial=0.0))
    bits = frexp(largest)[1] + 1 if largest else 1
    step = 2.0 ** (bits - width)
    return bits + 1 if round(largest / step) * step >= 2.0 ** (bits - 1) else bits


def on_grid(data: Floats, precision: Any) -> Floats:
    """The data rounded to nearest and saturated as the type allows, so that the type holds it exactly."""
    scale = 2.0**precision.fractional
    return np.asarray(np.clip(np.floor(data * scale + 0.5) / scale, precision.min, precision.max))


def sum_bits(terms: int) -> int:
    """Bits by which a sum of so many terms can be wider than a term."""
    return ceil(log2(max(terms, 1)))
