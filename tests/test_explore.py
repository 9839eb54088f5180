# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The design-space search: every choice is a design that runs the model, and the search is what it says it is."""

import itertools
import json
import math
import random
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial
from typer.testing import CliRunner

from m3vit.model.config import BOARDS, HARDWARE, MODELS, SHARE, BoardConfig, HardwareConfig, MemoryConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.scripts.cli import build_app
from m3vit.sim import explore_study
from m3vit.sim.bound import frame_bound
from m3vit.sim.capacity import check_fits
from m3vit.sim.designs import read_design
from m3vit.sim.energy import load_constants
from m3vit.sim.explore import Evaluation, Price, Problem, evaluate, front, quantity
from m3vit.sim.explore_space import PORTS, Choice, Space, name_design, power_of_two
from m3vit.sim.explore_study import Search, neighbours, open_study
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import random_routing
from m3vit.sim.performance.trace import TracedFrame, write_trace
from m3vit.sim.program import Opcode
from m3vit.sim.resources import check_board, estimate

ZCU104 = BOARDS["ZCU104"]
TINY = MODELS["m3vit_tiny_patch16"]
SMALL = MODELS["m3vit_demo_patch8"].model_copy(
    update={"name": "little", "image_hw": (32, 32), "layers": 2, "tasks": ("depth",)}
)
"""17 tokens: a frame is modelled in milliseconds."""


