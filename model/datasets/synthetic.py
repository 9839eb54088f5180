# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A tiny copy of each dataset's layout, filled with procedural scenes: `python -m m3vit.model.datasets.synthetic`.

For tests, and for trying a recipe before the real dataset has been downloaded. Classes are the scenes' classes under
other numbers, so a model can learn them, but its metrics say nothing about the real dataset.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from m3vit.model.config import DatasetName
from m3vit.model.datasets.cityscapes import LABEL_IDS
from m3vit.model.datasets.pascal_labels import PERSON
from m3vit.model.datasets.reading import Array
from m3vit.model.errors import UserError
from m3vit.model.scenes import Scene, render, scene_seed
from m3vit.model.scenes import Split as SplitName

SEED = 5
BASELINE_M, FOCAL_PX = 0.209313, 2262.52
"""Of Cityscapes' cameras; the scenes' depth is written as if they had taken it."""
STREET = 5.0
"""A scene is written to Cityscapes as if it were this many times as large: 16 bits of disparity begin at 1.85 m."""
CONTEXT_LABELS = (158, 440, 37, 360, 284)
"""Labels of PASCAL-Context for the scenes' classes: floor, wall, box, sky (without normals), person."""
DOG = 12
"""PASCAL VOC's number of a class whose parts share names with a person's."""
PARTS = ("head", "torso", "luarm", "rhand", "luleg", "lfoot")

Writer = Callable[[Path, SplitName, int, Scene], str]
"""Writes the files of one scene and returns its name in the split."""


