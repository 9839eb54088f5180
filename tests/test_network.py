# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Programs planned without weights are those that are compiled with them, but for what depends on scales."""

from dataclasses import replace

import pytest

from m3vit.model.config import HARDWARE, MODELS, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.network import plan_programs
from m3vit.sim.program import Op, Opcode
from m3vit.sim.synthetic import random_pathways

DEMO = MODELS["m3vit_demo_patch8"]
SCALED = {Opcode.LAYER_NORM: slice(0, 2), Opcode.ATTENTION: slice(0, 3)}
"""Operands that depend on scales."""


def without_scales(program: tuple[Op, ...]) -> list[Op]:
    operands = {op: list(op.operands) for op in program}
    for op in program:
        if op.opcode in SCALED:
            operands[op][SCALED[op.opcode]] = []
    return [replace(op, operands=tuple(operands[op])) for op in program]


@pytest.mark.parametrize("model", [DEMO, DEMO.model_copy(update={"dense": True, "heads": 1, "tasks": ("depth",)})])
@pytest.mark.parametrize("hardware", ["demo", "zcu104"])
def test_planned_programs_are_the_compiled_ones(model: ModelConfig, hardware: str) -> None:
    model = model.model_copy(update={"expert_hidden": 192, "mlp_hidden": 384}) if hardware == "zcu104" else model
    planned = plan_programs(model, HARDWARE[hardware])
    compiled = random_pathways(model, HARDWARE[hardware])
    assert list(planned) == list(model.tasks)
    for task, program in planned.items():
        assert without_scales(program) == without_scales(compiled.task(task).program)


def test_a_dense_model_has_no_experts() -> None:
    (program,) = plan_programs(DEMO.model_copy(update={"dense": True, "tasks": ("depth",)}), HARDWARE["demo"]).values()
    kinds = [op.opcode for op in program]
    assert Opcode.MOE not in kinds
    assert kinds.count(Opcode.MLP) == DEMO.layers


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="max_tokens"):
        plan_programs(DEMO.model_copy(update={"image_hw": (128, 128)}), HARDWARE["demo"])
