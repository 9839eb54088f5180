# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Edge-MoE's cumulative ablation beside the schedules of this accelerator on the same workload."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from m3vit.sim.published import Published
from m3vit.sim.regmap import Mode
from m3vit.sim.reproduction.figures import Figure, Table
from m3vit.sim.reproduction.measured import schedule_cycles
from m3vit.sim.reproduction.network_tables import design_notes
from m3vit.sim.reproduction.settings import Setting, tiny

ALL = Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX
STEPS: tuple[tuple[str, str, Mode], ...] = (
    ("base", "base", ALL),
    ("expert by expert", "experts", ALL & ~Mode.TOKEN_ORDER),
    ("softmax in one pass", "softmax", Mode.NO_PREFETCH | Mode.NO_OVERLAP),
    ("vector units overlapped", "", Mode.NO_PREFETCH),
    ("weights prefetched across operations: all our steps", "attention", Mode(0)),
)
"""Our steps in order, the published step that each is compared with, and the schedule up to it; see `m3vit ablation`."""
ONLY_THEIRS = ("gelu", "engine")
REASON = (
    "16-bit weights and 32-bit activations on {board} against int8, {macs:,} MAC per cycle, and a base that already has a "
    "GELU table, one engine for all layers, and attention in blocks"
)
STEP_REASONS = {
    "experts": (
        "our base waits for DRAM in most visits to an expert, and its other parts are faster: leaving the waiting out "
        "gains more"
    ),
    "softmax": "our softmax is a smaller part of the frame: 129 tokens on {macs:,} MAC per cycle",
    "attention": (
        "their steps include a GELU table, one engine for all layers and attention in blocks, which our base has; ours "
        "overlaps and prefetches"
    ),
}


def ablation_table(published: Published, runs: Path, seed: int = 0) -> Table:
    """Times and cumulative speed-ups.

    Args:
        published: all published tables.
        runs: folder of earlier runs of the RTL.
        seed: of the routing.
    """
    setting = tiny(seed)
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
    reason = REASON.format(board="ZCU102", macs=setting.hardware.macs_per_cycle)
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
    """Speed-up over the base with each step and all before it."""
    for name, key, mode in STEPS[1:]:
        published = theirs["base"] / theirs[key] if key else None
        reason = STEP_REASONS.get(key, "").format(macs=setting.hardware.macs_per_cycle)
        yield Figure(name, "over the base", "x", published, modelled[ALL] / modelled[mode], "modelled", reason)
        if mode in measured and ALL in measured:
            yield Figure(name, "over the base", "x", published, measured[ALL] / measured[mode], "measured", reason)


def _notes(measured: bool) -> tuple[str, ...]:
    trained = "measured: one frame in RTL with trained routers, whose cache hits more often than a random routing"
    missing = "to measure the schedules in RTL, run: m3vit ablation"
    return (
        "the papers' last step, attention reordering, stands beside all of our steps",
        trained if measured else missing,
    )
