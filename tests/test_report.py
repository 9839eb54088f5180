# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit report` on random pathways and synthetic results: every mandatory key, missing and damaged input."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reports import IDLE, make_results, moe_ops, page, run, verify

from m3vit.model.config import DEMO, HARDWARE, MODELS, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.scripts.report import report
from m3vit.sim.bound import frame_bound
from m3vit.sim.memory_map import image_parts, kind_of
from m3vit.sim.pathway import Accuracy, Pathways, write_pathways
from m3vit.sim.program_check import expert_bytes
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
    ("task_switch", "switch_cycles"),
    ("memory", "rtl_dram_bytes"),
    ("accuracy", "int8"),
)
"""Whether or not a cycle model stands in for the cycles."""
ACCURACY = Accuracy("mIoU (%)", True, 40.0, 39.0, 10.0, 128)


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(DEMO.model, DEMO.hardware)


@pytest.fixture
def folder(pathways: Pathways, tmp_path: Path) -> Path:
    write_pathways(pathways, tmp_path / "p")
    return tmp_path / "p"


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
    assert "measured" not in {kind for task in tree["tasks"].values() for kind in task["kinds"].values()}
    assert all(row["source"] != "rtl" for row in tree["cycles"]["per_op"])
    assert f"m3vit verify {folder}" in page(folder)


@pytest.mark.parametrize("verified", [False, True])
def test_kinds_follow_the_source_of_the_cycles(
    folder: Path, pathways: Pathways, verified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verified:
        results = make_results(pathways)
        results["frames"] = [f for f in results["frames"] if f["task"] == pathways.first.task]
        verify(folder, results)
    tree = run(folder)
    for index, task in enumerate(tree["tasks"].values()):
        ran = verified and index == 0
        expected = "measured" if ran else "modelled"
        groups = ("cycles.total", "cycles.per_op", "cycles.ratio_to_bound")
        assert {task["kinds"][group] for group in groups} == {expected}
        assert (task["kinds"]["verification"], task["kinds"]["memory.rtl_dram_bytes"]) == (
            ("measured", "measured") if ran else (None, None)
        )
        assert {point["source"] for point in task["roofline"]["points"][1:] if "model" not in point["name"]} == {
            "rtl" if ran else "model"
        }
        words = sum(row["read_bytes"] + row["write_bytes"] for row in task["cycles"]["per_op"])
        moved = len(pathways.first.program) * (64 + 110 * 64) if ran else 64 * len(task["cycles"]["per_op"]) + words
        assert task["memory"]["rtl_dram_bytes"] == (moved if ran else None)
        assert task["memory"]["model_dram_bytes"] == (None if ran else moved)
        assert task["memory"]["dram_bytes_per_frame"] == moved


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
    assert tree["cycles"]["source"] == "rtl"
    assert last["cycles"]["source"] == "model"
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
    assert tree["cycles"]["source"] == "model"
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


def test_energy_of_a_frame_that_ran_comes_from_counters(folder: Path, pathways: Pathways) -> None:
    program = pathways.first.program
    assert "by the cycle model" in run(folder)["energy"]["scope"]
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
    assert resources["blocks"] is None
    assert all(resources[name] == value > 0 for name, value in resources["modelled"].items())
    assert set(resources["modelled"]) == {"dsp", "bram36", "uram", "lut", "ff"}
    assert "has not counted this RTL" in resources["source"]
    assert "make synthesis" in resources["source"]
    assert "has not counted this RTL" in page(folder)


def test_the_memory_map_covers_the_image_and_names_its_readers(folder: Path, pathways: Pathways) -> None:
    image = run(folder)["memory_map"]["image"]
    first = pathways.first
    assert image["bytes"] == first.image.size
    assert image["padding_bytes"] == first.image.size - sum(block.size for block in first.blocks.values())
    assert [part["name"] for part in image["parts"]] == sorted(first.blocks, key=lambda name: first.blocks[name].offset)
    readers = {part["name"]: part["tasks"] for part in image["parts"]}
    everyone = list(pathways.tasks)
    assert readers["blocks.1.experts"] == readers["position"] == readers["blocks.0.mlp"] == everyone
    for task in everyone:
        assert readers[f"blocks.3.router.{task}"] == readers[f"head.{task}"] == readers[f"program.{task}"] == [task]
    shared, *own = image["owners"]
    assert shared["tasks"] == everyone
    assert [row["tasks"] for row in own] == [[task] for task in everyone]
    assert own[0]["bytes"] == sum(
        first.blocks[name].size for name in (
            f"blocks.1.router.{everyone[0]}", f"blocks.3.router.{everyone[0]}", f"head.{everyone[0]}",
            f"program.{everyone[0]}",
        )
    )  # fmt: skip
    kinds = {row["kind"]: row for row in image["kinds"]}
    assert kinds["experts"]["bytes"] == first.blocks["blocks.1.experts"].size + first.blocks["blocks.3.experts"].size
    assert kinds["experts"]["share_percent"] == pytest.approx(100 * kinds["experts"]["bytes"] / image["bytes"])
    assert "other" not in kinds


def test_every_block_of_the_image_is_read_by_some_task(pathways: Pathways) -> None:
    assert all(part.tasks for part in image_parts(pathways))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("blocks.11.router.depth", "routers"), ("blocks.0.norm2", "tables"), ("norm", "tables"),
        ("head.edges", "heads"),
        ("blocks.1.gelu", "tables"), ("blocks.10.proj", "proj"), ("something", "other"),
    ],
)  # fmt: skip
def test_kind_of_a_block(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_map_on_chip_adds_up_to_the_estimate(folder: Path) -> None:
    tree = run(folder)
    buffers, need = tree["memory_map"]["on_chip"], estimate(HardwareConfig(**tree["hardware"]))
    assert sum(buffer["uram"] for buffer in buffers) == need.uram > 0
    assert sum(buffer["bram36"] for buffer in buffers) == need.bram36 > 0
    assert sum(buffer["bytes"] for buffer in buffers) == pytest.approx(need.on_chip_bytes, abs=len(buffers))
