# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The Pathway: everything one task needs to run. Needs no torch.

All tasks of a model share one memory image; a task adds its routers, its head and its program. docs/pathway.md
describes the folder that `write_pathways` makes and `read_pathways` reads.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3vit.model.config import Config, TaskName, config_from_dict
from m3vit.model.errors import UserError, read_file, write_atomically
from m3vit.sim.program import Flag, Op, Opcode
from m3vit.sim.program_check import Block, check_addresses, check_program, check_sizes

__all__ = ["Accuracy", "Block", "Pathway", "Pathways", "Scales", "check_target", "read_pathways", "write_pathways"]

PATHWAY_VERSION = 2
FORMAT = "m3vit-pathway"
MANIFEST, IMAGE = "manifest.json", "image.bin"
STRAYS = (f"image-{'?' * 16}.bin*", f"{MANIFEST}?*")
"""Files that a killed export may leave beside the two."""
BLANK = "0" * 64
"""Stands for the manifest's own checksum while that is computed."""


@dataclass(frozen=True)
class Scales:
    """Real values of integer units."""

    residual: float
    """One unit of the int16 residual stream, the same for all tasks."""
    output: float
    """One unit of the int16 output of the task's head."""


@dataclass(frozen=True)
class Accuracy:
    """Score of a task on the validation split: float model, integer model, and the best prediction without an image."""

    metric: str
    higher_is_better: bool
    float32: float
    int8: float
    trivial: float
    images: int
    load: dict[str, list[float]] = field(default_factory=dict)
    """Share of the token-expert assignments of each expert in the float model, by index of the MoE layer."""

    @property
    def loss_percent(self) -> float:
        """How much worse int8 is than float, relative to float; negative if better."""
        loss = self.float32 - self.int8 if self.higher_is_better else self.int8 - self.float32
        return 100 * loss / abs(self.float32) if self.float32 else 0.0


@dataclass(frozen=True, eq=False)
class Pathway:
    """One task's program, the shared memory image and the scales.

    Attributes:
        workload: the model's name.
        task: the task's name.
        task_slot: entry of the hardware's task table.
        program: the operations.
        program_offset: where the encoded program lies in the image.
        image: uint8, read-only, the same array for all tasks.
        scales: real values of integer units.
        config: everything the model was made with.
        blocks: named ranges of the image, those of all tasks.
        accuracy: measured at export, if it was.
    """

    workload: str
    task: TaskName
    task_slot: int
    program: tuple[Op, ...]
    program_offset: int
    image: npt.NDArray[np.uint8]
    scales: Scales
    config: Config
    blocks: dict[str, Block]
    accuracy: Accuracy | None = None

    def check(self) -> None:
        """Check the program against the image and the hardware.

        Raises:
            UserError: an operation is out of order, reads outside the image, is larger than the hardware, or differs
                from the image.
        """
        encoded = b"".join(op.encode() for op in self.program)
        placed = self.image[self.program_offset : self.program_offset + len(encoded)].tobytes()
        if placed != encoded:
            raise UserError(f"the program of task '{self.task}' differs from its copy in the image; export again")
        check_program(self.program, f"task '{self.task}'")
        for index, op in enumerate(self.program):
            where = f"operation {index} ({op.opcode.name}) of task '{self.task}'"
            check_sizes(op, self.config.hardware, where)
            check_addresses(op, self.config.hardware, self.image.size, where)


@dataclass(frozen=True, eq=False)
class Pathways:
    """The pathways of all tasks of a model, in the order of their slots."""

    tasks: dict[TaskName, Pathway]

    def task(self, name: str) -> Pathway:
        """The pathway of one task.

        Raises:
            UserError: no such task.
        """
        for task, pathway in self.tasks.items():
            if task == name:
                return pathway
        raise UserError(f"there is no task '{name}' in this pathway; choose one of {', '.join(self.tasks)}")

    @property
    def first(self) -> Pathway:
        """The pathway in slot 0."""
        return next(iter(self.tasks.values()))

    def check(self) -> None:
        """Check every task.

        Raises:
            UserError: see `Pathway.check`.
        """
        for pathway in self.tasks.values():
            pathway.check()


def write_pathways(pathways: Pathways, folder: Path) -> None:
    """Write a pathway folder. Killed at any moment, it leaves the old or the new pathways readable, never a mixture.

    The image is first written under a name that holds its checksum, then the manifest is replaced, then the image gets
    its final name; readers look for the first name, then for the second.

    Raises:
        UserError: the folder holds something else, cannot be written, or the pathways fail their checks.
    """
    pathways.check()
    check_target(folder)
    image = pathways.first.image.tobytes()
    digest = hashlib.sha256(image).hexdigest()
    pending = folder / _pending_name(digest)
    write_atomically(pending, image)
    write_atomically(folder / MANIFEST, _seal(_manifest(pathways, digest)))
    pending.replace(folder / IMAGE)
    for pattern in STRAYS:
        for stray in folder.glob(pattern):
            stray.unlink(missing_ok=True)


