# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The papers' tables: published data, deviations with reasons, figures against arithmetic by hand, the verb."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from m3vit.model.config import HARDWARE, MODELS, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.scripts.ablation import PUBLISHED as ABLATION_FIGURES
from m3vit.scripts.ablation import STEPS as ABLATION_STEPS
from m3vit.scripts.cli import build_app
from m3vit.scripts.reproduce import KEYS, makers, update_page
from m3vit.sim.performance import Routing
from m3vit.sim.performance.trace import TRACE, TracedFrame, write_trace
from m3vit.sim.program import Opcode
from m3vit.sim.published import Ablation, load_published
from m3vit.sim.regmap import Mode
from m3vit.sim.reproduction.ablation_table import ALL, STEPS, ablation_table
from m3vit.sim.reproduction.figures import Figure, Table
from m3vit.sim.reproduction.markdown import markdown
from m3vit.sim.reproduction.measured import ABLATION, frame_cycles, schedule_cycles
from m3vit.sim.reproduction.memory_table import BASE, REORDERED, MemoryTable
from m3vit.sim.reproduction.network_tables import cases
from m3vit.sim.reproduction.scan import Way, scan, ways
from m3vit.sim.reproduction.settings import DRAWN, Routings, Schedule, nyud, pascal, tiny
from m3vit.sim.results import RESULTS, FrameResult, Results

ROOT = Path(__file__).parent.parent
PUBLISHED = load_published()
NOWHERE = Path("no runs here")
REFRESH = "run: m3vit reproduce --page docs/reproduce.md"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {key: make(NOWHERE, DRAWN) for key, make in makers().items()}


def find(table: Table, row: str, name: str, kind: str = "modelled") -> Figure:
    (figure,) = (f for f in table.figures if (f.row, f.name, f.kind) == (row, name, kind))
    return figure


def write_results(runs: Path, cycles: Sequence[int], hardware: HardwareConfig, mode: int = 0) -> None:
    """Results of `m3vit bench` on the workload small, without operations."""
    frames = [
        FrameResult(task="segmentation", image=image, cycles=count, elements=4, mismatches=0, ops=[])
        for image, count in enumerate(cycles)
    ]
    results = Results(
        version=2, workload="m3vit_small_patch16", image_sha256="", hardware=hardware, mode=mode, simulator="none",
        images=len(frames), elements_compared=4 * len(frames), golden_vs_rtl_mismatches=0,
        golden_vs_hls_mismatches=None, frames=frames, task_switch=None, timeline=None, wall_seconds=1.0,
        simulated_cycles=sum(cycles),
    )  # fmt: skip
    path = runs / "small" / "pathway" / RESULTS
    path.parent.mkdir(parents=True)
    path.write_text(results.model_dump_json())


def write_ablation(runs: Path, cycles: dict[int, int], workload: str = "tiny") -> Path:
    path = runs / "tiny" / ABLATION
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = [{"name": "", "mode": mode, "cycles": count} for mode, count in cycles.items()]
    path.write_text(json.dumps({"workload": workload, "weights": "", "steps": steps}))
    return path


def test_published_energies_are_latency_times_power() -> None:
    table = PUBLISHED.memory
    for key in ("dense", "cache", "reordered"):
        for latency in (table.row(key).pascal, table.row(key).nyud):
            assert latency.energy_ws == pytest.approx(latency.ms / 1e3 * table.power_w, abs=6e-4)
    assert PUBLISHED.pascal.row("moe").energy_ws == table.row("reordered").pascal.energy_ws
    assert PUBLISHED.nyud.row("moe").energy_ws == table.row("reordered").nyud.energy_ws


def test_published_headlines_follow_from_the_tables() -> None:
    table, head = PUBLISHED.memory, PUBLISHED.headlines
    assert table.row("cache").pascal.ms / table.row("reordered").pascal.ms == pytest.approx(head.energy_ratio, abs=5e-3)
    assert head.all_on_chip_mib / table.row("reordered").mib == pytest.approx(head.memory_ratio, abs=5e-3)
    saved = 100 * (1 - PUBLISHED.pascal.row("moe").gflops / PUBLISHED.pascal.row("cross_stitch").gflops)
    assert saved == pytest.approx(head.flops_saved_percent, abs=1.0)


def test_published_ablation_is_that_of_the_verb() -> None:
    assert {step.name: step.ms for step in PUBLISHED.ablation.steps} == ABLATION_FIGURES["ms"]
    assert [mode for _, _, mode in STEPS] == [mode for _, mode in ABLATION_STEPS]


