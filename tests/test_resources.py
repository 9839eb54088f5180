# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Modelled resources: against hand counts, Yosys' counts, designs held out from the fit, and the board's limits."""

from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError

from m3vit.model.config import HARDWARE, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.memory_mapping import Mapping, Ram
from m3vit.sim.resource_blocks import MODELS
from m3vit.sim.resource_fit import EXACT, KINDS, block_lines, counted, design_lines, errors, fit, wrong
from m3vit.sim.resource_rules import norm_dsps
from m3vit.sim.resource_samples import (
    COMMAND,
    HELD_OUT,
    SAMPLES,
    TRAINING,
    committed,
    held_out,
    needed,
    refresh,
    stale,
    training,
)  # fmt: skip
from m3vit.sim.resources import MEMORIES, block_cells, check_board, coefficients, estimate, on_chip_bytes
from m3vit.sim.synthesis import BLOCKS, COUNTS, Record, Synthesis, count, fingerprint, load, parameters

ZCU104, DEMO = HARDWARE["zcu104"], HARDWARE["demo"]
WHOLE = [each.hardware for each in HELD_OUT if each.blocks == tuple(BLOCKS)]


@pytest.fixture(scope="module")
def known() -> dict[str, Record]:
    """Yosys' counts that come with the project, by fingerprint."""
    return committed()


