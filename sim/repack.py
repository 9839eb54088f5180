# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Lays pathways out for another accelerator without the float model: the layers are unpacked and compiled again.

The integers stay what they are. Only where a dense MLP must be cut into another number of slices do its biases move
from slice to slice (sim/mlp_slices.py), and its sums are then rounded in other places: golden of both designs agrees in
every element if the MLPs have as many slices, and but for that rounding otherwise. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from m3vit.model.config import HardwareConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.sim.capacity import OPS_PER_LAYER, OTHER_OPS, check_fits, mlp_slices
from m3vit.sim.golden.attention import AttentionScales
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.norm import Requant
from m3vit.sim.mlp_slices import cut_mlp, join_mlp, zero_of
from m3vit.sim.network import AttentionLayer, MlpLayer, MoeLayer, Network, compile_network
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Op, Opcode


def repack(pathways: Pathways, hardware: HardwareConfig) -> Pathways:
    """The same tasks for another accelerator.

    Args:
        pathways: of a whole model.
        hardware: to lay them out for.

    Returns:
        Pathways as the exporter would have compiled these integers; for the same hardware the same bytes. Accuracies
        measured at export stay only if nothing is rounded elsewhere.

    Raises:
        UserError: the model does not fit, the pathways are not of a whole model, or a dense MLP cannot be cut anew.
    """
    config = pathways.first.config
    check_fits(config.model, hardware)
    slices = mlp_slices(config.model, hardware)
    network = unpack_network(pathways, slices)
    scales = {task: pathway.scales for task, pathway in pathways.tasks.items()}
    packed = compile_network(network, config.model_copy(update={"hardware": hardware}), scales)
    if slices != mlp_slices(config.model, config.hardware):
        return packed
    return Pathways(
        {task: replace(pathway, accuracy=pathways.task(task).accuracy) for task, pathway in packed.tasks.items()}
    )


def unpack_network(pathways: Pathways, slices: int) -> Network:
    """The layers of a model, its dense MLPs in that many slices.

    Raises:
        UserError: the pathways are not of a whole model, or a dense MLP cannot be cut anew.
    """
    executors = {task: Executor(pathway) for task, pathway in pathways.tasks.items()}
    first, program = executors[pathways.first.task], pathways.first.program
    layers = pathways.first.config.model.layers
    if program[0].opcode is not Opcode.PATCH_EMBED or len(program) != OPS_PER_LAYER * layers + OTHER_OPS:
        raise UserError(f"{pathways.first.workload} is not a whole model, and only whole models can be laid out anew")
    blocks = [
        (_attention(first, program[start : start + 4]), _mlp(executors, start + 4, slices))
        for start in range(1, OPS_PER_LAYER * layers, OPS_PER_LAYER)
    ]
    return Network(
        patch=first.layer(program[0]),
        position_ND=first.position(program[0]),
        blocks=blocks,
        norm=first.norm(program[-3]),
        heads={task: executor.layer(executor.pathway.program[-2]) for task, executor in executors.items()},
    )


def _attention(executor: Executor, ops: Sequence[Op]) -> AttentionLayer:
    """The layers of LAYER_NORM, LINEAR, ATTENTION and LINEAR_RESIDUAL."""
    norm, qkv, attention, proj = ops
    scales = AttentionScales(attention.operands[0], Requant(*attention.operands[1:3]))
    return AttentionLayer(executor.norm(norm), executor.layer(qkv), scales, executor.layer(proj))


def _mlp(executors: Mapping[TaskName, Executor], index: int, slices: int) -> MlpLayer | MoeLayer:
    """The layers of LAYER_NORM and MLP, or of LAYER_NORM and MOE with the routers of all tasks."""
    executor = next(iter(executors.values()))
    norm, op = executor.pathway.program[index : index + 2]
    table, experts = executor.gelu_table(op), executor.experts(op)
    if op.opcode is Opcode.MLP:
        parts = experts if op.experts == slices else cut_mlp(join_mlp(experts), slices, zero_of(table))
        return MlpLayer(executor.norm(norm), parts, table)
    routers = {task: other.router(other.pathway.program[index + 1]) for task, other in executors.items()}
    return MoeLayer(executor.norm(norm), routers, experts, table)
