# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Table 4 of M3ViT: memory, latency and energy of one frame on the FPGA, by schedule."""

from collections.abc import Iterator
from pathlib import Path

from m3vit.sim.performance import FrameModel
from m3vit.sim.program import Opcode
from m3vit.sim.program_check import expert_bytes, expert_words
from m3vit.sim.published import Latency, MemoryRow, Published
from m3vit.sim.regmap import Mode
from m3vit.sim.reproduction.figures import Figure, Table
from m3vit.sim.reproduction.measured import frame_cycles, schedule_cycles
from m3vit.sim.reproduction.network_tables import MS_PER_S, design_notes, faster_reason
from m3vit.sim.reproduction.settings import DRAWN, Routings, Schedule, Setting, nyud, pascal, tiny
from m3vit.sim.resources import on_chip_bytes

MIB = 1 << 20
PEAK_BYTES_PER_S = 19.2e9
"""Of the board's DDR4-2400 x64."""
ROWS = {"dense": Schedule.dense, "cache": Schedule.cache, "reordered": Schedule.reordered}
"""Rows of the published table on the FPGA."""
BASE = Mode.TOKEN_ORDER | Mode.NO_PREFETCH | Mode.NO_OVERLAP | Mode.MULTIPASS_SOFTMAX
REORDERED = BASE & ~Mode.TOKEN_ORDER


