# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Entropy, overlap and warnings from expert loads."""

import pytest

from m3vit.model.router_health import layer_health, load_entropy, overlap, router_health, worst_expert_share

EVEN = [0.25, 0.25, 0.25, 0.25]
ONE = [1.0, 0.0, 0.0, 0.0]
LEFT, RIGHT = [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]


def test_entropy_is_one_for_an_even_load_and_zero_for_one_expert() -> None:
    assert load_entropy(EVEN) == pytest.approx(1)
    assert load_entropy(ONE) == 0
    assert load_entropy(LEFT) == pytest.approx(0.5)
    assert load_entropy([1.0]) == 1


def test_overlap_is_the_shared_part_of_the_assignments() -> None:
    assert overlap(EVEN, EVEN) == 1
    assert overlap(LEFT, RIGHT) == 0
    assert overlap(EVEN, LEFT) == pytest.approx(0.5)
    assert overlap([0.7, 0.3], [0.2, 0.8]) == pytest.approx(0.5)


def test_an_expert_that_serves_one_task_is_not_starved() -> None:
    assert layer_health({"depth": LEFT, "edges": RIGHT}).starved == []
    assert layer_health({"depth": LEFT, "edges": LEFT}).starved == [2, 3]
    assert layer_health({"depth": [1 / 64] * 64}).starved == [], "relative to an even share"
    assert layer_health({"depth": LEFT, "edges": RIGHT}).overlap == [("depth", "edges", 0.0)]


def test_worst_share_is_of_an_even_one_over_all_layers() -> None:
    assert worst_expert_share({"1": {"depth": EVEN}, "3": {"depth": [0.4, 0.3, 0.2, 0.1]}}) == pytest.approx(0.4)
    assert worst_expert_share({}) == 1


def test_warnings_name_layer_task_and_experts() -> None:
    assert router_health({"1": {"depth": EVEN, "edges": EVEN}}).warnings == []
    collapsed, starved = router_health({"5": {"depth": ONE}}).warnings
    assert "layer 5" in collapsed
    assert "'depth' has collapsed" in collapsed
    assert starved.endswith("3 of 4 experts get no tokens to speak of: 1, 2, 3")
