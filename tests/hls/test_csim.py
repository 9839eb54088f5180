# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Whole programs of the HLS accelerator in C-simulation equal golden: unoptimised, optimised and under sanitizers."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rtl.drawn import Layers, layers, models
from rtl.faults import Fault, address_faults, encoding_faults, order_faults, shape_faults, task_faults
from rtl.frames import CASES, SMALL, favouring_layers

from m3vit.hls import csim
from m3vit.hls.csim import OPTIMISED, SANITISED, UNOPTIMISED, HlsBoard
from m3vit.model.config import HARDWARE, MODELS, Config, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim.board import Board
from m3vit.sim.driver import AcceleratorError, Mode
from m3vit.sim.golden.executor import Executor, source_format
from m3vit.sim.network import ImageCompiler
from m3vit.sim.pathway import Pathway, Pathways, write_pathways
from m3vit.sim.program import Opcode
from m3vit.sim.regmap import OFFSET, Control, Error, Interrupt
from m3vit.sim.simulator import SimulationError
from m3vit.sim.synthetic import SCALES, Dice, random_image, random_moe, random_pathways, random_residual

DEMO, TINY = MODELS["m3vit_demo_patch8"], MODELS["m3vit_tiny_patch16"]
FLAGS = {"O0": UNOPTIMISED, "O2": OPTIMISED, "sanitised": SANITISED}


def attention_block(model: ModelConfig, hardware: HardwareConfig) -> Pathways:
    """LOAD, norm, query-key-value projection, attention, output projection, STORE."""
    config = Config(model=model, hardware=hardware)
    compiler = ImageCompiler(config)
    compiler.load()
    attention, _ = Dice(5).block(model, 0, 1)
    compiler.attention("blocks.0", attention)
    compiler.store()
    return compiler.link(dict.fromkeys(model.tasks, SCALES))


WORK = {
    "demo, whole frames": (random_pathways, DEMO, HARDWARE["demo"]),
    "tiny, MoE layer": (random_moe, TINY, HARDWARE["zcu104"]),
    "tiny, attention": (attention_block, TINY, HARDWARE["zcu104"]),
}


def source(pathway: Pathway, seed: int) -> np.ndarray:
    """A random input of a pathway's program."""
    shape, _ = source_format(pathway.program[0])
    model = pathway.config.model
    return random_image(model, seed) if len(shape) == 3 else random_residual(model, seed)


def check(board: Board, pathways: Pathways, folder: Path, tasks: Sequence[str] | None = None) -> None:
    """Run every task on a board; every element equals golden, and it did not come for nothing."""
    write_pathways(pathways, folder)
    accelerator = board.accelerator()
    accelerator.load(folder)
    for seed, task in enumerate(tasks or pathways.tasks):
        pathway = pathways.task(task)
        source_ND = source(pathway, seed)
        expected_RC = Executor(pathway).run(source_ND).output_NC
        assert expected_RC.any()
        np.testing.assert_array_equal(accelerator.run(task, source_ND), expected_RC)
    accelerator.close()


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_equals_golden(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    make, model, hardware = WORK[name]
    pathways = make(model, hardware)
    tasks = list(pathways.tasks) if model is DEMO else ["depth"]
    with HlsBoard(hardware, flags) as board:
        check(board, pathways, tmp_path / "pathway", tasks)


@pytest.fixture(scope="module")
def board() -> Iterator[HlsBoard]:
    with HlsBoard(HARDWARE["demo"], SANITISED) as board:
        yield board


@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_rtl(name: str, board: HlsBoard, tmp_path: Path) -> None:
    """The models that the RTL is tested with: fewest tokens, odd words, one expert, 256 experts, wide heads."""
    make, model = CASES[name]
    check(board, make(model, len(name)), tmp_path / "pathway")


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(model=models(), seed=st.integers(0, 1 << 30))
def test_random_networks(model: ModelConfig, seed: int, board: HlsBoard, tmp_path: Path) -> None:
    check(board, random_pathways(model, HARDWARE["demo"], seed), fresh(tmp_path))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=layers(), seed=st.integers(0, 1 << 30))