class Dice:
    """Chooses at random, as a sampler without experience does."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def suggest_categorical(self, name: str, choices: tuple[float, ...]) -> float:
        return self._rng.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return min(int(low * (high / low) ** self._rng.random()), high) if log else self._rng.randint(low, high)


def space(model: ModelConfig, board: str = "ZCU104") -> Space:
    return Space(model, BOARDS[board], 300.0, MemoryConfig())


def problem(model: ModelConfig, seed: int = 0) -> Problem:
    ((_, program),) = plan_programs(model, space(model).least()).items()
    return Problem(model, random_routing(program, seed), load_constants())


def search(url: str, seed: int = 0, name: str = "s") -> Search:
    study = open_study(url, name, {"model": SMALL.name})
    return Search(study, space(SMALL), problem(SMALL), "little", Price.area, seed)


# The space


@pytest.mark.parametrize(("name", "possible"), [("demo_patch8", 100), ("tiny_patch16", 100), ("base_patch16", 70)])
def test_choices_run_the_model(name: str, possible: int) -> None:
    """Nearly all: MLPs of the base model in few slices have more channels than eight lanes can count."""
    model = MODELS[f"m3vit_{name}"]
    chosen = {space(model).choose(Dice(seed)) for seed in range(100)}
    made = dict[Choice, HardwareConfig]()
    for choice in chosen:
        with suppress(UserError):
            made[choice] = space(model).design(choice)
    assert len(made) >= possible
    assert len({name_design(hardware, "x").name for hardware in made.values()}) > 0.9 * len(made)
    for choice, hardware in made.items():
        check_fits(model, hardware)
        (program, *_) = plan_programs(model, hardware).values()
        assert all(op.experts * op.out_features == model.mlp_hidden for op in program if op.opcode is Opcode.MLP)
        rows = next(op.operands[3] for op in program if op.opcode is Opcode.ATTENTION)
        assert math.ceil(model.tokens / rows) <= choice.attention_blocks
        assert (hardware.lanes, hardware.groups) == (choice.lanes, choice.groups)


def test_the_headline_design_can_be_found() -> None:
    """Its array and its capacities for `small`; the search may choose them or what serves as well."""
    choice = Choice(32, 3, 4, 8, 1.0, 1.0, 0, 0, 8, 4)
    made, headline = space(MODELS["m3vit_small_patch16"]).design(choice), HARDWARE["zcu104"]
    same = {"lanes", "groups", "max_tokens", "max_dim", "max_hidden", "max_top_k", "router_lanes", "memory", "board"}
    assert {name: getattr(made, name) for name in same} == {name: getattr(headline, name) for name in same}
    assert made.stream_words * 2 == headline.stream_words
    assert 2 * headline.lend_words == made.lend_words


@pytest.mark.parametrize(("value", "power"), [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128), (4097, 8192)])
def test_powers_of_two(value: int, power: int) -> None:
    assert power_of_two(value) == power


def test_names_stay_and_differ() -> None:
    hardware = HARDWARE["zcu104"]
    name = name_design(hardware, "tiny").name
    assert name.startswith("tiny-3072-")
    assert name_design(hardware.model_copy(update={"name": "other"}), "tiny").name == name
    for change in ({"max_block": 137}, {"board": BOARDS["ZCU102"]}, {"clock_mhz": 250.0}):
        assert name_design(hardware.model_copy(update=change), "tiny").name != name


def test_a_model_that_no_accelerator_runs_is_refused() -> None:
    odd = SMALL.model_copy(update={"expert_hidden": 32})
    with pytest.raises(UserError, match="no accelerator runs little"):
        space(odd).least()


# Evaluation


def test_an_evaluation_is_what_the_models_say() -> None:
    one = problem(SMALL)
    design = space(SMALL).least()
    found = evaluate(one, design)
    ((_, program),) = plan_programs(SMALL, design).items()
    assert found.cycles >= frame_bound(program, design, {2 + 6 * 1 + 4: 0.0}).compute
    assert found.used == {name: getattr(estimate(design), name) for name in found.used}
    assert {"dsp", "bram36", "uram"} <= found.used.keys() <= SHARE.keys()
    assert found.energy_mj > 0
    assert Evaluation.load(json.loads(json.dumps(found.tree()))) == found
    wide = evaluate(one, space(SMALL).design(Choice(32, 4, 1, 1, 1.0, 1.0, 1, 0, 8, PORTS[-1])))
    assert wide.cycles < found.cycles
    assert wide.area > found.area


def test_area_is_the_mean_share_of_what_the_board_has() -> None:
    hardware = HARDWARE["zcu104"]
    made = Evaluation(hardware, 1000, 1.0, {"dsp": 864, "bram36": 156, "uram": 24})
    assert made.area == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    bare = replace(made, hardware=hardware.model_copy(update={"board": BOARDS["ZCU102"]}), used=made.used | {"uram": 0})
    assert bare.area == pytest.approx((864 / 2520 + 156 / 912) / 2)
    assert bare.fits
    assert not replace(bare, used=bare.used | {"uram": 1}).fits


@pytest.mark.parametrize("board", ["ZCU104", "KV260"])
def test_what_fits_is_what_the_board_check_accepts(board: str) -> None:
    verdicts = []
    for seed in range(150):
        design = space(TINY, board).design(space(TINY, board).choose(Dice(seed)))
        need = estimate(design)
        made = Evaluation(design, 1, 1.0, {name: getattr(need, name) for name in SHARE if hasattr(need, name)})
        try:
            check_board(design)
        except UserError:
            verdicts.append(False)
        else:
            verdicts.append(True)
        assert made.fits == verdicts[-1]
    assert len(set(verdicts)) == 2


def test_the_front_is_what_nothing_beats() -> None:
    rng, hardware = np.random.default_rng(0), HARDWARE["zcu104"]
    made = [
        Evaluation(hardware, int(rng.integers(1, 30)), 1.0, {"dsp": 50 * int(rng.integers(1, 40)), "bram36": 1})
        for _ in range(120)
    ]

    def beaten(e: Evaluation) -> bool:
        return any(
            o.fits
            and o.cycles <= e.cycles
            and o.price(Price.area) <= e.price(Price.area)
            and (o.cycles, o.area) != (e.cycles, e.area)
            for o in made
        )

    expected = {(e.cycles, e.area) for e in made if e.fits and not beaten(e)}
    found = front(made, Price.area)
    assert any(not e.fits for e in made)
    assert [(e.cycles, e.area) for e in found] == sorted(expected)
    assert front([e for e in made if not e.fits], Price.area) == []


def test_half_a_block_ram_is_shown() -> None:
    assert [quantity(value) for value in (1658, 258.5, 248.0)] == ["1,658", "258.5", "248"]


# The study


@pytest.fixture
def _small_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore_study, "GENERATION", 10)


@pytest.mark.usefixtures("_small_generations")
def test_the_same_seed_gives_the_same_designs_on_any_number_of_processes(tmp_path: Path) -> None:
    found = list[dict[str, Evaluation]]()
    for jobs in (1, 2):
        one = search(f"sqlite:///{tmp_path / str(jobs)}.db")
        assert list(one.run(25, jobs)) == list(range(1, 26))
        found.append(one.evaluations())
    assert list(found[0]) == list(found[1])
    assert found[0] == found[1]
    for trial in one.study.get_trials(deepcopy=False):
        made = Evaluation.load(trial.user_attrs["evaluation"])
        assert trial.values == [made.cycles, made.price(Price.area)]
        assert trial.constraints == made.excess
    assert len(found[0]) > 15
    other = search(f"sqlite:///{tmp_path}/other.db", seed=1)
    assert len(list(other.run(5, 1))) == 5
    assert not other.evaluations().keys() <= found[0].keys()


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'study.log'}"
    first = search(url)
    stopped = first.run(50, 1)
    for done in itertools.islice(stopped, 7):
        assert done <= 7
    stopped.close()  # as an interrupt does
    kept = search(url)
    assert kept.done == 7
    before = kept.evaluations()
    assert len(list(kept.run(10, 1))) == 3
    assert list(kept.run(10, 1)) == []
    after = search(url).evaluations()
    assert list(after)[: len(before)] == list(before)
    assert len(before) < len(after)


@pytest.mark.usefixtures("_small_generations")
def test_the_search_learns_what_fits(tmp_path: Path) -> None:
    """The first generation is drawn at random; later ones avoid what the board has too little of."""
    narrow = replace(space(SMALL), board=BoardConfig(name="narrow", dsp=700, bram36=80, uram=60))
    learner = replace(search(f"journal:{tmp_path / 'study.log'}"), space=narrow)
    assert len(list(learner.run(100, 1))) == 100
    trials = learner.study.get_trials(deepcopy=False)
    fits = [all(value <= 0 for value in trial.constraints.values()) for trial in trials]
    assert sum(fits[:10]) < 5
    assert sum(fits[-30:]) > 18


def test_neighbours_are_near_the_front(tmp_path: Path) -> None:
    one = search(f"journal:{tmp_path / 'study.log'}")
    assert neighbours([], 0) == []
    assert len(list(one.run(40, 1))) == 40
    best = sorted(one.study.best_trials, key=lambda trial: trial.values)
    assert len(best) > 3

    def distance(params: dict[str, float], trial: FrozenTrial) -> int:
        return sum(params[name] != value for name, value in trial.params.items())

    found = neighbours(best, 0)
    assert len(found) == 25
    assert all(min(distance(params, trial) for trial in best) <= 3 for params in found)
    names = list(dict.fromkeys(trial.user_attrs["evaluation"]["hardware"]["name"] for trial in best))
    fastest = [trial for trial in best if trial.user_attrs["evaluation"]["hardware"]["name"] in names[:3]]
    assert all(min(distance(params, trial) for trial in fastest) <= 3 for params in found[:15])
    assert any(distance(params, best[0]) > 3 for params in found)
    assert found == neighbours(best, 0) != neighbours(best, 1)


def test_a_study_about_something_else_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    open_study(url, "s", {"model": "a", "board": "ZCU104"})
    open_study(url, "s", {"model": "a", "board": "ZCU104"})
    with pytest.raises(UserError, match=r"about something else \(board ZCU104\); choose another --study"):
        open_study(url, "s", {"model": "a", "board": "KV260"})
    open_study(url, "t", {"model": "a", "board": "KV260"})


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db", "journal:/nowhere/at/all.log"])
def test_a_storage_that_cannot_be_used_is_one_sentence(url: str) -> None:
    with pytest.raises(UserError, match="cannot use the storage"):
        open_study(url, "s", {})


# The verb


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(build_app("explore"), ["explore", *arguments], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.toml"
    tree = SMALL.model_dump(mode="json")
    lines = [f"{key} = {json.dumps(value)}" for key, value in tree.items()]
    path.write_text("\n".join(['hardware = "demo"', "[model]", *lines]) + "\n")
    return path


def test_explore_writes_designs_that_others_read(config: Path, tmp_path: Path) -> None:
    code, output = run("--config", str(config), "--trials", "25", "--jobs", "1", "--out", "out")
    assert code == 0
    tree = json.loads((tmp_path / "out" / "explore.json").read_text())
    assert tree["kind"] == "modelled"
    assert (tree["trials"], tree["about"]["model"]) == (25, "little")
    best = [Evaluation.load({k: v for k, v in e.items() if k != "area"}) for e in tree["front"]]
    assert best == front(best, Price.area)
    files = sorted(path.stem for path in (tmp_path / "out" / "designs").iterdir())
    assert files == sorted(e.hardware.name for e in best)
    for e in best:
        assert read_design(tmp_path / "out" / "designs" / f"{e.hardware.name}.toml") == e.hardware
    assert f"{tree['reference']['cycles']:,}" in output
    assert f"{best[0].cycles:,}" in output
    assert "demo (by hand)" in output
    page = (tmp_path / "out" / "pareto.html").read_text()
    assert best[0].hardware.name in page
    assert "prefers-color-scheme: dark" in page
    assert not re.findall(r"(?:src|href)=\"(?!#)|@import", page)
    assert (tmp_path / "out" / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    code, _ = run("--config", str(config), "--trials", "25", "--jobs", "1", "--out", "out")
    assert code == 0
    assert json.loads((tmp_path / "out" / "explore.json").read_text())["front"] == tree["front"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--board", "zcu999"], "board 'zcu999' is unknown; choose one of ZCU104"),
        (["--board", "zcu102"], "ZCU102 has no URAM288, which the RTL's large buffers need; choose another board"),
        (["--workload", "huge"], "workload 'huge' is unknown"),
        (["--workload", "tiny", "--config", "config.toml"], "exclude each other"),
        (["--config", "nothing.toml"], "cannot read nothing.toml"),
        (["--routing", "trace.json"], "is of another model"),
        (["--routing", "config.toml"], "is not a routing trace"),
        (["--storage", "nonsense"], "cannot use the storage nonsense"),
        (["--out", "config.toml"], "choose another --out"),
    ],
)
@pytest.mark.usefixtures("config")
def test_mistakes_are_one_sentence(options: list[str], message: str) -> None:
    model = SMALL.model_copy(update={"image_hw": (64, 64), "tasks": ("segmentation",)})
    write_trace(Path("trace.json"), "other", [TracedFrame.of("segmentation", 0, problem(model).routing)])
    code, output = run(*options)
    assert code == 2
    assert output.startswith("m3vit: ")
    assert output.count("\n") == 1
    assert message in output
