# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Frames that ran in RTL, with all that the cycle model needs to predict them: program, hardware, schedule, routing.

A file holds one frame. It is kept as long as the case and the RTL that it was measured on are the same.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from m3vit.model.config import Frozen, HardwareConfig, one_sentence
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.performance.trace import TRACE, read_routing
from m3vit.sim.performance_cases import Case
from m3vit.sim.program import Op
from m3vit.sim.regmap import Mode
from m3vit.sim.results import FrameResult
from m3vit.sim.simulator import fingerprint, frame_bench
from m3vit.sim.verification import verify

EVENTS = "events-0.txt"


class Measured(Frozen):
    """One frame in RTL.

    Attributes:
        version: of this schema.
        key: hash of the case and of the compiled accelerator.
        name: of the case.
        hardware: accelerator and memory.
        mode: value of `Mode`.
        program: the operations.
        chosen: experts that each token chose, (rows, top_k), by the index of the MOE operation; ascending.
        frame: cycles and counters.
    """

    version: Literal[1] = 1
    key: str
    name: str
    hardware: HardwareConfig
    mode: int
    program: tuple[Op, ...]
    chosen: dict[int, list[list[int]]]
    frame: FrameResult

    @property
    def routes(self) -> dict[int, npt.NDArray[np.int64]]:
        """`chosen` as arrays (rows, top_k), as `m3vit.sim.performance.routing.Routing` takes it."""
        return {index: np.array(rows, np.int64) for index, rows in self.chosen.items()}


def read_measured(path: Path) -> Measured:
    """Read a file that `write_measured` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return Measured.model_validate_json(read_file(path))
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({one_sentence(error)}); remove it and measure again") from error


def write_measured(measured: Measured, path: Path) -> None:
    """Write one frame."""
    write_atomically(path, (measured.model_dump_json() + "\n").encode())


def measure_frame(
    name: str, key: str, pathways: Pathways, task: str, source: npt.NDArray[Any], mode: Mode, work: Path
) -> Measured:
    """Run one frame in RTL; every element must equal golden.

    Args:
        name: of the case.
        key: of the result.
        pathways: that hold the task.
        task: what runs.
        source: its input.
        mode: its schedule.
        work: folder for the pathway, logs and the event trace.

    Raises:
        UserError: a tool is missing.
        SimulationError: the simulation failed, or its routing contradicts golden's.
    """
    pathway = pathways.task(task)
    write_pathways(pathways, work / "pathway")
    results = verify(work / "pathway", pathways, [source], [pathway.task], work=work, mode=mode, switch_rounds=0)
    assert results.all_equal, f"{name}: {results.golden_vs_rtl_mismatches} elements differ from golden"
    routing = read_routing(work / TRACE.name, pathway.program)
    return Measured(
        key=key,
        name=name,
        hardware=pathway.config.hardware,
        mode=int(mode),
        program=pathway.program,
        chosen={index: chosen_NK.tolist() for index, chosen_NK in routing.chosen.items()},
        frame=results.frames[0],
    )


def case_key(case: Case) -> str:
    """Hash of a case and of the accelerator that is compiled for it."""
    text = case.model_dump_json(exclude_defaults=True) + fingerprint(frame_bench(case.hardware))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def known(path: Path, key: str) -> Measured | None:
    """What an earlier run measured of the same case on the same RTL."""
    if not path.exists():
        return None
    measured = read_measured(path)
    return measured if measured.key == key else None


def measure_case(case: Case, folder: Path, *, trace: bool = False) -> Measured:
    """Run a case, or read what an earlier run of the same case measured; NAME.json in a folder.

    Args:
        case: what to run.
        folder: of the files.
        trace: keep the event trace, too, as NAME.events.txt.
    """
    path, key = folder / f"{case.name}.json", case_key(case)
    if (measured := known(path, key)) is not None:
        return measured
    with tempfile.TemporaryDirectory() as name:
        pathways, work = case.pathways(), Path(name)
        measured = measure_frame(case.name, key, pathways, pathways.first.task, case.source(), Mode(case.mode), work)
        if trace:
            write_atomically(path.with_suffix(".events.txt"), (work / EVENTS).read_bytes())
    write_measured(measured, path)
    return measured


def measure_cases(cases: Iterable[Case], folder: Path) -> Iterator[Measured]:
    """Run cases one after another; continues an interrupted run."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        yield measure_case(case, folder)


def of_folder(folder: Path) -> Sequence[Measured]:
    """All frames in a folder, by name."""
    return [read_measured(path) for path in sorted(folder.glob("*.json"))]
