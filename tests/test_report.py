# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit report` on random pathways and synthetic results: every mandatory key, missing and damaged input, the page."""

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3vit.model.config import DEMO, HARDWARE, MODELS, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.scripts.report import report
from m3vit.sim.bound import frame_bound, op_bound
from m3vit.sim.figures import by_opcode, number, share_percent, size
from m3vit.sim.pathway import Accuracy, Pathways, write_pathways
from m3vit.sim.program import Op, Opcode
from m3vit.sim.program_check import expert_bytes
from m3vit.sim.report import image_sha256
from m3vit.sim.resources import estimate
from m3vit.sim.synthesis import BLOCKS, Cells, Synthesis
from m3vit.sim.synthetic import random_moe, random_pathways

MANDATORY = {
    "verification": ("golden_vs_rtl_mismatches", "golden_vs_hls_mismatches", "elements_compared"),
    "cycles": ("source", "total", "bound_compute", "bound_memory", "ratio_to_bound", "per_op", "covers"),
    "task_switch": ("same_task_cycles", "switch_cycles"),
    "memory": ("on_chip_bytes", "weights_bytes", "dram_bytes_per_frame"),
    "flops": ("task_gmac", "all_experts_gmac", "all_tasks_gmac"),
    "energy": ("low_mj", "nominal_mj", "high_mj", "items", "scope"),
    "resources": ("dsp", "bram36", "uram", "lut", "ff", "source"),
    "accuracy": ("metric", "float", "int8"),
}
NULL_WITHOUT_RTL = (
    ("verification", "golden_vs_rtl_mismatches"),
    ("verification", "elements_compared"),
    ("cycles", "total"),
    ("cycles", "ratio_to_bound"),
    ("task_switch", "switch_cycles"),
    ("memory", "rtl_dram_bytes"),
    ("cycles", "latency_ms"),
    ("accuracy", "int8"),
)
ACCURACY = Accuracy("mIoU (%)", True, 40.0, 39.0, 10.0, 128)


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(DEMO.model, DEMO.hardware)


@pytest.fixture
def folder(pathways: Pathways, tmp_path: Path) -> Path:
    write_pathways(pathways, tmp_path / "p")
    return tmp_path / "p"


IDLE = 7
"""Cycles of a frame that belong to no operation."""


def counted(index: int, op: Op, image: int, rng: np.random.Generator) -> dict[str, Any]:
    """Counters of an operation that takes 1,000 cycles more than its bound."""
    queues = rng.multinomial(op.rows * op.top_k, [0.5, 0.3, 0.2] + [0.0] * (op.experts - 3)) if op.top_k else []
    used = {str(expert): int(tokens) for expert, tokens in enumerate(queues) if tokens}
    least = op_bound(op, DEMO.hardware, len(used) if used else None)
    return {
        "op": index, "cycles": least.cycles + 1000 + image, "compute": least.compute, "read_words": 100,
        "write_words": 10, "stall_weight": 500, "stall_input": 300, "stall_output": 100, "experts": len(used),
        "loads": len(used), "queue_lengths": used,
    }  # fmt: skip


def frame(task: str, image: int, program: tuple[Op, ...], rng: np.random.Generator) -> dict[str, Any]:
    ops = [counted(index, op, image, rng) for index, op in enumerate(program)]
    cycles = sum(op["cycles"] for op in ops) + IDLE
    return {"task": task, "image": image, "cycles": cycles, "elements": 1000, "mismatches": 0, "ops": ops}


