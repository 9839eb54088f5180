# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The calibration: the committed constants are its result, the fit against a search by hand, bands, leave one out."""

import math
from functools import cache
from io import StringIO
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from rich.console import Console

from m3vit.model.config import HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.sim.energy import Constants, load_constants
from m3vit.sim.energy_activity import frame_activity
from m3vit.sim.energy_calibration import (
    POINTS,
    Point,
    Points,
    bottom_up,
    evaluate,
    fit,
    load_points,
    print_calibration,
    scaled,
    three_digits,
)
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import model_frame, random_routing

CONSTANTS, TABLE = load_constants(), load_points()
SOURCE = (Path(__file__).parent.parent / "sim" / POINTS).read_text()


def point(name: str) -> Point:
    return next(point for point in TABLE.point if point.name == name)


def with_points(*points: Point) -> Points:
    return TABLE.model_copy(update={"point": points})


def test_the_committed_constants_are_the_calibrated_ones() -> None:
    calibrated = scaled(CONSTANTS, fit(TABLE, TABLE.point, CONSTANTS))
    for name in Constants.model_fields:
        assert getattr(CONSTANTS, name).nominal == pytest.approx(getattr(calibrated, name).nominal, rel=1e-3), (
            f"{name}: run python -m m3vit.sim.energy_calibration and copy its column 'calibrated'"
        )


def test_the_fit_starts_from_the_raw_constants() -> None:
    other = CONSTANTS.model_copy(update={"ps": CONSTANTS.ps.model_copy(update={"nominal": 4.4})})
    assert fit(TABLE, TABLE.point, other) == fit(TABLE, TABLE.point, CONSTANTS)
    assert bottom_up(other).ps.nominal == CONSTANTS.ps.raw


def raw_energy(one: Point) -> tuple[float, float]:
    """Nominal millijoules of an int8 or W16A32 point on a whole board by hand: what is done, what takes time."""
    raw = {name: getattr(CONSTANTS, name).raw for name in Constants.model_fields}
    macs = one.macs * (4 if one.width == "w16a32" else 1)
    done = (
        macs * raw["mac"] + one.vector_elements * raw["vector"] + one.bram_accesses * raw["bram"]
        + one.dram_bytes * (raw["axi"] + (0 if one.scope == "core" else raw["ddr"]))
    ) * 1e-9 + one.clock_loads * one.cycles * raw["clock"] * 1e-12  # fmt: skip
    watts = raw["static"] * one.device_luts / 1e5 + (0 if one.scope == "core" else raw["ps"] + raw["board"])
    return done, watts * one.seconds * 1e3


@pytest.mark.parametrize("one", TABLE.point, ids=lambda one: one.name)
def test_prediction_by_hand(one: Point) -> None:
    assert TABLE.millijoule(one, bottom_up(CONSTANTS), "nominal") == pytest.approx(sum(raw_energy(one)))


def test_fit_against_a_search() -> None:
    """The least weighted squares over a grid of both factors, from energies by hand."""
    names = ("mac", "vector", "bram", "uram", "axi", "ddr", "clock"), ("static", "ps", "board")
    rows = [[getattr(CONSTANTS, name) for name in group] for group in names]
    priors = [fmean(math.log(row.high / row.low) / 4 for row in group) for group in rows]
    a, b = np.meshgrid(np.linspace(-2, 2.4, 1101), np.linspace(-1, 1.2, 551), indexing="ij")
    loss = (a / priors[0]) ** 2 + (b / priors[1]) ** 2
    for one in TABLE.point:
        done, stood = raw_energy(one)
        loss += (np.log((np.exp(a) * done + np.exp(b) * stood) / one.millijoule) / one.sigma) ** 2
    best = np.unravel_index(np.argmin(loss), loss.shape)
    found = fit(TABLE, TABLE.point, CONSTANTS)
    assert np.log(found.scales) == pytest.approx([a[best], b[best]], abs=0.005)
    assert found.priors == pytest.approx(priors)
    likely = np.exp(-(loss - loss.min()) / 2)
    means = [np.average(x, weights=likely) for x in (a, b)]
    spreads = [np.average((x - mean) ** 2, weights=likely) ** 0.5 for x, mean in zip((a, b), means, strict=True)]
    assert found.sigmas == pytest.approx(spreads, rel=0.15)  # the fit's are those of its linearisation


def test_exact_points_give_their_factors_back() -> None:
    exact = []
    for one in TABLE.point:
        done, stood = raw_energy(one)
        watts = (1.3 * done + 0.8 * stood) / one.seconds / 1e3
        exact.append(one.model_copy(update={"watts": watts, "sigma": 1e-4}))
    found = fit(with_points(*exact), exact, CONSTANTS)
    assert found.scales == pytest.approx((1.3, 0.8), rel=1e-3)


def test_factors_keep_every_constant_in_its_band() -> None:
    hot = [one.model_copy(update={"watts": 1000.0}) for one in TABLE.point]
    calibrated = scaled(CONSTANTS, fit(with_points(*hot), hot, CONSTANTS))
    for name in Constants.model_fields:
        row = getattr(calibrated, name)
        assert row.low <= row.nominal <= row.high
    assert calibrated.board.nominal == pytest.approx(CONSTANTS.board.high)


