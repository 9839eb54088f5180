# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The host driver on the simulated board: frames of several tasks, counters, errors, and the shape of pynq."""

import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fake_accelerator import FakeAccelerator, FakeMemory

from m3vit.model.config import HARDWARE, MODELS, TaskName
from m3vit.sim import simulated_pynq, verification
from m3vit.sim.board import Board, SimulatedBoard
from m3vit.sim.driver import Accelerator, AcceleratorError, Counters, Mode
from m3vit.sim.golden.executor import Executor
from m3vit.sim.host_image import Capacity
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.regmap import OFFSET, Error
from m3vit.sim.synthetic import random_image, random_pathways

TASKS: tuple[TaskName, ...] = ("depth", "edges")
MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": TASKS, "image_hw": (32, 32), "layers": 2})
"""17 tokens: simulates quickly."""
HERE = HARDWARE["demo"]
SEEDS, FRAMES = 4, 50
Frame = tuple[TaskName, int]
"""Task and seed of the image."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "pathway"
    write_pathways(random_pathways(MODEL, HERE, seed=7), path)
    return path


@pytest.fixture(scope="module")
def pathways(folder: Path) -> Pathways:
    return read_pathways(folder)


@pytest.fixture(scope="module")
def golden(pathways: Pathways) -> dict[Frame, npt.NDArray[np.int16]]:
    """Results of every task on every image; all differ."""
    executors = {task: Executor(pathways.task(task)) for task in TASKS}
    results = {(task, s): executors[task].run(random_image(MODEL, s)).output_NC for task in TASKS for s in range(SEEDS)}
    assert len({result.tobytes() for result in results.values()}) == len(results)
    return results


@pytest.fixture(scope="module")
def board(folder: Path) -> Iterator[SimulatedBoard]:
    with SimulatedBoard.for_pathway(folder) as board:
        yield board


@pytest.fixture
def loaded(board: SimulatedBoard, folder: Path) -> Iterator[Accelerator]:
    """A driver on a board that has just been configured."""
    board.dram.order()
    board.reset()
    accelerator = board.accelerator()
    accelerator.load(folder)
    yield accelerator
    board.dram.order()
    board.reset()
    accelerator.close()


def run(accelerator: Accelerator, frame: Frame) -> npt.NDArray[np.int16]:
    task, seed = frame
    return accelerator.run(task, random_image(MODEL, seed), timeout=0.01)


def counters(accelerator: Accelerator, task: str) -> list[Counters]:
    return [accelerator.counters(index) for index in range(accelerator.image.task(task).operations)]


def test_fifty_frames_of_two_tasks_in_random_order_equal_golden(
    loaded: Accelerator, golden: dict[Frame, npt.NDArray[np.int16]]
) -> None:
    rng = random.Random(50)
    frames = [rng.choice(list(golden)) for _ in range(FRAMES)]
    switches = sum(one[0] != other[0] for one, other in itertools.pairwise(frames))
    assert switches > FRAMES // 3
    assert set(frames) == set(golden)
    cycles: dict[Frame, int] = {}
    for number, frame in enumerate(frames):
        assert np.array_equal(run(loaded, frame), golden[frame]), f"frame {number}, {frame}"
        assert loaded.run_cycles() == cycles.setdefault(frame, loaded.run_cycles())  # whatever ran before
    assert len(set(cycles.values())) > 1


def test_counters_equal_those_of_verify(loaded: Accelerator, folder: Path, pathways: Pathways, tmp_path: Path) -> None:
    images = [random_image(MODEL, seed) for seed in range(2)]
    results = verification.verify(folder, pathways, images, TASKS, work=tmp_path)
    assert len(results.frames) == 4
    for verified in results.frames:
        run(loaded, (verified.task, verified.image))
        counted = counters(loaded, verified.task)
        names = Counters.__dataclass_fields__
        assert [vars(count) for count in counted] == [
            {name: getattr(op, name) for name in names} for op in verified.ops
        ]
        assert loaded.run_cycles() == verified.cycles
        assert 0 <= verified.cycles - sum(count.cycles for count in counted) <= 16
        assert sum(count.experts for count in counted) > 0
        assert 0 < sum(count.compute for count in counted) < verified.cycles


def test_a_slower_schedule_changes_the_cycles_only(
    loaded: Accelerator, golden: dict[Frame, npt.NDArray[np.int16]]
) -> None:
    frame: Frame = ("depth", 0)
    run(loaded, frame)
    before = loaded.run_cycles()
    loaded.mode = Mode.NO_PREFETCH | Mode.TOKEN_ORDER
    assert np.array_equal(run(loaded, frame), golden[frame])
    assert loaded.run_cycles() > 1.2 * before


def test_simulated_time_passes_only_when_the_host_waits(board: SimulatedBoard, loaded: Accelerator) -> None:
    before = board.clock()
    time.sleep(0.2)
    board.registers.read(OFFSET["ID"])
    assert 0 < board.clock() - before < 1e-6
    board.pause(1e-4)
    assert 1e-4 <= board.clock() - before < 1.1e-4
    before = board.clock()
    run(loaded, ("depth", 1))
    assert 0 < board.clock() - before - loaded.run_cycles() * 1e-8 < 1e-4  # not beyond the interrupt


def test_a_pathway_for_other_hardware_is_refused(
    loaded: Accelerator, golden: dict[Frame, npt.NDArray[np.int16]], tmp_path: Path
) -> None:
    other = HERE.model_copy(update={"name": "other", "lanes": 2 * HERE.lanes, "max_tokens": HERE.max_tokens + 8})
    write_pathways(random_pathways(MODEL, other), tmp_path / "other")
    with pytest.raises(AcceleratorError) as refusal:
        loaded.load(tmp_path / "other")
    text = str(refusal.value)
    needed, found = (
        Capacity(*(getattr(hardware, field) for field in Capacity.__dataclass_fields__)) for hardware in (other, HERE)
    )
    assert text.startswith(f"the pathway was exported for hardware with {needed}, but the bitstream has {found}; ")
    assert needed != found
    assert not re.search(r"[.\n]", text), "one sentence"
    assert np.array_equal(run(loaded, ("edges", 0)), golden["edges", 0])  # the one before is still loaded


def test_a_damaged_folder_is_refused(loaded: Accelerator, folder: Path, tmp_path: Path) -> None:
    for source in folder.glob("*.*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    data = bytearray((tmp_path / "image.bin").read_bytes())
    data[1000] ^= 1
    (tmp_path / "image.bin").write_bytes(data)
    with pytest.raises(AcceleratorError, match="does not match its checksums; copy the folder again"):
        loaded.load(tmp_path)
    with pytest.raises(AcceleratorError, match="cannot read the pathway in"):
        loaded.load(tmp_path / "none")


def test_wrong_calls_are_refused(loaded: Accelerator, golden: dict[Frame, npt.NDArray[np.int16]]) -> None:
    with pytest.raises(ValueError, match="there is no task 'cooking' in this pathway; choose one of depth, edges"):
        loaded.run("cooking", random_image(MODEL))
    for wrong in (np.zeros((32, 33, 3), np.uint8), np.zeros((32, 32, 3), np.float32)):
        with pytest.raises(ValueError, match=r"the input of task 'depth' must be \(32, 32, 3\) uint8, not "):
            loaded.run("depth", wrong)
    assert np.array_equal(run(loaded, ("depth", 0)), golden["depth", 0])


@pytest.mark.parametrize(("order", "code"), [("read_error", Error.AXI_READ), ("write_error", Error.AXI_WRITE)])
def test_a_fault_is_reported_and_the_next_frame_is_exact(
    order: str,
    code: Error,
    board: SimulatedBoard,
    loaded: Accelerator,
    golden: dict[Frame, npt.NDArray[np.int16]],
) -> None:
    board.dram.order(**{order: 20})
    with pytest.raises(AcceleratorError, match=f"the memory answered a .* with an error .ERROR_CODE {code.value}") as e:
        run(loaded, ("depth", 0))
    assert e.value.code is code
    assert board.registers.read(OFFSET["ERROR_CODE"]) == code
    assert np.array_equal(run(loaded, ("depth", 0)), golden["depth", 0])


def test_timeouts_are_in_simulated_seconds(
    board: SimulatedBoard, loaded: Accelerator, golden: dict[Frame, npt.NDArray[np.int16]]
) -> None:
    board.dram.order(read_silence=1)
    with pytest.raises(AcceleratorError, match=r"did not finish within 0\.0002 s"):
        loaded.run("depth", random_image(MODEL), timeout=2e-4)
    with pytest.raises(AcceleratorError, match="busy"):
        run(loaded, ("depth", 0))
    board.dram.order()
    loaded.wait(0.01)
    assert np.array_equal(run(loaded, ("depth", 0)), golden["depth", 0])


def test_from_overlay_finds_the_board(
    board: SimulatedBoard,
    folder: Path,
    golden: dict[Frame, npt.NDArray[np.int16]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "pynq" not in sys.modules
    requests, ask = [], board._process.ask
    monkeypatch.setattr(board._process, "ask", lambda *request: requests.append(request) or ask(*request))
    with board.as_pynq():
        accelerator = Accelerator.from_overlay("anywhere/m3vit.bit")
        accelerator.load(folder)
        for frame, expected in golden.items():
            before = board.clock()
            requests.clear()
            result_RC = accelerator.run(frame[0], random_image(MODEL, frame[1]))
            assert np.array_equal(result_RC, expected)
            assert len(requests) < 40  # the driver polls, but time passes in between
            assert 0 < board.clock() - before - accelerator.run_cycles() * 1e-8 < 1e-4
        accelerator.close()
    assert "pynq" not in sys.modules


def test_the_shape_of_pynq(board: SimulatedBoard) -> None:
    pynq: Any = simulated_pynq.pynq_module(board)
    overlay = pynq.Overlay("m3vit.bit")
    entry = overlay.ip_dict["m3vit_accelerator_0"]
    mmio = pynq.MMIO(entry["phys_addr"], entry["addr_range"])
    mmio.write(OFFSET["MEMORY_BYTES"], 4711)
    assert mmio.read(OFFSET["MEMORY_BYTES"]) == 4711
    pynq.Overlay("m3vit.bit")
    assert mmio.read(OFFSET["MEMORY_BYTES"]) == 0  # configuring resets
    one, other = pynq.allocate(1000), pynq.allocate((3, 1000), np.uint8)
    assert (one.shape, one.dtype, other.shape, other.dtype) == ((1000,), "u4", (3, 1000), np.uint8)
    assert other.physical_address >= one.physical_address + one.nbytes
    for buffer in (one, other):
        buffer.freebuffer()
    with pytest.raises(ValueError, match="nothing else"):
        pynq.MMIO(0x4000_0000, 64)
    with pytest.raises(ValueError, match="is not the name of a bitstream"):
        pynq.Overlay("m3vit.hwh")


@pytest.fixture(scope="module", params=["rtl", "hls"])
def project(folder: Path, request: pytest.FixtureRequest) -> Path:
    path = folder.parent / f"project-{request.param}"
    verb = [sys.executable, "-m", "m3vit.scripts.cli", "project", str(folder)]
    subprocess.run([*verb, "--backend", request.param, "--out", str(path)], check=True, capture_output=True)
    return path


def host_script(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", simulated_pynq.__name__, str(project / "host" / "run.py")]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_host_script_of_a_project_runs_unchanged(project: Path) -> None:
    driver = project / "host" / "m3vit" / "sim" / "driver.py"
    driver.write_text(driver.read_text() + "\nprint('the driver of this folder')\n")
    done = host_script(project)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "the driver of this folder"
    assert [line.partition(":")[0] for line in lines[1:-1]] == sorted(TASKS)
    assert all(" 0 of " in line for line in lines[1:-1])
    assert lines[-1] == "all equal"


def test_the_host_script_tells_a_wrong_result(project: Path) -> None:
    path = project / "host" / "vectors" / "edges.npz"
    data = dict(np.load(path))
    data["expected"].reshape(-1)[5] += 1
    np.savez(path, allow_pickle=False, **data)
    done = host_script(project)
    assert done.returncode == 1
    assert "edges: 1 of " in done.stdout


def test_only_project_folders_have_host_scripts(project: Path, tmp_path: Path) -> None:
    facts = json.loads((project / "project.json").read_text())
    (tmp_path / "project.json").write_text(json.dumps({name: facts[name] for name in facts if name != "hardware"}))
    done = host_script(tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"simulated_pynq: {tmp_path} is not a project folder; make one with 'm3vit project'\n"


class GoldenBoard(Board):
    """Golden behind a register file in Python: the least that a board must bring."""

    def __init__(self, pathways: Pathways) -> None:
        self._memory = FakeMemory()
        self.registers = FakeAccelerator(pathways, self._memory)
        self.closed = False

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Any:
        (size,) = shape
        return self._memory.allocate((size,), dtype)

    def pause(self, seconds: float) -> None:
        pass

    def clock(self) -> float:
        return time.monotonic()

    def reset(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_board_is_registers_buffers_and_time(
    pathways: Pathways, folder: Path, golden: dict[Frame, npt.NDArray[np.int16]]
) -> None:
    with GoldenBoard(pathways) as board:
        accelerator = board.accelerator()
        accelerator.load(folder)
        assert np.array_equal(run(accelerator, ("edges", 2)), golden["edges", 2])
        with board.as_pynq():
            accelerator = Accelerator.from_overlay("m3vit.bit")
            accelerator.load(folder)
            assert np.array_equal(run(accelerator, ("depth", 3)), golden["depth", 3])
        assert not board.closed
    assert board.closed
