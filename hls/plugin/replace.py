# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""hls4ml's layers become layers with our kernels, or are refused.

This runs before any pass of hls4ml, on the graph as the PyTorch front end made it, and reads what that front end drops
(axes, epsilons, keyword arguments) from the traced model. Imported when a model is converted: it needs torch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from m3vit.hls.plugin.layers import (
    FixedAdd,
    FixedGelu,
    FixedLayer,
    FixedLayerNorm,
    FixedLinear,
    FixedRelu,
    FixedSoftmax,
)
from m3vit.hls.plugin.precision import configured
from m3vit.hls.plugin.torch_graph import TorchGraph
from m3vit.model.errors import UserError
from m3vit.sim.integerise import Floats

CONVERTED = "Linear, LayerNorm, Softmax, GELU, ReLU, Dropout, addition and MoeBlock"
KEPT = ("Input", "MacroOperation", "MoeStage")
Attributes = dict[str, Any]


def values(parameter: Tensor | None, size: int) -> Floats:
    """A parameter as float64, zeros if there is none."""
    return np.zeros(size) if parameter is None else parameter.detach().double().cpu().numpy()


def linear(node: Any, graph: TorchGraph) -> Attributes:
    """Weights of a torch.nn.Linear, as torch has them."""
    module = graph.module(node.name)
    if type(module) is not nn.Linear:
        raise UserError(f"layer '{node.name}' is a {type(module).__name__}; the M3ViT backend converts torch.nn.Linear")
    return {
        "weight_data": values(module.weight, 0),
        "bias_data": values(module.bias, module.out_features),
    }


def layer_norm(node: Any, graph: TorchGraph) -> Attributes:
    """Gain, bias and epsilon of a torch.nn.LayerNorm over the channels."""
    module, channels = graph.module(node.name), node.get_input_variable().shape[-1]
    assert isinstance(module, nn.LayerNorm)
    if tuple(module.normalized_shape) != (channels,):
        raise UserError(
            f"layer '{node.name}' normalises {tuple(module.normalized_shape)}; the M3ViT backend normalises the last "
            f"axis, ({channels},)"
        )
    return {
        "scale_data": values(module.weight, channels),
        "bias_data": values(module.bias, channels),
        "epsilon": module.eps,
    }


def softmax(node: Any, graph: TorchGraph) -> Attributes:
    """Nothing, if the axis is the last one."""
    module = graph.module(node.name)
    axis = graph.argument(node.name, 1, "dim", None) if module is None else module.dim
    rank = len(node.get_input_variable().shape) + 1
    if axis not in (-1, rank - 1):
        raise UserError(f"layer '{node.name}' is a softmax with dim={axis}; the M3ViT backend needs dim=-1")
    return {}


def gelu(node: Any, graph: TorchGraph) -> Attributes:
    """Which of torch's two forms."""
    module = graph.module(node.name)
    form = graph.argument(node.name, 1, "approximate", "none") if module is None else module.approximate
    return {"approximate": form}


def relu(node: Any, graph: TorchGraph) -> Attributes:
    """Nothing, if the activation is ReLU."""
    if node.get_attr("activation") != "relu":
        raise refusal(node, str(node.get_attr("activation")))
    return {}


def add(node: Any, graph: TorchGraph) -> Attributes:
    """Nothing, if the merge is a plain addition."""
    if node.get_attr("op") != "add":
        raise refusal(node, str(node.get_attr("op")))
    if graph.argument(node.name, 2, "alpha", 1) != 1:
        raise UserError(f"layer '{node.name}' adds with alpha; the M3ViT backend adds without")
    return {}


Replacement = tuple[type[FixedLayer], Callable[[Any, TorchGraph], Attributes]]
REPLACEMENTS: dict[str, Replacement] = {
    "Dense": (FixedLinear, linear),
    "LayerNormalization": (FixedLayerNorm, layer_norm),
    "Softmax": (FixedSoftmax, softmax),
    "Gelu": (FixedGelu, gelu),
    "Activation": (FixedRelu, relu),
    "Merge": (FixedAdd, add),
}


def refusal(node: Any, kind: str) -> UserError:
    """The error about a layer that has no conversion."""
    return UserError(f"layer '{node.name}' ({kind}) has no conversion in the M3ViT backend, which has {CONVERTED}")


def check_options(model: Any) -> None:
    """Refuse options under which tokens are not rows of channels on a stream.

    Raises:
        UserError: the sentence says which option to change.
    """
    if model.config.get_config_value("IOType") != "io_stream":
        raise UserError("the M3ViT backend streams its data; use io_type='io_stream'")
    if model.config.get_config_value("HLSConfig")["Model"].get("ChannelsLastConversion", "off") != "off":
        raise UserError(
            "the M3ViT backend takes tokens as (N, C) and images as (H, W, 3); "
            "use config_from_pytorch_model(..., channels_last_conversion='off')"
        )


def replace_layers(model: Any) -> None:
    """Replace every layer of a graph, and give inputs and outputs types that round and saturate.

    Raises:
        UserError: an option or a layer that would give wrong numbers.
    """
    check_options(model)
    graph = TorchGraph.of(model)
    for node in list(model.graph.values()):
        if node.class_name in REPLACEMENTS:
            replace(model, node, graph)
        elif node.class_name not in KEPT:
            raise refusal(node, node.class_name)
        elif node.class_name == "Input":
            prepare_input(node)


def replace(model: Any, node: Any, graph: TorchGraph) -> None:
    """Put the layer with our kernel in a node's place, under its name."""
    layer, attributes = REPLACEMENTS[node.class_name]
    precision, own = configured(node)
    new = model.make_node(layer, node.name, attributes(node, graph), node.inputs.copy(), node.outputs.copy())
    model.replace_node(node, new)
    new.get_output_variable().type.precision = precision
    new.set_attr("own_precision", own)


def prepare_input(node: Any) -> None:
    """Round and saturate at an input."""
    precision, own = configured(node)
    node.get_output_variable().type.precision = precision
    node.set_attr("own_precision", own)