def check_target(folder: Path) -> None:
    """Check early that `write_pathways` may write a folder.

    Raises:
        UserError: the folder exists and holds something else.
    """
    if folder.exists() and not _is_ours(folder):
        raise UserError(f"{folder} exists and is not a pathway folder; choose another --out or remove it")


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty, holds a pathway, or what an interrupted first export leaves."""
    if not folder.is_dir():
        return False
    if (folder / MANIFEST).is_file():
        return FORMAT.encode() in read_file(folder / MANIFEST)[:64]
    return all(any(path.match(pattern) for pattern in (IMAGE, *STRAYS)) for path in folder.iterdir())


def _pending_name(digest: str) -> str:
    return f"image-{digest[:16]}.bin"


def _manifest(pathways: Pathways, digest: str) -> dict[str, Any]:
    first = pathways.first
    return {
        "format": FORMAT,
        "version": PATHWAY_VERSION,
        "sha256": BLANK,
        "image": {"bytes": first.image.size, "sha256": digest},
        "tasks": {task: _task_tree(pathway) for task, pathway in pathways.tasks.items()},
        "blocks": {name: [block.offset, block.size] for name, block in first.blocks.items()},
        "config": first.config.model_dump(mode="json"),
    }


def _task_tree(pathway: Pathway) -> dict[str, Any]:
    return {
        "slot": pathway.task_slot,
        "program_offset": pathway.program_offset,
        "scales": asdict(pathway.scales),
        "accuracy": asdict(pathway.accuracy) if pathway.accuracy else None,
        "program": [_op_tree(op) for op in pathway.program],
    }


def _op_tree(op: Op) -> dict[str, Any]:
    return asdict(op) | {"opcode": op.opcode.name, "flags": int(op.flags), "operands": list(op.operands)}


def _seal(manifest: dict[str, Any]) -> bytes:
    """Text of the manifest with its own checksum in it."""
    blank = json.dumps(manifest, indent=1) + "\n"
    assert blank.count(BLANK) == 1
    return blank.replace(BLANK, hashlib.sha256(blank.encode()).hexdigest()).encode()


def read_pathways(folder: Path) -> Pathways:
    """Read and check a pathway folder.

    Raises:
        UserError: a file is missing, truncated, damaged or of another version, or a program does not fit.
    """
    if not folder.is_dir():
        raise UserError(f"there is no pathway folder {folder}; make one with `m3vit export`")
    manifest = _unseal(read_file(folder / MANIFEST), folder / MANIFEST)
    try:
        config = config_from_dict(manifest["config"], str(folder / MANIFEST))
        image = _read_image(folder, int(manifest["image"]["bytes"]), str(manifest["image"]["sha256"]))
        blocks = {name: Block(*where) for name, where in manifest["blocks"].items()}
        tasks = {task: _task_from_tree(task, tree, config, image, blocks) for task, tree in manifest["tasks"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / MANIFEST} lacks a field or holds a wrong one ({error}); export again") from error
    pathways = Pathways(tasks)
    pathways.check()
    return pathways


def _unseal(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a manifest whose version and checksum are right."""
    damaged = UserError(f"{path} is damaged: its checksum does not match; run m3vit export again")
    try:
        text = data.decode()
        manifest = json.loads(text)
        version, digest = manifest["version"], manifest.get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    if isinstance(version, int) and version != PATHWAY_VERSION:
        age = "an older" if version < PATHWAY_VERSION else "a newer"
        raise UserError(
            f"{path} was exported by {age} m3vit (version {version}, this one reads {PATHWAY_VERSION}); "
            "run m3vit export again"
        )
    if not isinstance(digest, str) or hashlib.sha256(text.replace(digest, BLANK).encode()).hexdigest() != digest:
        raise damaged
    tree: dict[str, Any] = manifest
    return tree


def _read_image(folder: Path, size: int, digest: str) -> npt.NDArray[np.uint8]:
    """The image under its pending name if an export was interrupted before the last step, else under its final one."""
    path, data = folder / IMAGE, None
    with suppress(FileNotFoundError):
        data = (folder / _pending_name(digest)).read_bytes()
    if data is None:
        data = read_file(path)
    if len(data) != size:
        raise UserError(f"{path} has {len(data)} bytes where the manifest says {size}; run m3vit export again")
    if hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"{path} is damaged: its checksum does not match; run m3vit export again")
    return np.frombuffer(data, np.uint8)


def _task_from_tree(
    task: TaskName, tree: dict[str, Any], config: Config, image: npt.NDArray[np.uint8], blocks: dict[str, Block]
) -> Pathway:
    return Pathway(
        workload=config.model.name,
        task=task,
        task_slot=tree["slot"],
        program=tuple(_op_from_tree(op) for op in tree["program"]),
        program_offset=tree["program_offset"],
        image=image,
        scales=Scales(**tree["scales"]),
        config=config,
        blocks=blocks,
        accuracy=Accuracy(**tree["accuracy"]) if tree["accuracy"] else None,
    )


def _op_from_tree(tree: dict[str, Any]) -> Op:
    names = {"opcode": Opcode[tree["opcode"]], "flags": Flag(tree["flags"]), "operands": tuple(tree["operands"])}
    return Op(**(tree | names))
