# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Host driver against a register file with golden behind it: protocol, cache handling, refusals, error paths."""

import ast
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

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
from m3vit.sim.regmap import (
    COUNTER_WORDS,
    ERROR_TEXT,
    HARDWARE_VERSION,
    NO_TASK,
    OFFSET,
    TASK_SLOTS,
    WINDOW_BYTES,
    Backend,
    Control,
    Error,
    Interrupt,
    counter_slot,
    task_entry,
)
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


@pytest.fixture(params=list(Backend), ids=lambda backend: backend.name)
def fake(request: pytest.FixtureRequest, pathways: Pathways, memory: FakeMemory) -> FakeAccelerator:
    return FakeAccelerator(pathways, memory, backend=request.param)


@pytest.fixture
def rtl(pathways: Pathways, memory: FakeMemory) -> FakeAccelerator:
    return FakeAccelerator(pathways, memory)


@pytest.fixture
def hls(pathways: Pathways, memory: FakeMemory) -> FakeAccelerator:
    return FakeAccelerator(pathways, memory, backend=Backend.HLS)


@pytest.fixture
def accelerator(fake: FakeAccelerator) -> Accelerator:
    return drive(fake)


def drive(fake: FakeAccelerator) -> Accelerator:
    """The driver, for which a second passes between two looks at the clock."""
    ticks = iter(range(10**6))
    return Accelerator(fake, fake.memory.allocate, pause=lambda left: None, clock=lambda: float(next(ticks)))


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


def test_counters_have_the_words_of_the_map(loaded: Accelerator) -> None:
    names = [counter.name for counter in COUNTER_WORDS]
    for op in (0, 5, 127):
        assert dataclasses.asdict(loaded.counters(op)) == {name: 1000 * op + i for i, name in enumerate(names)}
    for op in (-1, 128):
        with pytest.raises(ValueError, match=f"operation {op} must be in 0..127"):
            loaded.counters(op)
    assert counter_slot(127) + 64 == WINDOW_BYTES


def test_mode_is_a_register(rtl: FakeAccelerator) -> None:
    accelerator = drive(rtl)
    assert accelerator.mode == Mode(0)
    accelerator.mode = Mode.TOKEN_ORDER | Mode.NO_PREFETCH
    assert rtl.get("MODE") == 5
    assert accelerator.mode == Mode.TOKEN_ORDER | Mode.NO_PREFETCH


def test_hls_has_one_schedule(hls: FakeAccelerator) -> None:
    accelerator = drive(hls)
    with pytest.raises(AcceleratorError, match="the HLS accelerator has one schedule; leave mode at 0"):
        accelerator.mode = Mode.TOKEN_ORDER
    accelerator.mode = Mode(0)
    assert accelerator.mode == Mode(0)


def test_the_backend_is_read(accelerator: Accelerator, fake: FakeAccelerator) -> None:
    assert accelerator.backend is fake.backend
    assert accelerator.capacity.lanes == DEMO.hardware.lanes


def test_outputs_that_read_zero_get_an_empty_run(hls: FakeAccelerator, folder: Path) -> None:
    accelerator = drive(hls)
    assert hls.get("ID") == 0
    accelerator.load(folder)
    begin = hls.writes[: hls.writes.index((OFFSET["CONTROL"], Control.START)) + 1]
    assert begin == [(OFFSET["TASK"], NO_TASK), (OFFSET["IRQ_STATUS"], 0), (OFFSET["CONTROL"], Control.START)]
    accelerator.load(folder)
    accelerator.run("depth", image())
    assert sum(offset == OFFSET["CONTROL"] for offset, _ in hls.writes) == 2


def test_no_empty_run_where_the_outputs_are_there(rtl: FakeAccelerator, folder: Path) -> None:
    drive(rtl).load(folder)
    assert not [offset for offset, _ in rtl.writes if offset in (OFFSET["CONTROL"], OFFSET["TASK"])]


@pytest.mark.parametrize(
    ("identity", "error", "message"),
    [({"ID": 0}, None, "ID reads 0x00000000"), ({}, Error.AXI_READ, "without a task ended with ERROR_CODE 6")],
)
def test_an_empty_run_that_changes_nothing_or_ends_otherwise_is_refused(
    hls: FakeAccelerator, folder: Path, identity: dict[str, int], error: Error | None, message: str
) -> None:
    hls.identity |= identity
    hls.fail_with = error
    with pytest.raises(AcceleratorError, match=message):
        drive(hls).load(folder)
    assert len(hls.writes) == 3


def test_an_empty_run_that_does_not_end_is_refused(hls: FakeAccelerator, folder: Path) -> None:
    hls.hang = True
    accelerator = drive(hls)
    for message in ("did not finish", "is busy"):
        with pytest.raises(AcceleratorError, match=message):
            accelerator.load(folder)


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
    with pytest.raises(AcceleratorError, match=r"did not finish within 5 s.*START"):
        loaded.run("depth", image(), timeout=5)
    for call in (loaded.close, lambda: loaded.run("depth", image()), lambda: loaded.select("depth")):
        with pytest.raises(AcceleratorError, match="is busy"):
            call()
    assert not any(buffer.freed for buffer in memory.buffers)


def test_an_error_is_reported_while_the_memory_is_silent(loaded: Accelerator, fake: FakeAccelerator) -> None:
    """DONE and an error code, but START stays, for bursts are under way."""
    fake.hang = True
    loaded._start()
    fake.control |= Control.DONE
    fake.set(ERROR_CODE=int(Error.TIMEOUT))
    with pytest.raises(AcceleratorError, match="memory does not answer"):
        loaded.wait()
    with pytest.raises(AcceleratorError, match="is busy"):
        loaded.run("depth", image())


