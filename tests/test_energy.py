# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The energy estimate: sums, order of the levels, units by hand, and tables of constants that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from m3vit.model.config import HARDWARE
from m3vit.model.errors import UserError
from m3vit.sim.energy import LEVELS, Activity, Constants, energy, load_constants, on_chip_traffic

ACTIVITY = Activity(
    macs=2e9, vector_elements=3e6, on_chip_bytes=4e8, dram_bytes=5e6, seconds=0.01, seconds_measured=True
)


def test_items_sum_to_totals_in_order() -> None:
    estimate = energy(ACTIVITY, load_constants(), "a test").tree()
    for level in LEVELS:
        assert estimate[f"{level}_mj"] == pytest.approx(sum(item[f"{level}_mj"] for item in estimate["items"]))
    for part in (estimate, *estimate["items"]):
        assert 0 < part["low_mj"] < part["nominal_mj"] < part["high_mj"]
    assert estimate["scope"] == "a test"


def test_units_by_hand() -> None:
    estimate = energy(ACTIVITY, load_constants(), "a test")
    items = {item.name: item.nominal_mj for item in estimate.items}
    assert items == pytest.approx(
        {
            "mac": 2e9 * 1.5e-12 * 1e3,
            "vector": 3e6 * 8e-12 * 1e3,
            "on_chip_ram": 4e8 * 2.5e-12 * 1e3,
            "dram": 5e6 * 160e-12 * 1e3,
            "core_power": 2.0 * 0.01 * 1e3,
            "board_power": 6.0 * 0.01 * 1e3,
        }
    )
    assert estimate.tree()["pj_per_mac"]["nominal"] == pytest.approx(estimate.total_mj("nominal") * 1e9 / 2e9)


def test_only_a_modelled_duration_is_slowed_down() -> None:
    constants = load_constants()
    modelled = energy(replace(ACTIVITY, seconds_measured=False), constants, "")
    measured = energy(ACTIVITY, constants, "")
    for one, other in zip(modelled.items, measured.items, strict=True):
        factor = constants.slowdown.high if one.name.endswith("power") else 1.0
        assert one.high_mj == pytest.approx(factor * other.high_mj)


def test_no_macs_give_no_energy_per_mac() -> None:
    assert energy(replace(ACTIVITY, macs=0), load_constants(), "").tree()["pj_per_mac"]["low"] is None


def test_on_chip_traffic_by_hand() -> None:
    # 8 lanes, 2 groups: 64 B of activations and 2 x 8 accumulators of 27 bits per cycle
    assert on_chip_traffic(10, 100, 50, HARDWARE["demo"]) == 10 * (64 + 54) + 200 + 200


def test_every_constant_has_a_source() -> None:
    constants = load_constants()
    for name in Constants.model_fields:
        row = getattr(constants, name)
        assert row.low < row.nominal < row.high
        assert len(row.source) > 20


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "constants.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["[mac]\ntitle = 1", "not toml", "[mac]\n"])
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"constants\.toml"):
        load_constants(write(tmp_path, text))


def test_levels_must_not_decrease(tmp_path: Path) -> None:
    rows = "\n".join(
        f'[{name}]\ntitle = "t"\nunit = "u"\nlow = 2\nnominal = 1\nhigh = 3\nsource = "s"'
        for name in Constants.model_fields
    )
    with pytest.raises(UserError, match="must not decrease"):
        load_constants(write(tmp_path, rows))


def test_a_table_of_the_user_is_used(tmp_path: Path) -> None:
    rows = "\n".join(
        f'[{name}]\ntitle = "t"\nunit = "u"\nlow = 1\nnominal = 2\nhigh = 3\nsource = "s"'
        for name in Constants.model_fields
    )
    assert load_constants(write(tmp_path, rows)).dram.nominal == 2


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="check the path"):
        load_constants(tmp_path / "none.toml")
