# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Modelled resources: against hand counts, against the RTL's instances, and each limit of the board."""

import re

import pytest

from m3vit.model.config import HARDWARE
from m3vit.model.errors import UserError
from m3vit.rtl.generate import sources
from m3vit.sim.resources import DSPS, MEMORIES, check_board, estimate, on_chip_bytes

ZCU104 = HARDWARE["zcu104"]


def test_resources_of_the_headline_design_by_hand() -> None:
    need = estimate(ZCU104)
    assert need.dsp == 64 * 32 // 2 + 32 + 32 + 4
    # 512-bit tokens 8 x 2, hidden two banks of 4 x 2, residual 8 x 4, weights 8 x 1.
    assert need.uram == 16 + 16 + 32 + 8
    # 864-bit accumulators at 72 x 512: 12 x 3; 166-bit routes: 3 x 3; two 29-bit queues of 2,080: 36 x 1024 each.
    assert need.bram36 == 36 + 9 + 2 * 3
    assert on_chip_bytes(ZCU104) == sum(make(ZCU104).bits for make in MEMORIES.values()) // 8
    assert check_board(ZCU104) == need


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 64}, "needs 2180 DSP48E2, but ZCU104 has 1728 of which 1658"),
        ({"max_tokens": 4096}, "URAM288"),
        ({"board": ZCU104.board.model_copy(update={"bram36": 56})}, "needs 51 RAMB36, but ZCU104 has 56 of which 50"),
    ],
)
def test_each_resource_can_be_the_limit(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_board(ZCU104.model_copy(update=change))


def test_the_memory_table_has_a_line_for_every_ram_of_the_rtl() -> None:
    wrappers = {"m3vit_ram.sv", "m3vit_bank_ram.sv", "m3vit_ram_fifo.sv"}
    text = "".join(source.read_text() for source in sources() if source.name not in wrappers)
    instances = len(re.findall(r"^\s*m3vit_(?:ram|bank_ram|ram_fifo) #\(", text, re.M))
    modelled = [make(ZCU104) for make in MEMORIES.values()]
    queues = 1  # one line stands for both
    assert instances == len([ram for ram in modelled if ram.style != "registers"]) + queues
    assert sum(count(ZCU104) for count in DSPS.values()) == estimate(ZCU104).dsp
