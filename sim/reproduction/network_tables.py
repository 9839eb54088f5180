# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tables 1 and 2 of M3ViT: FLOPs and energy of multi-task networks that execute one task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m3vit.model.baselines.backbone import STAGES, Depth
from m3vit.model.baselines.counts import GIGA, NETWORKS, network_macs, stages_macs, vit_decoder_macs, vit_encoder_macs
from m3vit.model.baselines.datasets import NYUD, PASCAL, Dataset
from m3vit.sim.energy import FLAT_WATTS, LEVELS, MJ_PER_J
from m3vit.sim.flops import program_macs
from m3vit.sim.program import Op, Opcode
from m3vit.sim.published import NetworkRow, NetworkTable, Published
from m3vit.sim.reproduction.figures import Figure, Table
from m3vit.sim.reproduction.settings import DRAWN, Routings, Schedule, Setting, frame_energy, nyud, pascal

MS_PER_S = 1e3


@dataclass(frozen=True)
class Case:
    """A table's dataset, its ResNets, and the setting of its ViTs.

    Attributes:
        key: of the table.
        dataset: image size and outputs.
        depth: of the ResNets.
        published: the table.
        setting: model and design.
    """

    key: str
    dataset: Dataset
    depth: Depth
    published: NetworkTable
    setting: Setting


def cases(published: Published, routings: Routings = DRAWN) -> dict[str, Case]:
    """Tables 1 and 2."""
    return {
        "1": Case("1", PASCAL, 18, published.pascal, pascal(routings)),
        "2": Case("2", NYUD, 50, published.nyud, nyud(routings)),
    }


def count_gmac(case: Case) -> dict[str, float]:
    """10^9 MACs of every network of a table when it executes one task, by the key of its row."""
    return {row.key: _row_macs(row.key, case) / GIGA for row in case.published.rows}


def _row_macs(key: str, case: Case) -> int:
    if key in NETWORKS:
        return network_macs(key, case.dataset, case.depth)
    config = case.setting.model.model_copy(update={"dense": key == "dense"})
    return vit_encoder_macs(config) + vit_decoder_macs(config, case.dataset, case.dataset.tasks[0])


def network_table(case: Case) -> Table:
    """FLOPs of every row; energy of the rows that run on the accelerator."""
    counts = count_gmac(case)
    flops = [_flops(row, counts, case) for row in case.published.rows]
    energies = [figure for row in case.published.rows for figure in _energy(row, case)]
    return Table(
        key=case.key,
        title=case.published.title,
        source=case.published.source,
        figures=(*flops, *_saved(counts, case), *energies),
        notes=(*_notes(counts, case), *design_notes(case.setting)),
    )


def _flops(row: NetworkRow, counts: Mapping[str, float], case: Case) -> Figure:
    ours = counts[row.key]
    if row.key == "nddr_cnn" and row.gflops < ours:
        reason = _stages_reason(row, case)
    else:
        reason = _factor_reason(counts, case) if row.key in NETWORKS else ""
    return Figure(row.name, "GFLOPs (10^9 MAC)", "", row.gflops, ours, "counted", reason)


def factors(counts: Mapping[str, float], case: Case) -> dict[str, float]:
    """Published value over count of every row."""
    return {row.key: row.gflops / counts[row.key] for row in case.published.rows}


def _factor_reason(counts: Mapping[str, float], case: Case) -> str:
    values = factors(counts, case)
    resnets = [value for key, value in values.items() if key in NETWORKS]
    vits = [value for key, value in values.items() if key not in NETWORKS]
    height, width = case.dataset.image_hw
    return (
        f"the paper has {min(resnets):.2f} to {max(resnets):.2f} times our count in every row on a ResNet-{case.depth} "
        f"and {min(vits):.2f} to {max(vits):.2f} times in the rows on a ViT, which speaks for one scale factor on the "
        f"ResNets and not for other architectures; counted at {height} x {width}, output stride 8, one DeepLabV3 head"
    )


def _stages_reason(row: NetworkRow, case: Case) -> str:
    fewer = stages_macs(case.dataset, case.depth, STAGES[:-1]) / GIGA
    return (
        f"without the fusion layer after the last stage it is {fewer:.1f} ({100 * (fewer / row.gflops - 1):+.1f} %); "
        f"counted with one after the stem and each stage, as in the survey's configuration"
    )