def test_damaged_tables_are_noticed() -> None:
    tree = PUBLISHED.ablation.model_dump()
    with pytest.raises(ValidationError, match="must become faster"):
        Ablation.model_validate(tree | {"steps": tree["steps"][::-1]})
    with pytest.raises(ValidationError, match="twice"):
        Ablation.model_validate(tree | {"steps": [tree["steps"][0]] * 2})


def test_deviation_and_reason() -> None:
    figure = Figure("row", "name", "ms", 200.0, 190.0, "modelled", "because")
    assert figure.deviation_percent == pytest.approx(-5.0)
    assert figure.differs
    assert not Figure("row", "name", "ms", 100.0, 102.9, "counted").differs
    assert Figure("row", "name", "ms", None, 1.0, "counted").deviation_percent is None
    assert Table("1", "", "", (figure, figure), ()).reasons == ("because",)
    with pytest.raises(AssertionError, match="no reason"):
        Table("1", "", "", (Figure("row", "name", "ms", 1.0, 2.0, "counted"),), ())
    with pytest.raises(AssertionError, match="of which kind"):
        Table("1", "", "", (Figure("row", "name", "ms", 1.0, 1.0),), ())


@pytest.mark.parametrize("key", KEYS)
def test_every_deviation_has_its_reason(tables: dict[str, Table], key: str) -> None:
    table = tables[key]
    differing = [figure for figure in table.figures if figure.differs]
    assert differing
    assert all(len(figure.reason) > 20 and "\n" not in figure.reason for figure in differing)
    assert all(figure.tree()["reason"] == "" for figure in table.figures if not figure.differs)
    assert table.source.count("arXiv") == 1


def counted(table: Table) -> dict[str, Figure]:
    return {figure.row: figure for figure in table.figures if figure.name.startswith("GFLOPs (")}


def test_flops_are_within_the_limit_or_off_by_one_factor(tables: dict[str, Table]) -> None:
    differing = [row for row, figure in counted(tables["2"]).items() if figure.differs]
    assert differing == ["NDDR-CNN, ResNet-50"]
    factors = {row: figure.published / figure.ours for row, figure in counted(tables["1"]).items()}
    assert len(factors) == 7
    for row, factor in factors.items():
        assert factor == (pytest.approx(2.5, rel=0.011) if "ResNet" in row else pytest.approx(1, abs=0.01))


def test_the_saving_follows_from_the_counts(tables: dict[str, Table]) -> None:
    counts = {row: figure.ours for row, figure in counted(tables["1"]).items()}
    saving = find(tables["1"], "M3ViT against Cross-Stitch", "GFLOPs saved, from the rows", "counted").ours
    assert saving == pytest.approx(100 * (1 - counts["M3ViT small"] / counts["Cross-Stitch, ResNet-18"]))


def test_energy_is_flat_power_times_modelled_time(tables: dict[str, Table]) -> None:
    for key, setting in (("1", pascal()), ("2", nyud())):
        ms = setting.frame(Schedule.reordered).cycles / 300e3
        assert find(tables[key], "M3ViT small", "energy, flat 10 W").ours == pytest.approx(10 * ms / 1e3)
        itemised = find(tables[key], "M3ViT small", "energy, itemised")
        assert itemised.band is not None
        assert itemised.band[0] < itemised.ours < itemised.band[1]


def test_table_4_is_consistent(tables: dict[str, Table]) -> None:
    table = tables["4"]
    for name in ("PASCAL", "NYUD"):
        cache, own = (find(table, row, f"{name} latency").ours for row in ("MoE, expert cache", "MoE, reordered"))
        dense, chip = (
            find(table, row, f"{name} latency").ours for row in ("ViT-small, dense", "MoE, all experts on chip")
        )
        assert find(table, "reordering", f"{name} speed-up").ours == pytest.approx(cache / own)
        assert dense < own < 1.05 * dense, "four experts of a quarter of the size do the work of one MLP"
        assert chip <= own
        energy = find(table, "MoE, reordered", f"{name} energy, flat 10 W").ours
        assert energy == pytest.approx(own / 100)


def test_experts_on_chip_are_not_read() -> None:
    own, chip = (pascal().frame(schedule) for schedule in (Schedule.reordered, Schedule.on_chip))
    assert sum(op.loads for op in own.ops) == 6 * 16
    assert sum(op.loads for op in chip.ops) == 0
    saved = 64 * sum(a.read_words - b.read_words for a, b in zip(own.ops, chip.ops, strict=True))
    assert saved > 6 * 16 * 2 * 384 * 384


