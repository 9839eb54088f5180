# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Handlers of hls4ml's PyTorch front end for what it does not know: GELU and the leaf modules of this package.

Its own handlers stay as they are, so other backends convert as before. These refuse other backends: their flows would
pass our nodes through without code.
"""

from typing import Any

from m3vit.hls.plugin import BACKEND
from m3vit.model.errors import UserError
from m3vit.sim.program import Opcode

Layer = dict[str, Any]
Shape = list[int | None]

NAMES: dict[Opcode, str] = {
    opcode: "".join(part.capitalize() for part in opcode.name.split("_")) + "Op" for opcode in Opcode
}
"""Class names of the leaf modules, and so names that the front end looks handlers up by."""


def check_backend(name: str, config: dict[str, Any]) -> None:
    """Refuse other backends.

    Raises:
        UserError: the conversion is for one.
    """
    if config.get("Backend", BACKEND) != BACKEND:
        raise UserError(f"layer '{name}' is converted by the M3ViT backend only; use backend='{BACKEND}'")


def gelu(
    operation: str, name: str, inputs: list[str], shapes: list[Shape], node: Any, module: Any, reader: Any,
    config: dict[str, Any],
) -> tuple[Layer, Shape]:  # fmt: skip
    """nn.GELU and functional.gelu."""
    check_backend(name, config)
    return {"class_name": "Gelu", "name": name, "inputs": inputs}, shapes[0]


def moe_block(
    operation: str, name: str, inputs: list[str], shapes: list[Shape], node: Any, module: Any, reader: Any,
    config: dict[str, Any],
) -> tuple[Layer, Shape]:  # fmt: skip
    """MoeBlock."""
    check_backend(name, config)
    attributes = {"pathway": module.pathway, "fraction": module.fraction}
    return {"class_name": "MoeStage", "name": name, "inputs": inputs} | attributes, shapes[0]


def macro_operation(
    operation: str, name: str, inputs: list[str], shapes: list[Shape], node: Any, module: Any, reader: Any,
    config: dict[str, Any],
) -> tuple[Layer, Shape]:  # fmt: skip
    """A leaf module that is one operation of a Pathway."""
    check_backend(name, config)
    attributes = {"op": module.op, "place": module.place, "pathway": module.pathway, "shape": module.shape}
    return {"class_name": "MacroOperation", "name": name, "inputs": inputs} | attributes, [None, *module.shape]


def register_handlers() -> None:
    """Add the handlers to hls4ml's front end; those that are there stay."""
    from hls4ml.converters.pytorch_to_hls import get_supported_pytorch_layers, register_pytorch_layer_handler

    handlers = {"GELU": gelu, "gelu": gelu, "MoeBlock": moe_block} | dict.fromkeys(NAMES.values(), macro_operation)
    for name, handler in handlers.items():
        if name not in get_supported_pytorch_layers():
            register_pytorch_layer_handler(name, handler)
