# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Modelled resources: against hand counts, against the RTL's instances, and each limit of the board."""

from typing import Any

import pytest
from pydantic import ValidationError

from m3vit.model.config import HARDWARE, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.resources import DSPS, MEMORIES, check_board, estimate, on_chip_bytes

ZCU104 = HARDWARE["zcu104"]


def test_resources_of_the_headline_design_by_hand() -> None:
    need = estimate(ZCU104)
    assert need.dsp == 96 * 32 // 2 + 32 + 32 + 32 + 4 + 3 + 17
    # 768-bit words: x, h, kv in two parts 12 each (256 or 64 bits at 72 x 4096), residual 3 x 8, stream 11.
    assert need.uram == 12 + 12 + 12 + 12 + 24 + 11
    # stream 4096 x 768 at 9 x 4096: 86; scores three of 1,496 x 512 bits: 24 each; 864-bit accumulators 12 x 3;
    # 166-bit routes 3 x 3; two 29-bit queues of 2,050: 36 x 1024 each;
    # a 64-bit GELU table for each lane; two copies of the program, 512 bits wide.
    assert need.bram36 == 86 + 72 + 36 + 9 + 2 * 3 + 32 + 2 * 8
    assert on_chip_bytes(ZCU104) == -(-sum(make(ZCU104).bits for make in MEMORIES.values()) // 8)
    assert check_board(ZCU104) == need


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 4}, "needs 2168 DSP48E2, but ZCU104 has 1728 of which 1658"),
        ({"max_hidden": 768}, "URAM288"),
        ({"board": ZCU104.board.model_copy(update={"bram36": 56})}, "needs 257 RAMB36, but ZCU104 has 56 of which 50"),
    ],
)
def test_each_resource_can_be_the_limit(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_board(ZCU104.model_copy(update=change))


def test_dsps_are_the_sum_of_their_table() -> None:
    assert sum(count(ZCU104) for count in DSPS.values()) == estimate(ZCU104).dsp


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 17, "max_dim": 32}, "lend_words 128 must be less than the key-value buffer's 17 words"),
        ({"stream_words": 32}, "greater than or equal to 64"),
        ({"max_block": 1}, "greater than 1"),
        ({"lanes": 32, "max_dim": 4096}, "max_dim 4096 must be at most 4080"),
        ({"memory": {"ports": 3}}, "Input should be 1, 2 or 4"),
    ],
)
def test_illegal_hardware_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HardwareConfig.model_validate(HARDWARE["demo"].model_dump() | changes)
