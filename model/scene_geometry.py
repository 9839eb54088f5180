# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Exact ray intersections for the procedural scenes: a room of four planes and convex solids that stand on its floor.

Coordinates: x right, y down, z forward, metres, the camera at the origin. World and camera frame differ by a rotation
only. Rays are scaled to depth 1 in the camera frame, so a ray parameter *is* the depth of its point.

Every solid is an intersection of slabs and quadrics, hence convex, and a ray meets it in one interval [near, far].

Surfaces are numbered: floor 0, left 1, right 2, back 3, then eight per solid (`first_surface`): a box uses one per face
(2 * axis + side), a sphere the first, a cylinder side 0, top 1 and bottom 2.

Shape legend: 3 coordinates, H rows, W columns, P any pixel shape, S surfaces.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Ids = NDArray[np.uint8]
Kind = Literal["box", "sphere", "cylinder"]

FLOOR, LEFT, RIGHT, BACK = range(4)
PER_SOLID = 8
_CORNERS_38 = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1)), np.float32).reshape(3, 8)
_FIRST_FACE_3 = np.array((0, 2, 4), np.uint8)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        focal_px: Focal length in pixels, equal for rows and columns.
        centre_px: Principal point (column, row); the centre of pixel (r, c) is (c + 0.5, r + 0.5).
        rotation: (3, 3), camera to world; a yaw after a pitch.
    """

    focal_px: float
    centre_px: tuple[float, float]
    rotation: Float

    def rays(self, image_hw: tuple[int, int]) -> Float:
        """Directions in the camera frame (3, H, W), z = 1."""
        height, width = image_hw
        rays_3HW = np.ones((3, height, width), np.float32)
        rays_3HW[0] = (np.arange(width, dtype=np.float32) + np.float32(0.5 - self.centre_px[0])) / self.focal_px
        rays_3HW[1] = ((np.arange(height, dtype=np.float32) + np.float32(0.5 - self.centre_px[1])) / self.focal_px)[
            :, None
        ]
        return rays_3HW


@dataclass(frozen=True)
class Room:
    """Distances in metres from the camera to the floor and to the three walls in sight. Walls have no upper end."""

    floor: float
    left: float
    right: float
    back: float


@dataclass(frozen=True)
class Solid:
    """A box, a sphere or an upright cylinder.

    Attributes:
        kind: Which.
        centre: (3,) in the world.
        half: (3,) half extents along its own axes; a sphere has its radius thrice, a cylinder at 0 and 2.
        yaw: Turn about the vertical in radians.
    """

    kind: Kind
    centre: Float
    half: Float
    yaw: float

    @property
    def plan_radius(self) -> float:
        """Radius of the circle around its outline seen from above."""
        return float(np.hypot(self.half[0], self.half[2]) if self.kind == "box" else self.half[0])

    def to_local(self, v_3P: Float) -> Float:
        """World directions in the solid's own axes; spheres and cylinders need no turn."""
        if self.kind != "box":
            return v_3P
        cosine, sine = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        return np.stack((cosine * v_3P[0] - sine * v_3P[2], v_3P[1], sine * v_3P[0] + cosine * v_3P[2]))


@dataclass(frozen=True)
class Hits:
    """What the camera sees. `depth` (H, W) in metres and the surface number `surface` (H, W)."""

    depth: Float
    surface: Ids


def first_surface(solid: int) -> int:
    """Surface number of face 0 of the given solid."""
    return BACK + 1 + PER_SOLID * solid


def rotate(matrix: Float, v_3P: Float) -> Float:
    """Matrix (3, 3) times vectors (3, P), in a fixed order of additions on every machine."""
    m = matrix.reshape((3, 3) + (1,) * (v_3P.ndim - 1))
    product: Float = m[:, 0] * v_3P[0] + m[:, 1] * v_3P[1] + m[:, 2] * v_3P[2]
    return product


