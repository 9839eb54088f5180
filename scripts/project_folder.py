# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Contents of a project folder. Everything in it is a copy or generated, and no path in it leaves the folder."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import m3vit
from m3vit import __version__
from m3vit.model.config import HardwareConfig
from m3vit.model.errors import UserError
from m3vit.rtl.accelerator import MASTER, SLAVE, parameters
from m3vit.rtl.generate import sources
from m3vit.scripts.tcl_check import check_project
from m3vit.sim import driver, host_image, host_memory, program, regmap
from m3vit.sim.golden.executor import Executor, source_format
from m3vit.sim.pathway import Pathway, Pathways, write_pathways
from m3vit.sim.resources import Resources

TEMPLATES = Path(__file__).resolve().parent / "templates" / "rtl_project"
MARKER = "project.json"
HOST_MODULES = (driver, host_image, host_memory, program, regmap)
"""Modules of m3vit.sim that run on the board; they import each other, NumPy and the standard library only."""


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


def write_project(pathways: Pathways, need: Resources, folder: Path) -> bool:
    """Write the whole project.

    Args:
        pathways: what the accelerator will run.
        need: modelled resources, for the README.
        folder: an empty folder.

    Returns:
        Whether the Tcl scripts were checked; without a Tcl interpreter they cannot be.

    Raises:
        UserError: a file cannot be written.
        TclError: a script is wrong.
    """
    hardware = pathways.first.config.hardware
    try:
        (folder / "src").mkdir()
        for source in sources():
            shutil.copyfile(source, folder / "src" / source.name)
        write_pathways(pathways, folder / "pathway")
        write_host(pathways, folder / "host")
        _render("src", folder, buses=bus_table(hardware.memory.ports), parameters=parameters(hardware))
        _render("tcl", folder, hardware=hardware, sources=[*(s.name for s in sources()), "m3vit_top.v"])
        _render("constraints", folder)
        checked = check_project(folder)
        facts = {"hardware": hardware, "need": need, "checked": checked, "version": __version__}
        _render(".", folder, **facts, first=pathways.first, tasks=list(pathways.tasks), capacity=_capacity(hardware))
        (folder / "build.sh").chmod(0o755)
        (folder / MARKER).write_text(json.dumps(_marker(pathways, need), indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write the project: {error.strerror}; check permissions and free space") from error
    return checked


def write_host(pathways: Pathways, folder: Path) -> None:
    """Write the host's side: the driver as a small m3vit package, an example, and one golden vector for each task."""
    package = folder / "m3vit" / "sim"
    package.mkdir(parents=True)
    (folder / "vectors").mkdir()
    assert m3vit.__file__ is not None
    shutil.copyfile(m3vit.__file__, package.parent / "__init__.py")
    shutil.copyfile(Path(__file__).resolve().parents[1] / "sim" / "__init__.py", package / "__init__.py")
    for module in HOST_MODULES:
        assert module.__file__ is not None
        shutil.copyfile(module.__file__, package / Path(module.__file__).name)
    _render("host", folder.parent)
    for seed, pathway in enumerate(pathways.tasks.values()):
        write_vector(pathway, seed, folder / "vectors" / f"{pathway.task}.npz")


def write_vector(pathway: Pathway, seed: int, path: Path) -> None:
    """Write a random input of a task's program and what golden makes of it."""
    shape, kind = source_format(pathway.program[0])
    limits = np.iinfo(kind)
    source = np.random.default_rng(seed).integers(limits.min // 2, limits.max // 2, shape, kind)
    np.savez_compressed(path, source=source, expected=Executor(pathway).run(source).output_NC)


def bus_table(ports: int) -> list[dict[str, Any]]:
    """AXI interfaces of the top module as the Verilog template wants them."""
    return [_bus("s_axi_ctrl", SLAVE), *(_bus(f"m_axi_hp{port}", MASTER) for port in range(ports))]


def _bus(name: str, table: tuple[tuple[str, int, str, str | None], ...] | tuple[tuple[str, int, str, str], ...]) -> Any:
    signals = [{"name": signal, "width": width, "direction": way} for signal, width, way, _ in table]
    return {"name": name, "signals": signals}


def _capacity(hardware: HardwareConfig) -> str:
    return str(host_image.Capacity(*(getattr(hardware, field) for field in host_image.Capacity.__dataclass_fields__)))


def _marker(pathways: Pathways, need: Resources) -> dict[str, Any]:
    return {
        "m3vit": __version__,
        "backend": "rtl",
        "workload": pathways.first.workload,
        "hardware": pathways.first.config.hardware.model_dump(mode="json"),
        "resources": asdict(need),
    }


def _render(part: str, folder: Path, **values: Any) -> None:
    """Copy the files of one template folder; those that end in .j2 are filled in."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    for path in sorted((TEMPLATES / part).iterdir()):
        if path.is_dir():
            continue
        target = folder / part / path.name.removesuffix(".j2")
        target.parent.mkdir(exist_ok=True)
        text = path.read_text()
        target.write_text(environment.from_string(text).render(values) if path.suffix == ".j2" else text)
