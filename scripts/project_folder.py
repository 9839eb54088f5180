# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Contents of a project folder. Everything in it is a copy or generated, and no path in it leaves the folder.

What both backends have is here and in templates/project/common; the rest is in `project_rtl`, `project_hls` and the
template folders of those names. A file of a backend takes the place of a common one.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import jinja2

import m3vit
from m3vit import __version__
from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.scripts.project_hls import write_hls
from m3vit.scripts.project_rtl import write_rtl
from m3vit.scripts.project_vectors import Vector, make_vectors, write_vectors
from m3vit.scripts.tcl_check import check_project
from m3vit.sim import driver, host_image, host_memory, program, regmap
from m3vit.sim.pathway import Pathways, write_pathways
from m3vit.sim.resources import Resources

TEMPLATES = Path(__file__).resolve().parent / "templates" / "project"
COMMON = "common"
README = "README.md"
MARKER = "project.json"
HOST_MODULES = (driver, host_image, host_memory, program, regmap)
"""Modules of m3vit.sim that run on the board; they import each other, NumPy and the standard library only."""


class Backend(StrEnum):
    """How the accelerator is described."""

    rtl = "rtl"
    hls = "hls"


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of `out` when the block ends without an exception.

    Raises:
        UserError: `out` is something else than a project folder, holds a bitstream, or cannot be written.
    """
    check_replaceable(out)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}-")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; check permissions and free space") from error
    with temporary as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)


def check_replaceable(out: Path) -> None:
    """Check that writing a project to `out` destroys nothing but an older project.

    Raises:
        UserError: it would.
    """
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file()):
        raise UserError(f"{out} exists and is not a project folder; choose another --out or remove it")
    if any(out.glob("output/*.bit")):
        raise UserError(f"{out} holds a bitstream that was built there; choose another --out or remove it")


def write_project(pathways: Pathways, backend: Backend, need: Resources | None, folder: Path) -> bool:
    """Write the whole project.

    Args:
        pathways: what the accelerator will run.
        backend: how it is described.
        need: modelled resources, for the README; None if nothing can be said about them.
        folder: an empty folder.

    Returns:
        Whether the Tcl scripts were checked; without a Tcl interpreter they cannot be.

    Raises:
        UserError: a file cannot be written.
        TclError: a script is wrong.
    """
    try:
        vectors = make_vectors(pathways)
        write_pathways(pathways, folder / "pathway")
        write_host(vectors, folder / "host")
        values = _common_values(pathways, backend) | _write_backend(pathways, backend, vectors, folder)
        templates = _templates(backend)
        readme = templates.pop(README)
        for name, template in templates.items():
            render(template, folder / name, values)
        (folder / "build.sh").chmod(0o755)
        checked = check_project(folder, backend)
        render(readme, folder / README, values | {"need": need, "checked": checked})
        (folder / MARKER).write_text(json.dumps(_marker(pathways, backend, need), indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write the project: {error.strerror}; check permissions and free space") from error
    return checked


def _write_backend(pathways: Pathways, backend: Backend, vectors: Mapping[str, Vector], folder: Path) -> dict[str, Any]:
    if backend is Backend.hls:
        return write_hls(pathways, vectors, folder)
    return write_rtl(pathways.first.config.hardware, folder)


def write_host(vectors: Mapping[str, Vector], folder: Path) -> None:
    """Write the host's side: the driver as a small m3vit package, and one golden vector for each task."""
    package = folder / "m3vit" / "sim"
    package.mkdir(parents=True)
    assert m3vit.__file__ is not None
    shutil.copyfile(m3vit.__file__, package.parent / "__init__.py")
    shutil.copyfile(Path(__file__).resolve().parents[1] / "sim" / "__init__.py", package / "__init__.py")
    for module in HOST_MODULES:
        assert module.__file__ is not None
        shutil.copyfile(module.__file__, package / Path(module.__file__).name)
    write_vectors(vectors.values(), folder / "vectors")


def _common_values(pathways: Pathways, backend: Backend) -> dict[str, Any]:
    hardware = pathways.first.config.hardware
    return {
        "version": __version__,
        "backend": backend,
        "first": pathways.first,
        "tasks": list(pathways.tasks),
        "hardware": hardware,
        "capacity": _capacity(hardware),
        "window_kib": regmap.WINDOW_BYTES // 1024,
    }


def _capacity(hardware: HardwareConfig) -> str:
    return str(host_image.Capacity(*(getattr(hardware, field) for field in host_image.Capacity.__dataclass_fields__)))


def _marker(pathways: Pathways, backend: Backend, need: Resources | None) -> dict[str, Any]:
    return {
        "m3vit": __version__,
        "backend": backend,
        "workload": pathways.first.workload,
        "hardware": pathways.first.config.hardware.model_dump(mode="json"),
        "resources": asdict(need) if need else None,
    }


def _templates(backend: Backend) -> dict[str, str]:
    """Files of a project by their name in it, and the templates they are made from."""
    found = {}
    for part in (COMMON, backend):
        for path in sorted((TEMPLATES / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(TEMPLATES / part)).removesuffix(".j2")] = str(path.relative_to(TEMPLATES))
    return found


def render(template: str, target: Path, values: Mapping[str, Any]) -> None:
    """Copy one file of the template folder; if it ends in .j2 it is filled in."""
    target.parent.mkdir(exist_ok=True, parents=True)
    if not template.endswith(".j2"):
        shutil.copyfile(TEMPLATES / template, target)
        return
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    target.write_text(environment.get_template(template).render(values))
