# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Nodes of hls4ml's graph that the backend knows: layers with fixed-point kernels, operations of a Pathway, the engine.

A fixed-point layer names its kernel, hls/kernels/fixed/KERNEL.h, and what its configuration struct holds.
"""

from math import prod
from typing import Any

from hls4ml.model.attributes import Attribute
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.types import FixedPrecisionType, IntegerPrecisionType

from m3vit.hls.plugin.precision import on_grid, stream_precision, sum_bits, weight_precision
from m3vit.hls.plugin.tables import EXP_BITS, GELU_BITS, exp2_table, gelu_table
from m3vit.model.errors import UserError
from m3vit.sim.integerise import Floats
from m3vit.sim.pathway import Pathway
from m3vit.sim.program import Op, Opcode

INT8 = (Opcode.LAYER_NORM, Opcode.LINEAR, Opcode.ATTENTION)
"""Operations that write int8; the others write int16."""


class FixedLayer(Layer):
    """A layer with a kernel of its own. Its output has the shape of its first input."""

    kernel = ""
    weight_names: tuple[str, ...] = ()
    """What the kernel takes behind the streams, in order."""

    def initialize(self) -> None:
        """Make the output variable."""
        self.add_output_variable(list(self.get_input_variable().shape))

    @property
    def rows(self) -> int:
        """Tokens of the output."""
        return prod(self.get_output_variable().shape[:-1])

    def constants(self) -> dict[str, int]:
        """Unsigned constants of the configuration struct."""
        return {"rows": self.rows, "channels": self.get_output_variable().shape[-1]}

    def typedefs(self) -> dict[str, str]:
        """C++ types of the configuration struct."""
        return {f"{name}_t": self.get_weights(name).type.name for name in self.weight_names}

    def add_fixed_weights(self, name: str, data: Floats, precision: Any) -> None:
        """A weight variable with a type of its own, holding the data on that type's grid."""
        data = on_grid(data, precision)
        self.add_weights_variable(name, f"{name}{{index}}", f"{name}{{index}}_t", precision, data)


