# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""C++ of a node: its configuration struct and the call of its kernel."""

from typing import Any

from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate

from m3vit.hls.plugin.layers import FIXED_LAYERS, Engine

FOLDER = "m3vit"
"""Of the kernels, beside the generated sources."""


class FixedConfig(LayerConfigTemplate):
    """Configuration struct of a fixed-point layer."""

    def __init__(self) -> None:
        super().__init__(FIXED_LAYERS)

    def format(self, node: Any) -> str:
        """The struct's definition."""
        lines = [f"static constexpr unsigned {name} = {value};" for name, value in node.constants().items()]
        lines += [f"typedef {value} {name};" for name, value in node.typedefs().items()]
        body = "".join(f"    {line}\n" for line in lines)
        return f"struct config{node.index} {{\n{body}}};\n".replace("unsigned epsilon", "unsigned long long epsilon")


class FixedCall(FunctionCallTemplate):
    """Call of a fixed-point kernel."""

    def __init__(self) -> None:
        super().__init__(FIXED_LAYERS)

    def transform(self, model: Any, node: Any) -> bool:
        """Include the kernel's header, then as usual."""
        done = bool(super().transform(model, node))
        node.set_attr("include_header", [f"{FOLDER}/fixed/{node.kernel}.h"])
        return done

    def format(self, node: Any) -> str:
        """The call."""
        streams = [*(node.get_input_variable(name) for name in node.inputs), node.get_output_variable()]
        types = ", ".join([*(variable.type.name for variable in streams), f"config{node.index}"])
        arguments = [
            *(variable.name for variable in streams),
            *(node.get_weights(name).name for name in node.weight_names),
        ]
        return f"m3vit::fixed::{node.kernel}<{types}>({', '.join(arguments)});"


class EngineConfig(LayerConfigTemplate):
    """Where the engine finds its program."""

    def __init__(self) -> None:
        super().__init__(Engine)

    def format(self, node: Any) -> str:
        """The struct's definition."""
        pathway = node.get_attr("pathway")
        return (
            f"struct config{node.index} {{\n"
            f"    static constexpr unsigned program_offset = {pathway.program_offset};\n"
            f"    static constexpr unsigned program_ops = {len(pathway.program)};\n"
            "};\n"
        )


class EngineCall(FunctionCallTemplate):
    """Call of the engine; the ports are arguments of the top function (writer.py)."""

    def __init__(self) -> None:
        super().__init__(Engine, include_header=[f"{FOLDER}/m3vit_config.h", f"{FOLDER}/stream_node.h"])

    def format(self, node: Any) -> str:
        """The call."""
        source, result, config = node.get_input_variable(), node.get_output_variable(), f"config{node.index}"
        return (
            f"m3vit::stream_engine<m3vit::Config, {source.type.name}, {result.type.name}>({source.name}, "
            f"{result.name}, hp0, hp1, hp2, hp3, memory, memory_bytes, {config}::program_offset, "
            f"{config}::program_ops, error);"
        )


TEMPLATES = (FixedConfig, FixedCall, EngineConfig, EngineCall)
