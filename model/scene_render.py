# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Render a procedural scene and its exact ground truth for all five tasks. Needs NumPy only.

A scene is a floor and three walls with up to six boxes, spheres and upright cylinders under one lamp that casts
shadows. Colours and patterns are drawn without regard to the class, so a class can be told only by shape. All labels
come from the ray that made the pixel: nothing is estimated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m3vit.model.config import SEGMENTATION_CLASSES
from m3vit.model.scene_geometry import (
    BACK,
    FLOOR,
    PER_SOLID,
    Float,
    Hits,
    Ids,
    Solid,
    dot,
    first_surface,
    normals,
    rotate,
    shadowed,
    trace,
)
from m3vit.model.scene_layout import Layout, Paint, draw_layout, draw_paint

_SALIENT_AREA = 0.015
_AMBIENT, _DIFFUSE, _NOISE = 0.42, 0.68, 0.012


@dataclass(frozen=True)
class Scene:
    """An image and its ground truth. H rows, W columns.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        segmentation: (H, W) uint8, index into `SEGMENTATION_CLASSES`.
        depth: (H, W) float32, metres along the optical axis (not along the ray).
        normals: (H, W, 3) float32, unit, facing the camera, in the camera frame (x right, y down, z forward).
        edges: (H, W) uint8; 1 where one of the four neighbours lies on another surface. Surfaces are the floor, each
            wall, each face of a box, each sphere, the side and the cap of a cylinder; so edges are the outlines and
            creases of the geometry, two pixels wide and symmetric, and never a texture's or a shadow's.
        saliency: (H, W) uint8; 1 on the visible part of the salient solid. It is the one object painted in a saturated
            colour (HSV saturation 0.8 or more before shading; all else has 0.35 or less), drawn among the solids that
            fill at least 1.5 % of the image.
    """

    image: NDArray[np.uint8]
    segmentation: Ids
    depth: Float
    normals: Float
    edges: Ids
    saliency: Ids


def render(seed: int, image_hw: tuple[int, int]) -> Scene:
    """Draw and ray-cast the scene of a seed.

    Args:
        seed: Non-negative; the scene depends on it and on the image size only.
        image_hw: Rows and columns, 8 or more each.

    Raises:
        ValueError: the seed is negative or the image too small.
    """
    if seed < 0 or min(image_hw) < 8:
        raise ValueError(f"need a seed of 0 or more and 8 pixels or more, not {seed} and {image_hw}")
    rng = np.random.default_rng(seed)
    layout = draw_layout(rng, image_hw)
    rotation = layout.camera.rotation
    rays_3HW = rotate(rotation, layout.camera.rays(image_hw))
    hits = trace(layout.room, layout.solids, layout.camera, rays_3HW)
    points_3HW = rays_3HW * hits.depth
    normals_3HW = normals(layout.solids, hits, points_3HW)
    owner_HW = _owners(len(layout.solids))[hits.surface]
    salient = _choose_salient(rng, owner_HW, len(layout.solids))
    paint = draw_paint(rng, layout.solids, salient)
    light_HW = _light(layout, points_3HW, normals_3HW)
    return Scene(
        image=_expose(rng, _colour(paint, owner_HW, points_3HW), light_HW),
        segmentation=_classes(layout.solids)[hits.surface],
        depth=hits.depth,
        normals=np.ascontiguousarray(np.moveaxis(rotate(rotation.T, normals_3HW), 0, 2)),
        edges=_edges(hits),
        saliency=(owner_HW == BACK + 1 + salient).astype(np.uint8),
    )


def _owners(solids: int) -> Ids:
    """Owner by surface number: the room's surfaces themselves, then the solids."""
    per_solid = np.repeat(np.arange(solids, dtype=np.uint8) + np.uint8(BACK + 1), PER_SOLID)
    return np.concatenate((np.arange(BACK + 1, dtype=np.uint8), per_solid))


def _classes(solids: tuple[Solid, ...]) -> Ids:
    """Segmentation class by surface number."""
    table = np.full(first_surface(len(solids)), SEGMENTATION_CLASSES.index("wall"), np.uint8)
    table[FLOOR] = SEGMENTATION_CLASSES.index("floor")
    for index, solid in enumerate(solids):
        table[first_surface(index) : first_surface(index + 1)] = SEGMENTATION_CLASSES.index(solid.kind)
    return table


def _choose_salient(rng: np.random.Generator, owner_HW: Ids, solids: int) -> int:
    """A random solid among those large enough in view, or the largest in view."""
    area = np.bincount(owner_HW.ravel(), minlength=BACK + 1 + solids)[BACK + 1 :]
    large = np.flatnonzero(area >= _SALIENT_AREA * owner_HW.size)
    pick = rng.random()
    return int(large[int(pick * len(large))]) if len(large) else int(area.argmax())


def _edges(hits: Hits) -> Ids:
    edges_HW = np.zeros(hits.surface.shape, np.uint8)
    down = hits.surface[1:] != hits.surface[:-1]
    right = hits.surface[:, 1:] != hits.surface[:, :-1]
    for part, change in (
        (edges_HW[1:], down), (edges_HW[:-1], down), (edges_HW[:, 1:], right), (edges_HW[:, :-1], right),
    ):  # fmt: skip
        part |= change
    return edges_HW


def _light(layout: Layout, points_3HW: Float, normals_3HW: Float) -> Float:
    """Ambient light, slightly stronger from above, plus Lambert's law for the lamp where no solid hides it."""
    to_lamp_3HW = layout.lamp[:, None, None] - points_3HW
    cosine_HW = dot(to_lamp_3HW, normals_3HW) / np.sqrt(dot(to_lamp_3HW, to_lamp_3HW))
    facing = np.flatnonzero(cosine_HW > 0)
    seen = facing[~shadowed(layout.solids, points_3HW.reshape(3, -1).take(facing, 1), layout.lamp)]
    light_HW: Float = _AMBIENT * (0.85 - 0.15 * normals_3HW[1])
    light_HW.reshape(-1)[seen] += _DIFFUSE * cosine_HW.reshape(-1)[seen]
    return light_HW


def _colour(paint: Paint, owner_HW: Ids, points_3HW: Float) -> Float:
    """Unlit colour (H, W, 3) of every point."""
    cell_HW = np.zeros(owner_HW.shape, np.float32)
    for row in range(3):
        cell_HW += np.floor(
            dot(paint.pattern[:, row].T.take(owner_HW, 1), points_3HW) + paint.phase[:, row].take(owner_HW)
        )
    odd_HW = cell_HW.astype(np.int32) & 1
    unlit: Float = np.concatenate((paint.first, paint.second)).take(owner_HW + len(paint.first) * odd_HW, 0)
    return unlit


def _expose(rng: np.random.Generator, colour_HW3: Float, light_HW: Float) -> NDArray[np.uint8]:
    """Light times colour plus sensor noise of 1.2 % of full scale, in 8 bits."""
    noise_HW3 = rng.standard_normal(colour_HW3.shape, dtype=np.float32)
    linear_HW3 = colour_HW3 * light_HW[..., None] + np.float32(_NOISE) * noise_HW3
    return (np.clip(linear_HW3, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
