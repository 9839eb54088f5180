# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The cycle model against the RTL on cases that nothing was fitted to, and the harness that compares them."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from m3vit.model.config import DEMO, HARDWARE, HardwareConfig, MemoryConfig
from m3vit.model.errors import UserError
from m3vit.scripts import validate as verb
from m3vit.sim import performance_measured
from m3vit.sim.capacity import check_fits
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import read_pathways, write_pathways
from m3vit.sim.performance import FrameModel, Routing, model_frame
from m3vit.sim.performance.trace import TRACE, read_routing
from m3vit.sim.performance_cases import SCHEDULES, SUITES, Case, Suite, rough_cycles
from m3vit.sim.performance_check import (
    CLASS_LIMIT,
    FRAME_LIMIT,
    Comparison,
    Pair,
    class_summaries,
    compare,
    compare_measured,
    frame_summary,
    missed,
)
from m3vit.sim.performance_measured import (
    Measured,
    case_key,
    measure_case,
    measure_cases,
    read_measured,
)
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import check_program
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.results import RESULTS, FrameResult, OpResult
from m3vit.sim.simulator import fingerprint, frame_bench
from m3vit.sim.verification import verify, write_results

HELD_OUT, QUICK = SUITES["held-out"], SUITES["quick"]
TESTED = [*QUICK.draw(), *SUITES["four-bit"].draw()[:3]]
"""Cases on the demo accelerator."""
CASES = {case.name: case for suite in SUITES.values() for case in suite.draw()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, Measured]:
    return {one.name: one for one in measure_cases(TESTED, folder)}


@pytest.mark.parametrize("name", [case.name for case in TESTED])
def test_the_model_is_close_to_the_rtl(name: str, measured: dict[str, Measured]) -> None:
    result = compare_measured(measured[name])
    assert abs(result.frame.error) <= FRAME_LIMIT, result.frame
    assert {opcode: pair for opcode, pair in result.classes.items() if abs(pair.error) > CLASS_LIMIT} == {}


def test_what_does_not_wait_for_memory_is_exact(measured: dict[str, Measured]) -> None:
    """A latency that is a few cycles off would stay within the limits above."""
    results = [compare_measured(one) for one in measured.values()]
    assert all(result.classes[Opcode.ATTENTION].error == 0 for result in results if Opcode.ATTENTION in result.classes)
    assert all(
        result.counters["compute"].rtl == pytest.approx(result.counters["compute"].model, rel=2e-3)
        for result in results
    )
    assert sum(abs(result.frame.error) for result in results) / len(results) < 0.35


def test_4_bit_weights_are_modelled_word_by_word(measured: dict[str, Measured]) -> None:
    """A tile that takes as many words as one of 8-bit weights is within the limit of a frame, but not this close."""
    errors = [abs(compare_measured(one).frame.error) for name, one in measured.items() if name.startswith("four-bit")]
    assert len(errors) == 3
    assert sum(errors) / len(errors) < 0.3


def other_memory(memory: MemoryConfig) -> MemoryConfig:
    return memory.model_copy(update={"latency_cycles": memory.latency_cycles + 60})


def test_a_model_of_another_memory_is_noticed(measured: dict[str, Measured]) -> None:
    """The limits are tight enough to see 60 cycles of latency."""

    def wrong(program: tuple[Op, ...], hardware: HardwareConfig, routing: Routing, mode: Mode) -> FrameModel:
        slow = hardware.model_copy(update={"memory": other_memory(hardware.memory)})
        return model_frame(program, slow, routing, mode)

    lines = missed(compare_measured(one, wrong) for one in measured.values())
    assert len(lines) > len(measured) / 2


