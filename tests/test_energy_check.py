# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""RAM enables are counted from a waveform: a hand-written one, and refused ones."""

import json
from pathlib import Path

import pytest

from m3vit.model.config import DEMO
from m3vit.model.errors import UserError
from m3vit.rtl.generate import sources
from m3vit.sim.energy_check import INSTANCES, by_memory, compare, count_enables, joined, read_counters
from m3vit.sim.pathway import write_pathways
from m3vit.sim.resources import MEMORIES
from m3vit.sim.synthetic import random_pathways

HEADER = """$scope module top $end
$var wire 1 c clk_i $end
$scope module u_datapath $end
$scope module u_buffers $end
$scope module u_x $end
$var wire 1 r read_i $end
$var wire 1 w write_i $end
$var wire 8 d read_data_o [7:0] $end
$upscope $end
$scope module u_queue $end
$var wire 1 r read_i $end
$upscope $end
$upscope $end
$upscope $end
$upscope $end
$enddefinitions $end
"""
# Read is high before the edges at 5 and 15, and not before that at 25, where it rises again too late; write before 25.
WAVE = HEADER + "#0\n0c\n1r\n0w\nb0 d\n#5\n1c\n#10\n0c\n#15\n1c\n0r\n#20\n0c\n1w\n#25\n1c\n1r\n0w\n#30\n0c\n"


def lines(text: str) -> list[bytes]:
    return [line.encode() for line in text.splitlines(keepends=True)]


def test_enables_before_rising_edges_count() -> None:
    found = count_enables(iter(lines(WAVE)))
    assert found == {".top.u_datapath.u_buffers.u_x": 3, ".top.u_datapath.u_buffers.u_queue": 2}
    memories = by_memory(found)
    assert (memories["x buffer"], memories["token queues"], memories["h buffer"]) == (3, 2, 0)


def test_both_parts_of_the_key_value_buffer_are_one_row() -> None:
    found = joined({"kv buffer": 3.0, "x buffer": 1.0, "kv buffer, lent part": 4.0})
    assert found == {"x buffer": 1.0, "kv buffer and kv buffer, lent part": 7.0}


@pytest.mark.parametrize("missing", [("clk_i",), ("read_i", "write_i")])
def test_a_waveform_without_signals_is_refused(missing: tuple[str, ...]) -> None:
    text = WAVE
    for name in missing:
        text = text.replace(name, "other")
    with pytest.raises(UserError, match="no clock or no RAM"):
        count_enables(iter(lines(text)))


def test_instances_are_those_of_the_memories_and_of_the_rtl() -> None:
    inside = {name for name, make in MEMORIES.items() if make(DEMO.hardware).style in ("block", "ultra")}
    assert set(INSTANCES) == inside
    text = "\n".join(path.read_text() for path in sources())
    for parts in INSTANCES.values():
        assert all(f" {part.removeprefix('.')} (" in text for part in parts if part), parts


def test_model_and_waveform_stand_side_by_side(tmp_path: Path) -> None:
    write_pathways(random_pathways(DEMO.model, DEMO.hardware), tmp_path)
    with pytest.raises(UserError, match="--wave"):
        compare(tmp_path)
    folder = tmp_path / "verification" / "experiments"
    folder.mkdir(parents=True)
    zero = dict.fromkeys(("cycles", "compute", "read_words", "write_words", "stall_weight", "stall_input"), 0)
    one = zero | {"stall_output": 0, "experts": 0, "loads": 0}
    count = len(random_pathways(DEMO.model, DEMO.hardware).first.program)
    (folder / "outcome.jsonl").write_text("key\n" + json.dumps({"ops": [one] * count}) + "\n")
    (folder / "dump.vcd").write_text(WAVE)
    assert len(read_counters(folder / "outcome.jsonl")) == count
    table = compare(tmp_path)
    assert table.row_count == len(INSTANCES) - 1
    assert next(iter(table.columns[2].cells)) == "3"
