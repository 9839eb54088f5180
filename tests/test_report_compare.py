# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""`m3vit report --compare A B`: ratios, what each figure is, sentences, broken input, the page."""

import copy
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import check_page
from reports import make_results, run, verify

from m3vit.model.config import DEMO, Config
from m3vit.model.errors import UserError
from m3vit.scripts.cli import run_verb
from m3vit.scripts.report import report
from m3vit.sim.comparison import GROUPS, Side, compare, figure, ratio, task_pairs
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.report_schema import ReportFigures, check_report, read_report
from m3vit.sim.synthetic import random_pathways

Change = Callable[[dict[str, Any]], None]
OTHER = Config(
    model=DEMO.model.model_copy(update={"name": "other", "tasks": ("depth", "edges"), "layers": 2}),
    hardware=DEMO.hardware,
)


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(DEMO.model, DEMO.hardware)


@pytest.fixture(scope="module")
def folders(pathways: Pathways, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A verified pathway folder, and another one that only has its report."""
    made = tmp_path_factory.mktemp("compare")
    write_pathways(pathways, made / "a")
    verify(made / "a", make_results(pathways))
    write_pathways(random_pathways(OTHER.model, OTHER.hardware), made / "p")
    report(made / "p", out=made / "b")
    return made / "a", made / "b"


@pytest.fixture(scope="module")
def tree(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    report(folders[0], out=(out := tmp_path_factory.mktemp("tree")))
    made: dict[str, Any] = json.loads((out / "report.json").read_text())
    return made


def side(tree: dict[str, Any]) -> Side:
    return Side("somewhere", check_report(tree, "report.json"))


def figures(compared: dict[str, Any], pair: int = 0) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for rows in compared["pairs"][pair]["groups"].values() for row in rows}


def changed(tree: dict[str, Any], change: Change) -> dict[str, Any]:
    made = copy.deepcopy(tree)
    change(made)
    return made


def test_ratios_are_b_over_a() -> None:
    assert [ratio(*pair) for pair in ((2, 3), (4.0, 1), (0, 1), (None, 1), (1, None), ("x", 1), (1, "x"))] == [
        1.5, 0.25, None, None, None, None, None,
    ]  # fmt: skip


def test_every_figure_of_both_stands_beside_its_ratio(tree: dict[str, Any]) -> None:
    def halve(made: dict[str, Any]) -> None:
        for task in made["tasks"].values():
            task["cycles"]["total"] /= 2
            task["memory"]["on_chip_bytes"] *= 3
            task["energy"]["nominal_mj"] *= 1.25
            task["cycles"]["latency_ms"] = None

    compared = compare(side(tree), side(changed(tree, halve)))
    rows, task = figures(compared), tree["tasks"]["segmentation"]
    assert (rows["cycles.total"]["a"], rows["cycles.total"]["ratio"]) == (task["cycles"]["total"], 0.5)
    assert rows["cycles.total"]["b"] == task["cycles"]["total"] / 2
    assert rows["memory.on_chip_bytes"]["ratio"] == pytest.approx(3)
    assert rows["energy.nominal_mj"]["ratio"] == pytest.approx(1.25)
    assert (rows["cycles.latency_ms"]["b"], rows["cycles.latency_ms"]["ratio"]) == (None, None)
    assert rows["cycles.latency_ms"]["kind_b"] is None
    assert rows["flops.task_gmac"]["ratio"] == 1
    assert [pair["a"] for pair in compared["pairs"]] == list(tree["tasks"])
    assert compared["same_workload"]
    assert compared["same_hardware"]


def test_every_key_that_is_compared_is_in_the_report(tree: dict[str, Any]) -> None:
    task = tree["tasks"]["segmentation"]
    parsed = check_report(tree, "report.json").tasks["segmentation"]
    for row in (row for rows in GROUPS.values() for row in rows):
        group, key = row.key.split(".")
        assert row.value(parsed) == task[group].get(key), row.key
        assert row.kind in task["kinds"] or row.kind in ("modelled", "assumed"), row.key


def test_kinds_of_both_sides_are_kept_apart(
    folders: tuple[Path, Path], pathways: Pathways, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pathways(pathways, tmp_path / "modelled")
    modelled = run(tmp_path / "modelled")
    report(folders[0], out=tmp_path / "measured")
    compared = compare(Side("a", read_report(tmp_path / "measured" / "report.json")), side(modelled))
    rows = figures(compared)
    for key in ("cycles.total", "cycles.ratio_to_bound", "memory.dram_bytes_per_frame"):
        assert (rows[key]["kind_a"], rows[key]["kind_b"]) == ("measured", "modelled"), key
    assert rows["cycles.bound"]["kind_a"] == rows["cycles.bound"]["kind_b"] == "modelled"
    sources = {name: {row[name]["source"] for row in compared["pairs"][0]["classes"]} for name in ("a", "b")}
    assert sources == {"a": {"rtl"}, "b": {"model"}}
    assert any(note.startswith("Cycles of A are measured, those of B modelled (") for note in compared["notes"])
    assert "A and B are the same memory image." in compared["notes"]


def test_better_is_that_of_the_metric(tree: dict[str, Any]) -> None:
    def score(made: dict[str, Any]) -> None:
        for task, (metric, higher) in zip(made["tasks"].values(), (("mIoU", True), ("RMSE", False)), strict=False):
            task["accuracy"] |= {"metric": metric, "higher_is_better": higher, "float": 40.0, "int8": 39.0}

    scored = changed(tree, score)
    compared = compare(side(scored), side(scored))
    assert [figures(compared, pair)["accuracy.int8"]["better"] for pair in (0, 1, 2)] == ["higher", "lower", None]
    tasks = check_report(scored, "").tasks
    row = next(row for row in GROUPS["Accuracy"] if row.key == "accuracy.int8")
    assert figure(row, tasks["segmentation"], tasks["depth"])["better"] is None, "unlike metrics"


def test_classes_of_operations_add_up_to_all_cycles(tree: dict[str, Any]) -> None:
    (pair, *_) = compare(side(tree), side(tree))["pairs"]
    rows = tree["tasks"]["segmentation"]["cycles"]["per_op"]
    assert sum(row["a"]["cycles"] for row in pair["classes"]) == pytest.approx(sum(row["cycles"] for row in rows))
    assert {row["ratio"] for row in pair["classes"]} == {1.0}
    assert [row["opcode"] for row in pair["classes"]] == list(dict.fromkeys(row["opcode"] for row in rows))


def test_common_tasks_are_compared_in_the_order_of_a() -> None:
    assert task_pairs(("depth", "edges", "normals"), ("normals", "depth")) == [("depth",) * 2, ("normals",) * 2]
    assert task_pairs(("depth", "edges"), ("normals",)) == [("depth", "normals")]


def test_different_workloads_are_compared_and_said_to_be_different(folders: tuple[Path, Path], tmp_path: Path) -> None:
    report(compare=folders, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.json"]
    compared = json.loads((tmp_path / "compare.json").read_text())
    notes = " ".join(compared["notes"])
    assert "different workloads, m3vit_demo_patch8 and other" in notes
    assert "Only A has segmentation, normals, saliency." in notes
    assert [pair["a"] for pair in compared["pairs"]] == ["depth", "edges"]
    assert (compared["same_workload"], compared["same_hardware"]) == (False, True)
    words = check_page((tmp_path / "compare.html").read_text()).words()
    assert all(note in words for note in compared["notes"])
    assert "better" not in words
    assert "worse" not in words


def test_the_page_shows_both_and_says_which_is_better(tree: dict[str, Any], tmp_path: Path) -> None:
    def slower(made: dict[str, Any]) -> None:
        made["hardware"]["clock_mhz"] = 150.0
        for task in made["tasks"].values():
            task["cycles"]["latency_ms"] *= 2

    for name, made in (("a", tree), ("b", changed(tree, slower))):
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    report(compare=(tmp_path / "a.json", tmp_path / "b.json"), out=tmp_path)
    html = (tmp_path / "compare.html").read_text()
    words = check_page(html).words()
    assert "clock, MHz (assumed) 300 150 0.500" in words
    assert re.search(r"ms at the clock [\d.]+ assumed [\d.]+ assumed 2 worse", words)
    assert html.count('class="roof"') == 2 * len(tree["tasks"])
    assert not json.loads((tmp_path / "compare.json").read_text())["same_hardware"]


def test_tasks_without_a_common_name_are_compared_all_the_same(tree: dict[str, Any]) -> None:
    def keep(name: str) -> Change:
        def change(made: dict[str, Any]) -> None:
            made["tasks"] = {name: made["tasks"][name]}

        return change

    compared = compare(side(changed(tree, keep("depth"))), side(changed(tree, keep("edges"))))
    assert [(pair["a"], pair["b"]) for pair in compared["pairs"]] == [("depth", "edges")]
    assert "No task is in both; depth of A is compared with edges of B." in compared["notes"]


def drop_tasks(made: dict[str, Any]) -> None:
    del made["tasks"]


def no_tasks(made: dict[str, Any]) -> None:
    made["tasks"] = {}


def not_a_number(made: dict[str, Any]) -> None:
    made["tasks"]["depth"]["energy"]["low_mj"] = float("nan")


def words_for_cycles(made: dict[str, Any]) -> None:
    made["tasks"]["depth"]["cycles"]["total"] = "many"


def unknown_operation(made: dict[str, Any]) -> None:
    made["tasks"]["depth"]["cycles"]["per_op"][0]["opcode"] = "JUGGLE"


def unknown_point(made: dict[str, Any]) -> None:
    made["tasks"]["depth"]["roofline"]["points"][0]["name"] = "JUGGLE"


def point_at_zero(made: dict[str, Any]) -> None:
    made["tasks"]["depth"]["roofline"]["points"][0]["intensity"] = 0


def old_version(made: dict[str, Any]) -> None:
    made["version"] = 2


def bad_hardware(made: dict[str, Any]) -> None:
    made["hardware"]["lanes"] = -1


@pytest.mark.parametrize(
    "spoil",
    [
        drop_tasks, no_tasks, not_a_number, words_for_cycles, unknown_operation, unknown_point, point_at_zero,
        old_version, bad_hardware,
    ],
)  # fmt: skip
def test_damaged_reports_are_refused(
    tree: dict[str, Any], tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(changed(tree, spoil)))
    with pytest.raises(UserError, match="run `m3vit report` again"):
        report(compare=(path, path), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"version": 3}', "null", "\x00"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UserError, match="run `m3vit report` again"):
        read_report(path)


def test_a_folder_that_holds_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a pathway folder nor a report"):
        report(compare=(tmp_path, tmp_path), out=tmp_path / "out")


@pytest.mark.parametrize("both", [False, True])
def test_one_pathway_or_two_to_compare(tmp_path: Path, both: bool) -> None:
    with pytest.raises(UserError, match="either one PATHWAY or --compare A B"):
        report(tmp_path if both else None, compare=(tmp_path, tmp_path) if both else None)


def test_the_command_line_takes_two_arguments(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exit_code(*arguments: str) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        with pytest.raises(SystemExit) as info:
            run_verb(report)
        return info.value.code

    assert exit_code("--compare", *map(str, folders), "--out", str(tmp_path)) == 0
    assert "B / A" in capsys.readouterr().out
    assert (tmp_path / "compare.html").exists()
    assert exit_code("--compare", str(tmp_path / "none"), str(folders[1])) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_report_that_was_read_equals_the_one_that_was_built(tree: dict[str, Any]) -> None:
    assert check_report(json.loads(json.dumps(tree)), "") == ReportFigures.model_validate(tree)
