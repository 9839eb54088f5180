# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Pathways laid out for another design: the integers of the exporter, byte by byte, and exact in RTL."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_quantise import make_config, spread_out
from typer.testing import CliRunner

from m3vit.model.config import DEMO, HARDWARE, MODELS, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.model.quantise import calibrate_units, quantise
from m3vit.model.scenes import load_split
from m3vit.scripts.cli import build_app
from m3vit.sim.designs import write_design
from m3vit.sim.golden.executor import Executor
from m3vit.sim.golden.linear import accumulate, gelu_table
from m3vit.sim.golden.moe import Expert
from m3vit.sim.mlp_slices import cut_mlp, join_mlp, zero_of
from m3vit.sim.pathway import Accuracy, Pathways, write_pathways
from m3vit.sim.program import Opcode
from m3vit.sim.repack import repack
from m3vit.sim.results import RESULTS, read_results
from m3vit.sim.synthetic import Dice, random_image, random_moe, random_pathways

MODEL = DEMO.model.model_copy(update={"layers": 2, "tasks": ("segmentation", "depth")})
NARROW = HARDWARE["demo"]
"""Two slices of 128 hidden channels."""
WIDE = NARROW.model_copy(
    update={"name": "wide", "lanes": 16, "groups": 4, "max_hidden": 256, "max_block": 30, "stream_words": 1024}
)
"""The MLP in one slice."""
SAME_SLICES = WIDE.model_copy(update={"max_hidden": 128})


@pytest.fixture(scope="module")
def exported() -> dict[str, Pathways]:
    """The exporter's pathways of one model, for each design."""
    config = make_config()
    images = load_split(config.scenes, config.model.image_hw, "train", False)["image"][:8]
    model = spread_out(config)
    units = calibrate_units(model, config, images)
    designs = {"narrow": NARROW, "wide": WIDE}
    return {
        name: quantise(model, config.model_copy(update={"hardware": hardware}), units)
        for name, hardware in designs.items()
    }


def assert_same(one: Pathways, other: Pathways) -> None:
    np.testing.assert_array_equal(one.first.image, other.first.image)
    for task, pathway in one.tasks.items():
        for field in ("workload", "task_slot", "program", "program_offset", "scales", "config", "blocks"):
            assert getattr(pathway, field) == getattr(other.task(task), field)


def slices(pathways: Pathways) -> list[int]:
    return [op.experts for op in pathways.first.program if op.opcode is Opcode.MLP]


@pytest.mark.parametrize(("source", "target", "hardware"), [("narrow", "wide", WIDE), ("wide", "narrow", NARROW)])
def test_repacking_gives_the_exporters_bytes(
    exported: dict[str, Pathways], source: str, target: str, hardware: HardwareConfig
) -> None:
    """Slices are joined and cut as if the float model had been quantised for the other design."""
    assert slices(exported["narrow"]) == [2]
    assert slices(exported["wide"]) == [1]
    assert_same(repack(exported[source], hardware), exported[target])


def test_the_same_design_gives_the_same_bytes() -> None:
    pathways = random_pathways(MODEL, NARROW, seed=1)
    assert_same(repack(pathways, NARROW), pathways)


def test_there_and_back_changes_nothing() -> None:
    start = repack(random_pathways(MODEL, NARROW, seed=2), WIDE)
    between = repack(start, NARROW)
    assert (slices(start), slices(between)) == ([1], [2])
    assert_same(repack(between, WIDE), start)


def test_golden_agrees_where_the_slices_are_equal() -> None:
    pathways, image = random_pathways(MODEL, NARROW, seed=3), random_image(MODEL, 3)
    other = repack(pathways, SAME_SLICES)
    assert other.first.image.size != pathways.first.image.size
    for task in MODEL.tasks:
        expected = Executor(pathways.task(task)).run(image).output_NC
        assert len(np.unique(expected)) > 100
        np.testing.assert_array_equal(Executor(other.task(task)).run(image).output_NC, expected)