def test_every_published_point_lies_in_its_band() -> None:
    for row in evaluate(TABLE, CONSTANTS):
        assert row.inside, row.point.title
        assert row.low < row.nominal < row.high
        assert row.high / row.low < (40 if row.point.scope == "core" else 15), "a band that says nothing"


def test_a_point_outside_its_band_is_found() -> None:
    hot = point("coqmoe").model_copy(update={"watts": 40.0})
    rows = evaluate(with_points(hot, *(one for one in TABLE.point if one.name != "coqmoe")), CONSTANTS)
    assert [row.inside for row in rows] == [False] + [True] * (len(rows) - 1)


def test_left_out_means_left_out() -> None:
    before = evaluate(TABLE, CONSTANTS)
    hotter = [TABLE.point[0].model_copy(update={"watts": 10.0}), *TABLE.point[1:]]
    after = evaluate(with_points(*hotter), CONSTANTS)
    assert after[0].left_out == before[0].left_out
    assert after[0].error_percent == pytest.approx(100 * (before[0].left_out / (10 * 34.64) - 1))
    assert all(b.left_out > a.left_out for a, b in zip(after[1:], before[1:], strict=True))


def test_unstated_powers_reach_from_the_chip_to_the_board() -> None:
    one = point("ubimoe")
    chip, board = (TABLE.millijoule(one, CONSTANTS, "low", scope) for scope in ("chip", "board"))
    assert TABLE.millijoule(one, CONSTANTS, "low") == chip
    missing = CONSTANTS.board.low * 25.76 + 37.4e6 / 2 * CONSTANTS.ddr.low * 1e-9
    assert board - chip == pytest.approx(missing)
    assert TABLE.millijoule(one, CONSTANTS, "high") == TABLE.millijoule(one, CONSTANTS, "high", "board")


def test_published_energy_is_power_times_time() -> None:
    assert point("edge-moe").millijoule == pytest.approx(504, abs=0.5)
    assert point("ubimoe").millijoule == pytest.approx(296, abs=0.5)
    assert point("coqmoe").millijoule == pytest.approx(63.6, abs=0.05)
    assert point("m3vit").millijoule == pytest.approx(690, abs=0.5)
    one = point("efficientvit")
    assert one.millijoule * 1e9 / one.macs == pytest.approx(19, abs=0.1)
    for one in TABLE.point:
        assert one.cycles / one.seconds == pytest.approx(200e6 if one.name == "efficientvit" else 300e6, rel=1e-3)


@cache
def ours(model: str) -> tuple[float, float, float, float]:
    hardware = HARDWARE["zcu104"]
    program = next(iter(plan_programs(MODELS[model], hardware).values()))
    frame = model_frame(program, hardware, random_routing(program))
    found = frame_activity(program, hardware, frame.ops, frame.cycles)
    return found.macs, found.vector_elements, found.bram_accesses + found.uram_accesses, found.dram_bytes


def test_counts_called_ours_are_ours() -> None:
    """RAM accesses and bytes of the table are those of frames in RTL, here compared with those of the cycle model."""
    tiny, small = ours("m3vit_tiny_patch16"), ours("m3vit_small_patch16")
    coqmoe, edge, m3vit, board = (point(name) for name in ("coqmoe", "edge-moe", "m3vit", "zcu104-12v"))
    assert coqmoe.vector_elements == pytest.approx(tiny[1], rel=0.01)
    assert coqmoe.bram_accesses == pytest.approx(tiny[2], rel=0.05)
    assert coqmoe.dram_bytes == pytest.approx(tiny[3], rel=0.02)
    assert edge.bram_accesses == pytest.approx(3 * coqmoe.bram_accesses)
    assert edge.dram_bytes == 2 * coqmoe.dram_bytes
    assert (m3vit.macs, m3vit.vector_elements) == pytest.approx(small[:2], rel=0.01)
    assert m3vit.bram_accesses == pytest.approx(small[2] * 3072 / 1728, rel=0.02)
    assert (board.macs, board.bram_accesses) == pytest.approx(
        (small[0] / 2 / 0.03607, small[2] / 2 / 0.03607), rel=0.02
    )


def test_the_command_prints_fit_points_and_constants() -> None:
    out = Console(file=StringIO(), width=140)
    print_calibration(TABLE, CONSTANTS, out)
    assert isinstance(out.file, StringIO)
    text = out.file.getvalue()
    for one in TABLE.point:
        assert one.title in text
    assert text.count("yes") == len(TABLE.point)
    assert "mean error" in text
    assert "covers the chip" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('width = "int8"\n', 'width = "int4"\n', "width 'int4' is not in the table"),
        ('assumed = ["vector_elements"', 'assumed = ["vectors"', "'vectors' is no count"),
        ("watts = 9.83", "watts = 0", "point.2.watts"),
        ('scope = "core"', 'scope = "moon"', "scope"),
        ("[[point]]", "[[point", "not valid TOML"),
    ],
)
def test_bad_points_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "points.toml"
    path.write_text(SOURCE.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_points(path)


def test_three_digits() -> None:
    assert [three_digits(value) for value in (0.24567, 2.2785, 243.04, 15.19)] == [0.246, 2.28, 243.0, 15.2]
