# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The search: an Optuna study whose trials are designs, evaluated in worker processes.

NSGA-II (Deb et al., 2002) with the excess of each resource as a constraint. Half of each generation are neighbours of
the designs on the front, most of them of the fastest ones. Whole generations are asked for at once and told in order,
so that the same seed gives the same designs on any number of processes. The storage holds everything: a study that was
stopped goes on with the generation it was in, and several machines can work on one study.
"""

import json
import random
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from m3vit.model.errors import UserError
from m3vit.sim.explore import Evaluation, Price, Problem, evaluate
from m3vit.sim.explore_space import Space, name_design

GENERATION = 50
"""Designs of a generation."""
FASTEST, NEAR_FASTEST, NEAR_FRONT, CHANGES = 3, 15, 10, (1, 1, 2, 2, 3)
"""Of a generation so many trials are near one of the fastest designs, and so many near any on the front; how many
parameters change."""
ABOUT, EVALUATION = "m3vit", "evaluation"
"""Attributes of a study (what it is about) and of a trial."""
DIRECTIONS = (StudyDirection.MINIMIZE, StudyDirection.MINIMIZE)
"""Of cycles and price."""
JOURNAL = "journal:"
"""A storage that begins with this is a file of Optuna's journal, which does on network drives, too."""
Job = Evaluation | Future[Evaluation] | None
"""What is known of a design, or who finds out; None if the design is impossible."""


@dataclass(frozen=True)
class Search:
    """A search and its study.

    Attributes:
        study: of Optuna.
        space: what it chooses from.
        problem: what designs are compared on.
        workload: first part of the designs' names.
        price: the objective beside cycles.
        seed: of the choices.
    """

    study: optuna.Study
    space: Space
    problem: Problem
    workload: str
    price: Price
    seed: int

    def evaluations(self) -> dict[str, Evaluation]:
        """Distinct designs that were evaluated, by name, in the order of their trials."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        found = (Evaluation.load(trial.user_attrs[EVALUATION]) for trial in trials)
        return {evaluation.hardware.name: evaluation for evaluation in found}

    @property
    def done(self) -> int:
        """Trials that are finished, impossible designs among them."""
        return len(self._finished())

    def _finished(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def run(self, trials: int, jobs: int) -> Iterator[int]:
        """Go on until the study has as many trials; yields their number after each.

        Args:
            trials: of the study in all.
            jobs: worker processes.
        """
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=ignore_interrupts)
        try:
            while (done := self.done) < trials:
                for number in self._generation(done, min(GENERATION, trials - done), pool):
                    yield done + number
        finally:
            pool.shutdown(cancel_futures=True)

    def _generation(self, done: int, size: int, pool: ProcessPoolExecutor) -> Iterator[int]:
        """Ask for designs, evaluate the new ones, and keep what was found, on an interrupt, too."""
        local, known = self._local(done), self.evaluations()
        for params in neighbours(local.best_trials, self._seed(done))[:size]:
            local.enqueue_trial(params)
        asked, jobs = list[Trial](), list[Job]()
        told = 0
        try:
            for _ in range(size):
                asked.append(local.ask())
                jobs.append(self._start(asked[-1], known, pool))
            for trial, job in zip(asked, jobs, strict=True):
                self._tell(local, trial, job)
                told += 1
                yield told
        finally:
            trials = local.get_trials(deepcopy=False)
            self.study.add_trials([trials[trial.number] for trial in asked[:told]])

    def _local(self, done: int) -> optuna.Study:
        """A copy of the study in memory, for asking: a database would take longer over each parameter than the models.

        Its sampler has a seed of its own for each generation, so that a study that goes on does not begin anew.
        """
        sampler = optuna.samplers.NSGAIISampler(population_size=GENERATION, seed=self._seed(done))
        local = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
        local.add_trials(self._finished())
        return local

    def _seed(self, done: int) -> int:
        return int(np.random.SeedSequence([self.seed, done]).generate_state(1)[0])

    def _start(self, trial: Trial, known: Mapping[str, Evaluation], pool: ProcessPoolExecutor) -> Job:
        """What is known of a trial's design, or the job that finds out."""
        choice = self.space.choose(trial)
        try:
            hardware = name_design(self.space.design(choice), self.workload)
        except UserError:
            return None
        return known.get(hardware.name) or pool.submit(evaluate, self.problem, hardware)

    def _tell(self, local: optuna.Study, trial: Trial, job: Job) -> None:
        if job is None:
            local.tell(trial, state=TrialState.PRUNED)
            return
        evaluation = job.result() if isinstance(job, Future) else job
        trial.set_user_attr(EVALUATION, evaluation.tree())
        for name, value in evaluation.excess.items():
            trial.set_constraint(name, value)
        local.tell(trial, [evaluation.cycles, evaluation.price(self.price)])


def neighbours(front: Sequence[FrozenTrial], seed: int) -> list[dict[str, Any]]:
    """Parameters near those of the designs on the front: one to three changed at random.

    Args:
        front: the best trials so far; without any there are no neighbours.
        seed: of the choice.
    """
    if not front:
        return []
    rng = random.Random(seed)
    distinct = {trial.user_attrs[EVALUATION]["hardware"]["name"]: trial for trial in front}
    order = sorted(distinct.values(), key=lambda trial: trial.values or [])
    fastest = [near(rng.choice(order[:FASTEST]), rng) for _ in range(NEAR_FASTEST)]
    return fastest + [near(rng.choice(order), rng) for _ in range(NEAR_FRONT)]


def near(trial: FrozenTrial, rng: random.Random) -> dict[str, Any]:
    """Parameters of a trial with some changed."""
    names = rng.sample(sorted(trial.distributions), rng.choice(CHANGES))
    return trial.params | {name: rng.choice(possible(trial.distributions[name])) for name in names}


def possible(distribution: BaseDistribution) -> Sequence[Any]:
    """All values of a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution)
    return range(distribution.low, distribution.high + 1)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that tells the study."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def open_study(storage: str, name: str, about: dict[str, Any]) -> optuna.Study:
    """Open a study, or begin it.

    Args:
        storage: URL of a database (SQLAlchemy), or `journal:` and a path.
        name: of the study.
        about: what its trials depend on.

    Raises:
        UserError: the storage cannot be used, or holds a study of that name about something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=_storage(storage), study_name=name, directions=DIRECTIONS, load_if_exists=True
        )
        wanted = json.loads(json.dumps(about))
        found = study.user_attrs.get(ABOUT)
        if found is None:
            study.set_user_attr(ABOUT, wanted)
    except (SQLAlchemyError, ImportError, OSError, ValueError, optuna.exceptions.OptunaError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot use the storage {storage} ({reason}); give an SQLAlchemy URL or journal:FILE"
        ) from error
    if found not in (None, wanted):
        other = ", ".join(differences(found, wanted))
        raise UserError(
            f"study '{name}' in {storage} is about something else ({other}); choose another --study or --out"
        )
    return study


def _storage(url: str) -> optuna.storages.BaseStorage | str:
    if url.startswith(JOURNAL):
        return optuna.storages.JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
    return url


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterable[str]:
    """Keys whose values differ, each with its value in the study."""
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            value = found.get(key)
            yield key if isinstance(value, dict) else f"{key} {value}"
