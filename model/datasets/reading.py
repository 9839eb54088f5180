# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Files of datasets: found by name, read into arrays, and refused in one sentence when missing or damaged."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from m3vit.model.datasets.info import IGNORE, DatasetInfo
from m3vit.model.errors import UserError

Array = NDArray[Any]
T = TypeVar("T")

MATLAB = ".mat"
MIN_NORMAL = 0.1
"""Shorter normals count as no value: 8-bit pictures of normals cannot hold an exact zero vector."""


class Files:
    """The files below a dataset's root. Folders are listed once, so that many files can be looked up quickly.

    Args:
        root: Folder of the dataset.
        info: For messages.

    Raises:
        UserError: the folder does not exist.
    """

    def __init__(self, root: Path, info: DatasetInfo) -> None:
        if not root.is_dir():
            raise UserError(f"data.root {root} does not exist; {info.expects()}")
        self.root, self._info = root, info
        self._names = cache(_file_names)

    def find(self, *candidates: str) -> Path:
        """The first of some paths, relative to the root, that exists.

        Raises:
            UserError: none does; the message names the first.
        """
        for candidate in candidates:
            path = self.root / candidate
            if path.name in self._names(path.parent):
                return path
        others = f" (nor {', '.join(candidates[1:])})" if len(candidates) > 1 else ""
        raise UserError(f"{self.root / candidates[0]} is missing{others}; {self._info.expects()}")

    def find_suffix(self, stem: str, suffixes: Sequence[str]) -> Path:
        """The file `stem` with the first of some suffixes that exists.

        Raises:
            UserError: none does.
        """
        return self.find(*(stem + suffix for suffix in suffixes))

    def lines(self, path: str) -> list[str]:
        """Lines of a text file that are not empty.

        Raises:
            UserError: it is missing, unreadable or has none.
        """
        text = _guarded(self.find(path), lambda file: file.read_text())
        names = [line.strip() for line in text.splitlines() if line.strip()]
        if not names:
            raise UserError(f"{self.root / path} lists no image; {self._info.expects()}")
        return names


def _file_names(folder: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in folder.iterdir()) if folder.is_dir() else frozenset()


def read_image(path: Path) -> Array:
    """A colour picture as uint8 (H, W, 3).

    Raises:
        UserError: it is missing or damaged.
    """
    return _guarded(path, _load_rgb)


def read_picture(path: Path) -> Array:
    """A picture's values as they are stored: palette indices, 8 or 16 bit grey, (H, W) or (H, W, C).

    Raises:
        UserError: it is missing or damaged.
    """
    return _guarded(path, _load_values)


def read_array(path: Path) -> Array:
    """A NumPy file's array.

    Raises:
        UserError: it is missing or damaged.
    """
    return _guarded(path, lambda file: np.asarray(np.load(file, allow_pickle=False)))


def read_matlab(path: Path, key: str) -> Any:
    """A variable of a MATLAB file; structures are dicts, arrays of structures lists.

    Raises:
        UserError: it is missing, damaged or has no such variable.
    """
    content = _guarded(path, lambda file: scipy.io.loadmat(file, simplify_cells=True))
    if key not in content:
        raise UserError(f"{path} has no variable '{key}'; unpack or download the dataset again")
    return content[key]


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: it is missing or damaged.
    """
    return _guarded(path, lambda file: json.loads(file.read_text()))


def read_any(path: Path, key: str) -> Array:
    """Values of a NumPy file, of variable `key` of a MATLAB file, or of a picture, told apart by the suffix.

    Raises:
        UserError: it is missing or damaged.
    """
    if path.suffix == ".npy":
        return read_array(path)
    return np.asarray(read_matlab(path, key)) if path.suffix == MATLAB else read_picture(path)


def _load_rgb(path: Path) -> Array:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _load_values(path: Path) -> Array:
    with Image.open(path) as picture:
        return np.asarray(picture)


def _guarded(path: Path, load: Callable[[Path], T]) -> T:
    """What `load` returns; every way in which a library says that a file is damaged becomes one sentence."""
    try:
        return load(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; unpack or download the dataset again") from error
    except Exception as error:  # Pillow, NumPy, SciPy and zlib raise a dozen kinds for damaged files
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); unpack or download the dataset again") from error


def check_labels(labels: Array, classes: int, path: Path) -> Array:
    """Labels as uint8 (H, W).

    Args:
        labels: Integers of any type; 0 to classes - 1, or 255 for pixels without a label.
        classes: Number of classes in the file.
        path: Named in the message.

    Raises:
        UserError: a value is out of range, or the array is no label map.
    """
    if labels.ndim != 2 or not labels.size:
        raise UserError(f"{path} holds an array of shape {labels.shape}, not a label map; download the dataset again")
    wrong = (labels != IGNORE) & ~((labels >= 0) & (labels < classes))
    if wrong.any():
        raise UserError(
            f"{path} holds label {labels[wrong][0]}; allowed are 0 to {classes - 1}, and {IGNORE} for no label"
        )
    return labels.astype(np.uint8)


def unit_normals(vectors: Array) -> Array:
    """Vectors (H, W, 3) at unit length, float32; the zero vector where there is no value."""
    finite = np.nan_to_num(vectors.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    length = np.linalg.norm(finite, axis=2, keepdims=True)
    return np.where(length >= MIN_NORMAL, finite / np.maximum(length, MIN_NORMAL), np.float32(0))


def picture_normals(picture: Array) -> Array:
    """Vectors in [-1, 1] from an 8-bit colour picture of them."""
    return 2 * picture[..., :3].astype(np.float32) / 255 - 1


def clean_depth(depth: Array, limit: float) -> Array:
    """Depth in metres, float32; 0 where it is not finite, not positive or beyond the limit."""
    metres = depth.astype(np.float32)
    return np.where(np.isfinite(metres) & (metres > 0) & (metres <= limit), metres, np.float32(0))