def test_a_model_of_another_routing_is_noticed(measured: dict[str, Measured]) -> None:
    """With all tokens at the first experts the others are not read: fewer words, and other cycles unless those hide."""
    own = {name: one for name, one in measured.items() if not Mode(one.mode) & Mode.TOKEN_ORDER}
    several = {name: one for name, one in own.items() if any(len(op.queue_lengths) > 8 for op in one.frame.ops)}
    assert several
    found = []
    for name, one in several.items():
        first = {index: np.tile(np.arange(len(rows[0])), (len(rows), 1)) for index, rows in one.chosen.items()}
        result = compare(name, one.program, one.hardware, Routing(first), one.frame, Mode(one.mode))
        assert result.words.error < -5, name
        found += result.missed()
    assert found


def test_a_known_case_is_not_run_again(
    folder: Path, measured: dict[str, Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = QUICK.draw()[0]
    path = folder / f"{case.name}.json"
    assert read_measured(path) == measured[case.name]
    monkeypatch.setattr(performance_measured, "verify", None)
    assert measure_case(case, folder) == measured[case.name]
    with pytest.raises(TypeError):  # the same name, but another case
        measure_case(case.model_copy(update={"seed": case.seed + 1}), folder)
    monkeypatch.setattr(performance_measured, "fingerprint", lambda bench: "another RTL")
    with pytest.raises(TypeError):
        measure_case(case, folder)


def test_a_damaged_file_is_named(folder: Path, measured: dict[str, Measured], tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_bytes((folder / f"{next(iter(measured))}.json").read_bytes()[:500])
    with pytest.raises(UserError, match=r"half\.json is damaged"):
        read_measured(path)


def run_verb(arguments: list[str]) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(verb.validate)
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit | UserError), result.exception
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.output


def test_the_verb_prints_the_errors_and_fails_beyond_a_limit(
    measured: dict[str, Measured], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "quick").symlink_to(folder)
    code, output = run_verb(["--suite", "quick", "--out", str(tmp_path)])
    assert (code, all(case.name in output for case in QUICK.draw()), "whole frame" in output) == (0, True, True)
    good = {name: compare_measured(one) for name, one in measured.items()}
    bad = next(iter(measured))

    def one_wrong(one: Measured) -> Comparison:
        pair = good[one.name].frame
        wrong = replace(good[one.name], frame=Pair(pair.rtl, round(pair.rtl * 1.021)))
        return wrong if one.name == bad else good[one.name]

    monkeypatch.setattr(verb, "compare_measured", one_wrong)
    code, output = run_verb(["--suite", "quick", "--out", str(tmp_path)])
    assert code == 1
    assert f"{bad}: the model of the frame is +2.10 % off, the limit is 2 %" in output


def test_an_unknown_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite 'slow' is unknown; choose one of development, .*, quick, four-bit"):
        run_verb(["--suite", "slow", "--out", str(tmp_path)])


def test_cases_are_the_same_every_time() -> None:
    for suite in SUITES.values():
        assert suite.draw() == suite.draw()
    assert len(CASES) == sum(len(suite.draw()) for suite in SUITES.values())


def seeds(cases: Iterable[Case]) -> set[int]:
    return {case.seed for case in cases}


def compiled(suites: Iterable[Suite]) -> set[str]:
    """The accelerators that suites need."""
    return {fingerprint(frame_bench(shape)) for suite in suites for shape in suite.shapes}


def test_suites_share_no_seeds_and_the_held_out_one_no_accelerator() -> None:
    for one, other in combinations(SUITES.values(), 2):
        assert not seeds(one.draw()) & seeds(other.draw())
    assert len(compiled([HELD_OUT])) == len(HELD_OUT.shapes)
    assert not compiled([HELD_OUT]) & compiled(suite for suite in SUITES.values() if suite is not HELD_OUT)
    assert compiled([QUICK]) == {fingerprint(frame_bench(HARDWARE["demo"]))}


def test_the_held_out_suite_covers_what_it_must() -> None:
    cases = HELD_OUT.draw()
    own = [case for case in cases if case.mode == OWN_SCHEDULE]
    assert len(own) >= 30
    assert {Mode(case.mode) for case in cases} == {OWN_SCHEDULE, *SCHEDULES}
    assert {(case.hardware.lanes, case.hardware.groups) for case in cases} == set(product((8, 16, 32), (2, 3, 4)))
    assert {case.model.layers for case in cases} == {1, 2, 3, 4}
    assert {case.whole for case in own} == {True, False}
    assert len({case.model.tokens for case in cases}) > 20
    assert len({(case.model.experts, case.model.top_k, case.popularity, case.unpopular) for case in cases}) > 30
    latencies = [case.hardware.memory.latency_cycles for case in cases]
    assert 16 <= min(latencies) < 40
    assert 200 < max(latencies) <= 300
    assert any(case.model.dense for case in cases)
    assert {case.hardware.memory.ports for case in cases} == {1, 2, 4}


@pytest.mark.parametrize("name", CASES)
def test_every_case_fits_and_is_short(name: str) -> None:
    case = CASES[name]
    check_fits(case.model, case.hardware)
    assert rough_cycles(case.model, case.hardware, Mode(case.mode)) <= 400_000


@pytest.mark.parametrize("case", TESTED, ids=lambda case: case.name)
def test_every_program_is_legal(case: Case) -> None:
    pathways = case.pathways()
    pathways.check()
    program = pathways.first.program
    check_program(program)
    assert (program[0].opcode is Opcode.PATCH_EMBED) == case.whole


def test_the_routing_is_that_of_golden(measured: dict[str, Measured]) -> None:
    case = next(case for case in QUICK.draw() if case.model.moe_layers and case.model.top_k > 1)
    pathway, steps = case.pathways().first, list[Step]()
    Executor(pathway).run(case.source(), steps.append)
    chosen = measured[case.name].chosen
    assert set(chosen) == {step.index for step in steps if step.queues}
    for step in steps:
        for queue in step.queues:
            tokens = [token for token, experts in enumerate(chosen[step.index]) if queue.expert in experts]
            assert tokens == queue.token_Q.tolist()
        assert sum(len(queue.token_Q) for queue in step.queues) == sum(map(len, chosen.get(step.index, [])))


def test_keys_differ_by_case_and_not_by_what_is_left_at_its_default() -> None:
    case = QUICK.draw()[0]
    keys = {case_key(one) for one in CASES.values()}
    assert len(keys) == len(CASES)
    assert case_key(Case.model_validate_json(case.model_dump_json())) == case_key(case)


PROGRAM = tuple(Op(opcode=opcode, rows=4) for opcode in (Opcode.LOAD, Opcode.LAYER_NORM, Opcode.LINEAR, Opcode.STORE))


def counters(*cycles: int) -> tuple[OpResult, ...]:
    zero = dict.fromkeys(("stall_weight", "stall_input", "stall_output", "experts", "loads"), 0)
    return tuple(
        OpResult(
            op=index, cycles=count, compute=count // 2, read_words=10, write_words=2 * index, queue_lengths={}, **zero
        )
        for index, count in enumerate(cycles)
    )


def compared(model: FrameModel) -> Comparison:
    """Against an RTL that took 10,000 cycles: 3,000, 50, 6,000 and 900, and 50 for nobody."""
    frame = FrameResult(
        task="depth", image=0, cycles=10_000, elements=1, mismatches=0, ops=[*counters(3_000, 50, 6_000, 900)]
    )

    def fixed(program: object, hardware: object, routing: object, mode: object) -> FrameModel:
        return model

    return compare("case", PROGRAM, DEMO.hardware, Routing({}), frame, OWN_SCHEDULE, fixed)


def test_errors_of_a_frame_and_its_classes() -> None:
    result = compared(FrameModel(10_100, counters(3_030, 53, 5_940, 945)))
    assert result.frame.error == pytest.approx(1.0)
    assert {opcode.name: pytest.approx(pair.error) for opcode, pair in result.classes.items()} == {
        "LOAD": 1.0,
        "LAYER_NORM": 3.0,  # of one percent of the frame, 100 cycles
        "LINEAR": -1.0,
        "STORE": 5.0,
    }
    assert result.worst_class is Opcode.STORE
    assert (result.words.rtl, result.words.error) == (52, 0)
    assert result.counters["compute"].error == pytest.approx(0.08)  # 4,983 for 4,975, of 10,000
    assert result.missed() == []


@pytest.mark.parametrize(
    ("cycles", "ops", "lines"),
    [
        (10_200, (3_000, 50, 6_000, 900), []),
        (10_201, (3_000, 50, 6_000, 900), ["case: the model of the frame is +2.01 % off, the limit is 2 %"]),
        (9_799, (3_000, 50, 6_000, 900), ["case: the model of the frame is -2.01 % off, the limit is 2 %"]),
        (10_000, (3_000, 50, 5_699, 900), ["case: the model of LINEAR is -5.02 % off, the limit is 5 %"]),
        (10_000, (3_151, 55, 6_000, 900), ["case: the model of LOAD is +5.03 % off, the limit is 5 %"]),
        (10_000, (3_000, 56, 6_000, 900), ["case: the model of LAYER_NORM is +6.00 % off, the limit is 5 %"]),
    ],
)
def test_limits(cycles: int, ops: tuple[int, ...], lines: list[str]) -> None:
    assert compared(FrameModel(cycles, counters(*ops))).missed() == lines


def test_operations_of_a_class_are_added() -> None:
    twice = (PROGRAM[0], PROGRAM[1], PROGRAM[2], PROGRAM[1], PROGRAM[3])
    frame = FrameResult(
        task="depth", image=0, cycles=1_000, elements=1, mismatches=0, ops=[*counters(100, 200, 300, 250, 100)]
    )
    model = FrameModel(1_000, counters(100, 250, 300, 200, 100))
    result = compare("case", twice, DEMO.hardware, Routing({}), frame, OWN_SCHEDULE, lambda *_: model)
    assert result.classes[Opcode.LAYER_NORM] == Pair(450, 450, 10.0)


def test_summaries() -> None:
    one = replace(compared(FrameModel(10_100, counters(3_030, 53, 5_940, 945))), name="one")
    other = replace(compared(FrameModel(9_700, counters(3_000, 50, 6_000, 900))), name="other")
    total, classes = frame_summary([one, other]), class_summaries([one, other])
    assert (total.frames, total.mean, total.worst, total.name) == (2, pytest.approx(2.0), pytest.approx(3.0), "other")
    assert (classes[Opcode.LINEAR].mean, classes[Opcode.LINEAR].name) == (pytest.approx(0.5), "one")
    assert missed([one, other]) == ["other: the model of the frame is -3.00 % off, the limit is 2 %"]


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pathway that `m3vit verify` ran."""
    case = next(case for case in QUICK.draw() if case.whole and case.model.moe_layers and not case.mode)
    folder = tmp_path_factory.mktemp("verified") / "pathway"
    pathways = case.pathways()
    write_pathways(pathways, folder)
    work = (folder / RESULTS).parent
    write_results(verify(folder, pathways, [case.source()], [*pathways.tasks], work=work), folder / RESULTS)
    return folder


def test_verified_frames_are_compared(verified: Path) -> None:
    """Queue lengths are enough for the accelerator's own schedule: the same as with the whole routing."""
    (result,) = verb.verified_frames(verified)
    pathways = read_pathways(verified)
    case = next(case for case in QUICK.draw() if case.name == pathways.first.workload)
    routing = read_routing(verified / TRACE, pathways.first.program)
    modelled = model_frame(pathways.first.program, case.hardware, routing)
    assert result.frame.model == modelled.cycles


def test_frames_of_another_pathway_are_refused(verified: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pathways(QUICK.draw()[0].model_copy(update={"seed": 7}).pathways(), other)
    with pytest.raises(UserError, match="ran in RTL; run `m3vit verify"):
        verb.verified_frames(other)
    (other / RESULTS).parent.mkdir()
    (other / RESULTS).write_bytes((verified / RESULTS).read_bytes())
    with pytest.raises(UserError, match="is of another pathway"):
        verb.verified_frames(other)
