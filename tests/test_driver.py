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
import pytest
from fake_accelerator import FakeAccelerator, FakeMemory

from m3vit.model.config import DEMO
from m3vit.scripts.project_folder import HOST_MODULES
from m3vit.sim import host_image, pathway
from m3vit.sim.driver import ALIGNMENT, Accelerator, AcceleratorError
from m3vit.sim.golden.executor import Executor, State
from m3vit.sim.host_image import read_image
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.program import Opcode
from m3vit.sim.regmap import ERROR_TEXT, OFFSET, TASK_SLOTS, Error, Status, task_entry
from m3vit.sim.synthetic import random_pathways, random_tokens


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


def moe_index(pathways: Pathways) -> int:
    return next(i for i, op in enumerate(pathways.first.program) if op.opcode is Opcode.MOE)


def test_moe_of_every_task_equals_golden(loaded: Accelerator, fake: FakeAccelerator, pathways: Pathways) -> None:
    x_ND, residual_ND = random_tokens(DEMO.model)
    results = []
    for task, path in pathways.tasks.items():
        for index in loaded.image.moe_operations(task):
            golden = Executor(path).step(index, State.of(x_ND=x_ND, residual_ND=residual_ND)).result
            result = loaded.run_moe(task, index, x_ND, residual_ND)
            assert result.dtype == np.int16
            assert np.array_equal(result, golden)
            results.append(result.tobytes())
    assert len(results) == len(DEMO.model.tasks) * len(DEMO.model.moe_layers)
    assert len(set(results)) == len(results)
    assert loaded.run_cycles() == 4711


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


def test_counters_name_their_registers(loaded: Accelerator, pathways: Pathways) -> None:
    index = moe_index(pathways)
    loaded.run_moe("edges", index, *random_tokens(DEMO.model))
    counters = dataclasses.asdict(loaded.counters(index))
    assert counters == {name: 1000 * index + OFFSET[f"OP_{name.upper()}"] for name in counters}
    assert len(counters) == sum(name.startswith("OP_") for name in OFFSET) - 1  # OP_COUNT is a setting
    assert set(dataclasses.asdict(loaded.counters(index + 1)).values()) == {0}


def test_buffers_are_reused_grow_and_are_freed(loaded: Accelerator, memory: FakeMemory, pathways: Pathways) -> None:
    index, tokens = moe_index(pathways), random_tokens(DEMO.model)
    for _ in range(3):
        loaded.run_moe("depth", index, *tokens)
    assert len(memory.buffers) == 3
    with pytest.raises(AssertionError):  # the fake compares operand sizes; only the buffer's growth matters here
        loaded.run("depth", index, 99, np.zeros(10**6, np.uint8), 64)
    assert [buffer.freed for buffer in memory.buffers] == [False, True, False, False]


def test_close_frees_everything_and_load_works_again(
    loaded: Accelerator, memory: FakeMemory, folder: Path, pathways: Pathways
) -> None:
    loaded.run_moe("depth", moe_index(pathways), *random_tokens(DEMO.model))
    loaded.close()
    assert all(buffer.freed for buffer in memory.buffers)
    with pytest.raises(ValueError, match="no pathway is loaded"):
        loaded.select("depth")
    loaded.load(folder)
    loaded.run_moe("depth", moe_index(pathways), *random_tokens(DEMO.model))


@pytest.mark.parametrize("code", [code for code in Error if code])
def test_every_error_code_becomes_its_sentence(
    loaded: Accelerator, fake: FakeAccelerator, pathways: Pathways, code: Error
) -> None:
    fake.fail_with = code
    index, tokens = moe_index(pathways), random_tokens(DEMO.model)
    with pytest.raises(AcceleratorError, match=ERROR_TEXT[code]) as caught:
        loaded.run_moe("depth", index, *tokens)
    assert caught.value.code is code
    fake.fail_with = None
    loaded.run_moe("depth", index, *tokens)


def test_an_unknown_error_code_is_reported(loaded: Accelerator, fake: FakeAccelerator, pathways: Pathways) -> None:
    fake.fail_with = 99
    with pytest.raises(AcceleratorError, match="unknown error code 99"):
        loaded.run_moe("depth", moe_index(pathways), *random_tokens(DEMO.model))


def test_a_hanging_run_times_out_and_keeps_its_buffers(
    loaded: Accelerator, fake: FakeAccelerator, memory: FakeMemory, pathways: Pathways
) -> None:
    fake.hang = True
    with pytest.raises(AcceleratorError, match=r"did not finish within 5 s.*BUSY"):
        loaded.run_moe("depth", moe_index(pathways), *random_tokens(DEMO.model), timeout=5)
    for call in (loaded.close, lambda: loaded.run_moe("depth", moe_index(pathways), *random_tokens(DEMO.model))):
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
        ({"VERSION": 0x0102}, "VERSION 0x0102, but this driver needs 0x0101"),
        ({"CAPACITY0": 16 | 80 << 16}, "exported for hardware with lanes 8.*bitstream has lanes 16"),
        ({"CAPACITY0": 8 | 79 << 16}, "max_tokens 80.*max_tokens 79"),
        ({"CAPACITY1": 63 | 256 << 16}, "max_dim 64.*max_dim 63"),
        ({"CAPACITY1": 64 | 192 << 16}, "max_hidden 256.*max_hidden 192"),
        ({"CAPACITY2": 4}, "max_top_k 8.*max_top_k 4"),
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


def test_a_larger_bitstream_of_the_same_lanes_is_accepted(
    accelerator: Accelerator, fake: FakeAccelerator, folder: Path
) -> None:
    fake.set(CAPACITY0=8 | 1040 << 16, CAPACITY1=384 | 512 << 16, CAPACITY2=16)
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
        (edit_manifest('"version": 1', '"version": 7'), "version 7, this driver reads 1"),
    ],
)
def test_a_damaged_pathway_is_refused(
    accelerator: Accelerator, pathways: Pathways, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    write_pathways(pathways, tmp_path / "p")
    damage(tmp_path / "p")
    with pytest.raises(AcceleratorError, match=message):
        accelerator.load(tmp_path / "p")


def test_misuse_is_a_value_error(loaded: Accelerator, pathways: Pathways) -> None:
    index = moe_index(pathways)
    x_ND, residual_ND = random_tokens(DEMO.model)
    shape = rf"must be \({DEMO.model.tokens}, {DEMO.model.dim}\)"
    with pytest.raises(ValueError, match="is PATCH_EMBED, not MOE"):
        loaded.run_moe("depth", 0, x_ND, residual_ND)
    with pytest.raises(ValueError, match="operations 0 to"):
        loaded.run_moe("depth", 1000, x_ND, residual_ND)
    with pytest.raises(ValueError, match=r"no task 'dogs'.*segmentation, depth"):
        loaded.run_moe("dogs", index, x_ND, residual_ND)
    with pytest.raises(ValueError, match=f"x of operation.*{shape} int8"):
        loaded.run_moe("depth", index, x_ND[1:], residual_ND)
    with pytest.raises(ValueError, match=f"residual of operation.*{shape} int16"):
        loaded.run_moe("depth", index, x_ND, residual_ND.astype(np.int32))


def test_unaligned_views_are_copied_right(loaded: Accelerator, pathways: Pathways) -> None:
    index = moe_index(pathways)
    x_ND, residual_ND = random_tokens(DEMO.model)
    expected = loaded.run_moe("depth", index, x_ND, residual_ND)
    fortran = loaded.run_moe("depth", index, np.asfortranarray(x_ND), np.asfortranarray(residual_ND))
    assert np.array_equal(fortran, expected)


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
