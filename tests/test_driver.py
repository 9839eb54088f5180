# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Host driver against a register file with golden behind it: protocol, cache handling, refusals, error paths."""

import ast
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fake_accelerator import FakeAccelerator, FakeMemory

from m3vit.model.config import DEMO
from m3vit.scripts.project_folder import HOST_MODULES
from m3vit.sim import host_image, pathway
from m3vit.sim.driver import ALIGNMENT, Accelerator, AcceleratorError, Mode
from m3vit.sim.golden.executor import Executor
from m3vit.sim.host_image import read_image
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.program import PROGRAM_VERSION
from m3vit.sim.regmap import ERROR_TEXT, HARDWARE_VERSION, OFFSET, TASK_SLOTS, Error, Status, task_entry
from m3vit.sim.synthetic import random_moe, random_pathways, random_residual


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(DEMO.model, DEMO.hardware)


@pytest.fixture(scope="module")
def folder(pathways: Pathways, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pathway") / "p"
    write_pathways(pathways, path)
    return path


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


@pytest.fixture
def fake(pathways: Pathways, memory: FakeMemory) -> FakeAccelerator:
    return FakeAccelerator(pathways, memory)


@pytest.fixture
def accelerator(fake: FakeAccelerator, memory: FakeMemory) -> Accelerator:
    ticks = iter(range(10**6))
    return Accelerator(fake, memory.allocate, pause=lambda left: None, clock=lambda: float(next(ticks)))


@pytest.fixture
def loaded(accelerator: Accelerator, folder: Path) -> Accelerator:
    accelerator.load(folder)
    return accelerator


def image(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*DEMO.model.image_hw, 3), np.uint8)


def test_frames_of_every_task_equal_golden(loaded: Accelerator, fake: FakeAccelerator, pathways: Pathways) -> None:
    results = []
    for task, path in pathways.tasks.items():
        for seed in (0, 1):
            golden_RC = Executor(path).run(image(seed)).output_NC
            result_RC = loaded.run(task, image(seed))
            assert result_RC.dtype == np.int16
            assert result_RC.flags.c_contiguous
            assert np.array_equal(result_RC, golden_RC)
            results.append(result_RC.tobytes())
    assert len(set(results)) == len(results) == 2 * len(DEMO.model.tasks)
    assert loaded.run_cycles() == 4711


def test_a_program_that_begins_with_load_takes_the_residual_stream(tmp_path: Path) -> None:
    pathways, memory = random_moe(DEMO.model, DEMO.hardware), FakeMemory()
    write_pathways(pathways, tmp_path / "p")
    accelerator = Accelerator(FakeAccelerator(pathways, memory), memory.allocate, pause=lambda left: None)
    accelerator.load(tmp_path / "p")
    residual_ND = random_residual(DEMO.model)
    golden_ND = Executor(pathways.first).run(residual_ND).output_NC
    assert golden_ND.shape == residual_ND.shape
    assert np.array_equal(accelerator.run(pathways.first.task, residual_ND), golden_ND)
    with pytest.raises(ValueError, match=rf"must be \({DEMO.model.tokens}, {DEMO.model.dim}\) int16, not .* uint8"):
        accelerator.run(pathways.first.task, image())


def test_a_task_switch_is_one_register_write(loaded: Accelerator, fake: FakeAccelerator) -> None:
    fake.writes.clear()
    loaded.select("depth")
    assert fake.writes == [(OFFSET["TASK"], 1)]


def test_load_fills_the_whole_task_table(loaded: Accelerator, fake: FakeAccelerator, pathways: Pathways) -> None:
    table = [(fake.words[task_entry(slot)], fake.words[task_entry(slot) + 4]) for slot in range(TASK_SLOTS)]
    used = [(p.program_offset, len(p.program)) for p in pathways.tasks.values()]
    assert table == used + [(0, 0)] * (TASK_SLOTS - len(used))
    assert fake.get("MEMORY_BYTES") == pathways.first.image.size
    assert fake.address("MEMORY") > 1 << 32


def test_counters_name_their_registers(loaded: Accelerator) -> None:
    loaded.run("edges", image())
    counters = dataclasses.asdict(loaded.counters(5))
    assert counters == {name: 5000 + OFFSET[f"OP_{name.upper()}"] for name in counters}
    assert len(counters) == sum(name.startswith("OP_") for name in OFFSET)


