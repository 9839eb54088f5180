# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What hls4ml's front end drops: the traced PyTorch model, node by node, with modules and arguments."""

from dataclasses import dataclass
from typing import Any

from hls4ml.utils.torch import CustomFXTracer
from torch import fx, nn

from m3vit.model.errors import UserError


@dataclass(frozen=True)
class TorchGraph:
    """Traced nodes by the name that hls4ml gives their layers."""

    nodes: dict[str, fx.Node]
    modules: dict[str, nn.Module]

    @classmethod
    def of(cls, model: Any) -> "TorchGraph":
        """Trace the model of a graph again, as hls4ml's PyTorch front end did.

        Raises:
            UserError: the graph does not come from a PyTorch model.
        """
        source = model.config.get_config_value("PytorchModel")
        if not isinstance(source, nn.Module):
            raise UserError(
                "the M3ViT backend converts PyTorch models; use hls4ml.converters.convert_from_pytorch_model"
            )
        nodes = {node.name: node for node in CustomFXTracer().trace(source).nodes}
        return cls(nodes, dict(source.named_modules()))

    def module(self, name: str) -> nn.Module | None:
        """The module that a node calls, None if it calls a function."""
        node = self.nodes[name]
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def argument(self, name: str, place: int, key: str, default: Any) -> Any:
        """An argument of the function or method that a node calls, by place or by key."""
        node = self.nodes[name]
        return node.args[place] if place < len(node.args) else node.kwargs.get(key, default)
