# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Cycles that the RTL counted in earlier runs of `m3vit bench` and `m3vit ablation`, if they are there."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, PositiveFloat, ValidationError

from m3vit.model.config import one_sentence
from m3vit.model.errors import UserError, read_file
from m3vit.sim.regmap import OWN_SCHEDULE, Mode
from m3vit.sim.reproduction.settings import TASK, Setting
from m3vit.sim.results import RESULTS, read_results

ABLATION = Path("ablation") / "ablation.json"


class Step(BaseModel):
    """What is read of a row of ablation.json."""

    mode: int
    cycles: PositiveFloat


class AblationFile(BaseModel):
    """What is read of ablation.json."""

    workload: str
    weights: str
    steps: list[Step]


def frame_cycles(runs: Path, setting: Setting) -> float | None:
    """Mean cycles of a frame in the accelerator's own schedule; None if it was not run on this design.

    Raises:
        UserError: the results are damaged.
    """
    results = read_results(runs / setting.name / "pathway" / RESULTS)
    if results is None or results.mode != OWN_SCHEDULE or results.workload != setting.model.name:
        return None
    if results.hardware != setting.hardware:
        return None
    frames = results.of_task(TASK)
    return fmean(frame.cycles for frame in frames) if frames else None


def schedule_cycles(runs: Path, setting: Setting) -> Mapping[Mode, float]:
    """Cycles of a frame in each schedule that `m3vit ablation` ran; empty if it did not run.

    Raises:
        UserError: ablation.json is damaged or of another workload.
    """
    path = runs / setting.name / ABLATION
    if not path.exists():
        return {}
    try:
        tree = AblationFile.model_validate_json(read_file(path))
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({one_sentence(error)}); run `m3vit ablation` again") from error
    if tree.workload != setting.name:
        raise UserError(f"{path} is of workload '{tree.workload}', not of '{setting.name}'; run `m3vit ablation` again")
    return {Mode(step.mode): step.cycles for step in tree.steps}