def test_mode_is_a_register(loaded: Accelerator, fake: FakeAccelerator) -> None:
    assert loaded.mode == Mode(0)
    loaded.mode = Mode.TOKEN_ORDER | Mode.NO_PREFETCH
    assert fake.get("MODE") == 5
    assert loaded.mode == Mode.TOKEN_ORDER | Mode.NO_PREFETCH


def test_buffers_are_reused_grow_and_are_freed(
    loaded: Accelerator, memory: FakeMemory, pathways: Pathways, tmp_path: Path
) -> None:
    for _ in range(3):
        loaded.run("depth", image())
    loaded.run("edges", image())
    assert len(memory.buffers) == 3
    loaded.run("segmentation", image())  # five channels, so a larger result
    assert [buffer.freed for buffer in memory.buffers] == [False, False, True, False]


def test_close_frees_everything_and_load_works_again(loaded: Accelerator, memory: FakeMemory, folder: Path) -> None:
    loaded.run("depth", image())
    loaded.close()
    assert all(buffer.freed for buffer in memory.buffers)
    with pytest.raises(ValueError, match="no pathway is loaded"):
        loaded.select("depth")
    loaded.load(folder)
    loaded.run("depth", image())


@pytest.mark.parametrize("code", [code for code in Error if code])
def test_every_error_code_becomes_its_sentence(loaded: Accelerator, fake: FakeAccelerator, code: Error) -> None:
    fake.fail_with = code
    with pytest.raises(AcceleratorError, match=ERROR_TEXT[code]) as caught:
        loaded.run("depth", image())
    assert caught.value.code is code
    fake.fail_with = None
    loaded.run("depth", image())


def test_an_unknown_error_code_is_reported(loaded: Accelerator, fake: FakeAccelerator) -> None:
    fake.fail_with = 99
    with pytest.raises(AcceleratorError, match="unknown error code 99"):
        loaded.run("depth", image())


def test_a_hanging_run_times_out_and_keeps_its_buffers(
    loaded: Accelerator, fake: FakeAccelerator, memory: FakeMemory
) -> None:
    fake.hang = True
    with pytest.raises(AcceleratorError, match=r"did not finish within 5 s.*BUSY"):
        loaded.run("depth", image(), timeout=5)
    for call in (loaded.close, lambda: loaded.run("depth", image())):
        with pytest.raises(AcceleratorError, match="is busy"):
            call()
    assert not any(buffer.freed for buffer in memory.buffers)


def test_wait_pauses_between_looks_with_the_time_left(fake: FakeAccelerator, memory: FakeMemory) -> None:
    left, now = [], iter([0.0, 1.0, 2.5])
    accelerator = Accelerator(fake, memory.allocate, pause=left.append, clock=lambda: next(now))
    fake.set(STATUS=int(Status.BUSY))
    fake.hang = True
    accelerator._pause = lambda seconds: (left.append(seconds), len(left) == 2 and fake.set(STATUS=int(Status.DONE)))
    accelerator.wait(timeout=4)
    assert left == [3.0, 1.5]


def test_interrupt_and_clear(accelerator: Accelerator, fake: FakeAccelerator) -> None:
    accelerator.enable_interrupt()
    assert fake.get("IRQ_ENABLE") == 1
    accelerator.enable_interrupt(False)
    assert fake.get("IRQ_ENABLE") == 0
    fake.set(STATUS=int(Status.DONE))
    accelerator.clear()
    assert fake.get("STATUS") == 0


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        ({"ID": 0xDEADBEEF}, "no m3vit accelerator at this address: ID reads 0xDEADBEEF"),
        (
            {"VERSION": 0x0101},
            f"VERSION 0x0101, but this driver needs 0x{HARDWARE_VERSION | PROGRAM_VERSION << 8:04X}",
        ),
        ({"CAPACITY0": 16 | 2 << 8 | 80 << 16}, "exported for hardware with lanes 8.*bitstream has lanes 16"),
        ({"CAPACITY0": 8 | 3 << 8 | 80 << 16}, "groups 2.*groups 3"),
        ({"CAPACITY0": 8 | 2 << 8 | 79 << 16}, "max_tokens 80.*max_tokens 79"),
        ({"CAPACITY1": 96 | 128 << 16}, "max_dim 128.*max_dim 96"),
        ({"CAPACITY1": 128 | 64 << 16}, "max_hidden 128.*max_hidden 64"),
        ({"CAPACITY2": 4 | 80 << 16}, "max_top_k 8.*max_top_k 4"),
        ({"CAPACITY2": 8 | 72 << 16}, "max_block 80.*max_block 72"),
        ({"STATUS": 1}, "is busy"),
    ],
)
def test_a_foreign_bitstream_is_refused(
    accelerator: Accelerator, fake: FakeAccelerator, folder: Path, registers: dict[str, int], message: str
) -> None:
    fake.set(**registers)
    fake.hang = True
    fake.writes.clear()
    with pytest.raises(AcceleratorError, match=message):
        accelerator.load(folder)
    assert not fake.writes