def test_memory_of_experts_on_chip_by_hand(tables: dict[str, Table]) -> None:
    records = 384 * 2 * 16  # at most 16 bytes of bias and factor for each output channel
    layer = 16 * 2 * 384 * 384 / 2**20
    own = find(tables["4"], "MoE, reordered", "memory").ours
    one = find(tables["4"], "MoE, one layer's experts on chip", "memory").ours - own
    every = find(tables["4"], "MoE, all experts on chip", "memory").ours - own
    assert layer < one < layer + 16 * records / 2**20
    assert every == pytest.approx(6 * one)


def test_derived_figures_of_the_paper(tables: dict[str, Table]) -> None:
    """23.1 us per visit are 12 bits per weight at 19.2 GB/s; 89 % is the encoder's share of the paper's time."""
    lost = (637.478 - 69.033) / 1e3 / (6 * 1025 * 4)
    assert lost * 19.2e9 * 8 / (2 * 384 * 384) == pytest.approx(12.04, abs=0.01)
    reasons = " ".join(tables["4"].reasons)
    assert f"{1e6 * lost:.1f} us in each visit of a token to an expert: 12.0 bits" in reasons
    encoder = 16 * 16 * 3 * 384 * 1024 + 12 * (4 * 384**2 * 1025 + 2 * 1025**2 * 384) + 12 * 8 * 384**2 * 1025
    assert 100 * encoder / (0.069033 * 300e6 * 1728) == pytest.approx(88.8, abs=0.1)
    assert "the encoder's at 89 % of one product per cycle and DSP (1,728; derived)" in reasons


def test_the_wider_design_is_said_not_to_fit(tables: dict[str, Table]) -> None:
    for key in ("2", "4"):
        (note,) = (note for note in tables[key].notes if note.startswith("small-nyud: design"))
        assert "does not fit" in note
        assert "URAM288" in note
    assert any("it fits ZCU104" in note for note in tables["1"].notes)


def test_measured_frames_are_shown_as_measured(tmp_path: Path) -> None:
    write_results(tmp_path, [10_000_000, 11_000_000], HARDWARE["zcu104"])
    assert frame_cycles(tmp_path, pascal()) == 10_500_000
    assert frame_cycles(tmp_path, nyud()) is None
    measured = find(MemoryTable(PUBLISHED, tmp_path).table(), "MoE, reordered", "PASCAL latency", "measured")
    assert measured.ours == pytest.approx(35.0)


@pytest.mark.parametrize(("hardware", "mode"), [("demo", 0), ("zcu104", 4)])
def test_frames_of_another_design_or_schedule_are_not_shown(tmp_path: Path, hardware: str, mode: int) -> None:
    write_results(tmp_path, [10_000_000], HARDWARE[hardware], mode)
    assert frame_cycles(tmp_path, pascal()) is None


def test_measured_schedules(tmp_path: Path) -> None:
    write_ablation(tmp_path, {int(ALL): 3_000_000, int(REORDERED): 600_000, 3: 500_000, 1: 450_000, 0: 300_000})
    assert schedule_cycles(tmp_path, tiny())[Mode(0)] == 300_000
    table = ablation_table(PUBLISHED, tmp_path)
    assert find(table, "base", "latency", "measured").ours == pytest.approx(10.0)
    assert find(table, "expert by expert", "speed-up", "measured").ours == pytest.approx(5.0)
    assert find(table, "softmax in one pass", "speed-up", "measured").ours == pytest.approx(1.2)
    assert find(table, "all steps", "speed-up", "measured").ours == pytest.approx(10.0)
    assert find(table, "all steps", "speed-up", "measured").published == pytest.approx(650.3 / 34.6)
    memory = MemoryTable(PUBLISHED, tmp_path).table()
    row = "reordering, m3vit_tiny_patch16, without our other steps"
    assert find(memory, row, "speed-up", "measured").ours == pytest.approx(5.0)
    assert Mode(15) == BASE


def test_traces_take_the_place_of_random_routings(tmp_path: Path) -> None:
    program = tiny().program()
    first = [np.tile([0, 1], (op.rows, 1)) if op.opcode is Opcode.MOE else None for op in program]
    same = Routing({index: chosen for index, chosen in enumerate(first) if chosen is not None})
    path = tmp_path / "tiny" / "pathway" / TRACE
    write_trace(path, tiny().model.name, [TracedFrame.of("segmentation", 0, same)])
    traced = tiny(Routings(traces=tmp_path))
    assert sum(op.loads for op in traced.frame(Schedule.cache).ops) == 6 * 2, "two experts stay in the cache"
    assert sum(op.loads for op in tiny().frame(Schedule.cache).ops) > 100
    assert str(path) in " ".join(ablation_table(PUBLISHED, NOWHERE, traced.routings).notes)
    assert nyud(Routings(traces=tmp_path)).frame(Schedule.reordered) == nyud().frame(Schedule.reordered)
    path.rename(path.parent / "x")
    write_trace(tmp_path / "small" / "pathway" / TRACE, "", [TracedFrame.of("segmentation", 0, same)])
    with pytest.raises(UserError, match="the routing is of another model"):
        pascal(Routings(traces=tmp_path)).frame(Schedule.reordered)


