# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `gain`: does M3ViT beat single-task and dense multi-task ViTs of equal FLOPs? It trains them all."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from m3vit.model.config import Config, TaskName
from m3vit.model.datasets import find_info
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.gain import (
    SINGLE,
    VARIANTS,
    Run,
    Variant,
    delta_m,
    gains,
    mean_and_spread,
    plan,
    read_values,
    train_run,
)
from m3vit.model.recipe import load_recipe
from m3vit.model.tasks import tasks_of
from m3vit.scripts.cli import run_verb
from m3vit.scripts.train import choose_device
from m3vit.sim.flops import GIGA, program_macs
from m3vit.sim.network import plan_programs

RESULTS, PICTURE = "gain.json", "gain.png"


def gain(
    config: Annotated[Path | None, typer.Option(help="TOML file or name of a recipe; without it the demo.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for all trainings and the result.")] = Path("runs/gain"),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads, all cores by default.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Train only this variant; may be repeated. The others must be finished.")
    ] = None,
) -> None:
    """Train single-task, dense multi-task and M3ViT variants of equal FLOPs with the same recipe and compare them.

    Finished trainings are kept and interrupted ones continue, so the command can be stopped and given again, and the
    variants can be trained by several processes. Writes gain.json and gain.png.
    """
    base = load_recipe(config)
    if threads is not None:
        torch.set_num_threads(threads)
    runs = plan(base, VARIANTS, seeds)
    gmac = {variant.name: task_gmac(base, variant) for variant in VARIANTS}
    chosen = [run for run in runs if run.variant in choose_variants(variant)]
    for number, run in enumerate(chosen, 1):
        typer.echo(f"[{number}/{len(chosen)}] {run.folder(out)}")
        train_run(run, base, out, choose_device(device))
    results = summarise(base, runs, gmac, out)
    write_atomically(out / RESULTS, json.dumps(results, indent=2).encode())
    write_atomically(out / PICTURE, draw(results))
    print_results(results)
    typer.echo(f"wrote {out / RESULTS} and {out / PICTURE}")


def choose_variants(names: list[str] | None) -> list[Variant]:
    """The named variants, all without names.

    Raises:
        UserError: a name is unknown.
    """
    known = {variant.name: variant for variant in VARIANTS}
    for name in names or ():
        if name not in known:
            raise UserError(f"variant '{name}' is unknown; choose one of {', '.join(known)}")
    return [known[name] for name in names] if names else list(VARIANTS)


def summarise(base: Config, runs: Sequence[Run], gmac: dict[str, float], out: Path) -> dict[str, Any]:
    """Everything that table, picture and documents show."""
    known = tasks_of(find_info(base))
    tasks = {task: known[task] for task in base.model.tasks}
    values = read_values(runs, out)
    relative = gains(values, tasks)
    return {
        "model": base.model.name,
        "recipe": {"train": base.train.model_dump(mode="json"), "scenes": base.scenes.model_dump(mode="json")},
        "tasks": {task: facts.metric for task, facts in tasks.items()},
        "variants": {
            variant.name: {
                "title": variant.title,
                "gmac_per_task": gmac[variant.name],
                "values": values[variant.name],
                "gains": relative[variant.name],
                "dm": {seed: delta_m(of_tasks) for seed, of_tasks in relative[variant.name].items()},
            }
            for variant in VARIANTS
        },
    }


def task_gmac(base: Config, variant: Variant) -> float:
    """10^9 multiply-accumulates of one task's program of a variant (the mean over tasks, whose heads differ)."""
    config = Run(variant, 0, base.model.tasks).config(base)
    programs = plan_programs(config.model, config.hardware)
    return sum(program_macs(program) for program in programs.values()) / len(programs) / GIGA


def print_results(results: dict[str, Any]) -> None:
    """Print the metrics, mean and standard deviation over seeds, and dm."""
    tasks: dict[TaskName, str] = results["tasks"]
    seeds = len(results["variants"][SINGLE]["dm"])
    table = Table(title=f"{results['model']}, {results['recipe']['train']['steps']} updates, {seeds} seeds")
    for column in ("variant", "GMAC", *(f"{task}, {metric}" for task, metric in tasks.items()), "dm %"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for facts in results["variants"].values():
        cells = [spread([seed[task] for seed in facts["values"].values()]) for task in tasks]
        table.add_row(facts["title"], f"{facts['gmac_per_task']:.4f}", *cells, spread(list(facts["dm"].values())))
    Console().print(table)


def spread(numbers: Sequence[float]) -> str:
    """Mean and standard deviation in words."""
    mean, deviation = mean_and_spread(numbers)
    return f"{mean:.2f} ± {deviation:.2f}"


def draw(results: dict[str, Any]) -> bytes:
    """dm of every variant, and the gain of each task: bars are means, dots are seeds. PNG."""
    tasks = ["dm", *results["tasks"]]
    figure = Figure(figsize=(2.0 * len(tasks), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, task in zip(figure.subplots(1, len(tasks), sharey=True), tasks, strict=True):
        for place, facts in enumerate(results["variants"].values()):
            dots = list(facts["dm"].values()) if task == "dm" else [seed[task] for seed in facts["gains"].values()]
            axes.bar(place, mean_and_spread(dots)[0], color=f"C{place}", alpha=0.55, label=facts["title"])
            axes.plot([place] * len(dots), dots, "o", color=f"C{place}", markersize=3)
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.set_title(task, fontsize=9)
        axes.set_xticks([])
        axes.grid(axis="y", linewidth=0.3)
    figure.axes[0].set_ylabel("gain over single-task models, %", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


if __name__ == "__main__":
    run_verb(gain)
