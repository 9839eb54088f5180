# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The verb `explore`: searches for accelerator designs that fit a board, by models only."""

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from m3vit import __version__
from m3vit.model.config import BOARDS, HardwareConfig, ModelConfig, find_board, load_config
from m3vit.model.errors import UserError, write_atomically
from m3vit.scripts.cli import run_verb
from m3vit.scripts.workloads import WORKLOADS, find_workload
from m3vit.sim.designs import DESIGNS, EXPLORED, write_design
from m3vit.sim.energy import load_constants
from m3vit.sim.explore import Evaluation, Price, Problem, evaluate, quantity
from m3vit.sim.explore_page import Findings, png, render
from m3vit.sim.explore_space import Space
from m3vit.sim.explore_study import Search, open_study
from m3vit.sim.network import plan_programs
from m3vit.sim.performance import random_routing
from m3vit.sim.performance.trace import read_routing

DEFAULT = "tiny"
SHOWN = 12
"""Most designs of the front in the printed table."""
WIDTH = 150


@dataclass(frozen=True)
class Target:
    """What to find designs for.

    Attributes:
        name: in the names of designs.
        model: the network.
        reference: the design that a person made, on the board.
    """

    name: str
    model: ModelConfig
    reference: HardwareConfig

    @property
    def space(self) -> Space:
        """Designs with the reference's clock and memory."""
        return Space(self.model, self.reference.board, self.reference.clock_mhz, self.reference.memory)

    def problem(self, trace: Path | None, seed: int, skew: float) -> Problem:
        """A frame of the first task, routed as in a trace, or at random.

        Raises:
            UserError: no accelerator runs the model, or the trace is of another one.
        """
        task, *_ = self.model.tasks
        program = plan_programs(self.model, self.space.least())[task]
        routing = read_routing(trace, program, task) if trace else random_routing(program, seed, skew)
        return Problem(self.model.model_copy(update={"tasks": (task,)}), routing, load_constants())


