# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Scenes against an independent oracle: implicit surface functions sampled along every ray."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from m3vit.model.config import SceneConfig
from m3vit.model.errors import UserError
from m3vit.model.pictures import main, normals_to_rgb, scene_sheet
from m3vit.model.scene_geometry import (
    BACK,
    FLOOR,
    LEFT,
    RIGHT,
    Camera,
    Float,
    Room,
    Solid,
    first_surface,
    interval,
    rotate,
    shadowed,
    trace,
)
from m3vit.model.scene_layout import MAX_SOLIDS, Layout, draw_layout, draw_paint
from m3vit.model.scenes import SEGMENTATION_CLASSES, Scene, SceneDataset, load_split, render, scene_seed

SIZES = [(64, 64), (48, 96)]
SEEDS = range(12)
IDENTITY = np.eye(3, dtype=np.float32)


def world(seed: int, image_hw: tuple[int, int]) -> tuple[Layout, Float]:
    """Layout and world rays that `render` used."""
    layout = draw_layout(np.random.default_rng(seed), image_hw)
    return layout, rotate(layout.camera.rotation, layout.camera.rays(image_hw))


def outside(solid: Solid, points_3P: Float) -> NDArray[np.float64]:
    """How far points lie outside a solid: negative inside, zero on its surface. The largest of its constraints."""
    p = points_3P.astype(np.float64) - solid.centre.reshape((3,) + (1,) * (points_3P.ndim - 1))
    if solid.kind == "sphere":
        constraints = [np.sqrt((p**2).sum(0)) - solid.half[0]]
    elif solid.kind == "cylinder":
        constraints = [np.hypot(p[0], p[2]) - solid.half[0], np.abs(p[1]) - solid.half[1]]
    else:
        x = np.cos(solid.yaw) * p[0] - np.sin(solid.yaw) * p[2]
        z = np.sin(solid.yaw) * p[0] + np.cos(solid.yaw) * p[2]
        constraints = [np.abs(v) - half for v, half in zip((x, p[1], z), solid.half, strict=True)]
    worst: NDArray[np.float64] = np.stack(constraints).max(0)
    return worst


def outside_room(room: Room, p: Float) -> NDArray[np.float64]:
    """How far points lie beyond the nearest room surface: negative in the air."""
    worst: NDArray[np.float64] = np.stack(
        [p[1] - room.floor, -room.left - p[0], p[0] - room.right, p[2] - room.back]
    ).max(0)
    return worst


@pytest.mark.parametrize("image_hw", [*SIZES, (128, 256)])
def test_same_seed_same_scene(image_hw: tuple[int, int]) -> None:
    first, again, other = render(5, image_hw), render(5, image_hw), render(6, image_hw)
    for field in fields(Scene):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
        assert not np.array_equal(getattr(first, field.name), getattr(other, field.name))


def test_shapes_and_dtypes() -> None:
    scene = render(0, (48, 96))
    found = {f.name: (getattr(scene, f.name).shape, getattr(scene, f.name).dtype.name) for f in fields(Scene)}
    plane = (48, 96)
    assert found == {
        "image": ((48, 96, 3), "uint8"),
        "segmentation": (plane, "uint8"),
        "depth": (plane, "float32"),
        "normals": ((48, 96, 3), "float32"),
        "edges": (plane, "uint8"),
        "saliency": (plane, "uint8"),
    }


