# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The host's end of a simulated board: starts the simulation in a process of its own, talks to it, and cleans up.

Whatever ends the work (close, an exception, Ctrl-C, a crash on either side), no process and no file is left.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.sim.board_server import DRAM, MODULE, SOCKET
from m3vit.sim.cosim import SimulatedDram
from m3vit.sim.simulator import SimulationError, build, cache_folder, frame_bench, toolchain

GRACE_SECONDS = 5.0
"""For a simulation to end by itself once its host has hung up."""
POLL_SECONDS = 0.1
LOGS = ("simulation.log", "process.log")


class BoardProcess:
    """A simulation that serves requests, and the DRAM that it shares with this process.

    Args:
        hardware: shape of the accelerator and of its memory.
        dram_bytes: size of the simulated DRAM. The file is sparse: what nobody writes takes no space.

    Attributes:
        dram: the shared memory.
        seconds: simulated time of the last reply.
        pid: process group of the simulation.

    Raises:
        UserError: a tool is missing, or there is no place for temporary files.
        SimulationError: the model does not build or start.
    """

    def __init__(self, hardware: HardwareConfig, dram_bytes: int) -> None:
        toolchain()
        build(frame_bench(hardware))
        self.seconds = 0.0
        with ExitStack() as stack:
            self._folder = make_folder(stack, dram_bytes)
            peer = self._start(stack, hardware)
            self.dram = SimulatedDram(self._folder / DRAM)
            (self._folder / DRAM).unlink()  # both sides have mapped it
            self._lines = peer.makefile("rw")
            stack.callback(_close, self._lines)
            self._worker = ThreadPoolExecutor(1, "m3vit-board")
            stack.callback(self._worker.shutdown)
            stack.callback(_hang_up, peer)
            self._close = weakref.finalize(self, stack.pop_all().close)

    def ask(self, *request: Any) -> int:
        """Send a request and wait for its answer.

        Another thread talks to the simulation, so Ctrl-C leaves here at once, never in the middle of a line.

        Raises:
            SimulationError: the simulation has died, or the board is closed.
        """
        if not self._close.alive:
            raise SimulationError("the simulated board is closed; make a new one")
        try:
            return self._worker.submit(self._exchange, request).result()
        except ConnectionError as error:
            raise self._failure("stopped unexpectedly") from error

    def close(self) -> None:
        """End the simulation; its buffers stay readable. A second call does nothing."""
        self._close()

    def _exchange(self, request: tuple[Any, ...]) -> int:
        print(json.dumps(request), file=self._lines, flush=True)
        reply = self._lines.readline()
        if not reply.endswith("\n"):
            raise ConnectionResetError
        value, self.seconds = json.loads(reply)
        return int(value)

    def _start(self, stack: ExitStack, hardware: HardwareConfig) -> socket.socket:
        """Start the simulation and wait until it has connected."""
        command = [sys.executable, "-P", "-m", MODULE, str(self._folder), hardware.model_dump_json()]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}
        with socket.socket(socket.AF_UNIX) as listener, (self._folder / LOGS[1]).open("w") as log:
            _listen(listener, self._folder / SOCKET)
            # A session of its own, so that Ctrl-C in the terminal does not reach the simulation.
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self.pid = self._process.pid
            stack.callback(_end, self._process)
            while self._process.poll() is None:
                with suppress(TimeoutError):
                    peer, _ = listener.accept()
                    return stack.enter_context(peer)
        raise SimulationError(f"the simulated board did not start; its log is {self._save_log()}")

    def _failure(self, what: str) -> SimulationError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        log = self._save_log()
        self.close()
        return SimulationError(f"the simulated board {what}; make a new one, and see {log} for the reason")

    def _save_log(self) -> Path:
        """Copy the logs to where they survive: one file, overwritten by the next crash."""
        path = cache_folder() / "board.log"
        logs = [self._folder / name for name in LOGS]
        path.write_text("\n".join(log.read_text(errors="replace") for log in logs if log.exists()))
        return path


def make_folder(stack: ExitStack, dram_bytes: int) -> Path:
    """A private folder with an empty DRAM in it, removed by the stack."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix="m3vit-board-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        (folder / DRAM).touch()
        os.truncate(folder / DRAM, dram_bytes)
    except OSError as error:
        raise UserError(f"cannot make the simulated DRAM: {error.strerror}; set TMPDIR to another folder") from error
    return folder


def _listen(listener: socket.socket, path: Path) -> None:
    try:
        listener.bind(str(path))
    except OSError as error:  # among others, a path of more than 107 bytes
        raise UserError(f"cannot make a socket at {path}: {error}; set TMPDIR to another folder") from error
    listener.listen(1)
    listener.settimeout(POLL_SECONDS)


def _close(lines: IO[str]) -> None:
    """Close a stream; what could not be sent to a dead simulation is dropped."""
    with suppress(OSError):
        lines.close()


def _hang_up(peer: socket.socket) -> None:
    """End the connection, also for a thread that waits for a line."""
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the simulation to end by itself, then end what is left of its process group."""
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
