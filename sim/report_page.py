# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Renders the report as one self-contained HTML page: no script, no network, no external font or picture."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from m3vit.sim import figures

PAGE = "report.html.j2"


def _source(name: str) -> str:
    return resources.files("m3vit.scripts").joinpath("templates", name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Jinja2 with autoescape; unknown names are errors, so a renamed key cannot vanish from the page."""
    made = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"num": figures.number, "size": figures.size}
    made.globals |= {
        "cycle_stack": figures.cycle_stack,
        "cycle_legend": figures.CYCLE_LEGEND,
        "energy_stack": figures.energy_stack,
        "stack": figures.stack,
        "heat": figures.heat,
        "columns": figures.columns,
        "timeline_svg": figures.timeline_svg,
        "by_opcode": figures.by_opcode,
        "share_percent": figures.share_percent,
        "energy_css": figures.ENERGY_CSS,
    }
    return made


def render(report: dict[str, Any]) -> str:
    """The page of a report made by `m3vit.sim.report.build_report`."""
    return environment().get_template(PAGE).render(report=report)
