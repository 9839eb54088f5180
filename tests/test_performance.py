# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Laws that the cycle model must obey on any frame. Its agreement with the RTL: tests/test_performance_check.py."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import pytest

from m3vit.model.config import DEMO, HARDWARE, MODELS, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.bound import frame_bound
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import FrameModel, Routing, model_frame, random_routing
from m3vit.sim.performance.patches import cycles_per_word
from m3vit.sim.performance.routing import moe_ops
from m3vit.sim.program import Op
from m3vit.sim.program_check import expert_words, job_bytes
from m3vit.sim.regmap import OWN_SCHEDULE, Mode

BASELINE = Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX
SLOWER = (OWN_SCHEDULE, Mode.NO_PREFETCH, Mode.NO_PREFETCH | Mode.NO_OVERLAP, BASELINE & ~Mode.TOKEN_ORDER, BASELINE)
"""Each schedule does what the one before does, with less overlap or more work."""
TINY, SMALL = (MODELS[f"m3vit_{size}_patch16"] for size in ("tiny", "small"))
CASES = ((DEMO.model, DEMO.hardware), (TINY, HARDWARE["zcu104"]), (SMALL, HARDWARE["zcu104"]))


def program_of(model: ModelConfig, hardware: HardwareConfig) -> tuple[Op, ...]:
    return next(iter(plan_programs(model, hardware).values()))


def with_memory(hardware: HardwareConfig, **changes: int) -> HardwareConfig:
    return hardware.model_copy(update={"memory": hardware.memory.model_copy(update=changes)})


def frame(model: ModelConfig, hardware: HardwareConfig, mode: Mode = OWN_SCHEDULE, seed: int = 0) -> FrameModel:
    program = program_of(model, hardware)
    return model_frame(program, hardware, random_routing(program, seed), mode)


@pytest.mark.parametrize(("model", "hardware"), CASES, ids=lambda value: value.name)
def test_no_frame_beats_its_bound_and_all_cycles_are_counted(model: ModelConfig, hardware: HardwareConfig) -> None:
    program = program_of(model, hardware)
    modelled = frame(model, hardware)
    used = {op.op: float(op.experts) for op in modelled.ops if op.queue_lengths}
    assert modelled.cycles >= frame_bound(program, hardware, used).cycles
    assert sum(op.cycles for op in modelled.ops) == pytest.approx(modelled.cycles, abs=len(program))
    for op in modelled.ops:
        counted = op.compute + op.stall_weight + op.stall_input + op.stall_output
        assert counted == pytest.approx(op.cycles, abs=1 + 0.01 * op.cycles), op


@pytest.mark.parametrize(("model", "hardware"), CASES[:2], ids=lambda value: value.name)
def test_schedules_are_in_order(model: ModelConfig, hardware: HardwareConfig) -> None:
    cycles = [frame(model, hardware, mode).cycles for mode in SLOWER]
    assert cycles == sorted(cycles)
    assert cycles[-1] > 2 * cycles[0]


@pytest.mark.parametrize(
    ("field", "values"), [("efficiency_percent", (100, 60, 20)), ("latency_cycles", (16, 100, 900))]
)
def test_a_worse_memory_is_not_faster(field: str, values: Sequence[int]) -> None:
    cycles = [frame(TINY, with_memory(HARDWARE["zcu104"], **{field: value})).cycles for value in values]
    assert cycles == sorted(cycles)
    assert cycles[0] < cycles[-1]


def test_a_larger_stream_buffer_is_not_slower() -> None:
    sizes = [HARDWARE["zcu104"].model_copy(update={"stream_words": words}) for words in (2048, 4096, 8192)]
    cycles = [frame(TINY, hardware).cycles for hardware in sizes]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > cycles[-1]


