# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The folder of a training run: what is in it, whether it can be used, what a kill leaves behind."""

from pathlib import Path
from typing import Any

from m3vit.model.checkpoint import Checkpoint, read_checkpoint
from m3vit.model.config import Config
from m3vit.model.errors import UserError

RESUME, MODEL, METRICS, LOGS = "resume.safetensors", "model.safetensors", "metrics.json", "tensorboard"
UNSET = "not set"
"""Stands for a factor in a table that only one of two configs has."""
MOVABLE = {"root": None, "workers": 0}
"""Values of `DataConfig` in a comparison of two configs."""


def find_start(config: Config, out: Path, resume: bool) -> Checkpoint | None:
    """The checkpoint to start from, or None for a new run.

    Raises:
        UserError: the folder is not empty without `resume`, holds something else, or holds a run with another config.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; pass a folder to --out")
    contents = [path.name for path in out.iterdir()] if out.exists() else []
    if contents and not resume:
        raise UserError(f"{out} is not empty; choose another --out, or continue the run in it with --resume")
    if RESUME not in contents:
        # A kill during the very first write leaves only its temporary file.
        if any(not name.startswith(RESUME) for name in contents):
            raise UserError(f"{out} holds no run to resume; choose another --out")
        return None
    checkpoint = read_checkpoint(out / RESUME)
    if unmoved(checkpoint.config) != unmoved(config):
        difference = first_difference(unmoved(checkpoint.config), unmoved(config))
        raise UserError(
            f"{out} was trained with another config ({difference}); resume with the same config or choose another --out"
        )
    return checkpoint


def unmoved(config: Config) -> Config:
    """The config without what may differ when a run continues elsewhere, for it changes no result."""
    return config.model_copy(update={"data": config.data.model_copy(update=MOVABLE)})


def remove_leftovers(out: Path) -> None:
    """Delete the temporary files of writes that a kill interrupted; their names begin with the file's name."""
    for name in (RESUME, METRICS, MODEL):
        for path in out.glob(f"{name}?*"):
            path.unlink()


def first_difference(old: Config, new: Config) -> str:
    """The first parameter in which two configs differ, with both values."""
    there, here = dict(_leaves(old.model_dump(), "")), dict(_leaves(new.model_dump(), ""))
    key = next(key for key in (*there, *here) if there.get(key, UNSET) != here.get(key, UNSET))
    return f"{key} is {there.get(key, UNSET)} there and {here.get(key, UNSET)} here"


def _leaves(tree: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs = []
    for key, value in tree.items():
        pairs += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return pairs
