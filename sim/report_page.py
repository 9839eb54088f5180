# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Renders the report, or a comparison of two, as one HTML page without scripts or anything from elsewhere."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from m3vit.sim.figures import bars, energy, heat, memory, roofline, timeline, words
from m3vit.sim.op_classes import by_opcode, kind_of_source

PAGE, COMPARISON = "report.html.j2", "compare.html.j2"


def _source(name: str) -> str:
    return resources.files("m3vit.scripts").joinpath("templates", name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Jinja2 with autoescape; unknown names are errors, so a renamed key cannot vanish from the page."""
    made = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"num": words.number, "size": words.size, "kind": kind_of_source}
    made.globals |= {
        "bars": bars,
        "by_opcode": by_opcode,
        "energies": energy,
        "heats": heat,
        "kinds_of": kinds_of,
        "memories": memory,
        "roofs": roofline,
        "timeline_svg": timeline.timeline_svg,
    }
    return made


def kinds_of(tasks: dict[str, Any], group: str) -> list[str | None]:
    """The kinds that a group of figures has in the tasks, each once: tasks that ran in RTL stand beside others."""
    return list(dict.fromkeys(task["kinds"][group] for task in tasks.values()))


def render(report: dict[str, Any]) -> str:
    """The page of a report made by `m3vit.sim.report.build_report`."""
    return environment().get_template(PAGE).render(report=report, version=report["m3vit"], panels=list(report["tasks"]))


def render_comparison(tree: dict[str, Any]) -> str:
    """The page of a comparison made by `m3vit.sim.comparison.compare`."""
    panels = [pair["a"] if pair["a"] == pair["b"] else f"{pair['a']}, {pair['b']}" for pair in tree["pairs"]]
    return environment().get_template(COMPARISON).render(tree=tree, version=tree["m3vit"], panels=panels)