def test_a_larger_bitstream_of_the_same_layout_is_accepted(
    accelerator: Accelerator, fake: FakeAccelerator, folder: Path
) -> None:
    fake.set(CAPACITY0=8 | 2 << 8 | 1040 << 16, CAPACITY1=384 | 512 << 16, CAPACITY2=16 | 96 << 16)
    accelerator.load(folder)


def flip_image_byte(folder: Path) -> None:
    data = bytearray((folder / "image.bin").read_bytes())
    data[1000] ^= 1
    (folder / "image.bin").write_bytes(data)


def edit_manifest(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "manifest.json").read_text()
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new, 1))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_image_byte, "does not match its checksums"),
        (lambda folder: (folder / "image.bin").write_bytes(b""), "does not match its checksums"),
        (lambda folder: (folder / "image.bin").unlink(), "cannot read the pathway"),
        (lambda folder: (folder / "manifest.json").unlink(), "cannot read the pathway"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), "cannot read the pathway"),
        (edit_manifest('"slot": 1', '"slot": 2'), "does not match its checksums"),
        (edit_manifest('"program_offset"', '"offset"'), "is damaged"),
        (edit_manifest('"version": 2', '"version": 7'), "version 7, this driver reads 2"),
    ],
)
def test_a_damaged_pathway_is_refused(
    accelerator: Accelerator, pathways: Pathways, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    write_pathways(pathways, tmp_path / "p")
    damage(tmp_path / "p")
    with pytest.raises(AcceleratorError, match=message):
        accelerator.load(tmp_path / "p")


def test_misuse_is_a_value_error(loaded: Accelerator) -> None:
    shape = rf"must be \({DEMO.model.image_hw[0]}, {DEMO.model.image_hw[1]}, 3\) uint8"
    with pytest.raises(ValueError, match=r"no task 'dogs'.*segmentation, depth"):
        loaded.run("dogs", image())
    with pytest.raises(ValueError, match=f"input of task 'depth' {shape}, not .63, 64, 3. uint8"):
        loaded.run("depth", image()[1:])
    with pytest.raises(ValueError, match=f"{shape}, not .* float32"):
        loaded.run("depth", image().astype(np.float32))
    with pytest.raises(ValueError, match="operations 0 to"):
        loaded.image.operation("depth", 1000)


def test_views_that_are_not_contiguous_are_copied_right(loaded: Accelerator) -> None:
    expected = loaded.run("depth", image())
    assert np.array_equal(loaded.run("depth", np.asfortranarray(image())), expected)
    assert np.array_equal(loaded.run("depth", image()[::-1].copy()[::-1]), expected)


def test_buffers_beyond_40_bits_are_refused(accelerator: Accelerator, memory: FakeMemory, folder: Path) -> None:
    memory.next_address = (1 << 40) - ALIGNMENT
    with pytest.raises(AcceleratorError, match="40-bit"):
        accelerator.load(folder)


def test_the_boards_reader_agrees_with_the_pathway(folder: Path, pathways: Pathways) -> None:
    image = read_image(folder)
    assert host_image.PATHWAY_VERSION == pathway.PATHWAY_VERSION
    assert host_image.BLANK == pathway.BLANK
    assert np.array_equal(image.data, pathways.first.image)
    assert vars(image.capacity).items() <= DEMO.hardware.model_dump().items()
    for task, path in pathways.tasks.items():
        assert image.tasks[task].slot == path.task_slot
        encoded = [image.operation(task, i).encode() for i in range(image.tasks[task].operations)]
        assert encoded == [op.encode() for op in path.program]
    assert json.loads((folder / "manifest.json").read_text())["version"] == host_image.PATHWAY_VERSION


def test_the_drivers_files_need_python_3_10_numpy_and_each_other_only() -> None:
    own = {module.__name__ for module in HOST_MODULES}
    for module in HOST_MODULES:
        text = Path(str(module.__file__)).read_text()
        tree = ast.parse(text, feature_version=(3, 10))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        for name in names - own - {"numpy", "numpy.typing", "pynq"}:
            assert name is not None
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{module.__name__} imports {name}"
        assert not {"Self", "StrEnum"} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