def trace(room: Room, solids: tuple[Solid, ...], camera: Camera, rays_3HW: Float) -> Hits:
    """Nearest surface along every world ray from the camera."""
    depth_HW, surface_HW = _trace_room(room, rays_3HW)
    for index, (solid, window) in enumerate(zip(solids, _windows(solids, camera, surface_HW.shape), strict=True)):
        near, far, face = interval(solid, -solid.centre, rays_3HW[:, *window])
        closer = (near < far) & (near > 0) & (near < depth_HW[window])
        np.copyto(depth_HW[window], near, where=closer)
        np.copyto(surface_HW[window], face + np.uint8(first_surface(index)), where=closer)
    return Hits(depth_HW, surface_HW)


def shadowed(solids: tuple[Solid, ...], points_3P: Float, lamp_3: Float) -> NDArray[np.bool_]:
    """Whether the lamp's ray to each point (P) enters a solid first. The last thousandth of the way does not count."""
    rays_3P = points_3P - lamp_3[:, None]
    dark = np.zeros(points_3P.shape[1:], np.bool_)
    for solid in solids:
        near, far, _ = interval(solid, lamp_3 - solid.centre, rays_3P)
        dark |= (near < far) & (far > 0) & (near < 0.999)
    return dark


def normals(solids: tuple[Solid, ...], hits: Hits, points_3HW: Float) -> Float:
    """Outward unit normals (3, H, W) in the world: from a table on flat surfaces, from the centre on curved ones."""
    n_3HW: Float = _flat_normals(solids).take(hits.surface, 1)
    points_3P, n_3P = points_3HW.reshape(3, -1), n_3HW.reshape(3, -1)
    for index, solid in enumerate(solids):
        if solid.kind == "box":
            continue
        curved = np.flatnonzero(hits.surface == first_surface(index))
        outward = points_3P.take(curved, 1) - solid.centre[:, None]
        if solid.kind == "cylinder":
            outward[1] = 0
        n_3P[:, curved] = outward / np.sqrt(dot(outward, outward))
    return n_3HW


def interval(solid: Solid, origin: Float, direction_3P: Float) -> tuple[Float, Float, Ids]:
    """Where rays run inside a solid.

    Args:
        solid: The solid.
        origin: Common world position of the ray origins less the solid's centre, (3,).
        direction_3P: World directions.

    Returns:
        Entry and exit parameter (P), empty if entry >= exit, and the face of entry (P).
    """
    o_3, d_3P = solid.to_local(origin), solid.to_local(direction_3P)
    if solid.kind == "box":
        return _box(solid.half, o_3, d_3P)
    if solid.kind == "sphere":
        near, far = _quadric(solid.half[0], o_3, d_3P)
        return near, far, np.zeros(near.shape, np.uint8)
    return _cylinder(solid.half, o_3, d_3P)


def _trace_room(room: Room, rays_3HW: Float) -> tuple[Float, Ids]:
    with np.errstate(divide="ignore"):
        x = np.where(rays_3HW[0] > 0, room.right, -room.left).astype(np.float32) / rays_3HW[0]
        depth_HW = np.float32(room.floor) / rays_3HW[1]
        z = np.float32(room.back) / rays_3HW[2]
    surface_HW = np.zeros(depth_HW.shape, np.uint8)
    np.copyto(depth_HW, np.inf, where=rays_3HW[1] <= 0)
    wall = np.where(rays_3HW[0] > 0, np.uint8(RIGHT), np.uint8(LEFT))
    for distance, number in ((np.abs(x), wall), (np.where(z > 0, z, np.inf), BACK)):
        closer = distance < depth_HW
        np.copyto(depth_HW, distance, where=closer, casting="same_kind")
        np.copyto(surface_HW, number, where=closer, casting="same_kind")
    return depth_HW, surface_HW


