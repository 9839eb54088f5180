# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The energy estimate: sums, order of the levels, units by hand, sensitivity, tables that are refused."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from m3vit.model.errors import UserError
from m3vit.sim.energy import DYNAMIC, LEVELS, STANDING, Constants, energy, load_constants
from m3vit.sim.energy_activity import Activity

ACTIVITY = Activity(
    macs=2e9, vector_elements=3e6, bram_accesses=4e7, uram_accesses=6e6, dram_bytes=5e6, clock_loads=160_000,
    cycles=3e6, seconds=0.01, device_luts=230_400,
)  # fmt: skip
TABLE = {name: {"low": 1.0, "nominal": 2.0, "high": 4.0} for name in Constants.model_fields}


def toml(rows: dict[str, dict[str, float]]) -> str:
    return "\n".join(
        f'[{name}]\ntitle = "t"\nunit = "u"\nsource = "s"\n' + "\n".join(f"{key} = {v}" for key, v in row.items())
        for name, row in rows.items()
    )


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "constants.toml"
    path.write_text(text)
    return path


def test_items_sum_to_totals_in_order() -> None:
    estimate = energy(ACTIVITY, load_constants(), "a test").tree()
    for level in LEVELS:
        assert estimate[f"{level}_mj"] == pytest.approx(sum(item[f"{level}_mj"] for item in estimate["items"]))
    for part in (estimate, *estimate["items"]):
        assert 0 < part["low_mj"] < part["nominal_mj"] < part["high_mj"]
    assert estimate["scope"] == "a test"
    assert [item["name"] for item in estimate["items"]] == [*DYNAMIC, *STANDING] == list(Constants.model_fields)


def test_units_by_hand(tmp_path: Path) -> None:
    estimate = energy(ACTIVITY, load_constants(write(tmp_path, toml(TABLE))), "a test")
    assert {item.name: item.nominal_mj for item in estimate.items} == pytest.approx(
        {
            "mac": 2e9 * 2e-12 * 1e3,
            "vector": 3e6 * 2e-12 * 1e3,
            "bram": 4e7 * 2e-12 * 1e3,
            "uram": 6e6 * 2e-12 * 1e3,
            "axi": 5e6 * 2e-12 * 1e3,
            "ddr": 5e6 * 2e-12 * 1e3,
            "clock": 160_000 * 3e6 * 2e-15 * 1e3,
            "static": 2.0 * 2.304 * 0.01 * 1e3,
            "ps": 2.0 * 0.01 * 1e3,
            "board": 2.0 * 0.01 * 1e3,
        }
    )
    assert estimate.tree()["pj_per_mac"]["nominal"] == pytest.approx(estimate.total_mj("nominal") * 1e9 / 2e9)


def test_a_flat_10_w_is_latency_alone() -> None:
    assert energy(ACTIVITY, load_constants(), "").tree()["flat_10w_mj"] == pytest.approx(100)  # 10 W x 10 ms


def test_sensitivity_changes_one_constant_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, toml(TABLE))
    tree = energy(ACTIVITY, load_constants(path), "").tree()
    assert [row["name"] for row in tree["sensitivity"][:3]] == ["static", "ps", "board"]
    for row in tree["sensitivity"]:
        for level, value in (("low", 1.0), ("high", 4.0)):
            one = TABLE | {row["name"]: {"low": 1.0, "nominal": value, "high": 4.0}}
            expected = energy(ACTIVITY, load_constants(write(tmp_path, toml(one))), "").total_mj("nominal")
            assert row[f"{level}_mj"] == pytest.approx(expected)
    swings = [row["high_mj"] - row["low_mj"] for row in tree["sensitivity"]]
    assert swings == sorted(swings, reverse=True)
    assert set(tree["sensitivity"][0]) == {"name", "title", "low_mj", "high_mj"}


@pytest.mark.parametrize("field", list(asdict(ACTIVITY)))
def test_every_count_costs_energy(field: str) -> None:
    less, more = (energy(replace(ACTIVITY, **{field: v}), load_constants(), "").total_mj("nominal") for v in (1, 1e12))
    assert less < more


def test_no_macs_give_no_energy_per_mac() -> None:
    assert energy(replace(ACTIVITY, macs=0), load_constants(), "").tree()["pj_per_mac"]["low"] is None


def test_every_constant_has_a_source_and_a_raw_value() -> None:
    constants = load_constants()
    for name in Constants.model_fields:
        row = getattr(constants, name)
        assert row.low < row.nominal < row.high
        assert row.raw is not None
        assert row.low < row.raw < row.high
        assert len(row.source) > 20


@pytest.mark.parametrize("text", ["[mac]\ntitle = 1", "not toml", "[mac]\n", toml(TABLE) + "\n[more]\n"])
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"constants\.toml"):
        load_constants(write(tmp_path, text))


@pytest.mark.parametrize(
    "row",
    [
        {"low": 2, "nominal": 1, "high": 3},
        {"low": 1, "nominal": 2, "high": 1.5},
        {"low": 1, "raw": 0.5, "nominal": 2, "high": 3},
        {"low": 1, "raw": 4, "nominal": 2, "high": 3},
    ],
)
def test_levels_must_not_decrease(tmp_path: Path, row: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must not decrease"):
        load_constants(write(tmp_path, toml(TABLE | {"ddr": row})))


def test_constants_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mac\.low"):
        load_constants(write(tmp_path, toml(TABLE | {"mac": {"low": 0, "nominal": 1, "high": 3}})))


def test_a_table_of_the_user_is_used(tmp_path: Path) -> None:
    constants = load_constants(write(tmp_path, toml(TABLE)))
    assert (constants.ddr.nominal, constants.ddr.bottom_up) == (2, 2)


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="check the path"):
        load_constants(tmp_path / "none.toml")