def test_the_own_schedule_does_not_see_which_tokens_an_expert_gets() -> None:
    program, hardware = program_of(TINY, HARDWARE["zcu104"]), HARDWARE["zcu104"]
    routing = random_routing(program, 3)
    rng = np.random.default_rng(0)
    mixed = Routing({index: rng.permutation(chosen_NK, axis=0) for index, chosen_NK in routing.chosen.items()})
    assert model_frame(program, hardware, mixed) == model_frame(program, hardware, routing)
    token_order = [model_frame(program, hardware, which, BASELINE).ops for which in (routing, mixed)]
    assert [op.loads for op in token_order[0]] != [op.loads for op in token_order[1]]


def least_loads(experts: Sequence[int], slots: int) -> int:
    """Misses of a first-in first-out cache."""
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for expert in experts:
        if expert not in cache:
            misses += 1
            cache[expert] = None
            if len(cache) > slots:
                cache.popitem(last=False)
    return misses


def test_the_baseline_visits_every_token_and_loads_on_a_miss() -> None:
    program, hardware = program_of(TINY, HARDWARE["zcu104"]), HARDWARE["zcu104"]
    routing = random_routing(program, 1)
    modelled = model_frame(program, hardware, routing, BASELINE)
    for index, op in moe_ops(program):
        words = expert_words(op.in_features, op.out_features, hardware)
        assert modelled.ops[index].experts == op.rows * op.top_k
        assert modelled.ops[index].loads == least_loads(routing.chosen[index].ravel().tolist(), 8192 // words)
        others = modelled.ops[index].read_words - modelled.ops[index].loads * job_bytes(words, hardware) // 64
        assert 0 < others < 150  # router and table


def test_experts_on_chip_are_not_read_and_not_waited_for() -> None:
    program, hardware = program_of(TINY, HARDWARE["zcu104"]), with_memory(HARDWARE["zcu104"], efficiency_percent=20)
    routing = random_routing(program)
    own, on_chip = (model_frame(program, hardware, routing, experts_on_chip=here) for here in (False, True))
    assert on_chip.cycles < own.cycles
    for index, _ in moe_ops(program):
        assert on_chip.ops[index].loads == 0
        assert on_chip.ops[index].read_words < 150 < own.ops[index].read_words


def test_pixels_take_one_cycle_per_piece_that_moves() -> None:
    # 64-byte words and 64-byte destinations; a line of a patch of 16 pixels has 6 pieces of 8 bytes. Two words of two
    # patches side by side: 6+2 | 4+4, and the second line begins in the destination at piece 6: 6 = 2+4 and so on.
    brute, inputs = [], 64
    for line in range(16):
        for column in range(4):
            for piece in range(6):
                brute.append((column, line, piece))
    steps, before = 0, None
    for position, (column, line, piece) in enumerate(brute):
        place = (position // 8, column, line, (line * 6 + piece) // (inputs // 8))
        steps, before = steps + (place != before), place
    assert cycles_per_word(16, 4, inputs) == pytest.approx(steps / (len(brute) / 8))


def test_a_routing_of_another_model_is_refused() -> None:
    program = program_of(TINY, HARDWARE["zcu104"])
    with pytest.raises(UserError, match="the routing is of another model"):
        model_frame(program, HARDWARE["zcu104"], random_routing(program_of(DEMO.model, DEMO.hardware)))


def test_experts_on_chip_are_not_read_on_demand() -> None:
    program = program_of(DEMO.model, DEMO.hardware)
    with pytest.raises(UserError, match="experts are read on demand"):
        model_frame(program, DEMO.hardware, random_routing(program), Mode.TOKEN_ORDER, experts_on_chip=True)


def test_every_row_of_the_baseline_is_counted() -> None:
    program = program_of(TINY, HARDWARE["zcu104"])
    routing = random_routing(program)
    own, base = (model_frame(program, HARDWARE["zcu104"], routing, mode) for mode in (OWN_SCHEDULE, BASELINE))
    for index, _ in moe_ops(program):
        assert base.ops[index].compute == pytest.approx(own.ops[index].compute, rel=0.03)  # a norm takes some rows
