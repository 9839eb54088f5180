# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Datasets on disk, on synthetic copies of their layouts: what was rendered is what is read, in every distribution."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import m3vit.model.config
from m3vit.model.config import (
    HARDWARE,
    MODELS,
    Config,
    DataConfig,
    DatasetName,
    SceneConfig,
    TrainConfig,
    load_config,
)
from m3vit.model.datasets import INFOS, LAYOUTS, open_data
from m3vit.model.datasets.augment import Changes, draw_changes, transform
from m3vit.model.datasets.cityscapes import LABEL_IDS, disparity_to_depth, train_ids
from m3vit.model.datasets.pascal_labels import NORMALS_LABELS, PART_CLASSES
from m3vit.model.datasets.reading import clean_depth, unit_normals
from m3vit.model.datasets.synthetic import (
    PARTS,
    STREET,
    WRITERS,
    main,
    write,
    write_nyud,
    write_nyud_matlab,
    write_nyud_pictures,
)
from m3vit.model.errors import UserError
from m3vit.model.sampling import batch_indices
from m3vit.model.scenes import Scene, load_split, render, scene_seed

HW = (48, 64)
"""Stored size of the copies, and of the models here: nothing is scaled without augmentation."""
ON_DISK = list(LAYOUTS)
SEED = 5
RECIPES = Path(m3vit.model.config.__file__).parent / "recipes"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[DatasetName, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("datasets")
    for name in ON_DISK:
        write(name, root / name, train=5, val=3, image_hw=HW)
    return {name: root / name for name in ON_DISK}


def config(name: DatasetName, root: Path | None, workers: int = 0, image_hw: tuple[int, int] = HW) -> Config:
    info = INFOS[name]
    sizes = {"classes": len(info.classes), "tasks": info.tasks, "image_hw": image_hw}
    return Config(
        model=MODELS["m3vit_demo_patch8"].model_copy(update=sizes),
        data=DataConfig(dataset=name, root=root, workers=workers),
        scenes=SceneConfig(train_size=7, val_size=5),
        train=TrainConfig(batch=4),
        hardware=HARDWARE["demo"],
    )


def scene(split: str, index: int) -> Scene:
    return render(scene_seed(split, SEED, index), HW)  # type: ignore[arg-type]


def validation(name: DatasetName, root: Path) -> dict[str, Tensor]:
    (part,) = open_data(config(name, root), progress=False).val(8)
    return part


@pytest.mark.parametrize("name", ON_DISK)
def test_shapes_types_and_ranges(name: DatasetName, folders: dict[DatasetName, Path]) -> None:
    info, data = INFOS[name], open_data(config(name, folders[name], image_hw=(64, 64)), progress=False)
    assert (data.size, data.info) == (5, info)
    batch = next(data.train(config(name, folders[name], image_hw=(64, 64)), 0))
    shapes = {
        "image": ((4, 3, 64, 64), torch.uint8),
        "segmentation": ((4, 64, 64), torch.uint8),
        "human_parts": ((4, 64, 64), torch.uint8),
        "depth": ((4, 1, 64, 64), torch.float32),
        "normals": ((4, 3, 64, 64), torch.float16),
        "edges": ((4, 1, 64, 64), torch.uint8),
        "saliency": ((4, 1, 64, 64), torch.uint8),
    }
    assert {key: (tuple(x.shape), x.dtype) for key, x in batch.items()} == {
        key: shapes[key] for key in ("image", *info.tasks)
    }
    for key in ("segmentation", "human_parts"):
        values = set(batch.get(key, torch.zeros(1)).unique().tolist())
        assert values <= {*range(len(info.classes)), 255}
    for key in ("edges", "saliency"):
        assert set(batch.get(key, torch.zeros(1)).unique().tolist()) <= {0, 1, 255}
    assert all(x.isfinite().all() for x in batch.values())
    parts = list(data.val(2))
    assert [len(part["image"]) for part in parts] == [2, 1]
    assert {key: len(x) for key, x in data.targets(4).items()} == dict.fromkeys(("image", *info.tasks), 4)
    assert len(data.targets(99)["image"]) == 5


@pytest.mark.parametrize("writer", [write_nyud, write_nyud_pictures, write_nyud_matlab])
def test_every_distribution_of_nyud_gives_what_was_rendered(
    writer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WRITERS, "nyud", (writer, "gt_sets"))  # type: ignore[arg-type]
    write("nyud", tmp_path / "nyud", train=1, val=3, image_hw=HW)
    part = validation("nyud", tmp_path / "nyud")
    assert len(part["image"]) == 3
    for index in range(3):
        true = scene("val", index)
        labels = true.segmentation.astype(int) * 9 + 1  # stored from 1, and 0 for no label
        labels[:2] = 255
        assert np.array_equal(part["segmentation"][index], labels)
        assert np.array_equal(part["depth"][index, 0, :-2], true.depth[:-2])
        assert not part["depth"][index, :, -2:].any()
        assert np.array_equal(part["edges"][index, 0], true.edges)
        cosine = (part["normals"][index].float().permute(1, 2, 0).numpy() * true.normals).sum(2)
        assert np.median(cosine) > 0.999
        assert np.allclose(part["normals"][index].float().norm(dim=0), 1, atol=2e-3)
        assert abs(part["image"][index].permute(1, 2, 0).numpy().astype(int) - true.image).mean() < 6  # JPEG


def test_pascal_context_gives_what_was_rendered(folders: dict[DatasetName, Path]) -> None:
    part = validation("pascal_context", folders["pascal_context"])
    for index in range(3):
        true = scene("val", index)
        labels = true.segmentation.astype(int) * 4
        labels[:, -1] = 255
        assert np.array_equal(part["segmentation"][index], labels)
        assert np.array_equal(part["saliency"][index, 0], true.saliency)
        known = true.segmentation != 3  # its label, sky, is not among NYUD's
        normals = part["normals"][index].float().permute(1, 2, 0).numpy()
        assert not normals[~known].any()
        assert ((normals * true.normals).sum(2)[known] > 0.998).all()
        for row in range(HW[0]):
            for column in range(HW[1]):
                near = true.segmentation[row : row + 2, column], true.segmentation[row, column : column + 2]
                differs = any(value != true.segmentation[row, column] for values in near for value in values)
                assert part["edges"][index, 0, row, column] == differs


def test_human_parts_are_those_of_persons(folders: dict[DatasetName, Path]) -> None:
    part = validation("pascal_context", folders["pascal_context"])
    classes = {"head": 1, "torso": 2, "luarm": 3, "rhand": 4, "luleg": 5, "lfoot": 6}
    assert tuple(classes) == PARTS
    for index in (0, 2):
        body = scene("val", index).saliency
        stripes = np.repeat(list(classes.values()), HW[0] // len(PARTS))[:, None]
        assert np.array_equal(part["human_parts"][index], body * stripes)
    assert (part["human_parts"][1] == 255).all()  # an image without persons
    assert len(PART_CLASSES) == 24
    assert set(PART_CLASSES.values()) == {1, 2, 3, 4, 5, 6}


def test_cityscapes_gives_what_was_rendered(folders: dict[DatasetName, Path]) -> None:
    part = validation("cityscapes", folders["cityscapes"])
    for index in range(3):
        true = scene("val", index)
        labels = true.segmentation.astype(int) * 4
        labels[-3:] = 255
        assert np.array_equal(part["segmentation"][index], labels)
        depth = part["depth"][index, 0].numpy()
        assert not depth[:, :2].any()
        assert np.allclose(depth[:, 2:], STREET * true.depth[:, 2:], rtol=1e-3)  # 1 / 256 of a disparity


def test_cityscapes_by_hand() -> None:
    assert train_ids(np.array([[7, 33, 26, 0, 9, 255]], np.uint8)).tolist() == [[0, 18, 13, 255, 255, 255]]
    assert len(set(LABEL_IDS)) == len(INFOS["cityscapes"].classes) == 19
    depth = disparity_to_depth(np.array([[0, 1, 257, 25601]], np.uint16), 500.0)
    assert depth.tolist() == [[0, 0, 500, 5]]
    assert clean_depth(depth, 80).tolist() == [[0, 0, 0, 5]]


def test_values_that_are_none() -> None:
    vectors = np.array([[[0, 0, 0], [0, 0, 2], [np.nan, 1, 0], [0.01, 0, 0]]])
    assert unit_normals(vectors).tolist() == [[[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]]
    assert clean_depth(np.array([np.nan, np.inf, -1, 0, 2.5]), 10).tolist() == [0, 0, 0, 0, 2.5]
    assert not {1, 2, 431, 360} & set(NORMALS_LABELS.values())  # accordion, aeroplane, unknown, sky
    assert len(set(NORMALS_LABELS.values())) == len(NORMALS_LABELS)


def numbered(image_hw: tuple[int, int]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Targets whose every pixel has another value."""
    height, width = image_hw
    grid = np.arange(height * width, dtype=np.float32).reshape(image_hw)
    return {
        "image": np.stack([(grid % 200).astype(np.uint8)] * 3, 2),
        "segmentation": (grid % 200).astype(np.uint8),
        "depth": grid + 1,
        "normals": np.stack([grid + 1, grid + 2, grid + 3], 2),
        "edges": (grid % 2).astype(np.uint8),
    }


def test_without_changes_and_scaling_everything_stays() -> None:
    arrays = numbered((6, 8))
    out = transform(arrays, (6, 8), Changes())
    assert np.array_equal(out["image"].permute(1, 2, 0), arrays["image"])
    assert np.array_equal(out["segmentation"], arrays["segmentation"])
    assert np.array_equal(out["depth"][0], arrays["depth"])
    assert np.array_equal(out["normals"].permute(1, 2, 0), arrays["normals"])


def test_flip_mirrors_everything_and_negates_the_horizontal_normal() -> None:
    arrays = numbered((6, 8))
    out = transform(arrays, (6, 8), Changes(flip=True))
    assert np.array_equal(out["image"].permute(1, 2, 0), arrays["image"][:, ::-1])
    assert np.array_equal(out["segmentation"], arrays["segmentation"][:, ::-1])
    assert np.array_equal(out["depth"][0], arrays["depth"][:, ::-1])
    assert np.array_equal(out["normals"].permute(1, 2, 0), arrays["normals"][:, ::-1] * (-1, 1, 1))


def test_zoom_brings_things_nearer_and_crops_at_the_place() -> None:
    arrays = numbered((6, 8))
    for place, rows, columns in (
        ((0.0, 0.0), (0, 3), (0, 4)),
        ((1.0, 1.0), (3, 6), (4, 8)),
        ((0.5, 0.5), (1.5, 4.5), (2, 6)),
    ):
        out = transform(arrays, (6, 8), Changes(zoom=2, place=place))
        twice = arrays["depth"].repeat(2, 0).repeat(2, 1) / 2
        expected = twice[int(2 * rows[0]) : int(2 * rows[1]), int(2 * columns[0]) : int(2 * columns[1])]
        assert np.array_equal(out["depth"][0], expected)


def test_what_lies_outside_the_image_has_no_value() -> None:
    arrays = numbered((6, 8)) | {"human_parts": np.ones((6, 8), np.uint8), "saliency": np.ones((6, 8), np.uint8)}
    out = transform(arrays, (12, 8), Changes(place=(1.0, 0.0)))  # 6 rows of padding above
    values = {
        "image": 127,
        "segmentation": 255,
        "human_parts": 255,
        "depth": 0,
        "normals": 0,
        "edges": 255,
        "saliency": 255,
    }
    assert set(values) == set(out)
    for name, tensor in out.items():
        assert (tensor[..., :6, :] == values[name]).all()
    assert np.array_equal(out["depth"][0, 6:], arrays["depth"])  # fitting into the model's size leaves the depth
    half = transform(arrays, (3, 4), Changes())
    assert half["depth"].shape == (1, 3, 4)
    assert set(half["depth"].flatten().tolist()) <= set(arrays["depth"].flatten().tolist())


def test_colour_changes_the_image_only() -> None:
    arrays = numbered((6, 8))
    out, plain = (transform(arrays, (6, 8), Changes(colour=c)) for c in ((1.5, 1.0, 1.0), (1.0, 1.0, 1.0)))
    expected = (plain["image"].float() * 1.5).clamp(max=255)
    assert (out["image"].float() - expected).abs().max() <= 1
    assert all(torch.equal(out[name], plain[name]) for name in out if name != "image")


def test_changes_stay_in_their_ranges() -> None:
    data = DataConfig(scale=(0.5, 2.0), colour_jitter=0.3)
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_changes(data, generator) for _ in range(200)]
    zooms, flips = [c.zoom for c in drawn], [c.flip for c in drawn]
    assert 0.5 <= min(zooms) < 0.6 < 1.9 < max(zooms) <= 2
    assert 60 < sum(flips) < 140
    for i in range(3):
        colours = [c.colour[i] for c in drawn]
        assert 0.7 <= min(colours) < 0.75 < 1.25 < max(colours) <= 1.3
    still = DataConfig(scale=(1.0, 1.0), colour_jitter=0, flip=False)
    assert {(c.zoom, c.flip, c.colour) for c in (draw_changes(still, generator) for _ in range(9))} == {
        (1.0, False, (1.0, 1.0, 1.0))
    }


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@pytest.mark.parametrize("name", ["scenes", "pascal_context"])
def test_batches_depend_on_seed_and_step_only(name: DatasetName, folders: dict[DatasetName, Path]) -> None:
    base = config(name, folders.get(name))
    data = open_data(base, progress=False)
    state = torch.get_rng_state()
    whole = list(islice(data.train(base, 0), 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(equal(a, b) for a, b in zip(islice(data.train(base, 2), 2), whole[2:], strict=True))
    shares = [list(islice(data.train(base, 0, rank, 3), 4)) for rank in range(3)]
    assert {len(part["image"]) for rank in shares for part in rank} == {1, 2}
    for step in range(4):
        assert equal(joined([rank[step] for rank in shares]), whole[step])
    other = base.model_copy(update={"train": base.train.model_copy(update={"seed": 1})})
    assert not equal(next(data.train(other, 0)), whole[0])


def test_batches_do_not_depend_on_workers(folders: dict[DatasetName, Path]) -> None:
    alone, helped = (config("nyud", folders["nyud"], workers) for workers in (0, 2))
    data = open_data(helped, progress=False)
    pairs = zip(islice(data.train(alone, 0), 5), islice(data.train(helped, 0), 5), strict=True)
    assert all(equal(a, b) for a, b in pairs)
    assert equal(joined(list(data.val(2))), validation("nyud", folders["nyud"]))


def test_an_image_looks_different_in_every_epoch(folders: dict[DatasetName, Path]) -> None:
    """Five images, batches of five: each batch is one epoch, sorted by nothing but the order."""
    base = config("cityscapes", folders["cityscapes"])
    base = base.model_copy(update={"train": TrainConfig(batch=5)})
    data = open_data(base, progress=False)
    first, second = islice(data.train(base, 0), 2)
    assert not any(torch.equal(a, b) for a in first["image"] for b in second["image"])
    plain = base.model_copy(
        update={"data": base.data.model_copy(update={"scale": (1, 1), "flip": False, "colour_jitter": 0})}
    )
    stored = data.targets(5)
    for step, part in enumerate(islice(data.train(plain, 0), 3)):
        order = batch_indices(plain.train, 5, step)
        assert equal(part, {key: x[order] for key, x in stored.items()})


def test_augmentation_depends_on_the_seed(tmp_path: Path) -> None:
    """With a single image the order cannot make a difference."""
    write("cityscapes", tmp_path / "one", train=1, val=1, image_hw=HW)
    base = config("cityscapes", tmp_path / "one")
    seeds = [base.model_copy(update={"train": TrainConfig(batch=1, seed=seed)}) for seed in (0, 0, 1)]
    first, again, other = (next(open_data(c, progress=False).train(c, 0)) for c in seeds)
    assert equal(first, again)
    assert not torch.equal(first["image"], other["image"])


def test_scenes_are_those_in_memory() -> None:
    base = config("scenes", None, image_hw=(32, 32))
    data = open_data(base, progress=False)
    train, val = (load_split(base.scenes, (32, 32), split, False, workers=1) for split in ("train", "val"))
    assert data.size == 7
    assert equal(joined(list(data.val(2))), val)
    assert equal(data.targets(3), {key: x[:3] for key, x in train.items()})
    seen = joined(list(islice(data.train(base, 0), 7)))  # four epochs
    counts = [sum(torch.equal(image, other) for other in seen["image"]) for image in train["image"]]
    assert counts == [4] * 7


def test_command_writes_a_copy(tmp_path: Path) -> None:
    main(["cityscapes", str(tmp_path / "x")])
    assert open_data(config("cityscapes", tmp_path / "x"), progress=False).size == 6
    with pytest.raises(UserError, match=r"x is not empty; choose another folder$"):
        main(["cityscapes", str(tmp_path / "x")])
    for wrong in ([], ["scenes", "x"], ["nyud"]):
        with pytest.raises(UserError, match=r"^usage: .*nyud,pascal_context,cityscapes. FOLDER$"):
            main(wrong)


@pytest.mark.parametrize("name", ON_DISK)
def test_recipe_fits_its_dataset(name: DatasetName, folders: dict[DatasetName, Path]) -> None:
    recipe = load_config(RECIPES / f"{name}.toml")
    info = INFOS[name]
    assert (recipe.data.dataset, recipe.data.root) == (name, None)
    info.check_model(recipe.model)
    assert set(recipe.model.tasks) == set(info.tasks)
    small = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"root": folders[name], "workers": 0}),
            "model": recipe.model.model_copy(update={"image_hw": (64, 64)}),
        }
    )
    assert len(next(open_data(small, progress=False).train(small, 0))["image"]) == recipe.train.batch


def test_the_config_in_the_docs_is_valid(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs/datasets.md"
    (example,) = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.S | re.M)
    (tmp_path / "example.toml").write_text(example)
    own = load_config(tmp_path / "example.toml")
    INFOS[own.data.dataset].check_model(own.model)
    assert own.data.root == Path("/data/NYUD_MT")
