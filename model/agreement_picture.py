# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The picture of an agreement: noise along the layers, and changed decisions of the routers."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from m3vit.model.agreement import TaskAgreement
from m3vit.model.config import TaskName

SIZE = (10.0, 4.2)
"""Inches."""


def draw_agreement(results: Mapping[TaskName, TaskAgreement], title: str, stem: Path) -> None:
    """Write STEM.png and STEM.svg: SQNR of every stage on the left, changed sets of experts on the right.

    Args:
        results: by task.
        title: of the picture.
        stem: path without suffix; its folder exists.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    figure.suptitle(title)
    _draw_sqnr(left, results)
    _draw_flips(right, results)
    figure.savefig(stem.with_suffix(".png"), dpi=120)
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})


def _draw_sqnr(axes: Axes, results: Mapping[TaskName, TaskAgreement]) -> None:
    for task, result in results.items():
        points = [(str(stage), power.sqnr_db) for stage, power in result.powers.items() if isfinite(power.sqnr_db)]
        axes.plot([name for name, _ in points], [ratio for _, ratio in points], marker="o", markersize=3, label=task)
    axes.set_ylabel("SQNR of the features [dB]")
    axes.tick_params(axis="x", rotation=90)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_flips(axes: Axes, results: Mapping[TaskName, TaskAgreement]) -> None:
    for index, result in enumerate(results.values()):
        layers = [str(layer) for layer in result.flips]
        for kind, style in (("free", "-"), ("forced", ":")):
            shares = [100 * getattr(flips, kind) / flips.tokens for flips in result.flips.values()]
            axes.plot(layers, shares, style, color=f"C{index}", marker="o", markersize=3)
    axes.set_xlabel("block")
    axes.set_ylabel("tokens with another set of experts [%]\n(line: free running, dots: float input)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
