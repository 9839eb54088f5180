# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Coverage: a small module that is really compiled and only partly exercised, merging, and damaged counts."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3vit.model.errors import UserError
from m3vit.scripts.cli import build_app
from m3vit.sim import coverage
from m3vit.sim.simulator import COVERAGE_VARIABLE, Bench, fingerprint, run

QUEUE = """module tb_queue (
    input  logic       clk_i,
    input  logic       rst_ni,
    input  logic       push_i,
    input  logic       pop_i,
    input  logic [3:0] data_i,
    output logic [3:0] data_o,
    output logic       error_o
);
  logic [3:0] held_q;
  logic full_q;
  assign data_o = held_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      full_q  <= 1'b0;
      error_o <= 1'b0;
    end else if (push_i && full_q && !pop_i) begin
      error_o <= 1'b1;
    end else if (push_i) begin
      held_q <= data_i;
      full_q <= 1'b1;
    end else if (pop_i) begin
      full_q <= 1'b0;
    end
  end
endmodule
"""
OVERFLOW = QUEUE.splitlines().index("      error_o <= 1'b1;") + 1
POP = QUEUE.splitlines().index("    end else if (pop_i) begin") + 1
PUSH = QUEUE.splitlines().index("      held_q <= data_i;") + 1
BENCH = """import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


async def step(dut, push, pop, data):
    dut.push_i.value, dut.pop_i.value, dut.data_i.value = push, pop, data
    await ClockCycles(dut.clk_i, 1)


@cocotb.test()
async def fill_and_empty(dut):
    Clock(dut.clk_i, 10, "ns").start()
    dut.rst_ni.value = 0
    await step(dut, 0, 0, 0)
    dut.rst_ni.value = 1
    for data in (3, 0, 3, 0):
        await step(dut, 1, 0, data)
        await step(dut, 0, 1, data)


@cocotb.test()
async def overflow(dut):
    Clock(dut.clk_i, 10, "ns").start()
    dut.rst_ni.value = 0
    await step(dut, 0, 0, 0)
    dut.rst_ni.value = 1
    for _ in range(3):
        await step(dut, 1, 0, 5)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts of two runs of the queue: `half` never overflows it, `other` does nothing else."""
    folder = tmp_path_factory.mktemp("coverage")
    (folder / "tb_queue.sv").write_text(QUEUE)
    (folder / "bench_queue.py").write_text(BENCH)
    bench = Bench(toplevel="tb_queue", files=(folder / "tb_queue.sv",), coverage=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(COVERAGE_VARIABLE, raising=False)
        patch.setenv("M3VIT_CACHE", str(folder / "cache"))
        patch.syspath_prepend(str(folder))
        for name, case in (("half", "fill_and_empty"), ("other", "overflow")):
            run(bench, "bench_queue", work=folder / name, testcase=case)
    return folder


def queue(folder: Path, *runs: str) -> coverage.Module:
    counts = [folder / name / "coverage.dat" for name in runs]
    (module,) = coverage.measure(counts, [folder / "tb_queue.sv"])
    return module


def test_a_branch_that_is_not_exercised_is_reported(folder: Path) -> None:
    module = queue(folder, "half")
    assert module.never_lines == [OVERFLOW]
    assert module.never_branches == [(OVERFLOW - 1, "elsif"), (POP, "else")]
    assert module.lines[PUSH] == 4
    assert module.shares()["lines"].percent < 100
    # Bits 2 and 3 of the data stay low in both directions.
    assert {name: module.still[name] for name in ("data_i", "held_q", "data_o")} == dict.fromkeys(
        ("data_i", "held_q", "data_o"), 4
    )
    assert module.still["error_o"] == 2
    lines = coverage.annotate(module)
    assert [line["number"] for line in lines if line["count"] == 0] == [OVERFLOW]
    assert lines[OVERFLOW - 2]["missing"] == ["elsif"]


def test_runs_add_up(folder: Path) -> None:
    half, other = queue(folder, "half"), queue(folder, "other")
    both = queue(folder, "half", "other")
    assert other.never_lines
    assert OVERFLOW not in other.never_lines
    assert both.never_lines == []
    assert both.lines[PUSH] == half.lines[PUSH] + other.lines[PUSH]
    assert both.shares()["toggles"].hit >= half.shares()["toggles"].hit
    assert both.shares()["toggles"].total == half.shares()["toggles"].total


def test_coverage_has_a_model_of_its_own(folder: Path) -> None:
    bench = Bench(toplevel="tb_queue", files=(folder / "tb_queue.sv",))
    assert fingerprint(bench) != fingerprint(Bench(toplevel="tb_queue", files=bench.files, coverage=True))


def test_verb_writes_json_and_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "sources", lambda: [folder / "package.sv", folder / "tb_queue.sv"])
    counts = tmp_path / "counts"
    counts.mkdir()
    (counts / "one.dat").write_bytes((folder / "half" / "coverage.dat").read_bytes())
    result = CliRunner().invoke(build_app("coverage"), ["coverage", str(counts), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"tb_queue: lines {OVERFLOW} never hit" in result.output
    tree = json.loads((tmp_path / "out" / "coverage.json").read_text())
    module = tree["modules"]["tb_queue"]
    assert module["never_hit_lines"] == [OVERFLOW]
    assert module["lines"]["hit"] == module["lines"]["total"] - 1
    assert tree["total"]["lines"] == module["lines"]
    page = (tmp_path / "out" / "coverage.html").read_text()
    assert page.count('class="never"') == 1
    assert "http" not in page


def damaged(good: str) -> dict[str, str]:
    lines = good.splitlines(keepends=True)
    return {
        "empty": "",
        "another format": "SF:file\nDA:1,1\n",
        "cut in a line": good[: len(lines[0]) + len(lines[1]) // 2],
        "no count": lines[0] + lines[1].rsplit(" ", 1)[0] + "\n",
        "negative count": lines[0] + lines[1].rsplit(" ", 1)[0] + " -1\n",
        "no file": lines[0] + lines[1].replace("\x01f\x02", "\x01g\x02", 1),
        "odd line number": lines[0] + lines[1].replace("\x01l\x02", "\x01l\x02x", 1),
        "odd kind": lines[0] + lines[1].replace("\x01t\x02", "\x01t\x02x", 1),
        "bytes": good.replace("\x01", "\xff"),
    }


@pytest.mark.parametrize("damage", list(damaged("a\nb 1\n")))
def test_damaged_counts_are_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "counts.dat"
    path.write_text(damaged((folder / "half" / "coverage.dat").read_text())[damage], encoding="latin-1")
    with pytest.raises(UserError, match="run 'make coverage' again"):
        coverage.measure([path], [folder / "tb_queue.sv"])


def test_no_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no coverage counts"):
        coverage.report(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="cannot read"):
        coverage.measure([tmp_path / "missing.dat"], [])