def test_random_moe_layers(case: Layers, seed: int, board: HlsBoard, tmp_path: Path) -> None:
    check(board, favouring_layers(case.model, seed, case.count, case.favourite, case.quant), fresh(tmp_path))


def fresh(folder: Path) -> Path:
    """A folder that does not exist yet."""
    shutil.rmtree(folder / "pathway", ignore_errors=True)
    return folder / "pathway"


def test_layers_larger_than_the_weight_buffer(tmp_path: Path) -> None:
    """They come in several jobs; each ends at a whole DRAM word, for tiles of an odd number of 96-byte words, too."""
    hardware = HARDWARE["demo"].model_copy(update={"groups": 3, "max_dim": 384, "max_hidden": 192, "stream_words": 512})
    sizes = {"patch": 16, "dim": 192, "heads": 2, "expert_hidden": 96, "mlp_hidden": 96, "experts": 300}
    with HlsBoard(hardware, SANITISED) as board:
        check(board, random_pathways(SMALL.model_copy(update=sizes), hardware), tmp_path / "pathway")


def test_capacities_that_are_just_enough(tmp_path: Path) -> None:
    """No buffer is read or written beyond its end, for tokens that fill neither a tile nor a word."""
    hardware = HARDWARE["demo"].model_copy(
        update={"max_tokens": SMALL.tokens, "max_dim": 96, "max_top_k": 2, "max_block": 5, "lend_words": 16}
    )
    with HlsBoard(hardware, SANITISED) as board:
        check(board, random_pathways(SMALL, hardware), tmp_path / "pathway")


def faults(pathway: Pathway) -> list[Fault]:
    """What can be wrong with a program and a C++ kernel can notice: not the answers of the memory."""
    program = pathway.program
    everything = [fault for index, op in enumerate(program) for fault in encoding_faults(index, op)]
    everything += [*order_faults(program), *shape_faults(program), *task_faults(len(program))]
    everything += address_faults(program, pathway.image.size)
    unseen = {Error.AXI_READ, Error.AXI_WRITE, Error.TIMEOUT}
    return [fault for fault in everything if not unseen & set(fault.errors)]


def test_wrong_programs_are_refused(board: HlsBoard, tmp_path: Path) -> None:
    """The faults of the RTL's bench: the same error codes, nothing runs, and the next frame is exact."""
    pathways = random_pathways(SMALL, HARDWARE["demo"])
    write_pathways(pathways, tmp_path / "pathway")
    accelerator = board.accelerator()
    accelerator.load(tmp_path / "pathway")
    pathway = pathways.first
    image, slot = random_image(SMALL), OFFSET["TASK"]
    expected = Executor(pathway).run(image).output_NC
    np.testing.assert_array_equal(accelerator.run(pathway.task, image), expected)
    memory = board.registers.read(OFFSET["MEMORY_LO"])
    cases = faults(pathway)
    assert len(cases) > 500
    for fault in cases:
        at = memory + pathway.program_offset + 64 * fault.index
        before = board.dram.data[at : at + 64].copy()
        if fault.data is not None:
            board.dram.data[at : at + 64] = np.frombuffer(fault.data, np.uint8)
        kept = {name: board.registers.read(OFFSET[name]) for name in fault.registers}
        for name, value in fault.registers.items():
            board.registers.write(OFFSET[name], value)
        if fault.operations is not None:
            board.registers.write(0x104, fault.operations)
        board.registers.write(OFFSET["CONTROL"], Control.START)
        assert board.registers.read(OFFSET["ERROR_CODE"]) in fault.errors, fault.name
        assert board.registers.read(OFFSET["OPS_DONE"]) == 0, fault.name
        board.dram.data[at : at + 64] = before
        board.registers.write(0x104, len(pathway.program))
        for name, value in kept.items():
            board.registers.write(OFFSET[name], value)
        board.registers.write(slot, pathway.task_slot)
    np.testing.assert_array_equal(accelerator.run(pathway.task, image), expected)
    accelerator.close()


