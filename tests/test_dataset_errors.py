# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What is wrong with a dataset's folder, a file in it, or a model for it is one sentence that says what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from m3vit.model.config import HARDWARE, MODELS, Config, DataConfig, DatasetName, TrainConfig
from m3vit.model.datasets import INFOS, LAYOUTS, open_data
from m3vit.model.datasets.synthetic import write
from m3vit.model.errors import UserError


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("originals")
    for name in LAYOUTS:
        write(name, root / name, train=2, val=2, image_hw=(24, 32))
    return root


def config(name: DatasetName, root: Path | None, workers: int = 0, **model: object) -> Config:
    info = INFOS[name]
    fields = {"classes": len(info.classes), "tasks": info.tasks, "image_hw": (24, 32)} | model
    return Config(
        model=MODELS["m3vit_demo_patch8"].model_copy(update=fields),
        data=DataConfig(dataset=name, root=root, workers=workers),
        train=TrainConfig(batch=2),
        hardware=HARDWARE["demo"],
    )


def complaint(name: DatasetName, root: Path | None, workers: int = 0, **model: object) -> str:
    """The sentence that opening or reading the dataset ends with."""
    with pytest.raises(UserError) as caught:
        list(open_data(config(name, root, workers, **model), progress=False).val(2))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_root(name: DatasetName, tmp_path: Path) -> None:
    info = INFOS[name]
    for root, start in (
        (tmp_path / "no", f"data.root {tmp_path / 'no'} does not exist; "),
        (None, f"the dataset {name} needs"),
    ):
        sentence = complaint(name, root)
        assert sentence.startswith(start)
        assert info.tree in sentence
        assert info.address in sentence
    assert "--data" in complaint(name, None)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("nyud", "gt_sets/train.txt"),
        ("pascal_context", "ImageSets/Context/train.txt"),
        ("cityscapes", "leftImg8bit/train/CITY/*_leftImg8bit.png"),
    ],
)
def test_wrong_layout_names_the_first_missing_file_and_the_tree(name: DatasetName, first: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    sentence = complaint(name, tmp_path)
    assert sentence.startswith(f"{tmp_path / first} is missing; ")
    assert INFOS[name].tree in sentence


REMOVED = [
    ("nyud", "images/val_0001.jpg"),
    ("nyud", "segmentation/train_0001.png"),
    ("nyud", "depth/val_0000.npy"),
    ("nyud", "normals/val_0000.npy"),
    ("nyud", "edge/train_0000.npy"),
    ("pascal_context", "JPEGImages/2008_000001.jpg"),
    ("pascal_context", "semseg/pascal-context/2008_001000.png"),
    ("pascal_context", "pascal-context/trainval/2008_000000.mat"),
    ("pascal_context", "human_parts/2008_000000.mat"),
    ("pascal_context", "normals_distill/2008_001001.png"),
    ("pascal_context", "sal_distill/2008_001001.png"),
    ("cityscapes", "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png"),
    ("cityscapes", "disparity/val/lindau/lindau_000000_000019_disparity.png"),
    ("cityscapes", "camera/val/lindau/lindau_000001_000019_camera.json"),
]
by_file = pytest.mark.parametrize(("name", "file"), REMOVED)


@by_file
def test_a_missing_file_is_named_before_training_starts(
    name: DatasetName, file: str, originals: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(originals / name, tmp_path / name)
    (root / file).unlink()
    with pytest.raises(UserError) as caught:
        open_data(config(name, root), progress=False)
    stem = Path(file).name.partition(".")[0]
    assert stem in str(caught.value)
    assert " is missing" in str(caught.value)
    assert INFOS[name].tree in str(caught.value)


@by_file
def test_a_truncated_file_is_named(name: DatasetName, file: str, originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / name, tmp_path / name)
    content = (root / file).read_bytes()
    (root / file).write_bytes(content[: len(content) // 2])
    data = open_data(config(name, root), progress=False)
    with pytest.raises(UserError) as caught:
        _ = list(data.val(2)), data.targets(2)
    assert str(caught.value).startswith(f"{root / file} is damaged (")
    assert str(caught.value).endswith("; unpack or download the dataset again")
    assert "\n" not in str(caught.value)


def test_an_error_in_a_worker_is_the_same_sentence(originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / "nyud", tmp_path / "nyud")
    (root / "images/val_0001.jpg").write_bytes(b"")
    assert complaint("nyud", root, workers=1) == complaint("nyud", root)


def _relabel(path: Path, value: int) -> None:
    picture = np.array(Image.open(path))
    picture[3, 4] = value
    Image.fromarray(picture).save(path)


def _relabel_matlab(path: Path, value: int) -> None:
    labels = loadmat(path)["LabelMap"]
    labels[3, 4] = value
    savemat(path, {"LabelMap": labels})


LABELS: list[tuple[DatasetName, str, Callable[[Path, int], None], int, str]] = [
    ("nyud", "segmentation/val_0001.png", _relabel, 41, "0 to 40"),
    ("pascal_context", "semseg/VOC12/2008_001001.png", _relabel, 21, "0 to 20"),
    ("pascal_context", "pascal-context/trainval/2008_001001.mat", _relabel_matlab, 460, "0 to 459"),
    ("cityscapes", "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png", _relabel, 34, "0 to 33"),
]


@pytest.mark.parametrize(("name", "file", "relabel", "value", "allowed"), LABELS)
def test_label_out_of_range(
    name: DatasetName, file: str, relabel: Callable[[Path, int], None], value: int, allowed: str,
    originals: Path, tmp_path: Path,
) -> None:  # fmt: skip
    root = shutil.copytree(originals / name, tmp_path / name)
    relabel(root / file, value)
    assert complaint(name, root).startswith(f"{root / file} holds label {value}; allowed are {allowed}")
    relabel(root / file, value - 1)
    list(open_data(config(name, root), progress=False).val(2))


def test_unknown_part(originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / "pascal_context", tmp_path / "pascal_context")
    file = root / "human_parts/2008_001000.mat"
    anno = loadmat(file)["anno"]
    anno["objects"][0, 0][0, 1]["parts"][0, 0]["part_name"] = "tail"
    savemat(file, {"anno": anno})
    assert complaint("pascal_context", root).startswith(f"{file} holds part 'tail'")


def test_a_label_map_of_another_kind(originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / "nyud", tmp_path / "nyud")
    file = root / "segmentation/val_0000.png"
    Image.new("RGB", (32, 24)).save(file)
    assert complaint("nyud", root).startswith(f"{file} holds an array of shape (24, 32, 3), not a label map")


def test_a_camera_without_focal_length(originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / "cityscapes", tmp_path / "cityscapes")
    file = root / "camera/val/lindau/lindau_000000_000019_camera.json"
    file.write_text('{"extrinsic": {"baseline": 0.2}}')
    assert complaint("cityscapes", root).startswith(f"{file} has no extrinsic.baseline and intrinsic.fx")


def test_an_empty_list(originals: Path, tmp_path: Path) -> None:
    root = shutil.copytree(originals / "nyud", tmp_path / "nyud")
    (root / "gt_sets/val.txt").write_text("\n")
    assert complaint("nyud", root).startswith(f"{root / 'gt_sets/val.txt'} lists no image; ")


def test_a_model_that_does_not_fit(originals: Path) -> None:
    for name, tasks, word in (
        ("nyud", ("segmentation", "saliency"), "saliency"),
        ("cityscapes", ("depth", "edges", "normals"), "edges, normals"),
        ("scenes", ("human_parts",), "human_parts"),
    ):
        info = INFOS[name]  # type: ignore[index]
        sentence = complaint(name, originals / name, tasks=tasks)  # type: ignore[arg-type]
        assert (
            sentence
            == f"{info.title} has no ground truth for {word}; set model.tasks to some of {', '.join(info.tasks)}"
        )
    assert complaint("nyud", originals / "nyud", classes=21) == (
        "the model has 21 classes and NYUD-v2 40; set model.classes = 40"
    )
    open_data(config("nyud", originals / "nyud", classes=21, tasks=("depth",)), progress=False)
