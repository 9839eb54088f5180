# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Edge-MoE's cumulative ablation beside the schedules of this accelerator on the same workload."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from m3vit.sim.published import Published
from m3vit.sim.regmap import Mode
from m3vit.sim.reproduction.figures import Figure, Table
from m3vit.sim.reproduction.measured import schedule_cycles
from m3vit.sim.reproduction.network_tables import design_notes
from m3vit.sim.reproduction.settings import DRAWN, Routings, Setting, tiny

ALL = Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX
STEPS: tuple[tuple[str, str, Mode], ...] = (
    ("base", "base", ALL),
    ("expert by expert", "experts", ALL & ~Mode.TOKEN_ORDER),
    ("softmax in one pass", "softmax", Mode.NO_PREFETCH | Mode.NO_OVERLAP),
    ("vector units overlapped", "", Mode.NO_PREFETCH),
    ("weights prefetched: all our steps", "attention", Mode(0)),
)
"""Our steps in order, the published step beside each, and the schedule up to it, as in `m3vit ablation`."""
COMMON = 3
"""The first steps are the same in both."""
ONLY_THEIRS = ("gelu", "engine")
LATENCY_REASON = (
    "16-bit weights and 32-bit activations on ZCU102 against int8 at {macs:,} MAC per cycle; our base already has a "
    "GELU table, one engine for all layers, and attention in blocks"
)
GAIN_REASONS = {
    "experts": "our base waits for DRAM in most visits to an expert and is fast otherwise: not waiting gains more",
    "softmax": "softmax is a smaller part of our frame, which has {macs:,} MAC per cycle for the scores",
    "attention": (
        "other steps: theirs include a GELU table, one engine for all layers and attention in blocks, which our base "
        "already has"
    ),
}


def ablation_table(published: Published, runs: Path, routings: Routings = DRAWN) -> Table:
    """Times and cumulative speed-ups.

    Args:
        published: all published tables.
        runs: folder of earlier runs of the RTL.
        routings: of the modelled frames.
    """
    setting = tiny(routings)
    modelled = {mode: setting.ms(setting.mode_frame(mode).cycles) for _, _, mode in STEPS}
    measured = {mode: setting.ms(cycles) for mode, cycles in schedule_cycles(runs, setting).items()}
    theirs = {step.key: step.ms for step in published.ablation.steps}
    figures = [*_times(theirs, modelled, measured, setting), *_only_theirs(published)]
    return Table(
        key="ablation",
        title=published.ablation.title,
        source=published.ablation.source,
        figures=(*figures, *_gains(theirs, modelled, measured, setting)),
        notes=(*design_notes(setting), *_notes(bool(measured))),
    )


def _times(
    theirs: Mapping[str, float], modelled: Mapping[Mode, float], measured: Mapping[Mode, float], setting: Setting
) -> Iterator[Figure]:
    reason = LATENCY_REASON.format(macs=setting.hardware.macs_per_cycle)
    for name, key, mode in STEPS:
        yield Figure(name, "latency", "ms", theirs.get(key), modelled[mode], "modelled", reason)
        if mode in measured:
            yield Figure(name, "latency", "ms", theirs.get(key), measured[mode], "measured", reason)


def _only_theirs(published: Published) -> Iterator[Figure]:
    for step in published.ablation.steps:
        if step.key in ONLY_THEIRS:
            yield Figure(f"{step.name} (theirs only)", "latency", "ms", step.ms)


def _gains(
    theirs: Mapping[str, float], modelled: Mapping[Mode, float], measured: Mapping[Mode, float], setting: Setting
) -> Iterator[Figure]:
    """Speed-up of the steps that both have over the one before, and of all steps together."""
    pairs = [*pairwise(STEPS[:COMMON]), (STEPS[0], STEPS[-1])]
    for (_, before, slow), (name, key, fast) in pairs:
        row, published = "all steps" if slow is ALL and not fast else name, theirs[before] / theirs[key]
        reason = GAIN_REASONS[key].format(macs=setting.hardware.macs_per_cycle)
        yield Figure(row, "speed-up", "x", published, modelled[slow] / modelled[fast], "modelled", reason)
        if slow in measured and fast in measured:
            yield Figure(row, "speed-up", "x", published, measured[slow] / measured[fast], "measured", reason)


def _notes(measured: bool) -> tuple[str, ...]:
    trained = "measured: one frame in RTL with trained routers, whose cache hits more often than with a random routing"
    missing = "to measure the schedules in RTL, run: m3vit ablation"
    return (
        "their last step, attention reordering, stands beside all of our steps",
        trained if measured else missing,
    )