def make_results(pathways: Pathways, images: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    frames = [
        frame(task, image, pathway.program, rng) for task, pathway in pathways.tasks.items() for image in range(images)
    ]
    moe = moe_ops(pathways)[0]
    events = [
        {"kind": "input", "op": 0, "expert": None, "start": 0, "end": 10},
        {"kind": "load", "op": moe, "expert": 0, "start": 0, "end": 100},
        {"kind": "compute", "op": moe, "expert": None, "start": 50, "end": 150},
        {"kind": "norm", "op": 1, "expert": None, "start": 20, "end": 40},
        {"kind": "output", "op": len(pathways.first.program) - 1, "expert": None, "start": 150, "end": 160},
    ]
    timeline = {"task": pathways.first.task, "image": 0, "events": events}
    return {
        "version": 2, "workload": pathways.first.workload, "image_sha256": image_sha256(pathways),
        "hardware": pathways.first.config.hardware.model_dump(mode="json"), "mode": 0, "simulator": "Verilator 5.048",
        "images": images, "elements_compared": 1000 * len(frames), "golden_vs_rtl_mismatches": 0,
        "golden_vs_hls_mismatches": None, "frames": frames,
        "task_switch": {"same_task_cycles": [100, 102], "switch_cycles": [105, 105]}, "timeline": timeline,
        "wall_seconds": 1.5, "simulated_cycles": 12345,
    }  # fmt: skip


def moe_ops(pathways: Pathways) -> list[int]:
    return [index for index, op in enumerate(pathways.first.program) if op.opcode is Opcode.MOE]


def verify(folder: Path, results: dict[str, Any]) -> None:
    (folder / "verification").mkdir(exist_ok=True)
    (folder / "verification" / "results.json").write_text(json.dumps(results))


def run(folder: Path) -> dict[str, Any]:
    report(folder)
    tree: dict[str, Any] = json.loads((folder / "report" / "report.json").read_text())
    return tree


def page(folder: Path) -> str:
    return (folder / "report" / "report.html").read_text()


@pytest.mark.parametrize("verified", [False, True])
def test_every_mandatory_key_is_there(folder: Path, pathways: Pathways, verified: bool) -> None:
    if verified:
        verify(folder, make_results(pathways))
    tree = run(folder)
    assert list(tree["tasks"]) == list(pathways.tasks)
    for part in (tree, *tree["tasks"].values()):
        assert {"workload", "task", *MANDATORY} <= part.keys()
        for group, keys in MANDATORY.items():
            assert set(keys) <= part[group].keys(), group
    first = next(iter(tree["tasks"].values()))
    assert {key: tree[key] for key in first} == first


def test_unmeasured_figures_are_null_and_the_command_is_named(folder: Path) -> None:
    tree = run(folder)
    for group, key in NULL_WITHOUT_RTL:
        assert tree[group][key] is None, (group, key)
    assert tree["cycles"]["source"] == "model"
    assert tree["cycles"]["bound_compute"] > 0
    assert all(row["cycles"] is None and row["source"] is None for row in tree["cycles"]["per_op"])
    assert f"m3vit verify {folder}" in page(folder)


def test_measured_cycles_against_their_bound(folder: Path, pathways: Pathways) -> None:
    results = make_results(pathways)
    verify(folder, results)
    tree = run(folder)
    program, moe = pathways.first.program, moe_ops(pathways)
    runs = [f for f in results["frames"] if f["task"] == pathways.first.task]
    cycles = tree["cycles"]
    assert cycles["source"] == "rtl"
    assert cycles["total"] == pytest.approx(sum(f["cycles"] for f in runs) / 2)
    least = frame_bound(program, DEMO.hardware, dict.fromkeys(moe, 3.0))
    assert (cycles["bound_compute"], cycles["bound_memory"]) == (least.compute, least.memory)
    assert cycles["ratio_to_bound"] == pytest.approx(cycles["total"] / least.cycles)
    assert cycles["latency_ms"] == pytest.approx(cycles["total"] / 300e3)
    assert len(cycles["per_op"]) == len(program)
    assert sum(row["cycles"] for row in cycles["per_op"]) == pytest.approx(cycles["total"] - IDLE)
    row = cycles["per_op"][moe[0]]
    assert (row["cycles_max"] - row["cycles_min"], row["runs"], row["read_bytes"]) == (1, 2, 6400)
    assert sum(row["expert_tokens"]) == program[moe[0]].rows * program[moe[0]].top_k
    assert row["expert_tokens"][3:] == [0] * 5
    assert [cycles["per_op"][index]["layer"] for index in moe] == [1, 3]
    assert cycles["per_op"][0]["layer"] is None
    assert tree["memory"]["rtl_dram_bytes"] == len(program) * (64 + 110 * 64)
    assert tree["memory"]["dram_bytes_per_frame"] == tree["memory"]["rtl_dram_bytes"]


def test_verification_is_per_task_and_in_total(folder: Path, pathways: Pathways) -> None:
    results = make_results(pathways)
    second = list(pathways.tasks)[1]
    wrong = next(f for f in results["frames"] if f["task"] == second)
    wrong["mismatches"], results["golden_vs_rtl_mismatches"] = 7, 7
    verify(folder, results)
    tree = run(folder)
    assert tree["verification"]["golden_vs_rtl_mismatches"] == 0
    assert tree["tasks"][second]["verification"]["golden_vs_rtl_mismatches"] == 7
    assert tree["verified"]["golden_vs_rtl_mismatches"] == 7
    assert tree["verification"]["elements_compared"] == 2000
    assert "RTL and golden model differ in 7 elements" in page(folder)


def test_only_the_tasks_that_ran_have_cycles(folder: Path, pathways: Pathways) -> None:
    results = make_results(pathways)
    results["frames"] = [f for f in results["frames"] if f["task"] == pathways.first.task]
    verify(folder, results)
    tree = run(folder)
    last = tree["tasks"][list(pathways.tasks)[-1]]
    assert tree["cycles"]["total"] is not None
    assert last["cycles"]["total"] is None
    assert last["verification"]["elements_compared"] is None


def test_task_switch_is_the_mean_with_its_samples(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways))
    switch = run(folder)["task_switch"]
    assert (switch["same_task_cycles"], switch["switch_cycles"]) == (101, 105)
    assert switch["same_task_samples"] == [100, 102]