def _saved(counts: Mapping[str, float], case: Case) -> list[Figure]:
    """How much less than Cross-Stitch M3ViT needs."""
    stitch, moe = case.published.row("cross_stitch").gflops, case.published.row("moe").gflops
    ours = 100 * (1 - counts["moe"] / counts["cross_stitch"])
    reason = "follows from the two rows: the factor on the ResNets is in the published saving, too"
    row, saved = "M3ViT against Cross-Stitch", 100 * (1 - moe / stitch)
    return [Figure(row, "GFLOPs saved, from the rows", "%", saved, ours, "counted", reason)]


def _energy(row: NetworkRow, case: Case) -> list[Figure]:
    if row.key not in ("dense", "moe"):
        return [Figure(row.name, "energy", "W s", row.energy_ws)]
    setting, schedule = case.setting, Schedule.dense if row.key == "dense" else Schedule.reordered
    frame, published_ms = setting.frame(schedule), row.energy_ws / FLAT_WATTS * MS_PER_S
    reason = faster_reason(setting, schedule, published_ms) if row.fpga else _device_reason(row)
    estimate = frame_energy(setting.program(schedule), setting.hardware, frame)
    flat = estimate.flat_mj / MJ_PER_J
    low, nominal, high = (estimate.total_mj(level) / MJ_PER_J for level in LEVELS)
    return [
        Figure(row.name, "energy, flat 10 W", "W s", row.energy_ws, flat, "modelled", reason),
        Figure(row.name, "energy, itemised", "W s", None, nominal, "modelled", "", (low, high)),
    ]


def _device_reason(row: NetworkRow) -> str:
    return (
        f"the paper's {row.energy_ws} W s are not those of its FPGA (table 4) but presumably of a GPU; ours is the "
        "dense model on the accelerator"
    )


def encoder_macs(program: Sequence[Op]) -> int:
    """MACs of a program without its head."""
    return program_macs(op for op in program if op.opcode is not Opcode.HEAD)


def faster_reason(setting: Setting, schedule: Schedule, published_ms: float) -> str:
    """Why a frame of ours takes another time than the paper's."""
    program, hardware = setting.program(schedule), setting.hardware
    busy = program_macs(program) / hardware.macs_per_cycle / setting.frame(schedule).cycles
    dsp = hardware.board.dsp
    share = encoder_macs(program) / (published_ms * 1e3 * hardware.clock_mhz * dsp)
    return (
        f"ours multiplies {hardware.macs_per_cycle:,} int8 pairs per cycle, two in a DSP, {100 * busy:.0f} % busy; "
        f"the paper's time is the encoder's at {100 * share:.0f} % of one product per cycle and DSP ({dsp:,}; derived)"
    )


def _notes(counts: Mapping[str, float], case: Case) -> tuple[str, ...]:
    everything = {key: network_macs(key, case.dataset, case.depth, "all") / GIGA for key in counts if key in NETWORKS}
    names = {row.key: row.name.partition(",")[0] for row in case.published.rows}
    listed = ", ".join(f"{names[key]} {gmac:.1f}" for key, gmac in everything.items())
    encoder = encoder_macs(case.setting.program()) / GIGA
    return (
        "one task: the whole encoder and one decoder; with the decoders of all tasks, and one single-task network for "
        f"each: {listed}",
        f"GFLOPs are MACs: the dense ViT's two operations per MAC would be {2 * counts['dense']:.0f}",
        f"M-ViT and M3ViT: of {counts['moe']:.1f}, {encoder:.1f} are the encoder, the rest is the papers' decoder "
        "(progressive upsampling); the accelerator's own head is one linear layer per token",
        "energy of the ResNets: not of the FPGA in the paper, presumably of a GPU; none was measured here",
        "energy of ours: patch embedding, encoder and linear head; cycles modelled, 300 MHz assumed",
    )


def design_notes(setting: Setting) -> tuple[str, ...]:
    """What must be said of the design."""
    hardware, traced = setting.hardware, setting.routings.trace(setting.name)
    drawn = f"drawn at random (seed {setting.routings.seed}, m3vit.sim.performance.random_routing)"
    shape = f"up to {hardware.max_tokens:,} tokens, {hardware.macs_per_cycle:,} MAC per cycle"
    return (
        f"{setting.name}: design '{hardware.name}', {shape}; {setting.fit}",
        f"{setting.name}: routing {f'of {traced}' if traced else drawn}",
    )