class MemoryTable:
    """Builds the table.

    Args:
        published: all published tables.
        runs: folder of earlier runs of the RTL.
        routings: of the modelled frames.
    """

    def __init__(self, published: Published, runs: Path, routings: Routings = DRAWN) -> None:
        self.published, self.runs = published, runs
        self.settings = {"PASCAL": pascal(routings), "NYUD": nyud(routings)}
        self.tiny = tiny(routings)
        self._frames = {
            (name, schedule): setting.frame(schedule)
            for name, setting in self.settings.items()
            for schedule in Schedule
        }

    def table(self) -> Table:
        """The table."""
        figures = [figure for row in self.published.memory.rows for figure in self._row(row)]
        notes = dict.fromkeys(note for setting in self.settings.values() for note in design_notes(setting))
        return Table(
            key="4",
            title=self.published.memory.title,
            source=self.published.memory.source,
            figures=(*figures, *self._on_chip(), *self._memory_ratios(), *self._speedups()),
            notes=(*notes, *self._notes()),
        )

    def _row(self, row: MemoryRow) -> Iterator[Figure]:
        published = {"PASCAL": row.pascal, "NYUD": row.nyud}
        if row.key not in ROWS:
            yield Figure(row.name, "memory", "MiB", row.mib)
            for name, latency in published.items():
                yield Figure(row.name, f"{name} latency", "ms", latency.ms)
                yield Figure(row.name, f"{name} energy", "W s", latency.energy_ws)
            return
        reason = (
            "ours: data in all buffers of an int8 design, the same for every model and schedule; the paper does not "
            "itemise its figure, which exceeds the board's 4.75 MiB of block RAM and UltraRAM"
        )
        yield Figure(row.name, "memory", "MiB", row.mib, self._on_chip_mib("PASCAL"), "modelled", reason)
        for name, latency in published.items():
            yield from self._latency(row, name, latency)

    def _latency(self, row: MemoryRow, name: str, latency: Latency) -> Iterator[Figure]:
        setting, schedule = self.settings[name], ROWS[row.key]
        ms = setting.ms(self._frames[name, schedule].cycles)
        reason = (
            self._cache_reason(name) if schedule is Schedule.cache else faster_reason(setting, schedule, latency.ms)
        )
        yield Figure(row.name, f"{name} latency", "ms", latency.ms, ms, "modelled", reason)
        cycles = frame_cycles(self.runs, setting) if schedule is Schedule.reordered else None
        if cycles is not None:
            yield Figure(row.name, f"{name} latency", "ms", latency.ms, setting.ms(cycles), "measured", reason)
        energy = self.published.memory.power_w * ms / MS_PER_S
        yield Figure(row.name, f"{name} energy, flat 10 W", "W s", latency.energy_ws, energy, "modelled", reason)

    def _cache_reason(self, name: str) -> str:
        setting, frame = self.settings[name], self._frames[name, Schedule.cache]
        loads, visits = _moe_loads(frame), _visits(setting)
        lost = (frame.cycles - self._frames[name, Schedule.reordered].cycles) / visits
        read = _expert_bytes(setting) / setting.hardware.memory.bytes_per_cycle * loads / visits
        slots = setting.hardware.stream_words // _expert_words(setting)
        return (
            f"{self._paper_visit(name)}; ours: {1e3 * setting.ms(lost):.1f} us, of which {1e3 * setting.ms(read):.1f} "
            f"read an 8-bit expert in {100 * loads / visits:.0f} % of the visits (room for {slots} experts, "
            f"{setting.model.top_k} per token), the rest passes it to the array for a single token"
        )

    def _paper_visit(self, name: str) -> str:
        """What the paper's slow-down says about its cache."""
        setting = self.settings[name]
        lost_ms = self._published("cache", name) - self._published("reordered", name)
        visit_s = lost_ms / MS_PER_S / _visits(setting)
        bits = 8 * visit_s * PEAK_BYTES_PER_S / (2 * setting.model.dim * setting.model.expert_hidden)
        return (
            f"the paper loses {1e6 * visit_s:.1f} us in each visit of a token to an expert: {bits:.1f} bits per weight "
            "at the memory's peak of 19.2 GB/s, no hit and no overlap (derived)"
        )

    def _on_chip(self) -> Iterator[Figure]:
        for name, setting in self.settings.items():
            ms = setting.ms(self._frames[name, Schedule.on_chip].cycles)
            yield Figure("MoE, all experts on chip", f"{name} latency", "ms", None, ms, "modelled")

    def _on_chip_mib(self, name: str) -> float:
        return on_chip_bytes(self.settings[name].hardware) / MIB

    def _memory_ratios(self) -> Iterator[Figure]:
        head, own = self.published.headlines, self._on_chip_mib("PASCAL")
        layer, layers = self._expert_mib(), len(self.settings["PASCAL"].model.moe_layers)
        more = f"ours: the experts of all {layers} MoE layers, so that a frame reads none"
        sizes = (("one layer's experts", layer, self._layer_reason()), ("all experts", layers * layer, more))
        for what, mib, why in sizes:
            row = f"MoE, {what} on chip"
            yield Figure(row, "memory", "MiB", head.all_on_chip_mib, own + mib, "modelled", why)
            yield Figure(row, "memory over reordered", "x", head.memory_ratio, (own + mib) / own, "modelled", why)

    def _layer_reason(self) -> str:
        model = self.settings["PASCAL"].model
        weights = model.experts * 2 * model.dim * model.expert_hidden
        extra = self.published.headlines.all_on_chip_mib - self.published.memory.row("reordered").mib
        return (
            f"ours: the experts of one layer in 8 bits beside all other buffers; the paper's {extra:.2f} MiB more are "
            f"{8 * extra * MIB / weights:.1f} bits for each weight of one layer's experts (derived)"
        )

    def _expert_mib(self) -> float:
        """Packed experts of one layer."""
        setting = self.settings["PASCAL"]
        return setting.model.experts * _expert_bytes(setting) / MIB

    def _speedups(self) -> Iterator[Figure]:
        for name in self.settings:
            cache, own = (self._frames[name, schedule].cycles for schedule in (Schedule.cache, Schedule.reordered))
            slow, fast = (self._published(key, name) for key in ("cache", "reordered"))
            reason = "both rows: our engine is faster, our memory is not, so that waiting for experts weighs more"
            yield Figure("reordering", f"{name} speed-up", "x", slow / fast, cache / own, "modelled", reason)
        for setting in (self.tiny, self.settings["PASCAL"]):
            yield from self._measured_speedup(setting)

    def _published(self, key: str, name: str) -> float:
        row = self.published.memory.row(key)
        return (row.pascal if name == "PASCAL" else row.nyud).ms

    def _measured_speedup(self, setting: Setting) -> Iterator[Figure]:
        """From an ablation in RTL, the other steps left out on both sides."""
        cycles = schedule_cycles(self.runs, setting)
        if BASE not in cycles or REORDERED not in cycles:
            return
        modelled = setting.mode_frame(BASE).cycles / setting.mode_frame(REORDERED).cycles
        row = f"reordering, {setting.model.name}, without our other steps"
        yield Figure(row, "speed-up", "x", None, modelled, "modelled")
        yield Figure(row, "speed-up", "x", None, cycles[BASE] / cycles[REORDERED], "measured")

    def _notes(self) -> tuple[str, ...]:
        return (
            "latency of ours: patch embedding, encoder and linear head; cycles of the performance model or of the RTL, "
            "300 MHz assumed",
            "expert cache: the accelerator's own schedule but for the MoE layers, which go token by token, and without "
            "prefetch; to measure it at this size in RTL (an hour): m3vit ablation --workload small",
        )


def _visits(setting: Setting) -> int:
    return sum(op.rows * op.top_k for op in setting.program() if op.opcode is Opcode.MOE)


def _moe_loads(frame: FrameModel) -> int:
    return sum(op.loads for op in frame.ops)


def _expert_words(setting: Setting) -> int:
    return expert_words(setting.model.dim, setting.model.expert_hidden, setting.hardware)


def _expert_bytes(setting: Setting) -> int:
    return expert_bytes(setting.model.dim, setting.model.expert_hidden, setting.hardware)
