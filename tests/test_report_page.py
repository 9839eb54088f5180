# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The page of `m3vit report`: valid, self-contained, legible in both themes and on paper, honest labels."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import check_page, contrast, over, rgb, theme
from reports import make_results, page, run, verify

from m3vit.model.config import DEMO
from m3vit.sim.figures import number
from m3vit.sim.figures.heat import DEEPEST, PALEST
from m3vit.sim.pathway import Accuracy, Pathways, write_pathways
from m3vit.sim.report_page import render
from m3vit.sim.synthetic import random_pathways

CSS = (Path(__file__).parent.parent / "scripts" / "templates" / "report.css").read_text()
ACCURACY = Accuracy("mIoU (%)", True, 40.0, 39.0, 10.0, 128)
MEASURED = re.compile(r"\d (?:cycles )?measured|(?<!not )measured \d|(?:cycles|class|frame), measured")
"""A figure that is called measured."""


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(DEMO.model, DEMO.hardware)


@pytest.fixture
def folder(pathways: Pathways, tmp_path: Path) -> Path:
    write_pathways(pathways, tmp_path / "p")
    return tmp_path / "p"


@pytest.mark.parametrize("verified", [False, True])
def test_page_is_self_contained_and_shows_every_task(folder: Path, pathways: Pathways, verified: bool) -> None:
    if verified:
        verify(folder, make_results(pathways))
    tree = run(folder)
    html = page(folder)
    check_page(html)
    for place, task in enumerate(pathways.tasks, 1):
        assert f'<label for="tab{place}">{task}</label>' in html
        assert f'id="panel{place}"' in html
    assert f"{tree['memory']['image_bytes'] / 1024:.0f} KiB" in html
    assert ("Time line of one frame" in html) is verified
    kinds = re.findall(r'class="tag (\w+)"', html)
    assert set(kinds) == {"measured", "counted", "modelled", "assumed", "published"}
    assert (kinds.count("measured") == 1) is not verified, "one in the legend"


def test_modelled_cycles_are_never_called_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder)
    html = page(folder)
    words = check_page(html).words()
    assert re.findall(r'class="tag (\w+)"', html).count("measured") == 1, "one in the legend"
    assert not MEASURED.search(words)
    assert "cycles modelled" in words
    assert "cycles, modelled" in words
    assert "its cycles are those of the cycle model" in words
    assert "the routing that the cycle model was given" in words
    assert '<circle class="model"' in html
    assert '<circle class="rtl"' not in html


def test_measured_cycles_stand_beside_the_models(
    folder: Path, pathways: Pathways, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_results(pathways)
    results["frames"] = [f for f in results["frames"] if f["task"] == pathways.first.task]
    verify(folder, results)
    tree = run(folder)
    html = page(folder)
    words = check_page(html).words()
    assert MEASURED.search(words)
    model = tree["cycles"]["model"]
    off = f"{model['deviation_percent']:+.2f} % off the measured frame."
    assert f"The cycle model says {number(model['total'])} cycles, {off}" in words
    glance = html[html.index("All tasks at a glance") : html.index("Task by task")]
    assert glance.count('class="tag measured"') == 4, "verification, cycles, ratio of the task that ran; its switch"
    assert "frame, cycle model</text>" in html


def test_accuracy_of_the_export_is_on_the_page(pathways: Pathways, tmp_path: Path) -> None:
    scored = Pathways({task: replace(pathway, accuracy=ACCURACY) for task, pathway in pathways.tasks.items()})
    write_pathways(scored, tmp_path / "p")
    run(tmp_path / "p")
    assert "INT8 is 2.50 % worse than float" in check_page(page(tmp_path / "p")).words()


def test_page_escapes_what_comes_from_files(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways) | {"simulator": "<script>alert(1)</script>"})
    run(folder)
    check_page(page(folder))


def test_memory_maps_name_readers_and_buffers(folder: Path, pathways: Pathways) -> None:
    tree = run(folder)
    words = check_page(page(folder)).words()
    assert f"all {len(pathways.tasks)} tasks 27 " in words, "norms, tables, weights of four layers, start, last norm"
    for task in pathways.tasks:
        assert f"{task} alone 4 " in words
    for buffer in tree["memory_map"]["on_chip"]:
        assert buffer["name"] in words


def with_energy(tree: dict[str, Any], **parts: Any) -> dict[str, Any]:
    tasks = {name: task | {"energy": task["energy"] | parts} for name, task in tree["tasks"].items()}
    return tree | {"energy": tree["energy"] | parts, "tasks": tasks}


