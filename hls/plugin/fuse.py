# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Operations of a Pathway become one engine: one block of hardware that loops over the program, never one per layer."""

from typing import Any

from hls4ml.model.types import IntegerPrecisionType

from m3vit.hls.plugin.layers import Engine, FixedConvert, FixedLayer, MacroOperation, MoeStage
from m3vit.model.errors import UserError
from m3vit.sim.program import Opcode
from m3vit.sim.program_check import check_program

FROM_RESIDUAL = (Opcode.LAYER_NORM, Opcode.STORE)
FROM_BOTH = (Opcode.LINEAR_RESIDUAL, Opcode.MLP, Opcode.MOE)
WRITES_RESIDUAL = (Opcode.PATCH_EMBED, Opcode.LOAD, *FROM_BOTH, Opcode.HEAD)


def fuse_program(model: Any) -> None:
    """Replace the operations of a whole program by one Engine node between the model's input and output.

    Raises:
        UserError: they are not the program of one Pathway, in its order and with its edges, and nothing else.
    """
    operations = [node for node in model.graph.values() if node.class_name == MacroOperation.__name__]
    if not operations:
        return
    check_operations(model, operations)
    first, last = operations[0], operations[-1]
    signed = first.get_attr("op").opcode is Opcode.LOAD
    source = first.get_input_variable()
    source.type.precision = IntegerPrecisionType(16 if signed else 8, signed)
    attributes = {"pathway": first.get_attr("pathway"), "shape": last.get_attr("shape"), "element": "int<16>"}
    inputs = first.inputs.copy()
    for node in operations:
        del model.graph[node.name], model.output_vars[node.outputs[0]]
    engine = "engine"
    model.outputs = [engine]
    model.graph[engine] = model.make_node(Engine, engine, attributes, inputs)


def check_operations(model: Any, operations: list[Any]) -> None:
    """The operations, in graph order, must be a program with its edges.

    Raises:
        UserError: see `fuse_program`.
    """
    pathway = operations[0].get_attr("pathway")
    check_program(pathway.program, f"task '{pathway.task}'")
    if any(node.get_attr("pathway") is not pathway for node in operations):
        raise UserError("the model mixes operations of several Pathways; make it with model_for_task")
    if [node.get_attr("place") for node in operations] != list(range(len(pathway.program))):
        raise UserError(f"the model is not the whole program of task '{pathway.task}' in its order; use model_for_task")
    if len(model.graph) != len(operations) + 1 or model.outputs != operations[-1].outputs:
        raise UserError("a model of operations cannot hold other layers; convert what surrounds it on its own")
    residual = x = model.inputs[0]
    for node in operations:
        opcode = node.get_attr("op").opcode
        expected = [residual] if opcode in FROM_RESIDUAL else [residual, x] if opcode in FROM_BOTH else [x]
        if node.inputs != expected:
            raise UserError(f"operation '{node.name}' reads {node.inputs} where its program reads {expected}")
        if opcode in WRITES_RESIDUAL:
            residual = node.outputs[0]
        else:
            x = node.outputs[0]


def place_moe(model: Any) -> None:
    """Replace a MoeStage by an Engine that runs its one-layer program.

    Raises:
        UserError: there are several; a project has one engine and one memory image.
    """
    stages = [node for node in model.graph.values() if node.class_name == MoeStage.__name__]
    if len(stages) > 1:
        names = ", ".join(node.name for node in stages)
        raise UserError(
            f"the model has {len(stages)} MoeBlocks ({names}) but a project has one engine; split the model"
        )
    for stage in stages:
        match_input(model, stage)
        attributes = {
            "pathway": stage.get_attr("pathway"),
            "shape": stage.get_output_variable().shape,
            "element": str(stage.precision),
        }
        engine = model.make_node(Engine, stage.name, attributes, stage.inputs.copy(), stage.outputs.copy())
        model.replace_node(stage, engine)


def match_input(model: Any, stage: Any) -> None:
    """Give a stage's input the type of its residual stream, whose bits are the engine's integers.

    The layer before it writes that type by itself if nothing else reads it and the configuration says nothing about it;
    else a conversion is put between them.
    """
    source, wanted = stage.get_input_node(), stage.precision
    precision = source.get_output_variable().type.precision
    if (precision.width, precision.integer, precision.signed) == (wanted.width, wanted.integer, True):
        return
    adapts = isinstance(source, FixedLayer) or source.class_name == "Input"
    alone = len(source.get_output_nodes()) == 1 and source.outputs[0] not in model.outputs
    if adapts and alone and not source.get_attr("own_precision"):
        source.get_output_variable().type.precision = wanted
        return
    convert = model.make_node(FixedConvert, f"{stage.name}_input", {}, [source.outputs[0]])
    convert.get_output_variable().type.precision = wanted
    model.insert_node(convert, before=stage)