@pytest.mark.parametrize("image_hw", SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_points_lie_on_their_surface_and_nothing_is_before_them(seed: int, image_hw: tuple[int, int]) -> None:
    layout, rays_3HW = world(seed, image_hw)
    hits = trace(layout.room, layout.solids, layout.camera, rays_3HW)
    points = rays_3HW * hits.depth
    on_room = hits.surface <= BACK
    assert np.abs(outside_room(layout.room, points)[on_room]).max() < 1e-4
    for index, solid in enumerate(layout.solids):
        mine = (hits.surface >= first_surface(index)) & (hits.surface < first_surface(index + 1))
        assert np.abs(outside(solid, points[:, mine])).max(initial=0) < 1e-4
    for fraction in np.linspace(0.01, 0.999, 150):
        before = (points * fraction).astype(np.float32)
        assert (outside_room(layout.room, before) < 0).all()
        for solid in layout.solids:
            assert (outside(solid, before) > -1e-3).all()


def test_sphere_ahead_of_an_unturned_camera() -> None:
    camera = Camera(64.0, (32.0, 32.0), IDENTITY)
    ball = Solid("sphere", np.array((0, 0, 4), np.float32), np.ones(3, np.float32), 0.0)
    rays = camera.rays((64, 64))
    hits = trace(Room(1.5, 3, 3, 6), (ball,), camera, rays)
    on_ball = hits.surface == first_surface(0)
    points = (rays * hits.depth)[:, on_ball].astype(np.float64)
    assert np.allclose(np.sqrt(((points - ball.centre[:, None]) ** 2).sum(0)), 1, atol=1e-5)
    assert hits.depth[32, 32] == pytest.approx(3.0, abs=1e-3)
    angle = np.arctan(np.hypot(rays[0], rays[1]))
    assert np.array_equal(on_ball, angle < np.arcsin(1 / 4))


@pytest.mark.parametrize("image_hw", SIZES)
def test_plane_depths_are_analytic(image_hw: tuple[int, int]) -> None:
    for seed in SEEDS:
        layout, rays = world(seed, image_hw)
        scene = render(seed, image_hw)
        floor = scene.segmentation == SEGMENTATION_CLASSES.index("floor")
        assert floor.any()
        assert np.allclose(scene.depth[floor], layout.room.floor / rays[1][floor], rtol=1e-5)
        surface = trace(layout.room, layout.solids, layout.camera, rays).surface
        for number, expected in (
            (LEFT, -layout.room.left / rays[0]),
            (RIGHT, layout.room.right / rays[0]),
            (BACK, layout.room.back / rays[2]),
        ):
            assert np.allclose(scene.depth[surface == number], expected[surface == number], rtol=1e-5)


def test_box_and_cylinder_faces_are_named() -> None:
    half = np.array((0.5, 0.25, 1.0), np.float32)
    box = Solid("box", np.zeros(3, np.float32), half, 0.0)
    drum = Solid("cylinder", np.zeros(3, np.float32), np.array((0.5, 0.25, 0.5), np.float32), 0.0)
    steps = {(1, 0, 0): (0, 0), (-1, 0, 0): (1, 0), (0, 1, 0): (2, 1), (0, -1, 0): (3, 2), (0, 0, 1): (4, 0)}
    for direction, (box_face, drum_face) in steps.items():
        ray = np.array(direction, np.float32)[:, None] + np.float32(1e-3)
        origin = np.float32(-5) * ray[:, 0]
        near, far, face = interval(box, origin, ray)
        reach = abs(float(half @ np.array(direction, np.float32)))
        assert (face[0], near[0], far[0]) == (box_face, pytest.approx(5 - reach, 0.01), pytest.approx(5 + reach, 0.01))
        assert interval(drum, origin, ray)[2][0] == drum_face


def test_normals_are_unit_face_the_camera_and_match_finite_differences() -> None:
    image_hw = (256, 256)
    for seed in range(4):
        layout, _ = world(seed, image_hw)
        scene, rays = render(seed, image_hw), layout.camera.rays(image_hw)
        normals = np.moveaxis(scene.normals, 2, 0).astype(np.float64)
        assert np.allclose((normals**2).sum(0), 1, atol=1e-5)
        assert ((normals * rays).sum(0) < 1e-3).all()
        points = (rays * scene.depth).astype(np.float64)
        across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        numeric = np.cross(down, across, axis=0)
        numeric /= np.sqrt((numeric**2).sum(0))
        inner = scene.edges[1:-1, 1:-1] == 0
        cosine = (numeric * normals[:, 1:-1, 1:-1]).sum(0)[inner]
        assert np.quantile(cosine, 0.02) > 0.999
        assert cosine.min() > 0.9


def test_edges_are_the_surface_changes_of_a_naive_loop() -> None:
    for seed in range(3):
        layout, rays = world(seed, (32, 32))
        surface = trace(layout.room, layout.solids, layout.camera, rays).surface
        expected = np.zeros((32, 32), np.uint8)
        for row in range(32):
            for column in range(32):
                near = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
                near = [(r, c) for r, c in near if 0 <= r < 32 and 0 <= c < 32]
                expected[row, column] = any(surface[at] != surface[row, column] for at in near)
        assert np.array_equal(render(seed, (32, 32)).edges, expected)


def test_classes_are_common_and_labels_agree() -> None:
    present = np.zeros(len(SEGMENTATION_CLASSES))
    for seed in range(50):
        scene = render(seed, (64, 64))
        present += np.bincount(scene.segmentation.ravel(), minlength=len(present)) > 0
        assert 0.01 < scene.edges.mean() < 0.4
        assert 0.5 < scene.depth.min() < scene.depth.max() < 12
        solid = scene.segmentation >= SEGMENTATION_CLASSES.index("box")
        assert scene.saliency.any()
        assert solid[scene.saliency == 1].all()
    assert (present >= 25).all()


def test_salient_is_the_saturated_object() -> None:
    for seed in range(30):
        scene = render(seed, (64, 64))
        colour = scene.image.astype(np.float64)
        saturation = 1 - colour.min(2) / np.maximum(colour.max(2), 1)
        salient = scene.saliency == 1
        assert np.median(saturation[salient]) > 0.7
        assert np.median(saturation[~salient]) < 0.45


def test_colour_does_not_tell_the_class() -> None:
    brightness: dict[int, list[float]] = {c: [] for c in range(len(SEGMENTATION_CLASSES))}
    for seed in range(150):
        scene = render(seed, (32, 32))
        for label in brightness:
            mask = (scene.segmentation == label) & (scene.saliency == 0)
            if mask.sum() > 8:
                brightness[label].append(float(scene.image[mask].mean()))
    means = [np.mean(values) for values in brightness.values()]
    spread = np.mean([np.std(values) for values in brightness.values()])
    assert np.ptp(means) < 2.5 * spread


def test_every_scene_has_solids_apart_and_inside() -> None:
    for seed in range(300):
        layout, _ = world(seed, SIZES[seed % 2])
        assert 1 <= len(layout.solids) <= MAX_SOLIDS
        for index, solid in enumerate(layout.solids):
            base = solid.centre + np.array((0, solid.half[1], 0), np.float32)
            assert base[1] == pytest.approx(layout.room.floor, abs=1e-5)
            assert outside_room(replace(layout.room, floor=99), base[:, None])[0] < -solid.plan_radius
            for other in layout.solids[:index]:
                gap = np.hypot(*(solid.centre - other.centre)[[0, 2]])
                assert gap > solid.plan_radius + other.plan_radius


def test_shadow_falls_behind_the_solid_only() -> None:
    ball = Solid("sphere", np.array((0, 0, 3), np.float32), np.full(3, 0.5, np.float32), 0.0)
    lamp = np.array((0, -2, 3), np.float32)
    points = np.array([(0, 1, 3), (0, -1, 3), (1.5, 1, 3), (0, -0.5, 3), (0, 0.5, 3), (0, -3, 3)], np.float32).T
    assert shadowed((ball,), points, lamp).tolist() == [True, False, False, False, True, False]


def test_a_plain_floor_is_its_colour_times_lamberts_law() -> None:
    checked = 0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        layout = draw_layout(rng, (64, 64))
        rng.random()  # the choice of the salient solid
        paint = draw_paint(rng, layout.solids, salient=0)
        if paint.pattern[FLOOR].any():
            continue
        scene, (_, rays) = render(seed, (64, 64)), world(seed, (64, 64))
        floor = scene.segmentation == FLOOR
        points = (rays * scene.depth)[:, floor]
        to_lamp = layout.lamp[:, None] - points
        cosine = -to_lamp[1] / np.sqrt((to_lamp**2).sum(0))
        light = 0.42 + 0.68 * cosine * ~shadowed(layout.solids, points, layout.lamp)
        expected = np.clip(paint.first[FLOOR] * light[:, None], 0, 1) * 255
        error = scene.image[floor] - expected
        assert abs(error.mean()) < 0.5
        assert np.abs(error).max() < 255 * 0.012 * 6
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize(("seed", "image_hw"), [(-1, (64, 64)), (0, (4, 64))])
def test_render_refuses(seed: int, image_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="need a seed"):
        render(seed, image_hw)


def test_train_and_val_seeds_never_meet_whatever_the_config_seed() -> None:
    train = {scene_seed("train", seed, index) for seed in (0, 1, 2210, 2**32 - 1) for index in range(500)}
    val = {scene_seed("val", seed, index) for seed in (0, 1, 2210, 2**32 - 1) for index in range(500)}
    assert len(train) == len(val) == 2000
    assert not train & val
    assert {s % 2 for s in train} == {0}
    assert {s % 2 for s in val} == {1}


@pytest.mark.parametrize(
    ("split", "seed", "index"), [("test", 0, 0), ("val", -1, 0), ("val", 2**32, 0), ("train", 0, 2**32)]
)
def test_scene_seed_refuses(split: str, seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=r"split must|must be in"):
        scene_seed(split, seed, index)  # type: ignore[arg-type]


def test_dataset_items() -> None:
    data = SceneDataset("val", 3, 7, (32, 64))
    assert len(data) == 3
    item, scene = data[1], render(scene_seed("val", 7, 1), (32, 64))
    described = {name: (tuple(value.shape), value.dtype) for name, value in item.items()}
    assert described == {
        "image": ((3, 32, 64), torch.uint8),
        "segmentation": ((32, 64), torch.int64),
        "depth": ((1, 32, 64), torch.float32),
        "normals": ((3, 32, 64), torch.float32),
        "edges": ((1, 32, 64), torch.float32),
        "saliency": ((1, 32, 64), torch.float32),
    }
    assert np.array_equal(item["image"].permute(1, 2, 0).numpy(), scene.image)
    assert np.array_equal(item["normals"].permute(1, 2, 0).numpy(), scene.normals)
    assert np.array_equal(item["depth"][0].numpy(), scene.depth)
    with pytest.raises(IndexError):
        data[3]


def test_load_split_equals_the_dataset_and_ignores_the_number_of_workers() -> None:
    config = SceneConfig(train_size=130, val_size=2, seed=11)
    alone = load_split(config, (16, 16), "train", progress=False, workers=1)
    three = load_split(config, (16, 16), "train", progress=False, workers=3)
    data = SceneDataset("train", 130, 11, (16, 16))
    for name, stacked in alone.items():
        assert torch.equal(stacked, three[name])
        assert len(stacked) == 130
        for index in (0, 63, 64, 129):
            assert torch.allclose(stacked[index].double(), data[index][name].double(), atol=5e-4)
    assert {name: value.dtype for name, value in alone.items() if value.dtype != torch.uint8} == {
        "depth": torch.float32,
        "normals": torch.float16,
    }
    assert len(load_split(config, (16, 16), "val", progress=True)["image"]) == 2


def test_pictures(tmp_path: Path) -> None:
    figure = scene_sheet([1, 2], (32, 32))
    assert sum(len(axes.images) for axes in figure.axes) >= 2 * 6
    main(tmp_path / "new")
    picture = (tmp_path / "new" / "scenes.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        main(tmp_path / "file")
    assert normals_to_rgb(np.array([[[0, 0, -1]]], np.float32)).tolist() == [[[0.5, 0.5, 1.0]]]
