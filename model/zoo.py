# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The trained models that ship with m3vit: their pathways, what turns those back into checkpoints, and their cards.

A model is one archive, `zoo/NAME.tar.xz`: a pathway folder, whose int8 weights are the model's weights, and
`extras.safetensors` with the norms' gains and biases, the units and the config. `m3vit.model.dequantise`
makes a float checkpoint of the two. `zoo/NAME.md` is the model's card. Reading a pathway needs no torch.
"""

import lzma
import shutil
import tarfile
import tempfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from m3vit.model.errors import UserError

ARCHIVE, CARD = ".tar.xz", ".md"
PATHWAY, EXTRAS, CHECKPOINT = "pathway", "extras.safetensors", "model.safetensors"
UNPACKED = Path("runs/zoo")
"""Where a verb that is given a model's name unpacks it."""


def folder() -> Traversable:
    """Where the archives lie."""
    return resources.files("m3vit.model").joinpath("zoo")


def names() -> list[str]:
    """Models that ship with this version."""
    return sorted(entry.name.removesuffix(ARCHIVE) for entry in folder().iterdir() if entry.name.endswith(ARCHIVE))


def card(name: str) -> str:
    """A model's card, Markdown.

    Raises:
        UserError: there is no such model.
    """
    return _entry(name, CARD).read_text(encoding="utf-8")


def _entry(name: str, suffix: str) -> Traversable:
    if name not in names():
        raise UserError(f"no model '{name}' ships with m3vit; choose one of {', '.join(names())}")
    return folder().joinpath(name + suffix)


def unpack(name: str, out: Path) -> Path:
    """Unpack a model's pathway, extras and card; a folder that holds them already is left as it is.

    Args:
        name: of the model.
        out: folder to make.

    Returns:
        The pathway folder.

    Raises:
        UserError: there is no such model, its archive is damaged, or the folder holds something else.
    """
    archive = _entry(name, ARCHIVE)
    if not (out / PATHWAY).is_dir():
        if out.exists():
            raise UserError(f"{out} exists and is not an unpacked model; choose another --out or remove it")
        out.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
        try:
            with resources.as_file(archive) as path, tarfile.open(path) as tar:
                tar.extractall(new, filter="data")
            (new / "README.md").write_text(card(name), encoding="utf-8")
            new.chmod(0o755)
            new.rename(out)
        except (OSError, lzma.LZMAError, tarfile.TarError, EOFError) as error:
            raise UserError(f"cannot unpack the model '{name}' to {out}: {error}; install m3vit again") from error
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return out / PATHWAY


def find_pathway(path: Path) -> Path:
    """A pathway folder, or the name of a model that ships with m3vit, which is then unpacked to runs/zoo/NAME.

    Raises:
        UserError: the model cannot be unpacked.
    """
    if path.exists() or str(path) not in names():
        return path
    return unpack(str(path), UNPACKED / str(path))
