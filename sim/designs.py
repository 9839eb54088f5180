# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Accelerator designs by name: presets, the designs that `m3vit explore` wrote, and any config file.

A design is a TOML config with a complete `hardware` table (model/config.py), so `m3vit train --config` and
`python -m m3vit.sim.synthesis` take it, too.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from m3vit.model.config import HARDWARE, MODELS, HardwareConfig, ModelConfig, load_config
from m3vit.model.errors import UserError, read_file, write_atomically

EXPLORED = Path("runs") / "explore"
"""Where `m3vit explore` writes, a folder for each workload, relative to the working directory."""
DESIGNS = "designs"
"""Folder of the designs in it."""


def find_design(name: str) -> HardwareConfig:
    """A design by name or path.

    Args:
        name: a TOML file, a preset, or a design that `m3vit explore` wrote below `EXPLORED`.

    Raises:
        UserError: there is none, there are several, or the file is no config with a `hardware`.
    """
    if name.endswith(".toml") or "/" in name:
        return read_design(Path(name))
    if name in HARDWARE:
        return HARDWARE[name]
    found = sorted(EXPLORED.glob(f"*/{DESIGNS}/{escape(name)}.toml"))
    if len(found) > 1:
        raise UserError(f"design '{name}' is in {' and in '.join(map(str, found))}; name the file")
    if not found:
        raise UserError(
            f"there is no design '{name}'; choose one of {', '.join(HARDWARE)}, a TOML file, or a design that "
            f"`m3vit explore` wrote to {EXPLORED / '*' / DESIGNS}"
        )
    return read_design(found[0])


def read_design(path: Path) -> HardwareConfig:
    """The hardware of a config file.

    Raises:
        UserError: the file cannot be read, is not valid, or names no hardware.
    """
    config = load_config(path)
    if "hardware" not in tomllib.loads(read_file(path).decode()):
        raise UserError(f"{path} holds no hardware; add a [hardware] table or the name of a preset")
    return config.hardware


def write_design(path: Path, hardware: HardwareConfig, model: ModelConfig, notes: Sequence[str]) -> None:
    """Write a design as a config file.

    Args:
        path: of the file.
        hardware: the design.
        model: that it was made for.
        notes: comment lines at the top.

    Raises:
        UserError: the file cannot be written.
    """
    preset = MODELS.get(model.name) == model
    tree: dict[str, Any] = {
        "model": model.name if preset else model.model_dump(mode="json"),
        "hardware": hardware.model_dump(mode="json"),
    }
    lines = [*(f"# {note}" for note in notes), *toml_lines(tree)]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def toml_lines(tree: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """A tree of tables, strings, numbers, booleans and lists of those as TOML, values before tables."""
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {json.dumps(value)}"  # TOML has JSON's strings, numbers, booleans and arrays
    for key, value in tree.items():
        if isinstance(value, Mapping):
            name = f"{table}.{key}" if table else key
            yield ""
            yield f"[{name}]"
            yield from toml_lines(value, name)