def test_accuracies_stay_only_if_nothing_is_rounded_elsewhere() -> None:
    scores = Accuracy("RMSE", False, 0.5, 0.505, 0.9, 128)
    pathways = random_pathways(MODEL, NARROW)
    known = Pathways({task: replace(pathway, accuracy=scores) for task, pathway in pathways.tasks.items()})
    assert repack(known, SAME_SLICES).first.accuracy == scores
    assert repack(known, WIDE).first.accuracy is None


@pytest.mark.parametrize("zero", [0, 7, -31])
def test_slices_add_up_to_the_whole(zero: int) -> None:
    dice, rng = Dice(4), np.random.default_rng(4)
    whole = dice.expert(64, 192)
    x = rng.integers(-128, 128, (5, 192))
    parts = cut_mlp(whole, 3, zero)
    sums = [accumulate(x[:, 64 * n : 64 * (n + 1)], part.fc2) for n, part in enumerate(parts)]
    np.testing.assert_array_equal(sum(sums), accumulate(x, whole.fc2))
    for part in parts[1:]:
        np.testing.assert_array_equal(part.fc2.bias_M, zero * part.fc2.weight_MK.astype(int).sum(axis=1))
    again = join_mlp(parts)
    for name in ("fc1", "fc2"):
        for field in ("weight_MK", "bias_M", "multiplier_M", "shift_M"):
            np.testing.assert_array_equal(getattr(getattr(again, name), field), getattr(getattr(whole, name), field))


@pytest.mark.parametrize("zero", [0, 11, 100, -90])
def test_the_zero_is_in_the_table(zero: int) -> None:
    assert zero_of(gelu_table(1 / 40, 5 / 127, zero)) == zero


def test_slices_with_scales_of_their_own_are_refused() -> None:
    first, second = cut_mlp(Dice(5).expert(64, 128), 2, 0)
    other = Expert(second.fc1, replace(second.fc2, shift_M=second.fc2.shift_M + 1))
    with pytest.raises(UserError, match="export again"):
        join_mlp([first, other])


def test_sums_beyond_the_accumulator_are_refused() -> None:
    whole = Dice(6).expert(64, 128)
    with pytest.raises(UserError, match="accumulator"):
        cut_mlp(whole, 2, 1 << 24)


def test_a_part_of_a_model_is_refused() -> None:
    with pytest.raises(UserError, match="only whole models"):
        repack(random_moe(MODEL, NARROW), WIDE)


def test_a_design_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="max_tokens 64 of hardware 'small'"):
        repack(random_pathways(MODEL, NARROW), NARROW.model_copy(update={"name": "small", "max_tokens": 64}))


def test_verify_runs_a_pathway_on_another_design(tmp_path: Path) -> None:
    """Found by name or path, laid out anew, and equal to its own golden in RTL."""
    model = MODELS["m3vit_demo_patch8"].model_copy(update={"image_hw": (32, 32), "layers": 2, "tasks": ("depth",)})
    design = NARROW.model_copy(update={"name": "other", "groups": 4, "max_tokens": 17, "max_hidden": 256})
    design = design.model_copy(update={"max_block": 9, "stream_words": 1024, "lend_words": 16, "router_lanes": 2})
    write_pathways(random_pathways(model, NARROW, seed=7), tmp_path / "pathway")
    write_design(tmp_path / "other.toml", design, model, ["a design"])
    command = [
        "verify",
        str(tmp_path / "pathway"),
        "--design",
        str(tmp_path / "other.toml"),
        "--images",
        "1",
        "--no-hls",
    ]
    done = CliRunner().invoke(build_app("verify"), command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    results = read_results(tmp_path / "pathway" / "designs" / "other" / RESULTS)
    assert results is not None
    assert results.hardware == design
    assert results.elements_compared == 16 * 16
    assert results.golden_vs_rtl_mismatches == 0
    assert not (tmp_path / "pathway" / RESULTS).exists()