def write(dataset: DatasetName, root: Path, train: int = 6, val: int = 3, image_hw: tuple[int, int] = (48, 64)) -> None:
    """Write a tiny copy of a dataset's layout.

    Args:
        dataset: Which.
        root: Folder to write into.
        train: Training images.
        val: Validation images.
        image_hw: Stored size.

    Raises:
        UserError: the dataset has no layout on disk, or the folder is not empty or cannot be written.
    """
    if dataset not in WRITERS:
        raise UserError(f"'{dataset}' has no layout on disk; choose one of {', '.join(WRITERS)}")
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; choose another folder")
    writer, lists = WRITERS[dataset]
    sizes: dict[SplitName, int] = {"train": train, "val": val}
    try:
        for split, size in sizes.items():
            names = [writer(root, split, i, render(scene_seed(split, SEED, i), image_hw)) for i in range(size)]
            if lists is not None:
                _text(root / lists / f"{split}.txt", "\n".join(names) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; choose another folder") from error


def write_nyud(root: Path, split: SplitName, index: int, scene: Scene) -> str:
    """As MTI-Net and M3ViT store it: segmentation in PNG (0 is no label), all else in NumPy files."""
    name = f"{split}_{index:04d}"
    labels = (scene.segmentation * 9 + 2).astype(np.uint8)
    labels[:2] = 0
    depth = scene.depth.copy()
    depth[-2:] = 0
    _picture(root / f"images/{name}.jpg", scene.image)
    _picture(root / f"segmentation/{name}.png", labels)
    for folder, values in (("depth", depth), ("normals", scene.normals), ("edge", scene.edges.astype(np.float32))):
        _array(root / folder / f"{name}.npy", values)
    return name


def write_nyud_pictures(root: Path, split: SplitName, index: int, scene: Scene) -> str:
    """As ATRC stores it: images, normals and edges in PNG."""
    name = write_nyud(root, split, index, scene)
    for old in (f"images/{name}.jpg", f"normals/{name}.npy", f"edge/{name}.npy"):
        (root / old).unlink()
    _picture(root / f"images/{name}.png", scene.image)
    _picture(root / f"normals/{name}.png", _normals_picture(scene))
    _picture(root / f"edge/{name}.png", (scene.edges * 255).astype(np.uint8))
    return name


def write_nyud_matlab(root: Path, split: SplitName, index: int, scene: Scene) -> str:
    """As ASTMT stores it: segmentation and depth in MATLAB files, normals in JPEG, edges in PNG."""
    name = write_nyud_pictures(root, split, index, scene)
    segmentation = np.asarray(Image.open(root / f"segmentation/{name}.png"))
    _matlab(root / f"segmentation/{name}.mat", {"segmentation": segmentation})
    _matlab(root / f"depth/{name}.mat", {"depth": np.load(root / f"depth/{name}.npy")})
    _picture(root / f"images/{name}.jpg", scene.image)
    _picture(root / f"normals/{name}.jpg", _normals_picture(scene))
    for old in (f"images/{name}.png", f"segmentation/{name}.png", f"depth/{name}.npy", f"normals/{name}.png"):
        (root / old).unlink()
    return name


def write_pascal_context(root: Path, split: SplitName, index: int, scene: Scene) -> str:
    """As ASTMT and MTI-Net store it. Every other image has persons; the last column has no label."""
    name = f"2008_{index + 1000 * (split == 'val'):06d}"
    labels = (scene.segmentation * 4).astype(np.uint8)
    labels[:, -1] = 255
    _picture(root / f"JPEGImages/{name}.jpg", scene.image)
    _picture(root / f"semseg/{'VOC12' if index % 2 else 'pascal-context'}/{name}.png", labels)
    context = np.array(CONTEXT_LABELS, np.uint16)[scene.segmentation]
    _matlab(root / f"pascal-context/trainval/{name}.mat", {"LabelMap": context})
    _matlab(root / f"human_parts/{name}.mat", {"anno": _annotation(scene, persons=index % 2 == 0)})
    _picture(root / f"normals_distill/{name}.png", _normals_picture(scene))
    _picture(root / f"sal_distill/{name}.png", (scene.saliency * 255).astype(np.uint8))
    return name


def _annotation(scene: Scene, persons: bool) -> dict[str, object]:
    """PASCAL-Part's structure: a dog with a head, and one person whose parts are stripes."""
    rows = np.arange(scene.image.shape[0])[:, None] * len(PARTS) // scene.image.shape[0]
    body = np.broadcast_to(scene.saliency > 0, scene.saliency.shape)
    parts = [{"part_name": part, "mask": (body & (rows == i)).astype(np.uint8)} for i, part in enumerate(PARTS)]
    head = _structs([{"part_name": "head", "mask": scene.edges}])
    dog = {"class": "dog", "class_ind": DOG, "mask": scene.edges, "parts": head}
    person = {"class": "person", "class_ind": PERSON, "mask": body.astype(np.uint8), "parts": _structs(parts)}
    return {"imname": "synthetic", "objects": _structs([dog, person] if persons else [dog])}


def _structs(entries: list[dict[str, object]]) -> Array:
    """A MATLAB array of structures."""
    array = np.empty(len(entries), [(name, object) for name in entries[0]])
    for i, entry in enumerate(entries):
        array[i] = tuple(entry.values())
    return array


def write_cityscapes(root: Path, split: SplitName, index: int, scene: Scene) -> str:
    """As its authors store it: label ids, disparity in 16-bit PNG (0 is no measurement), one camera file per image."""
    city = "aachen" if split == "train" else "lindau"
    name = f"{city}_{index:06d}_000019"
    labels = np.array(LABEL_IDS, np.uint8)[scene.segmentation * 4]
    labels[-3:] = 1  # ego vehicle
    disparity = np.round(BASELINE_M * FOCAL_PX / (STREET * scene.depth) * 256 + 1).astype(np.uint16)
    disparity[:, :2] = 0
    camera = {"extrinsic": {"baseline": BASELINE_M}, "intrinsic": {"fx": FOCAL_PX, "fy": FOCAL_PX}}
    _picture(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", scene.image)
    _picture(root / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", labels)
    _picture(root / f"disparity/{split}/{city}/{name}_disparity.png", disparity)
    _text(root / f"camera/{split}/{city}/{name}_camera.json", json.dumps(camera))
    return name


WRITERS: dict[DatasetName, tuple[Writer, str | None]] = {
    "nyud": (write_nyud, "gt_sets"),
    "pascal_context": (write_pascal_context, "ImageSets/Context"),
    "cityscapes": (write_cityscapes, None),
}
"""How to write each dataset's images, and where its lists of images lie."""


def _normals_picture(scene: Scene) -> Array:
    return np.round((scene.normals + 1) / 2 * 255).astype(np.uint8)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _picture(path: Path, values: Array) -> None:
    Image.fromarray(np.ascontiguousarray(values)).save(_parent(path), quality=95)


def _array(path: Path, values: Array) -> None:
    np.save(_parent(path), values)


def _matlab(path: Path, content: dict[str, object]) -> None:
    savemat(_parent(path), content, do_compression=True)


def _text(path: Path, text: str) -> None:
    _parent(path).write_text(text)


def main(arguments: list[str]) -> None:
    """Write the dataset that the first argument names into the folder that the second names.

    Raises:
        UserError: see `write`.
    """
    chosen = [name for name in WRITERS if [name] == arguments[:1]]
    if len(arguments) != 2 or not chosen:
        raise UserError(f"usage: python -m m3vit.model.datasets.synthetic {{{','.join(WRITERS)}}} FOLDER")
    write(chosen[0], Path(arguments[1]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
