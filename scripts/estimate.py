# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `estimate`: cycles, energy and resources of a frame by the models alone; no weights, no simulator."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from m3vit.model.config import SHARE, WORD_BYTES, HardwareConfig, ModelConfig, QuantConfig, find_board
from m3vit.model.errors import UserError, write_atomically
from m3vit.scripts.cli import run_verb
from m3vit.scripts.export import with_expert_bits
from m3vit.scripts.verify import Schedule, mode_of
from m3vit.scripts.workloads import WORKLOADS, find_workload
from m3vit.sim.bound import frame_bound
from m3vit.sim.cycles import COUNTERS, seconds
from m3vit.sim.designs import find_design
from m3vit.sim.energy import LEVELS, energy, load_constants
from m3vit.sim.energy_activity import frame_activity
from m3vit.sim.figures import number
from m3vit.sim.network import plan_programs
from m3vit.sim.pathway import read_pathways
from m3vit.sim.performance import FrameModel, model_frame, random_routing
from m3vit.sim.performance.trace import read_routing
from m3vit.sim.program import OP_BYTES, Op
from m3vit.sim.resources import check_board
from m3vit.sim.resources import estimate as estimate_resources

COLUMNS = ("operations", "cycles", "share", "multiplies", "waits: weights", "rows", "output", "DRAM KiB")


class Experts(StrEnum):
    """Where experts are when a frame begins."""

    dram = "dram"
    on_chip = "on-chip"


@dataclass(frozen=True)
class Target:
    """What is estimated.

    Attributes:
        name: of the model.
        task: whose program it is.
        program: the operations.
        hardware: the design.
    """

    name: str
    task: str
    program: tuple[Op, ...]
    hardware: HardwareConfig


