# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The random part of a scene: camera, room, solids, lamp and paint, all drawn from one generator."""

from dataclasses import dataclass
from math import cos, hypot, pi, radians, sin
from typing import get_args

import numpy as np

from m3vit.model.scene_geometry import BACK, FLOOR, LEFT, RIGHT, Camera, Float, Kind, Room, Solid

KINDS: tuple[Kind, ...] = get_args(Kind)
MIN_SOLIDS, MAX_SOLIDS = 3, 6
_CANDIDATES = 64
_GAP_M = 0.05


@dataclass(frozen=True)
class Layout:
    """Everything geometric about a scene. `lamp` (3,) is the point light's position in the world."""

    camera: Camera
    room: Room
    solids: tuple[Solid, ...]
    lamp: Float


@dataclass(frozen=True)
class Paint:
    """Colours by owner: the four room surfaces by number, then the solids.

    A point p of owner i is painted `first[i]` or `second[i]` by the parity of the sum of floor(M p + phase) over the
    rows of M = `pattern[i]`: checkered all through if three rows are not zero, striped if one, plain if none.
    """

    first: Float
    second: Float
    pattern: Float
    phase: Float


def draw_layout(rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout:
    """Draw camera, room, lamp and three to six solids (fewer if they do not fit, never none)."""
    camera, yaw = _draw_camera(rng, image_hw)
    floor, left, right, back = rng.uniform((1.1, 1.8, 1.8, 4.5), (1.6, 3.2, 3.2, 7.0)).tolist()
    room = Room(floor, left, right, back)
    lamp = rng.uniform((-1.5, -2.6, 0.3), (1.5, -1.6, 2.6)).astype(np.float32)
    half_view = 0.85 * image_hw[1] / 2 / camera.focal_px
    return Layout(camera, room, _draw_solids(rng, room, yaw, half_view), lamp)


def _draw_camera(rng: np.random.Generator, image_hw: tuple[int, int]) -> tuple[Camera, float]:
    """A camera, and its yaw: focal length 0.85 to 1.1 times the root of the pixel count, turned up to 20 degrees."""
    height, width = image_hw
    focal, shift_x, shift_y, yaw, pitch = rng.uniform((0.85, -0.03, -0.03, -20, 8), (1.1, 0.03, 0.03, 20, 18)).tolist()
    yaw, pitch = radians(yaw), radians(pitch)
    cy, sy, cp, sp = cos(yaw), sin(yaw), cos(pitch), sin(pitch)
    turn = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    nod = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    rotation = (turn[:, :, None] * nod[None]).sum(1).astype(np.float32)
    centre = (width * (0.5 + shift_x), height * (0.5 + shift_y))
    return Camera(focal * float(np.sqrt(height * width)), centre, rotation), yaw


def _draw_solids(rng: np.random.Generator, room: Room, yaw: float, half_view: float) -> tuple[Solid, ...]:
    """Place candidates in view, on the floor, inside the walls and apart from those before, until enough stand."""
    wanted = int(rng.integers(MIN_SOLIDS, MAX_SOLIDS + 1))
    kinds = rng.integers(len(KINDS), size=_CANDIDATES)
    placed: list[Solid] = []
    outlines: list[_Outline] = []
    for kind, u in zip(kinds.tolist(), rng.random((_CANDIDATES, 6)).tolist(), strict=True):
        half = _half_extents(KINDS[kind], u[2:5])
        outline = _outline(KINDS[kind], u, half, yaw, half_view)
        if _fits(outline, room, outlines):
            x, z, _ = outline
            centre = np.array((x, room.floor - half[1], z), np.float32)
            placed.append(Solid(KINDS[kind], centre, np.array(half, np.float32), u[5] * pi / 2))
            outlines.append(outline)
        if len(placed) == wanted:
            break
    assert placed, "some candidate always fits: the room is at least 3.6 m wide"
    return tuple(placed)


_Outline = tuple[float, float, float]
"""World x and z of a solid and the radius of the circle around it, seen from above."""


def _half_extents(kind: Kind, u: list[float]) -> tuple[float, float, float]:
    a, b, c = (0.25 + 0.35 * v for v in u)
    if kind == "box":
        return a, b, c
    return (a, a, a) if kind == "sphere" else (0.8 * a, b, 0.8 * a)


def _outline(kind: Kind, u: list[float], half: tuple[float, float, float], yaw: float, half_view: float) -> _Outline:
    """Depth 2.1 to 5.1 m from u[0] and a sideways place in view from u[1]."""
    z = 2.1 + 3.0 * u[0]
    x = z * half_view * (2 * u[1] - 1)
    reach = hypot(half[0], half[2]) if kind == "box" else half[0]
    return cos(yaw) * x + sin(yaw) * z, cos(yaw) * z - sin(yaw) * x, reach


def _fits(outline: _Outline, room: Room, placed: list[_Outline]) -> bool:
    x, z, radius = outline
    reach = radius + _GAP_M
    inside = -room.left + reach < x < room.right - reach and z < room.back - reach
    return inside and all(hypot(x - x2, z - z2) > reach + radius2 for x2, z2, radius2 in placed)


def draw_paint(rng: np.random.Generator, solids: tuple[Solid, ...], salient: int) -> Paint:
    """Draw colours and patterns whatever the class; only solid number `salient` gets a saturated colour."""
    owners = BACK + 1 + len(solids)
    hue, saturation, value, tone, kind = rng.random((5, owners)).astype(np.float32)
    saturation *= np.float32(0.35)
    saturation[BACK + 1 + salient] = 0.8 + 0.2 * saturation[BACK + 1 + salient]
    value = 0.55 + 0.4 * value
    value[BACK + 1 + salient] = max(0.75, float(value[BACK + 1 + salient]))
    first = _hsv_to_rgb(hue, saturation, value)
    second = first * (0.45 + 0.35 * tone[:, None])
    return Paint(first, second, *_draw_patterns(rng, solids, kind))


def _draw_patterns(rng: np.random.Generator, solids: tuple[Solid, ...], kind: Float) -> tuple[Float, Float]:
    """A third each of plain, striped and checkered owners, with 1.4 to 4 changes per metre."""
    owners = len(kind)
    cells = np.zeros((owners, 3, 3), np.float32)
    per_metre = rng.uniform(1.4, 4.0, owners)
    stripe = rng.integers(3, size=owners)
    for owner in range(owners):
        axes = _axes(owner, solids)
        if kind[owner] < 1 / 3:
            cells[owner] = axes * per_metre[owner]
        elif kind[owner] < 2 / 3:
            cells[owner, 0] = (axes[stripe[owner]] if axes[stripe[owner]].any() else axes.sum(0)) * per_metre[owner]
    return cells, rng.random((owners, 3)).astype(np.float32)


def _axes(owner: int, solids: tuple[Solid, ...]) -> Float:
    """Pattern axes as rows (3, 3): a plane's normal is left out, a solid's axes turn with it."""
    if owner > BACK:
        turned: Float = solids[owner - BACK - 1].to_local(np.eye(3, dtype=np.float32))
        return turned
    axes = np.eye(3, dtype=np.float32)
    normal = {FLOOR: 1, LEFT: 0, RIGHT: 0, BACK: 2}[owner]
    axes[normal, normal] = 0
    return axes


def _hsv_to_rgb(hue: Float, saturation: Float, value: Float) -> Float:
    """Colours (n, 3) in [0, 1] from hue, saturation and value (n) in [0, 1]."""
    k = (np.array((5, 3, 1), np.float32) + 6 * hue[:, None]) % 6
    chroma = (value * saturation)[:, None]
    rgb: Float = value[:, None] - chroma * np.clip(np.minimum(k, 4 - k), 0, 1)
    return rgb