def _windows(solids: tuple[Solid, ...], camera: Camera, image_hw: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Rows and columns of the image of each solid's bounding cuboid; all if a solid reaches behind the camera."""
    if not solids:
        return []
    reach_3N = np.array([(s.plan_radius, s.half[1], s.plan_radius) for s in solids], np.float32).T
    centre_3N = np.array([s.centre for s in solids], np.float32).T
    x_N8, y_N8, z_N8 = rotate(camera.rotation.T, centre_3N[..., None] + _CORNERS_38[:, None] * reach_3N[..., None])
    if z_N8.min() <= 0:
        return [(slice(None), slice(None))] * len(solids)
    scale_N8 = camera.focal_px / z_N8
    rows = _spans(y_N8 * scale_N8 + camera.centre_px[1], image_hw[0])
    return list(zip(rows, _spans(x_N8 * scale_N8 + camera.centre_px[0], image_hw[1]), strict=True))


def _spans(place_N8: Float, size: int) -> list[slice]:
    """Pixels between the least and the greatest place, one more on either side against rounding."""
    first_N = np.clip(place_N8.min(1) - 1, 0, size).astype(int).tolist()
    last_N = np.clip(place_N8.max(1) + 2, 0, size).astype(int).tolist()
    return [slice(first, last) for first, last in zip(first_N, last_N, strict=True)]


def dot(a_nP: Float, b_nP: Float) -> Float:
    """Scalar products of n-vectors (P), added in order; faster here than a reduction over the short first axis."""
    total: Float = a_nP[0] * b_nP[0]
    for a, b in zip(a_nP[1:], b_nP[1:], strict=True):
        total += a * b
    return total


def _box(half_3: Float, o_3: Float, d_3P: Float) -> tuple[Float, Float, Ids]:
    half_shape = (3,) + (1,) * (d_3P.ndim - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_3P = 1 / d_3P
        middle_3P = -o_3.reshape(half_shape) * inverse_3P
        reach_3P = np.abs(inverse_3P) * half_3.reshape(half_shape)
    enter_3P = middle_3P - reach_3P
    leave_3P = middle_3P + reach_3P
    near = np.maximum(np.maximum(enter_3P[0], enter_3P[1]), enter_3P[2])
    far = np.minimum(np.minimum(leave_3P[0], leave_3P[1]), leave_3P[2])
    face_3P = (d_3P < 0).view(np.uint8) + _FIRST_FACE_3.reshape(half_shape)
    return near, far, np.where(enter_3P[0] == near, face_3P[0], np.where(enter_3P[1] == near, face_3P[1], face_3P[2]))


def _quadric(radius: np.float32, o_n: Float, d_nP: Float) -> tuple[Float, Float]:
    """|o + t d| = radius in n coordinates: a sphere (n = 3) or an endless cylinder (n = 2)."""
    a = dot(d_nP, d_nP)
    b = dot(o_n, d_nP) / a
    c = (dot(o_n, o_n) - radius * radius) / a
    root = np.sqrt(np.maximum(b * b - c, 0))  # 0 for a miss: an empty interval
    return -b - root, root - b


def _cylinder(half_3: Float, o_3: Float, d_3P: Float) -> tuple[Float, Float, Ids]:
    near, far = _quadric(half_3[0], o_3[::2], d_3P[::2])
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = -o_3[1] / d_3P[1]
        reach = half_3[1] / np.abs(d_3P[1])
    cap = middle - reach
    face = np.where(cap > near, np.where(d_3P[1] > 0, np.uint8(1), np.uint8(2)), np.uint8(0))
    return np.maximum(near, cap), np.minimum(far, middle + reach), face


def _flat_normals(solids: tuple[Solid, ...]) -> Float:
    """World normals by surface number (3, S); zero for curved surfaces."""
    table_3S = np.zeros((3, first_surface(len(solids))), np.float32)
    table_3S[:, FLOOR], table_3S[:, LEFT], table_3S[:, RIGHT], table_3S[:, BACK] = (
        (0, -1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, -1),
    )  # fmt: skip
    for index, solid in enumerate(solids):
        first = first_surface(index)
        if solid.kind == "cylinder":
            table_3S[1, first + 1 : first + 3] = -1, 1
        elif solid.kind == "box":
            table_3S[:, first : first + 6] = _box_normals(solid.yaw)
    return table_3S


def _box_normals(yaw: float) -> Float:
    """World normals of the six faces (3, 6), face 2 * axis + side."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    axes_33 = np.array(((cosine, 0, -sine), (0, 1, 0), (sine, 0, cosine)), np.float32)
    table_36 = np.empty((3, 6), np.float32)
    table_36[:, 0::2], table_36[:, 1::2] = -axes_33.T, axes_33.T
    return table_36