def explore(
    workload: Annotated[str | None, typer.Option(help=f"One of {', '.join(WORKLOADS)}; {DEFAULT} by default.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML config in place of a workload.")] = None,
    board: Annotated[str | None, typer.Option(help=f"One of {', '.join(BOARDS)}; the config's by default.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study in all, earlier runs included.")] = 2000,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    price: Annotated[Price, typer.Option(help="What to trade cycles for.")] = Price.area,
    storage: Annotated[str | None, typer.Option(help="Database URL or journal:FILE; OUT/study.db by default.")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study in the storage.")] = None,
    routing: Annotated[Path | None, typer.Option(help="Trace that `m3vit verify` wrote; random by default.")] = None,
    routing_seed: Annotated[int, typer.Option(min=0, help="Of a random routing.")] = 0,
    skew: Annotated[float, typer.Option(min=0, help="How uneven a random routing is, in nats.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the search; another one on each machine.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/explore/WORKLOAD by default.")] = None,
) -> None:
    """Search for designs that fit a board and need few cycles and little area or energy, by models only.

    The same command goes on with a study that was stopped, and machines that share a storage share the study. Writes
    OUT/designs/NAME.toml for every design on the Pareto front: `m3vit verify PATHWAY --design NAME` and
    `m3vit project PATHWAY --design NAME` take it. The design made by hand is shown beside them; it is no part of the
    search.
    """
    target = find_target(workload, config, board)
    folder = out or EXPLORED / target.name
    problem = target.problem(routing, routing_seed, skew)
    source = f"trace {routing}" if routing else f"random, seed {routing_seed}, skew {skew:g}"
    about = {"routing": source, "routing_sha256": digest(problem)} | describe(target, price)
    url = storage or default_storage(folder)
    opened = open_study(url, study or f"{target.name}-{target.reference.board.name}-{price}".lower(), about)
    search = Search(opened, target.space, problem, target.name, price, seed)
    seconds = run(search, trials, jobs)
    found = Findings(
        title=f"{target.model.name} on {target.reference.board.name}, task {target.model.tasks[0]}",
        routing=source,
        price=price,
        evaluations=list(search.evaluations().values()),
        reference=evaluate_reference(target, problem),
        trials=search.done,
    )
    write(found, folder, target, about | {"storage": url, "study": opened.study_name, "seconds": seconds})
    print_front(found)
    typer.echo(f"wrote {folder}: pareto.html, pareto.png, explore.json, {len(found.front)} files in {DESIGNS}/")


def find_target(workload: str | None, config: Path | None, board: str | None) -> Target:
    """The model and the design made by hand.

    Raises:
        UserError: the workload or the board is unknown, the config is wrong, or both are given.
    """
    if workload and config:
        raise UserError("--workload and --config exclude each other; give one of them")
    if config:
        chosen = load_config(config)
        target = Target(chosen.model.name, chosen.model, chosen.hardware)
    else:
        known = find_workload(workload or DEFAULT)
        target = Target(workload or DEFAULT, known.config.model, known.hardware)
    if board is None:
        return target
    return replace(target, reference=target.reference.model_copy(update={"board": find_board(board)}))


def describe(target: Target, price: Price) -> dict[str, Any]:
    """What the trials of a study depend on."""
    return {
        "model": target.model.name,
        "board": target.reference.board.name,
        "price": price.value,
        "clock_mhz": target.reference.clock_mhz,
        "memory": target.reference.memory.model_dump(mode="json"),
        "sizes": target.model.model_dump(mode="json"),
        "resources": target.reference.board.model_dump(mode="json"),
        "version": __version__,
    }


def digest(problem: Problem) -> str:
    """Hash of the experts that the tokens choose."""
    chosen = problem.routing.chosen
    return hashlib.sha256(b"".join(chosen[index].tobytes() for index in sorted(chosen))).hexdigest()[:16]


def default_storage(folder: Path) -> str:
    """A database in the folder.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another --out") from error
    return f"sqlite:///{folder / 'study.db'}"


def run(search: Search, trials: int, jobs: int) -> float:
    """Search with a progress bar; returns the seconds it took."""
    start = time.monotonic()
    with tqdm(total=trials, initial=min(search.done, trials), desc="designs", unit="trial") as bar:
        for done in search.run(trials, jobs):
            bar.update(done - bar.n)
    return time.monotonic() - start


def evaluate_reference(target: Target, problem: Problem) -> Evaluation | None:
    """The design made by hand; None if it cannot run the model."""
    try:
        return evaluate(problem, target.reference)
    except UserError:
        return None


def write(found: Findings, folder: Path, target: Target, about: dict[str, Any]) -> None:
    """Write page, picture, JSON, and a file for each design of the front, in the place of those of an earlier run."""
    for old in (folder / DESIGNS).glob(f"{target.name}-*.toml"):
        old.unlink()
    for best in found.front:
        notes = notes_of(best, found)
        write_design(folder / DESIGNS / f"{best.hardware.name}.toml", best.hardware, target.model, notes)
    tree = {
        "kind": "modelled",
        "about": about,
        "trials": found.trials,
        "designs": len(found.evaluations),
        "fitting": len(found.fitting),
        "reference": found.reference.tree() if found.reference else None,
        "front": [best.tree() | {"area": best.area} for best in found.front],
    }
    write_atomically(folder / "explore.json", (json.dumps(tree, indent=1) + "\n").encode())
    write_atomically(folder / "pareto.html", render(found).encode())
    write_atomically(folder / "pareto.png", png(found))


def notes_of(best: Evaluation, found: Findings) -> list[str]:
    """Comment of a design's file."""
    used = ", ".join(f"{quantity(value)} {name}" for name, value in best.used.items())
    return [
        f"Found by m3vit explore for {found.title}. Modelled, neither synthesised nor simulated:",
        f"{best.cycles:,} cycles per frame ({found.routing} routing), {best.energy_mj:.2f} mJ, {used}.",
    ]


COLUMNS = ("design", "MAC/cycle", "cycles", "of hand", "ms", "mJ", "area")
"""Then the resources."""


def print_front(found: Findings) -> None:
    """The design made by hand and the front; if that is long, as many as SHOWN, evenly chosen."""
    best, reference = found.front, found.reference
    if not best:
        typer.echo(
            f"none of {len(found.evaluations):,} designs fits {found.title}; try more --trials or another --board"
        )
        return
    step = max((len(best) - 1) / (SHOWN - 1), 1)
    shown = [best[round(index * step)] for index in range(min(len(best), SHOWN))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"Designs for {found.title}, all modelled")
    for column in (*COLUMNS, *best[0].used):
        table.add_column(column, justify="left" if column == "design" else "right", no_wrap=True)
    for evaluation in [*([reference] if reference else []), *shown]:
        table.add_row(*cells(evaluation, reference), end_section=evaluation is reference)
    Console(width=WIDTH).print(table)
    typer.echo(
        f"{found.trials:,} trials, {len(found.evaluations):,} distinct designs, {len(found.fitting):,} fit, "
        f"{len(best)} on the front, {len(shown)} shown"
    )


def cells(evaluation: Evaluation, reference: Evaluation | None) -> tuple[str, ...]:
    """A row of the table."""
    by_hand = evaluation is reference
    state = ("" if evaluation.fits else ", does not fit") if by_hand else ""
    return (
        evaluation.hardware.name + (f" (by hand{state})" if by_hand else ""),
        f"{evaluation.hardware.macs_per_cycle:,}",
        f"{evaluation.cycles:,}",
        f"{evaluation.cycles / reference.cycles:.1%}" if reference else "-",
        f"{evaluation.ms:.3f}",
        f"{evaluation.energy_mj:.2f}",
        f"{evaluation.area:.1%}",
        *(quantity(value) for value in evaluation.used.values()),
    )


if __name__ == "__main__":
    run_verb(explore)
