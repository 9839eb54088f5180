# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The Pareto front of `m3vit explore` as a picture and as a page without script or network, light and dark."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from m3vit.sim.explore import PRICE_TITLE, Evaluation, Price, front, quantity

PAGE = "explore.html.j2"
LIGHT = {"text": "#1b1f24", "back": "#ffffff", "rest": "#a9b2bc", "front": "#0b6bcb", "reference": "#c2410c"}
DARK = {"text": "#e6edf3", "back": "#14181d", "rest": "#59636e", "front": "#58a6ff", "reference": "#fb923c"}
PNG_DPI = 150


@dataclass(frozen=True)
class Findings:
    """What a search found.

    Attributes:
        title: model, board and task in words.
        routing: where the routing comes from, in words.
        price: the objective beside cycles.
        evaluations: all distinct designs.
        reference: the design that a person made, if it runs the model.
        trials: finished, with repeated and impossible designs.
    """

    title: str
    routing: str
    price: Price
    evaluations: Sequence[Evaluation]
    reference: Evaluation | None
    trials: int

    @property
    def front(self) -> list[Evaluation]:
        """The best designs, fastest first."""
        return front(self.evaluations, self.price)

    @property
    def fitting(self) -> list[Evaluation]:
        """Designs that the board has enough resources for."""
        return [evaluation for evaluation in self.evaluations if evaluation.fits]

    @property
    def rows(self) -> list[Evaluation]:
        """Of the table: the reference, then the front."""
        return [*([self.reference] if self.reference else []), *self.front]

    @property
    def resources(self) -> list[str]:
        """Names of the board's resources that are modelled."""
        return [*self.rows[0].used] if self.rows else []


def draw(findings: Findings, colours: dict[str, str]) -> Figure:
    """Cycles against price: all designs that fit, the front, and the reference."""
    with rc_context({"text.color": colours["text"], "axes.labelcolor": colours["text"], "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 5), layout="constrained", facecolor=colours["back"])
        axes = figure.add_subplot(facecolor=colours["back"])
        axes.tick_params(colors=colours["text"], which="both")
        axes.spines[:].set_color(colours["text"])
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xscale="log", xlabel="cycles per frame, modelled", ylabel=f"{PRICE_TITLE[findings.price]}, modelled")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        _scatter(axes, findings, colours)
        axes.legend(facecolor=colours["back"], edgecolor=colours["rest"], labelcolor=colours["text"])
    return figure


def _scatter(axes: Axes, findings: Findings, colours: dict[str, str]) -> None:
    made = [findings.reference] if findings.reference else []
    name = "".join(f"{evaluation.hardware.name}, made by hand" for evaluation in made)
    for evaluations, style, size, colour, label in (
        (findings.fitting, ".", 5, colours["rest"], "fits the board"),
        (findings.front, "o-", 5, colours["front"], "Pareto front"),
        (made, "*", 14, colours["reference"], name),
    ):
        cycles = [evaluation.cycles for evaluation in evaluations]
        prices = [evaluation.price(findings.price) for evaluation in evaluations]
        axes.plot(cycles, prices, style, color=colour, label=label or None, markersize=size, drawstyle="steps-post")


def png(findings: Findings) -> bytes:
    """The picture, light."""
    buffer = io.BytesIO()
    draw(findings, LIGHT).savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def svg(findings: Findings, colours: dict[str, str]) -> Markup:
    """The picture as an element of a page."""
    buffer = io.StringIO()
    draw(findings, colours).savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def render(findings: Findings) -> str:
    """The page."""
    source = resources.files("m3vit.scripts").joinpath("templates", PAGE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["quantity"] = quantity
    pictures = {"light": svg(findings, LIGHT), "dark": svg(findings, DARK)}
    return environment.from_string(source).render(findings=findings, pictures=pictures, light=LIGHT, dark=DARK)
