# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""However the work with a simulated board ends: one sentence, no process left, no zombie, no file."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from m3vit.model.config import HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.sim import board_process
from m3vit.sim.board import SimulatedBoard
from m3vit.sim.golden.executor import Executor
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways
from m3vit.sim.regmap import OFFSET
from m3vit.sim.simulator import SimulationError, cache_folder
from m3vit.sim.synthetic import random_image, random_pathways

MODEL = MODELS["m3vit_demo_patch8"].model_copy(update={"tasks": ("depth",), "image_hw": (32, 32), "layers": 2})
HOUR = 3600.0
"""Of simulated time, which no test has."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "pathway"
    write_pathways(random_pathways(MODEL, HARDWARE["demo"]), path)
    return path


@pytest.fixture(scope="module")
def pathways(folder: Path) -> Pathways:
    return read_pathways(folder)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only folder for temporary files; a test must leave it empty."""
    path = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    assert list(path.iterdir()) == []


def is_running(group: int) -> bool:
    """Whether any process of a group is left, zombies included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def soon(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def wait_for_ever(board: SimulatedBoard) -> None:
    """Wait for an interrupt that does not come."""
    while True:
        board.pause(HOUR)


def later(action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(0.5, action)
    timer.start()
    return timer


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C works, also where a shell without job control has started pytest in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_closed_board_is_gone(temporary: Path, folder: Path, pathways: Pathways) -> None:
    with SimulatedBoard.for_pathway(folder) as board:
        (used,) = temporary.iterdir()
        assert not (used / "dram.bin").exists()  # a kill of both processes leaves no large file
        accelerator = board.accelerator()
        accelerator.load(folder)
        result_RC = accelerator.run("depth", random_image(MODEL))
        assert is_running(board.pid)
    assert not is_running(board.pid)
    assert np.array_equal(result_RC, Executor(pathways.first).run(random_image(MODEL)).output_NC)
    board.close()
    for call in (accelerator.run_cycles, accelerator.close, board.reset, lambda: board.pause(1.0)):
        with pytest.raises(SimulationError, match=r"^the simulated board is closed; make a new one$"):
            call()


def test_a_forgotten_board_is_gone(temporary: Path) -> None:
    board = SimulatedBoard(HARDWARE["demo"])
    pid = board.pid
    board.reset()
    del board
    assert soon(lambda: not is_running(pid))


def model(board: SimulatedBoard) -> int:
    """The process of the Verilator model itself."""
    (child,) = Path(f"/proc/{board.pid}/task/{board.pid}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("everything", [False, True])
def test_a_killed_simulation_is_one_sentence(waits: bool, everything: bool, temporary: Path) -> None:
    board = SimulatedBoard(HARDWARE["demo"])
    victim = model(board)
    kill = later(lambda: os.killpg(board.pid, signal.SIGKILL) if everything else os.kill(victim, signal.SIGKILL))
    if not waits:
        kill.join()
    with pytest.raises(SimulationError) as caught:
        wait_for_ever(board)
    log = cache_folder() / "board.log"
    text = f"the simulated board stopped unexpectedly; make a new one, and see {log} for the reason"
    assert str(caught.value) == text
    assert "m3vit.sim.board_server" in log.read_text()
    assert ("the simulation of m3vit_tb stopped" in log.read_text()) == (not everything)
    assert not Path(f"/proc/{board.pid}").exists()  # our child; the other one is not ours to wait for
    assert soon(lambda: not is_running(board.pid))
    with pytest.raises(SimulationError, match="is closed"):
        board.reset()


def test_an_error_inside_the_simulation_is_in_the_log(temporary: Path) -> None:
    board = SimulatedBoard(HARDWARE["demo"])
    with pytest.raises(SimulationError, match="stopped unexpectedly"):
        board._process.ask("dance")
    assert "unknown request 'dance'" in (cache_folder() / "board.log").read_text()
    assert not is_running(board.pid)


def test_a_simulation_that_does_not_start_is_one_sentence(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_process, "MODULE", "m3vit.sim.nothing")
    with pytest.raises(SimulationError, match=r"^the simulated board did not start; its log is \S+$"):
        SimulatedBoard(HARDWARE["demo"])
    assert "No module named m3vit.sim.nothing" in (cache_folder() / "board.log").read_text()


def test_ctrl_c_leaves_the_board_usable(temporary: Path, folder: Path, pathways: Pathways) -> None:
    with SimulatedBoard.for_pathway(folder) as board:
        accelerator = board.accelerator()
        accelerator.load(folder)
        later(lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            wait_for_ever(board)
        assert board.registers.read(OFFSET["MEMORY_BYTES"]) == pathways.first.image.size  # no answer is mixed up
        result_RC = accelerator.run("depth", random_image(MODEL))
        assert np.array_equal(result_RC, Executor(pathways.first).run(random_image(MODEL)).output_NC)


def test_a_stuck_simulation_is_ended(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_process, "GRACE_SECONDS", 0.5)
    board = SimulatedBoard(HARDWARE["demo"])
    os.kill(model(board), signal.SIGSTOP)
    later(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        board.reset()
    start = time.monotonic()
    board.close()
    assert time.monotonic() - start < 5
    assert soon(lambda: not is_running(board.pid))


PROGRAM = """
import sys
from m3vit.model.config import HARDWARE
from m3vit.sim.board import SimulatedBoard
board = SimulatedBoard(HARDWARE["demo"])
board.reset()
print(board.pid, flush=True)
while "wait" in sys.argv:
    board.pause(1)
"""


def host(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """Another Python with a board that it never closes, and the board's process group."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_host_that_ends_takes_its_board_with_it(temporary: Path) -> None:
    process, board = host()
    assert process.communicate(timeout=20)[1] == ""
    assert not is_running(board)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_host_that_is_killed_takes_its_board_with_it(number: signal.Signals, temporary: Path) -> None:
    process, board = host("wait")
    time.sleep(0.3)
    assert is_running(board)
    os.killpg(process.pid, number)  # as a terminal does
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1] or number == signal.SIGKILL
    assert soon(lambda: not is_running(board))
    assert soon(lambda: not list(temporary.iterdir()))


def test_a_missing_compiler_is_one_sentence(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(temporary))
    with pytest.raises(UserError, match=r"^make is not installed; install it, for example with '[\w -]+'$"):
        SimulatedBoard(HARDWARE["demo"])


@pytest.mark.parametrize(
    ("name", "exists", "reason"), [("long" * 25, True, "a socket at"), ("none", False, "the simulated DRAM")]
)
def test_a_bad_temporary_folder_is_one_sentence(
    name: str, exists: bool, reason: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary / name
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    if exists:
        path.mkdir()
    with pytest.raises(UserError, match=f"^cannot make {reason}.*; set TMPDIR to another folder$"):
        SimulatedBoard(HARDWARE["demo"])
    if exists:
        path.rmdir()  # it is empty


def test_a_missing_pathway_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        SimulatedBoard.for_pathway(tmp_path / "none")