def test_results_of_another_image_are_left_out(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways) | {"image_sha256": "0" * 64})
    tree = run(folder)
    assert tree["verification_state"]["state"] == "stale"
    assert tree["cycles"]["total"] is None
    assert "belongs to another memory image" in page(folder)


def first_moe(results: dict[str, Any]) -> dict[str, Any]:
    op: dict[str, Any] = next(op for op in results["frames"][0]["ops"] if op["queue_lengths"])
    return op


def spoil_queue(results: dict[str, Any]) -> None:
    first_moe(results)["queue_lengths"]["0"] += 1


def spoil_experts(results: dict[str, Any]) -> None:
    first_moe(results)["experts"] += 1


def spoil_order(results: dict[str, Any]) -> None:
    results["frames"][0]["ops"].reverse()


def spoil_length(results: dict[str, Any]) -> None:
    results["frames"][0]["ops"].pop()


def spoil_share(results: dict[str, Any]) -> None:
    results["frames"][0]["ops"][0]["cycles"] += IDLE + 1


def spoil_queue_of_a_norm(results: dict[str, Any]) -> None:
    results["frames"][0]["ops"][1] |= {"queue_lengths": {"0": 1}, "experts": 1}


def spoil_task(results: dict[str, Any]) -> None:
    results["frames"][0]["task"] = "juggling"


def spoil_total(results: dict[str, Any]) -> None:
    results["elements_compared"] = 1


def spoil_version(results: dict[str, Any]) -> None:
    results["version"] = 1


def spoil_cycles(results: dict[str, Any]) -> None:
    results["frames"][0]["cycles"] = -5


def spoil_key(results: dict[str, Any]) -> None:
    del results["frames"][0]["ops"][0]["stall_input"]


def spoil_expert_index(results: dict[str, Any]) -> None:
    lengths = first_moe(results)["queue_lengths"]
    lengths["99"] = lengths.pop("0")