class FixedLinear(FixedLayer):
    """y = W x + b. Attributes `weight_data` (M, K) and `bias_data` (M)."""

    kernel = "linear"
    weight_names = ("weight", "bias")

    def initialize(self) -> None:
        """Make output and weights."""
        weight_MK, bias_M = self.get_attr("weight_data"), self.get_attr("bias_data")
        shape = list(self.get_input_variable().shape)
        if shape[-1] != weight_MK.shape[1]:
            raise UserError(f"layer '{self.name}' takes {weight_MK.shape[1]} channels but its input has {shape[-1]}")
        self.add_output_variable([*shape[:-1], len(weight_MK)])
        self.add_fixed_weights("weight", weight_MK, weight_precision(self, "weight", weight_MK))
        self.add_fixed_weights("bias", bias_M, weight_precision(self, "bias", bias_M))

    def constants(self) -> dict[str, int]:
        """Sizes; `parallel` is the number of multipliers, from hls4ml's reuse factor."""
        outputs, inputs = self.get_attr("weight_data").shape
        reuse = min(int(self.get_attr("reuse_factor", 1)), inputs)
        return {"rows": self.rows, "outputs": outputs, "inputs": inputs, "parallel": -(-inputs // reuse)}

    def typedefs(self) -> dict[str, str]:
        """Weights, and an accumulator that holds every sum exactly."""
        return super().typedefs() | {"accum_t": self._accumulator()}

    def _accumulator(self) -> str:
        source = self.get_input_variable().type.precision
        weight, bias = (self.get_weights(name).type.precision for name in self.weight_names)
        fraction = max(source.fractional + weight.fractional, bias.fractional)
        terms = source.integer + weight.integer + sum_bits(self.get_attr("weight_data").shape[1])
        integer = max(terms, bias.integer) + 2
        return f"ap_fixed<{integer + fraction}, {integer}>"


class FixedLayerNorm(FixedLayer):
    """Standard score over the channels, gain, bias. Attributes `scale_data` (D), `bias_data` (D), `epsilon`."""

    kernel = "layer_norm"
    weight_names = ("scale", "bias")

    def initialize(self) -> None:
        """Make output, gain and bias."""
        super().initialize()
        for name in self.weight_names:
            data = self.get_attr(f"{name}_data")
            self.add_fixed_weights(name, data, weight_precision(self, name, data))

    def constants(self) -> dict[str, int]:
        """Sizes, and epsilon in units of D^2 times the variance of the input's integers."""
        source, channels = self.get_input_variable(), self.get_output_variable().shape[-1]
        epsilon = self.get_attr("epsilon") * channels**2 * 4.0**source.type.precision.fractional
        return super().constants() | {"epsilon": round(epsilon)}


class FixedSoftmax(FixedLayer):
    """Softmax over the channels."""

    kernel = "softmax"
    weight_names = ("table",)

    def initialize(self) -> None:
        """Make output and table."""
        super().initialize()
        self.add_fixed_weights("table", exp2_table(), FixedPrecisionType(EXP_BITS + 1, 1, False))


class FixedGelu(FixedLayer):
    """GELU; attribute `approximate` as torch's."""

    kernel = "gelu"
    weight_names = ("table",)

    def initialize(self) -> None:
        """Make output and table."""
        super().initialize()
        table = gelu_table(self.get_attr("approximate"))
        self.add_fixed_weights("table", table, FixedPrecisionType(GELU_BITS, 0, False))


class FixedRelu(FixedLayer):
    """max(x, 0)."""

    kernel = "relu"


class FixedAdd(FixedLayer):
    """Sum of two tensors of one shape."""

    kernel = "add"

    def initialize(self) -> None:
        """Make the output."""
        shapes = [list(self.get_input_variable(name).shape) for name in self.inputs]
        if shapes[0] != shapes[1]:
            raise UserError(f"layer '{self.name}' adds {shapes[0]} and {shapes[1]}; both must have one shape")
        super().initialize()


class FixedConvert(FixedLayer):
    """Another type for a stream."""

    kernel = "convert"


FIXED_LAYERS: tuple[type[FixedLayer], ...] = (
    FixedLinear,
    FixedLayerNorm,
    FixedSoftmax,
    FixedGelu,
    FixedRelu,
    FixedAdd,
    FixedConvert,
)


class Gelu(Layer):
    """What the PyTorch front end makes of nn.GELU and F.gelu; the backend replaces it by FixedGelu."""

    def initialize(self) -> None:
        """Make the output variable."""
        self.add_output_variable(list(self.get_input_variable().shape))


class MacroOperation(Layer):
    """One operation of a Pathway's program; all of them are fused into one Engine. Output without the batch."""

    _expected_attributes = (
        Attribute("op", value_type=Op),
        Attribute("place"),
        Attribute("pathway", value_type=Pathway),
        Attribute("shape", value_type=list),
    )

    def initialize(self) -> None:
        """Make the output variable with the operation's exact integer type."""
        bits = 8 if self.get_attr("op").opcode in INT8 else 16
        self.add_output_variable(self.get_attr("shape"), precision=IntegerPrecisionType(bits))


class MoeStage(Layer):
    """A MoeBlock before it is placed: tokens in fixed point, in and out."""

    _expected_attributes = (Attribute("pathway", value_type=Pathway), Attribute("fraction"))

    def initialize(self) -> None:
        """Make the output variable: the residual stream, int16 with `fraction` bits behind the point."""
        op = self.get_attr("pathway").program[0]
        shape = list(self.get_input_variable().shape)
        if shape != [op.rows, op.in_features]:
            raise UserError(
                f"block '{self.name}' was made for tokens of shape {[op.rows, op.in_features]} but its input has "
                f"{shape}; calibrate it with samples of that shape"
            )
        self.add_output_variable(shape, precision=self.precision)

    @property
    def precision(self) -> Any:
        """Of input and output."""
        return stream_precision(16, 16 - self.get_attr("fraction"))


class Engine(Layer):
    """The engine that runs a Pathway's program over the streams; weights come through the memory ports."""

    _expected_attributes = (
        Attribute("pathway", value_type=Pathway),
        Attribute("shape", value_type=list),
        Attribute("element", value_type=str),
    )

    def initialize(self) -> None:
        """Make the output variable."""
        precision = self.model.config.backend.convert_precision_string(self.get_attr("element"))
        self.add_output_variable(self.get_attr("shape"), precision=precision)


def register_layers() -> None:
    """Make the nodes known to hls4ml."""
    for layer in (*FIXED_LAYERS, Gelu, MacroOperation, MoeStage, Engine):
        register_layer(layer.__name__, layer)