def test_damaged_measurements_are_refused(tmp_path: Path) -> None:
    path = write_ablation(tmp_path, {0: 1}, workload="small")
    with pytest.raises(UserError, match="of workload 'small', not of 'tiny'"):
        schedule_cycles(tmp_path, tiny())
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        schedule_cycles(tmp_path, tiny())


def test_markdown_numbers_the_reasons() -> None:
    far = Figure("a", "time", "ms", 100.0, 50.0, "modelled", "faster", (40.0, 60.0))
    near = Figure("c", "time", "ms", 100.0, 101.0, "measured", "not shown")
    text = markdown(Table("4", "Title", "Paper", (far, near), ("note",)))
    assert "| time, ms | 100 | 50 (40 to 60) | modelled | -50.0 % | 1 |" in text
    assert "| c | time, ms | 100 | 101 | measured | +1.0 % |  |" in text
    assert "1. faster" in text
    assert "not shown" not in text


def test_scan_counts_the_default_way(tables: dict[str, Table]) -> None:
    case, default = cases(PUBLISHED)["2"], Way(50, 8, "DeepLabV3", (480, 640), "one", 1)
    assert default in list(ways())
    double = Way(50, 8, "DeepLabV3", (480, 640), "one", 2)
    best, worst = scan(case, [double, default])
    assert best.way == default
    assert best.rows == ("single", "cross_stitch")
    assert best.gflops["single"] == counted(tables["2"])["STL-B, ResNet-50"].ours
    assert worst.gflops["single"] == 2 * best.gflops["single"]
    assert worst.rows == ()


def test_the_verb_prints_and_writes(tmp_path: Path) -> None:
    arguments = ["reproduce", "--table", "ablation", "--runs", str(tmp_path), "--out", str(tmp_path)]
    done = CliRunner().invoke(build_app("reproduce"), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    tree = json.loads((tmp_path / "reproduce.json").read_text())
    assert list(tree["tables"]) == ["ablation"]
    for figure in tree["tables"]["ablation"]["figures"]:
        if figure["ours"] is not None and figure["published"] is not None:
            assert figure["deviation_percent"] == pytest.approx(100 * (figure["ours"] / figure["published"] - 1))
            assert f"{figure['deviation_percent']:+.1f} %" in done.output
    assert "650.3" in (tmp_path / "reproduce.md").read_text()


def test_an_unknown_table_gives_one_sentence() -> None:
    done = CliRunner().invoke(build_app("reproduce"), ["reproduce", "--table", "3"])
    assert done.exit_code == 2
    assert done.output == "m3vit: table '3' is unknown; choose one of 1, 2, 4, ablation\n"


def test_a_page_gets_the_tables_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- tables -->\nold\n<!-- end -->\nb\n<!-- end -->\n")
    update_page(page, "new\n")
    assert page.read_text() == "a\n<!-- tables -->\nnew\n<!-- end -->\nb\n<!-- end -->\n"
    page.write_text("<!-- tables -->")
    with pytest.raises(UserError, match="has no place for tables"):
        update_page(page, "new\n")
    with pytest.raises(UserError):
        update_page(tmp_path / "missing.md", "new\n")


def test_the_document_shows_these_tables(tables: dict[str, Table]) -> None:
    """What was measured depends on the runs of whoever wrote it; everything else is reproduced."""
    document = (ROOT / "docs" / "reproduce.md").read_text()
    shown = re.sub(r"\| +\|", "||", document)
    for table in tables.values():
        for line in markdown(table).splitlines():
            if line.startswith("|") and "---" not in line:
                line = re.sub(r"\| \d* \|$", "", line)  # the number of a reason
                assert re.sub(r"\| +\|", "||", line) in shown, REFRESH
        for reason in table.reasons:
            assert reason in document, REFRESH


def test_the_workloads_are_the_papers() -> None:
    assert pascal().model.tokens == 1025
    assert nyud().model.tokens == nyud().hardware.max_tokens == 1201
    assert nyud().model.model_copy(update={"name": "", "image_hw": (512, 512)}) == MODELS[
        "m3vit_small_patch16"
    ].model_copy(update={"name": ""})
