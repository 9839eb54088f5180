# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `bench`: the MoE layer at full size in RTL; cycles, bound, simulation speed and storage in one table.

Weights are random where no trained model of that size exists; tokens and routing are real: the model's own routers on
the tokens of real scenes, so queues are uneven. Cycles are measured in RTL simulation, the bound is arithmetic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.config import HARDWARE, MODELS, Config, ModelConfig, TaskName
from m3vit.model.errors import UserError
from m3vit.model.quantise import quantise
from m3vit.model.scenes import load_split
from m3vit.model.vit import M3ViT
from m3vit.scripts.cli import run_verb
from m3vit.scripts.report import report
from m3vit.scripts.verify import validation_images
from m3vit.sim.bound import activation_bytes, op_bound
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.resources import on_chip_bytes
from m3vit.sim.results import RESULTS, Results
from m3vit.sim.verification import verify, write_results

CALIBRATION_IMAGES = 4
TASKS: tuple[TaskName, ...] = ("segmentation", "depth")
"""Tasks of the full-size models; two suffice to switch between."""


@dataclass(frozen=True)
class Workload:
    """A full-size run: a model and how many scenes the RTL sees."""

    model: ModelConfig
    images: int


def many_experts(model: ModelConfig, experts: int) -> ModelConfig:
    """The same model with another number of experts."""
    return model.model_copy(update={"experts": experts, "name": f"{model.name}_{experts}_experts"})


TINY, SMALL = MODELS["m3vit_tiny_patch16"], MODELS["m3vit_small_patch16"]
WORKLOADS: dict[str, Workload] = {
    "tiny": Workload(TINY, 2),
    "tiny-256": Workload(many_experts(TINY, 256), 1),
    "small": Workload(SMALL, 1),
}


def bench(
    workload: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(WORKLOADS)}; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder; each workload writes into one of its name.")] = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Measure the MoE layers of full-size models in RTL and print the performance table."""
    rows = []
    for name in workload or WORKLOADS:
        if name not in WORKLOADS:
            raise UserError(f"workload '{name}' is unknown; choose one of {', '.join(WORKLOADS)}")
        Console().rule(f"m3vit bench {name}")
        folder = out / name
        results = measure(WORKLOADS[name], folder, seed)
        report(pathway=folder / "pathway", out=folder, energy_constants=None)
        rows.append((name, read_pathways(folder / "pathway"), results))
    print_table(rows)


def measure(workload: Workload, folder: Path, seed: int) -> Results:
    """Export a randomly initialised model on real scenes and verify its MoE layers in RTL."""
    model = workload.model.model_copy(update={"tasks": TASKS})
    config = Config(model=model, hardware=HARDWARE["zcu104"])
    torch.manual_seed(seed)
    scenes = config.scenes.model_copy(update={"train_size": CALIBRATION_IMAGES})
    calibration = load_split(scenes, model.image_hw, "train", progress=True)["image"]
    pathways = quantise(M3ViT(model).eval(), config, calibration, progress=True)
    write_pathways(pathways, folder / "pathway")
    images = validation_images(config, workload.images)
    work = (folder / "pathway" / RESULTS).parent
    results = verify(folder / "pathway", pathways, images, TASKS, work=work)
    write_results(results, folder / "pathway" / RESULTS)
    return results


def layer_ratios(pathways: Pathways, results: Results) -> list[float]:
    """RTL cycles over the bound of every MoE layer that ran."""
    hardware = pathways.first.config.hardware
    ratios = []
    for frame in results.frames:
        op = pathways.task(frame.task).program[frame.op]
        limit = op_bound(op, hardware, activation_bytes(op), frame.experts)
        ratios.append(frame.cycles / limit.cycles)
    return ratios


def print_table(rows: list[tuple[str, Pathways, Results]]) -> None:
    """One row per workload."""
    table = Table(box=box.SIMPLE_HEAD, title="MoE layers in RTL (measured), against their bound")
    columns = ("workload", "MAC/cycle", "experts", "layers run", "elements", "wrong", "cycles mean", "x bound mean")
    for column in (*columns, "max", "switch", "on chip KiB", "sim cycles/s"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for name, pathways, results in rows:
        ratios, cycles = layer_ratios(pathways, results), [frame.cycles for frame in results.frames]
        hardware, switch = pathways.first.config.hardware, results.task_switch
        extra = "-" if switch is None else sum(switch.switch_cycles) - sum(switch.same_task_cycles)
        table.add_row(
            name,
            f"{hardware.macs_per_cycle:,}",
            str(pathways.first.config.model.experts),
            str(len(cycles)),
            f"{results.elements_compared:,}",
            str(results.golden_vs_rtl_mismatches),
            f"{sum(cycles) / len(cycles):,.0f}",
            f"{sum(ratios) / len(ratios):.3f}",
            f"{max(ratios):.3f}",
            str(extra),
            f"{on_chip_bytes(hardware) / 1024:,.0f}",
            f"{results.simulated_cycles / results.simulation_seconds:,.0f}",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    run_verb(bench)