def test_rams_and_dsps_of_the_headline_design_by_hand() -> None:
    need = estimate(ZCU104)
    # Two MACs share a DSP; one for each lane in requantisation, gates and LayerNorm; four factors of a row in
    # LayerNorm, three in attention; addresses and sizes: residual 2, data path 1, program 3, loader 8, executor 3.
    assert need.dsp == 96 * 32 // 2 + 32 + 32 + 32 + 4 + 3 + (2 + 1 + 3 + 8 + 3)
    # 768-bit words: x, h, kv in two parts 12 each (8 lanes of 256 bits, 24 pieces of 64), residual 3 x 512 bits in 22,
    # stream 11.
    assert need.uram == 12 + 12 + 12 + 12 + 22 + 11
    # stream 4096 x 768 at 9 x 4096: 86; scores three of 1,496 x 512 bits in 43 halves; 864-bit accumulators; 166-bit
    # routes in 15 halves; two 29-bit queues of 2,050 in 5 halves; a GELU table for each lane; two copies of the
    # program in 15 halves; a table of reciprocal roots.
    assert need.bram36 == 86 + 3 * 21.5 + 36 + 7.5 + 2 * 2.5 + 32 + 2 * 7.5 + 2
    assert on_chip_bytes(ZCU104) == -(-sum(make(ZCU104).bits for make in MEMORIES.values()) // 8) + 2 * 4096
    assert check_board(ZCU104) == need


@pytest.mark.parametrize(
    ("ram", "mapping"),
    [
        (Ram(64, 128, "block"), Mapping(bram36=1)),  # one RAMB36 costs less than two RAMB18
        (Ram(36, 512, "block"), Mapping(bram36=0.5)),
        (Ram(36, 513, "block"), Mapping(bram36=1)),
        (Ram(29, 2050, "block"), Mapping(bram36=2.5, banks=5)),  # five halves of 36 x 512
        (Ram(29, 4096, "block"), Mapping(bram36=4)),  # four of 9 x 4096
        (Ram(29, 4096, "block", unread=16), Mapping(bram36=3)),  # nobody reads the first nine bits
        # Yosys on m3vit_ram alone: a multiplexer would cost more than wider primitives save.
        (Ram(128, 3239, "block"), Mapping(bram36=15)),
        (Ram(85, 3126, "block"), Mapping(bram36=10)),
        (Ram(29, 8190, "block"), Mapping(bram36=7.5)),
        (Ram(16, 136, "distributed"), Mapping(lut=8 * 10, ff=16, banks=5)),
        (Ram(512, 128, "block", count=2), Mapping(bram36=15)),  # 57 bytes of nine bits in 15 halves of four
        (Ram(72, 4096, "ultra"), Mapping(uram=1)),
        (Ram(64, 8192, "ultra"), Mapping(uram=2, banks=2)),
        (Ram(512, 12288, "ultra"), Mapping(uram=22, banks=3)),  # 3 x 512 bits in 72s
        (Ram(768, 4100, "ultra"), Mapping(uram=11, lut=8 * 55, ff=768, banks=2)),  # four words in LUT RAM, 14 bits each
        (Ram(768, 4096 + 65, "ultra"), Mapping(uram=22, banks=2)),
        (Ram(16, 64, "distributed"), Mapping(lut=8 * 3, ff=16)),  # RAM64M8 of seven bits
        (Ram(16, 32, "distributed"), Mapping(lut=8 * 2, ff=16)),
        (Ram(768, 64, "registers"), Mapping()),
        (Ram(768, 0, "block"), Mapping()),
    ],
)
def test_memories_map_to_primitives(ram: Ram, mapping: Mapping) -> None:
    assert ram.mapping == mapping


@pytest.mark.parametrize(("dim", "per_row"), [(384, 4), (2048, 4), (4064, 7)])
def test_very_wide_rows_cut_the_products_of_layer_norm(dim: int, per_row: int) -> None:
    assert norm_dsps(ZCU104.model_copy(update={"max_dim": dim})) == 32 + per_row


def test_counts_that_come_with_the_model_are_fresh() -> None:
    assert not stale(), f"RTL changed since the count; run '{COMMAND}' (it recounts {', '.join(stale().values())})"


def test_no_other_counts_come_with_the_model() -> None:
    assert set(load(SAMPLES)) == set(needed(TRAINING + HELD_OUT)) - set(load(COUNTS))


def test_held_out_designs_never_enter_the_fit(known: dict[str, Record]) -> None:
    held = {fingerprint(each.module, each.hardware) for each in held_out(known)}
    fitted = {fingerprint(each.module, each.hardware) for each in training(known) if
              parameters(each.module, each.hardware)}  # fmt: skip
    assert held
    assert not held & fitted
    shapes = {(each.hardware.lanes, each.hardware.groups) for each in TRAINING}
    assert not shapes & {(each.hardware.lanes, each.hardware.groups) for each in HELD_OUT}


def test_coefficients_are_those_of_the_counts(known: dict[str, Record]) -> None:
    again = fit(training(known))
    assert again.keys() == coefficients().keys() == set(BLOCKS)
    for module, kinds in again.items():
        for kind in KINDS:
            assert coefficients()[module][kind] == pytest.approx(kinds[kind], rel=1e-3, abs=1e-3), module


def test_dsps_and_rams_equal_every_count(known: dict[str, Record]) -> None:
    samples = [*training(known), *held_out(known)]
    assert len(samples) > 150
    for each in samples:
        made = block_cells(each.module, each.hardware)
        assert {name: getattr(made, name) for name in EXACT} == {name: getattr(each.cells, name) for name in EXACT}, (
            f"{each.module} of {each.hardware.name}"
        )
    assert wrong(samples) == 0


def test_at_least_five_whole_designs_are_held_out() -> None:
    assert len(WHOLE) >= 5


@pytest.mark.parametrize("hardware", WHOLE, ids=lambda hardware: hardware.name)
def test_a_held_out_design_is_within_ten_percent(hardware: HardwareConfig, known: dict[str, Record]) -> None:
    count_, model = counted(hardware, known), estimate(hardware)
    assert (model.dsp, model.bram36, model.uram) == (count_.dsp, count_.bram36, count_.uram)
    assert model.lut == pytest.approx(count_.lut, rel=0.10)
    assert model.ff == pytest.approx(count_.ff, rel=0.10)


@pytest.mark.parametrize("hardware", HARDWARE.values(), ids=lambda hardware: hardware.name)
def test_whole_counts_are_those_of_the_synthesis(hardware: HardwareConfig, known: dict[str, Record]) -> None:
    synthesis = count(hardware)
    assert isinstance(synthesis, Synthesis)
    assert counted(hardware, known) == synthesis.total


@pytest.mark.parametrize("hardware", WHOLE, ids=lambda hardware: hardware.name)
def test_blocks_stand_as_often_as_in_the_rtl(hardware: HardwareConfig, known: dict[str, Record]) -> None:
    number = dict.fromkeys(BLOCKS, 0) | {"m3vit_core": 1}
    for module in reversed(BLOCKS):
        for inner, instances in known[fingerprint(module, hardware)].instances.items():
            number[inner] += number[module] * instances
    assert number == {module: MODELS[module].copies(hardware) for module in BLOCKS}


def test_errors_are_relative_to_the_count(known: dict[str, Record]) -> None:
    (sample,) = [each for each in training(known) if each.module == "m3vit_sequencer"]
    made = block_cells("m3vit_sequencer", sample.hardware)
    assert errors([sample], "lut") == [made.lut / sample.cells.lut - 1]


def test_the_table_of_errors_names_every_block_and_design(known: dict[str, Record]) -> None:
    blocks, designs = "\n".join(block_lines(known)), "\n".join(design_lines(known))
    assert all(title in blocks for title in BLOCKS.values())
    assert all(hardware.name in designs for hardware in (*WHOLE, ZCU104))
    assert f"{counted(ZCU104, known).lut:>10g}" in designs


def test_refresh_counts_only_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from m3vit.sim import resource_samples

    complete = load(SAMPLES)
    lost = fingerprint("m3vit_gelu", WHOLE[0])
    kept = tmp_path / "counts.json"
    resource_samples.save(kept, {key: record for key, record in complete.items() if key != lost})
    monkeypatch.setattr(resource_samples, "SAMPLES", kept)
    monkeypatch.setattr(resource_samples, "measure", lambda *_: complete[lost])
    monkeypatch.setenv("M3VIT_CACHE", str(tmp_path / "cache"))
    assert resource_samples.stale() == {lost: "m3vit_gelu"}
    said: list[str] = []
    refresh(said.append)
    assert said == [f"Yosys 1 of 1: GELU of {WHOLE[0].name}"]
    assert load(kept) == complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 4}, "needs 2167 DSP48E2, but ZCU104 has 1728 of which 1658"),
        ({"max_hidden": 768}, "URAM288"),
        (
            {"board": ZCU104.board.model_copy(update={"bram36": 56})},
            "needs 248 RAMB36, but ZCU104 has 56 of which 50 .* lower max_tokens, max_block or lanes",
        ),
        ({"router_lanes": 12}, "LUTs, but ZCU104 has 230400 of which 161280 .*lower lanes, groups, max_top_k"),
        ({"board": ZCU104.board.model_copy(update={"ff": 9999})}, "flip-flops, but ZCU104 has 9999 of which 6999"),
    ],
)
def test_each_resource_can_be_the_limit(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_board(ZCU104.model_copy(update=change))


def test_blocks_add_up() -> None:
    need = asdict(estimate(DEMO))
    for name in (*EXACT, *KINDS):
        assert need[name] == sum(
            getattr(block_cells(module, DEMO), name) * block.copies(DEMO) for module, block in MODELS.items()
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 17, "max_dim": 32}, "lend_words 128 must be less than the key-value buffer's 17 words"),
        ({"stream_words": 32}, "greater than or equal to 64"),
        ({"max_block": 1}, "greater than 1"),
        ({"lanes": 32, "max_dim": 4096}, "max_dim 4096 must be at most 4080"),
        ({"memory": {"ports": 3}}, "Input should be 1, 2 or 4"),
    ],
)
def test_illegal_hardware_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HardwareConfig.model_validate(HARDWARE["demo"].model_dump() | changes)


def test_a_block_without_counts_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"no counts of .*m3vit_.* as the RTL is now; run `make synthesis` first"):
        fit([])