def test_block_control(board: HlsBoard) -> None:
    """The registers that Vitis HLS makes: DONE and READY fall when read, IRQ_STATUS toggles, outputs ignore writes."""
    read, write = board.registers.read, board.registers.write
    board.reset()
    assert read(OFFSET["CONTROL"]) == Control.IDLE
    assert read(OFFSET["ID"]) == 0
    write(OFFSET["CONTROL"], Control.START)
    assert read(OFFSET["IRQ_STATUS"]) == 0
    assert read(OFFSET["CONTROL"]) == Control.DONE | Control.IDLE | Control.READY
    assert read(OFFSET["CONTROL"]) == Control.IDLE
    assert read(OFFSET["ERROR_CODE"]) == Error.TASK
    write(OFFSET["IRQ_ENABLE"], Interrupt.DONE)
    write(OFFSET["CONTROL"], Control.START)
    assert read(OFFSET["IRQ_STATUS"]) == Interrupt.DONE
    assert not read(OFFSET["CONTROL"]) & Control.INTERRUPT
    write(OFFSET["GLOBAL_IRQ"], 1)
    assert read(OFFSET["CONTROL"]) == Control.IDLE | Control.INTERRUPT
    write(OFFSET["IRQ_STATUS"], Interrupt.DONE)
    assert read(OFFSET["CONTROL"]) == Control.IDLE
    for name in ("ID", "ERROR_CODE", "MODE"):
        before = read(OFFSET[name])
        write(OFFSET[name], 77)
        assert read(OFFSET[name]) == before
    for nowhere in (0x3, 0x4000, 0x0FFC):
        write(nowhere, 1)
        assert read(nowhere) in (0, 1)
    assert read(0x4000) == 0


def test_the_driver_knows_the_backend(board: HlsBoard, tmp_path: Path) -> None:
    board.reset()
    accelerator = board.accelerator()
    assert accelerator.backend.name == "HLS"
    accelerator.mode = Mode(0)
    with pytest.raises(AcceleratorError, match="the HLS accelerator has one schedule; leave mode at 0"):
        accelerator.mode = Mode.NO_PREFETCH
    other = HARDWARE["demo"].model_copy(update={"lanes": 16})
    write_pathways(random_pathways(SMALL, other), tmp_path / "other")
    with pytest.raises(AcceleratorError, match=r"hardware with lanes 16.* but the bitstream has lanes 8"):
        accelerator.load(tmp_path / "other")


def test_a_crash_is_one_sentence(tmp_path: Path) -> None:
    """A source outside the memory is out of range for C++; the sanitizer stops there."""
    write_pathways(random_pathways(SMALL, HARDWARE["demo"]), tmp_path / "pathway")
    with HlsBoard(HARDWARE["demo"], SANITISED, dram_bytes=1 << 24) as board:
        accelerator = board.accelerator()
        accelerator.load(tmp_path / "pathway")
        accelerator.select("depth")
        board.registers.write(OFFSET["SOURCE_HI"], 0xFF)
        with pytest.raises(SimulationError, match=r"^the C-simulation stopped: .*; make a new board$"):
            board.registers.write(OFFSET["CONTROL"], Control.START)
        with pytest.raises(SimulationError, match=r"^the C-simulation stopped: "):
            board.registers.read(OFFSET["ID"])
    with pytest.raises(SimulationError, match="stopped"):
        board.registers.read(OFFSET["ID"])
    board.close()


def test_compiler_errors_name_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3VIT_CACHE", str(tmp_path))
    wrong = tmp_path / "wrong.cpp"
    wrong.write_text('#include "engine.h"\nint main() { return nothing; }\n')
    with pytest.raises(SimulationError, match=r"g\+\+ refuses the HLS kernels; see (.*)/build.log"):
        csim.compile_kernels(HARDWARE["demo"], [wrong], "wrong")
    (log,) = tmp_path.glob("hls-*/build.log")
    assert "nothing" in log.read_text()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"g\+\+ is not installed; install it"):
        csim.build(HARDWARE["demo"])


def test_the_cases_hold_every_operation() -> None:
    seen = {op.opcode for make, model in CASES.values() for op in make(model, 1).first.program}
    assert seen == set(Opcode)