def test_wait_pauses_between_looks_with_the_time_left(fake: FakeAccelerator, memory: FakeMemory) -> None:
    left, now = list[float](), iter([0.0, 1.0, 2.5])
    accelerator = Accelerator(fake, memory.allocate, pause=left.append, clock=lambda: next(now))
    fake.control = Control.START
    fake.hang = True
    accelerator._pause = lambda seconds: (left.append(seconds), len(left) == 2 and fake.end())
    accelerator.wait(timeout=4)
    assert left == [3.0, 1.5]


def test_wait_needs_no_done(accelerator: Accelerator, fake: FakeAccelerator) -> None:
    """Whoever looks at CONTROL clears DONE; a run has also ended when START has fallen."""
    fake.set(ERROR_CODE=0)
    fake.end()
    fake.read(OFFSET["CONTROL"])
    accelerator.wait()
    fake.set(ERROR_CODE=int(Error.SHAPE))
    with pytest.raises(AcceleratorError, match=ERROR_TEXT[Error.SHAPE]):
        accelerator.wait()


def test_interrupt_and_clear(accelerator: Accelerator, fake: FakeAccelerator) -> None:
    accelerator.enable_interrupt()
    assert (fake.get("IRQ_ENABLE"), fake.get("GLOBAL_IRQ")) == (Interrupt.DONE, 1)
    fake.end()
    assert fake.interrupt
    accelerator.clear()
    assert (fake.interrupt, fake.control) == (False, 0)
    accelerator.clear()
    assert not fake.interrupt  # a second toggle would set it again
    accelerator.enable_interrupt(False)
    assert (fake.get("IRQ_ENABLE"), fake.get("GLOBAL_IRQ")) == (0, 0)


def test_a_run_acknowledges_the_interrupt_of_the_one_before(loaded: Accelerator, fake: FakeAccelerator) -> None:
    loaded.enable_interrupt()
    for _ in range(2):
        loaded.run("depth", image())
        assert fake.interrupt


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        ({"ID": 0xDEADBEEF}, "no m3vit accelerator at this address: ID reads 0xDEADBEEF"),
        (
            {"VERSION": 0x0101},
            f"VERSION 0x000101, but this driver needs 0x{HARDWARE_VERSION | PROGRAM_VERSION << 8:06X}",
        ),
        ({"VERSION": HARDWARE_VERSION | PROGRAM_VERSION << 8 | 2 << 16}, "VERSION 0x02.*another BACKEND"),
        ({"CAPACITY0": 16 | 2 << 8 | 80 << 16}, "exported for hardware with lanes 8.*bitstream has lanes 16"),
        ({"CAPACITY0": 8 | 3 << 8 | 80 << 16}, "groups 2.*groups 3"),
        ({"CAPACITY0": 8 | 2 << 8 | 79 << 16}, "max_tokens 80.*max_tokens 79"),
        ({"CAPACITY1": 96 | 128 << 16}, "max_dim 128.*max_dim 96"),
        ({"CAPACITY1": 128 | 64 << 16}, "max_hidden 128.*max_hidden 64"),
        ({"CAPACITY2": 4 | 80 << 16}, "max_top_k 8.*max_top_k 4"),
        ({"CAPACITY2": 8 | 72 << 16}, "max_block 80.*max_block 72"),
    ],
)
def test_a_foreign_bitstream_is_refused(
    fake: FakeAccelerator, folder: Path, registers: dict[str, int], message: str
) -> None:
    fake.set(**fake.identity | registers)
    with pytest.raises(AcceleratorError, match=message):
        drive(fake).load(folder)
    assert not fake.writes


def test_a_busy_accelerator_is_left_alone(fake: FakeAccelerator, folder: Path) -> None:
    fake.control, fake.hang = Control.START, True
    with pytest.raises(AcceleratorError, match="is busy"):
        drive(fake).load(folder)
    assert not fake.writes


def test_a_larger_bitstream_of_the_same_layout_is_accepted(fake: FakeAccelerator, folder: Path) -> None:
    fake.identity |= {"CAPACITY0": 8 | 2 << 8 | 1040 << 16, "CAPACITY1": 384 | 512 << 16, "CAPACITY2": 16 | 96 << 16}
    fake.set(**fake.identity)
    drive(fake).load(folder)


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


class FakeOverlay:
    """What PYNQ finds in a bitstream."""

    ip_dict: ClassVar[dict[str, dict[str, int]]] = {}

    def __init__(self, path: str) -> None:
        assert path == "m3vit.bit"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"m3vit_accelerator_0": {"phys_addr": 0xA0000000, "addr_range": WINDOW_BYTES}}, True),
        ({"m3vit_accelerator_0": {"phys_addr": 0xA0000000, "addr_range": 4096}}, False),
        ({"axi_dma_0": {"phys_addr": 0xA0000000, "addr_range": WINDOW_BYTES}}, False),
    ],
)
def test_an_overlay_is_searched_for_the_accelerator(
    monkeypatch: pytest.MonkeyPatch, fake: FakeAccelerator, cells: dict[str, dict[str, int]], found: bool
) -> None:
    def mmio(address: int, size: int) -> FakeAccelerator:
        assert (address, size) == (0xA0000000, WINDOW_BYTES)
        return fake

    overlay = type("Overlay", (FakeOverlay,), {"ip_dict": cells})
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(Overlay=overlay, MMIO=mmio, allocate=fake.memory.allocate))
    if found:
        assert Accelerator.from_overlay("m3vit.bit").backend is fake.backend
    else:
        with pytest.raises(AcceleratorError, match=r"m3vit.bit has no cell m3vit_accelerator_0 with 16384 bytes"):
            Accelerator.from_overlay("m3vit.bit")
