# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Pathway folders as a board reads them: memory image, task table, hardware, formats. Standard library and NumPy only.

`sim/pathway.py` writes the folder and is the reader for everything but a board; tests hold the two together.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3vit.sim.program import OP_BYTES, Op, Opcode
from m3vit.sim.regmap import Error

Bytes = npt.NDArray[np.uint8]
PATHWAY_VERSION = 2
UNIT = 32
"""Rows of residual stream and result have a pitch of a multiple of this many channels."""
BLANK = "0" * 64
"""Stands for the manifest's own checksum while that is computed."""


class AcceleratorError(RuntimeError):
    """The accelerator refused or failed; the message says why and `code` is the ERROR_CODE register, if it set it."""

    def __init__(self, message: str, code: Error = Error.NONE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Capacity:
    """What a bitstream, or the hardware a pathway was exported for, can hold."""

    lanes: int
    groups: int
    max_tokens: int
    max_dim: int
    max_hidden: int
    max_top_k: int
    max_block: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())

    def runs(self, needed: "Capacity") -> bool:
        """Whether a bitstream of this capacity runs a pathway exported for `needed`.

        The layout of the weights fixes lanes and groups; of everything else there may be more.
        """
        same_layout = (self.lanes, self.groups) == (needed.lanes, needed.groups)
        return same_layout and all(own >= vars(needed)[name] for name, own in vars(self).items())


@dataclass(frozen=True)
class Task:
    """Where the program of a task lies."""

    slot: int
    program_offset: int
    operations: int


@dataclass(frozen=True, eq=False)
class Image:
    """A pathway folder as far as a host needs it: memory image, tasks by name, hardware."""

    data: Bytes
    tasks: dict[str, Task]
    capacity: Capacity

    def operation(self, task: str, index: int) -> Op:
        """An operation of a task's program.

        Raises:
            ValueError: no such task or operation.
        """
        entry = self.task(task)
        if not 0 <= index < entry.operations:
            raise ValueError(f"task '{task}' has operations 0 to {entry.operations - 1}, not {index}")
        start = entry.program_offset + index * OP_BYTES
        return Op.decode(self.data[start : start + OP_BYTES].tobytes())

    def task(self, name: str) -> Task:
        """The entry of a task.

        Raises:
            ValueError: no such task.
        """
        if name not in self.tasks:
            raise ValueError(f"there is no task '{name}' in this pathway; choose one of {', '.join(self.tasks)}")
        return self.tasks[name]


def result_bytes(store: Op) -> int:
    """Bytes that a STORE operation writes: int16 rows, their channels rounded up to whole units."""
    return 2 * store.rows * -(-store.out_features // UNIT) * UNIT


def source_format(first: Op) -> tuple[tuple[int, ...], type[np.generic]]:
    """Shape and type of what a program whose first operation is `first` takes in."""
    if first.opcode is Opcode.LOAD:
        return (first.rows, first.in_features), np.int16
    return (first.operands[1], first.operands[2], 3), np.uint8


def read_image(folder: Path) -> Image:
    """Read a pathway folder.

    Raises:
        AcceleratorError: a file is missing or damaged, or the folder is of another version.
    """
    try:
        text = (folder / "manifest.json").read_bytes().decode()
        data = np.fromfile(folder / "image.bin", np.uint8)
    except (OSError, ValueError) as error:
        raise AcceleratorError(f"cannot read the pathway in {folder}: {error}") from error
    try:
        manifest = json.loads(text)
        version, seal, digest = manifest["version"], str(manifest["sha256"]), manifest["image"]["sha256"]
        image = _parse(manifest, data) if version == PATHWAY_VERSION else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AcceleratorError(f"{folder}/manifest.json is damaged; copy the folder again") from error
    if image is None:
        raise AcceleratorError(
            f"{folder} has pathway version {version}, this driver reads {PATHWAY_VERSION}; export again"
        )
    if _digest(text.replace(seal, BLANK).encode()) != seal or _digest(data.tobytes()) != digest:
        raise AcceleratorError(f"{folder} does not match its checksums; copy the folder again or export again")
    return image


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(manifest: dict[str, Any], data: Bytes) -> Image:
    hardware = manifest["config"]["hardware"]
    tasks = {
        name: Task(int(entry["slot"]), int(entry["program_offset"]), len(entry["program"]))
        for name, entry in manifest["tasks"].items()
    }
    return Image(data, tasks, Capacity(*(int(hardware[field]) for field in Capacity.__dataclass_fields__)))