def test_sensitivity_and_flat_power_show_if_they_are_there(folder: Path) -> None:
    tree = run(folder)
    without = check_page(render(with_energy(tree, sensitivity=[], flat_10w_mj=None))).words()
    for task in (tree, *tree["tasks"].values()):
        task["energy"] = {key: task["energy"][key] for key in task["energy"].keys() - {"sensitivity", "flat_10w_mj"}}
    assert check_page(render(tree)).words() == without, "keys that are missing are as good as empty ones"
    rows = [{"name": "ddr", "title": "DRAM access", "low_mj": 1.25, "high_mj": 7.5}]
    words = check_page(render(with_energy(tree, sensitivity=rows, flat_10w_mj=12.5))).words()
    for sentence in ("DRAM access 1.25 to 7.50 mJ", "a flat 10 W times the latency", "12.5 mJ", "mJ at 10 W"):
        assert (sentence in words, sentence in without) == (sentence in words, False) == (True, False), sentence


def test_a_pathway_without_macs_or_cycles_has_a_roof_all_the_same(folder: Path) -> None:
    tree = run(folder)
    for task in (tree, *tree["tasks"].values()):
        task["roofline"] = task["roofline"] | {"points": []}
    assert "There are no cycles to draw below it" in check_page(render(tree)).words()


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(name: str) -> None:
    colours = theme(CSS, name)
    assert len(colours) == 29
    for ink in ("ink", "soft", "accent", "measured", "assumed"):
        for ground in ("page", "surface"):
            assert contrast(rgb(colours[ink]), rgb(colours[ground])) >= 4.5, (ink, ground)
    assert contrast(rgb(colours["surface"]), rgb(colours["accent"])) >= 4.5, "the chosen tab"
    assert contrast(rgb(colours["soft"]), rgb(colours["track"])) >= 4.5, "experts without tokens"
    assert contrast(rgb(colours["ink"]), rgb(colours["warn"])) >= 4.5
    for box, ink in (("blue", "onblue"), ("orange", "onbox"), ("green", "onbox"), ("grey", "onbox")):
        for ground in (box, f"{box}-odd"):
            assert contrast(rgb(colours[ink]), rgb(colours[ground])) >= 4.5, (ink, ground)
    for step in range(11):
        shade = over(rgb(colours["heat"]), PALEST + (DEEPEST - PALEST) * step / 10, rgb(colours["surface"]))
        assert contrast(rgb(colours["heat-ink"]), shade) >= 4.5, step


def test_every_class_of_the_figures_has_a_colour(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways))
    run(folder)
    used = {name for names in re.findall(r'class="([^"]+)"', page(folder)) for name in names.split()}
    assert {"c-blue", "c-orange", "t-load", "rtl", "roof"} <= used
    unstyled = {name for name in used if not re.search(rf"\.{name}\b", CSS)}
    assert unstyled == {"odd0"}, "the plain one of two shades"


def test_paper_shows_all_tasks_and_what_is_folded() -> None:
    printed = CSS[CSS.index("@media print") :]
    assert re.search(r"\.panel \{ display: block !important; \}", printed)
    assert re.search(r"details\.more \+ \.more-body \{ display: block !important; \}", printed)
    assert re.search(r"\.scroll \{ overflow: visible; \}", printed)
    assert "print-color-adjust: exact" in printed
    assert "@media screen and (prefers-color-scheme: dark)" in CSS
    assert "(prefers-color-scheme: dark)" not in CSS.replace("screen and (prefers-color-scheme: dark)", "")


def test_what_is_folded_lies_behind_its_line_not_in_it(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways))
    run(folder)
    html = page(folder)
    folds = re.findall(r"<details class=\"more\"><summary>[^<]+</summary></details>\n<div class=\"more-body\">", html)
    assert len(folds) == html.count("<details") >= 2 * len(pathways.tasks) + 2


def test_wide_figures_scroll_inside_the_page(folder: Path, pathways: Pathways) -> None:
    verify(folder, make_results(pathways))
    run(folder)
    html = page(folder)
    for wide in re.finditer(r"<table>|<svg viewBox=\"0 0 (?:960|760)", html):
        before = html[: wide.start()]
        opened = before.rindex('<div class="scroll')
        assert "</div>" not in before[opened:], before[-200:]


def test_router_health_is_shown_with_its_warnings(pathways: Pathways, tmp_path: Path) -> None:
    even, starved = [1 / 8] * 8, [1 / 7] * 7 + [0.0]
    scores = replace(ACCURACY, load={"1": even, "3": starved})
    scored = {task: replace(pathway, accuracy=scores) for task, pathway in pathways.tasks.items()}
    write_pathways(Pathways(scored), tmp_path / "p")
    health = run(tmp_path / "p")["routers"]
    assert health["layers"]["3"]["starved"] == [7]
    assert health["layers"]["1"]["entropy"] == pytest.approx(dict.fromkeys(pathways.tasks, 1.0))
    words = check_page(page(tmp_path / "p")).words()
    assert health["warnings"][0] in words
    assert "Router health" in words


def test_router_health_is_left_out_where_it_was_not_measured(folder: Path) -> None:
    assert run(folder)["routers"] is None
    assert "Router health" not in check_page(page(folder)).words()