def estimate(
    pathway: Annotated[Path | None, typer.Argument(help="Pathway folder; a workload by default.")] = None,
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}.")] = "tiny",
    design: Annotated[str | None, typer.Option(help="Design of `m3vit explore`, preset or TOML file.")] = None,
    board: Annotated[str | None, typer.Option(help="Board that the design must fit, in place of its own.")] = None,
    task: Annotated[str | None, typer.Option(help="The model's first task by default.")] = None,
    mode: Annotated[list[Schedule] | None, typer.Option(help="Schedule to compare with; may be repeated.")] = None,
    expert_bits: Annotated[
        int | None, typer.Option(help="Width of the experts' weights of a workload or design, 4 or 8.")
    ] = None,
    experts: Annotated[Experts, typer.Option(help="on-chip: the baseline with memory for all experts.")] = Experts.dram,
    routing: Annotated[Path | None, typer.Option(help="Trace that `m3vit verify` wrote; random by default.")] = None,
    skew: Annotated[float, typer.Option(min=0, help="How uneven a random routing is, in nats.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of a random routing.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Model a frame of a pathway or a workload: cycles by operation class, bound, energy, resources.

    Everything printed is modelled. Cycles agree with the RTL as `m3vit validate` shows.
    """
    target = find_target(pathway, workload, design, task, expert_bits)
    if board is not None:
        hardware = target.hardware.model_copy(update={"board": find_board(board)})
        target = Target(target.name, target.task, target.program, hardware)
    program = target.program
    chosen = read_routing(routing, program, target.task) if routing else random_routing(program, seed, skew)
    on_chip = experts is Experts.on_chip
    frame = model_frame(program, target.hardware, chosen, mode_of(mode or []), experts_on_chip=on_chip)
    tree = figures(target, frame)
    print_classes(tree)
    print_totals(tree)
    if out is not None:
        write_atomically(out, (json.dumps(tree, indent=1) + "\n").encode())
        typer.echo(f"wrote {out}")


def find_target(
    pathway: Path | None, workload: str, design: str | None, task: str | None, expert_bits: int | None = None
) -> Target:
    """The program to model.

    Args:
        pathway: folder; None for a workload.
        workload: name of a workload.
        design: to lay the model out for; None for the pathway's or the workload's own.
        task: None for the first.
        expert_bits: to lay the model out with; None for the pathway's own width, or 8.

    Raises:
        UserError: pathway, workload, design, task or width is unknown, or the model does not fit the design.
    """
    if pathway is None:
        chosen = find_workload(workload)
        quant = with_expert_bits(QuantConfig(), expert_bits)
        return _planned(chosen.model, find_design(design) if design else chosen.hardware, quant, task)
    pathways = read_pathways(pathway)
    config = pathways.first.config
    quant = with_expert_bits(config.quant, expert_bits)
    if design is not None or quant != config.quant:
        return _planned(config.model, find_design(design) if design else config.hardware, quant, task)
    one = pathways.task(task) if task else pathways.first
    return Target(one.workload, one.task, one.program, config.hardware)


def _planned(model: ModelConfig, hardware: HardwareConfig, quant: QuantConfig, task: str | None) -> Target:
    programs = plan_programs(model, hardware, quant)
    found = {name: program for name, program in programs.items() if task in (None, name)}
    if not found:
        raise UserError(f"model '{model.name}' has no task '{task}'; its tasks: {', '.join(programs)}")
    name, program = next(iter(found.items()))
    return Target(model.name, name, program, hardware)


def figures(target: Target, frame: FrameModel) -> dict[str, Any]:
    """All figures as a tree."""
    program, hardware = target.program, target.hardware
    used = {op.op: float(len(op.queue_lengths)) for op in frame.ops if op.queue_lengths}
    bound = frame_bound(program, hardware, used)
    activity = frame_activity(program, hardware, frame.ops, frame.cycles)
    joules = energy(activity, load_constants(), f"one frame of task '{target.task}', by the cycle model")
    words = sum(op.read_words + op.write_words for op in frame.ops)
    return {
        "kind": "modelled",
        "workload": target.name,
        "task": target.task,
        "hardware": hardware.model_dump(mode="json"),
        "cycles": frame.cycles,
        "bound": bound.cycles,
        "ratio_to_bound": frame.cycles / bound.cycles,
        "latency_ms": seconds(frame.cycles, hardware) * 1e3,
        "dram_bytes": OP_BYTES * len(program) + WORD_BYTES * words,
        "energy": joules.tree(),
        "resources": {**asdict(estimate_resources(hardware)), "misfit": misfit(hardware)},
        "classes": classes(program, frame),
        "per_op": [op.model_dump() for op in frame.ops],
    }


def misfit(hardware: HardwareConfig) -> str | None:
    """Why a design does not fit its board; None if it does."""
    try:
        check_board(hardware)
    except UserError as error:
        return str(error)
    return None


def classes(program: Sequence[Op], frame: FrameModel) -> list[dict[str, Any]]:
    """Counters of all operations of an opcode together, in the order of the program."""
    rows = []
    for opcode in dict.fromkeys(op.opcode for op in program):
        ops = [counted for op, counted in zip(program, frame.ops, strict=True) if op.opcode is opcode]
        sums = {name: sum(getattr(op, name) for op in ops) for name in ("cycles", *COUNTERS)}
        moved = WORD_BYTES * sum(op.read_words + op.write_words for op in ops)
        rows.append({"opcode": opcode.name, "count": len(ops), **sums, "dram_bytes": moved})
    return rows


def print_classes(tree: dict[str, Any]) -> None:
    """One row per operation class."""
    clock = tree["hardware"]["clock_mhz"]
    title = f"{tree['workload']}, {tree['task']}, on '{tree['hardware']['name']}' (modelled; {clock:g} MHz assumed)"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "operations" else "right", no_wrap=True)
    for row in tree["classes"]:
        share = f"{100 * row['cycles'] / tree['cycles']:.1f} %"
        counted = (f"{row[name]:,}" for name in COUNTERS)
        dram = number(row["dram_bytes"] / 1024)
        table.add_row(f"{row['count']} {row['opcode']}", f"{row['cycles']:,}", share, *counted, dram)
    Console(width=110).print(table)


def print_totals(tree: dict[str, Any]) -> None:
    """What the frame takes, and whether the design fits its board."""
    low, nominal, high = (number(tree["energy"][f"{level}_mj"]) for level in LEVELS)
    need, hardware = tree["resources"], tree["hardware"]
    typer.echo(f"cycles: {tree['cycles']:,} = {tree['ratio_to_bound']:.3f} x the bound of {tree['bound']:,}")
    typer.echo(f"time: {tree['latency_ms']:.3f} ms at {hardware['clock_mhz']:g} MHz (assumed)")
    typer.echo(f"DRAM: {tree['dram_bytes'] / 1e6:.2f} MB")
    typer.echo(f"energy: {nominal} mJ ({low} to {high}; constants assumed)")
    typer.echo("resources: " + ", ".join(f"{need[name]:g} {name}" for name in SHARE))
    board = hardware["board"]["name"]
    typer.echo(f"it fits {board}" if need["misfit"] is None else f"it does not fit {board}: {need['misfit']}")


if __name__ == "__main__":
    run_verb(estimate)