def spoil_lanes(results: dict[str, Any]) -> None:
    results["hardware"]["lanes"] = 16


def spoil_groups(results: dict[str, Any]) -> None:
    results["hardware"]["groups"] = 4


SPOILS = (
    spoil_queue, spoil_experts, spoil_order, spoil_length, spoil_share, spoil_queue_of_a_norm, spoil_task, spoil_total,
    spoil_version, spoil_cycles, spoil_key, spoil_expert_index, spoil_lanes, spoil_groups,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS)
def test_tampered_results_are_refused(folder: Path, pathways: Pathways, spoil: Any) -> None:
    results = copy.deepcopy(make_results(pathways))
    spoil(results)
    verify(folder, results)
    with pytest.raises(UserError):
        report(folder)
    assert not (folder / "report").exists()


def test_truncated_results_are_refused(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways))
    path = folder / "verification" / "results.json"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="m3vit verify"):
        report(folder)


def test_missing_pathway_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="m3vit export"):
        report(tmp_path / "none")


def test_out_chooses_the_folder(folder: Path, tmp_path: Path) -> None:
    report(folder, out=tmp_path / "elsewhere")
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["report.html", "report.json"]


class Page(HTMLParser):
    """Collects what a browser would fetch, and whether tags nest."""

    VOID = frozenset({"meta", "input", "br", "line", "rect", "i"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.fetched += [tag] if tag in ("script", "link", "iframe", "object", "img") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("verified", [False, True])
def test_page_is_self_contained_and_shows_every_task(folder: Path, pathways: Pathways, verified: bool) -> None:
    if verified:
        verify(folder, make_results(pathways))
    tree = run(folder)
    html = page(folder)
    parsed = Page()
    parsed.feed(html)
    assert parsed.fetched == []
    assert parsed.open == []
    assert not re.search(r"url\(|@import|https?://", html)
    for number_, task in enumerate(pathways.tasks, 1):
        assert f'<label for="tab{number_}">{task}</label>' in html
        assert f'id="panel{number_}"' in html
    assert f"{tree['memory']['image_bytes'] / 1024:.0f} KiB" in html
    assert ("<svg" in html) is verified
    assert "None" not in " ".join(parsed.text)
    kinds = re.findall(r'class="tag (\w+)"', html)
    assert set(kinds) == {"measured", "counted", "modelled", "assumed", "published"}
    assert (kinds.count("measured") == 1) is not verified, "one in the legend"


def test_page_escapes_what_comes_from_files(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways) | {"simulator": "<script>alert(1)</script>"})
    run(folder)
    assert "<script" not in page(folder)


def test_energy_of_a_frame_that_ran_comes_from_counters(folder: Path, pathways: Pathways) -> None:
    program = pathways.first.program
    modelled = run(folder)["energy"]
    assert "modelled" in modelled["scope"]
    verify(folder, make_results(pathways))
    tree = run(folder)
    assert f"all {len(program)} operations" in tree["energy"]["scope"]
    assert "counted in RTL" in tree["energy"]["scope"]
    items = {item["name"]: item for item in tree["energy"]["items"]}
    assert items["ddr"]["count"] == len(program) * (64 + 110 * 64)  # the operation itself, 100 words in, 10 out
    assert items["ps"]["count"] == pytest.approx(tree["cycles"]["total"] / 300e6)
    assert items["mac"]["count"] == tree["cycles"]["macs"]


def test_accuracy_comes_from_the_export(pathways: Pathways, tmp_path: Path) -> None:
    scored = Pathways({task: replace(pathway, accuracy=ACCURACY) for task, pathway in pathways.tasks.items()})
    write_pathways(scored, tmp_path / "p")
    tree = run(tmp_path / "p")
    assert tree["accuracy"]["float"] == 40.0
    assert tree["accuracy"]["int8"] == 39.0
    assert tree["accuracy"]["loss_percent"] == pytest.approx(2.5)
    assert "2.5" in page(tmp_path / "p")


def wide(experts: int) -> ModelConfig:
    return MODELS["m3vit_demo_patch8"].model_copy(update={"experts": experts, "tasks": ("depth",)})


def test_memory_on_chip_does_not_grow_with_experts(tmp_path: Path) -> None:
    trees = []
    for experts in (8, 64):
        write_pathways(random_moe(wide(experts), HARDWARE["demo"]), tmp_path / str(experts))
        trees.append(run(tmp_path / str(experts)))
    few, many = trees
    assert [row["opcode"] for row in few["cycles"]["per_op"]] == ["LOAD", "LAYER_NORM", "MOE", "STORE"]
    assert few["memory"]["on_chip_bytes"] == many["memory"]["on_chip_bytes"] > 0
    each = expert_bytes(64, 128, HARDWARE["demo"])
    assert few["memory"]["baselines"]["all_experts_on_chip_bytes"] == 8 * each
    assert many["memory"]["baselines"]["all_experts_on_chip_bytes"] == 64 * each


def test_numbers_in_words() -> None:
    assert [number(v) for v in (None, 0, 7, 1234.6, 1.5, 0.01234, 999.5)] == [
        "–", "0", "7", "1,235", "1.50", "0.0123", "1,000",
    ]  # fmt: skip
    assert [size(v) for v in (None, 100, 2048, 5 << 20)] == ["–", "100 B", "2 KiB", "5 MiB"]


def test_operations_of_a_kind_are_added_up() -> None:
    row = {"cycles": 10, "compute": 5, "stall_weight": 2, "stall_input": 1, "stall_output": 0, "bound_compute": 4}
    rows = [{"opcode": kind, "bound_memory": 3, **row} for kind in ("MLP", "MOE", "MLP")]
    assert [(kind["opcode"], kind["count"], kind["cycles"], kind["bound"]) for kind in by_opcode(rows)] == [
        ("MLP", 2, 20, 8), ("MOE", 1, 10, 4),
    ]  # fmt: skip
    rows[0]["cycles"] = None
    assert [kind["cycles"] for kind in by_opcode(rows)] == [None, 10]
    assert share_percent(rows, "stall_weight", 60) == pytest.approx(10)
    assert share_percent(rows, "stall_weight", None) is None


def test_resources_are_counted_beside_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Synthesis({name: Cells(dsp=2, bram36=1.5, uram=1, lut=10, ff=20) for name in BLOCKS}, "yosys, a tool")
    monkeypatch.setattr("m3vit.sim.report.count", lambda _: counted)
    tree = run(folder)
    resources, hardware = tree["resources"], HardwareConfig(**tree["hardware"])
    assert tree["kinds"]["resources"] == "counted"
    assert (resources["dsp"], resources["bram36"], resources["lut"]) == tuple(len(BLOCKS) * n for n in (2, 1.5, 10))
    assert resources["blocks"][0] == {"name": "MAC array", "dsp": 2, "bram36": 1.5, "uram": 1, "lut": 10, "ff": 20}
    assert resources["modelled"]["dsp"] == estimate(hardware).dsp != resources["dsp"]
    assert resources["excess"] == []
    assert "Source: yosys, a tool." in page(folder)
    assert "counted by Yosys" in page(folder)


def test_without_fresh_counts_the_report_says_how_to_make_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3vit.sim.report.count", lambda _: None)
    tree = run(folder)
    resources = tree["resources"]
    assert tree["kinds"]["resources"] == "modelled"
    assert (resources["lut"], resources["ff"], resources["blocks"]) == (None, None, None)
    assert resources["dsp"] == resources["modelled"]["dsp"]
    assert "has not counted this RTL" in resources["source"]
    assert "make synthesis" in resources["source"]
    assert "has not counted this RTL" in page(folder)
