"""Draws the scenes of procedural videos: similar objects over a moving background, one of them in every frame."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np

EMPTY = (0.0, 0.25)  # fraction of the time that each of the two lanes of distractors is empty
STAY = (0.1, 0.2)  # shortest and longest stay of a distractor, as a fraction of the video
HUES = 12  # smallest number of different hues; every object of a video has its own
SPREAD = 0.23  # objects move in three regions; distance of these from the centre, as a fraction of the frame's sides
RADIUS = (0.16, 0.25)  # radius of an object, as a fraction of the frame's smaller side
TEXTURES = 5
LOBES = 6  # harmonics of an outline
ANGLES = 256  # angles at which outlines are tabulated


class Scene(NamedTuple):
    """A video: its objects (row 0 is the primary object), their presence in each frame, and its background."""

    objects: SimpleNamespace  # see `draw_objects`
    shown: tuple[tuple[int, ...], ...]  # rows of the objects in each frame, farthest first
    coarse: np.ndarray  # uint8 (g, g, 3), colours of the background
    fine: np.ndarray  # uint8 (h, w, 3), grain of the background
    camera: np.ndarray  # (4, 2) amplitude and phase of the camera's y, x, rotation, zoom


@functools.lru_cache(maxsize=256)
def draw_scene(stream: int, number: int, num_frames: int) -> Scene:
    """Draws the scene of a video: equal arguments give equal scenes, different streams or numbers different ones."""
    rng = np.random.default_rng((stream, number))
    lanes = [draw_lane(num_frames, empty, rng) for empty in EMPTY]
    second = 1 + max(lanes[0]) + 1  # the rows of the second lane's distractors follow those of the first
    regions = [0] + [1] * (second - 1) + [2] * (max(lanes[1]) + 1)
    objects = draw_objects(np.array(regions), rng)
    shown = []
    for a, b in zip(*lanes, strict=True):
        rows = [0] + [1 + a] * (a >= 0) + [second + b] * (b >= 0)
        shown.append(tuple(sorted(rows, key=lambda row: objects.depth[row])))
    grey = rng.uniform(70, 185, (6, 6, 1))
    coarse = (grey + rng.uniform(-35, 35, (6, 6, 3))).astype(np.uint8)
    fine = rng.integers(0, 64, (48, 48, 1), np.uint8).repeat(3, axis=2)
    camera = np.stack([rng.uniform(0.3, 1.0, 4), rng.uniform(0, 1, 4)], axis=1)
    return Scene(objects, tuple(shown), coarse, fine, camera)


def draw_lane(num_frames: int, empty: float, rng: np.random.Generator) -> list[int]:
    """Draws the distractors of one lane, which follow each other; `empty` is the probability of a stay without one.

    Returns:
      For each frame the number of its distractor, counted from 0, or -1 for none.
    """
    lane: list[int] = []
    number = 0
    while len(lane) < num_frames:
        stay = max(1, round(rng.uniform(*STAY) * num_frames))
        if rng.uniform() < empty:
            lane += [-1] * stay
        else:
            lane += [number] * stay
            number += 1
    start = rng.integers(0, len(lane) - num_frames + 1)
    return lane[start : start + num_frames]


def draw_objects(regions: np.ndarray, rng: np.random.Generator) -> SimpleNamespace:
    """Draws objects, one a row of each array. Primary object and distractors have the same distribution.

    Args:
      regions: (n,) region 0, 1 or 2 of the frame in which each object moves. The positions of the regions are drawn
        too, so the number does not reveal one.
      rng: source of randomness.
    """
    n = len(regions)
    direction = 2 * np.pi * (rng.uniform() + rng.permutation(3)[regions] / 3)
    middle = 0.5 + SPREAD * np.stack([np.sin(direction), np.cos(direction)], axis=1)
    return SimpleNamespace(
        # Hue, all different, 1 is a full turn of the colour wheel; saturation and value; the texture's second colour,
        # relative to the first; its family, see `_texture`; its cycles over the object; its orientation in radians.
        hue=(rng.permutation(max(n, HUES))[:n] + rng.uniform(-0.15, 0.15, n)) / max(n, HUES),
        colour=rng.uniform(0.75, 1.0, (n, 2)),
        shade=rng.uniform(0.35, 0.6, n),
        texture=rng.permutation(n) % TEXTURES,
        frequency=rng.uniform(1.5, 3.0, n),
        angle=rng.uniform(0, np.pi, n),
        # Amplitude and phase of the outline's harmonics; scale along the object's own axes; radius as a fraction of
        # the frame's smaller side.
        outline=rng.uniform(0, 1, (n, 2, LOBES)) * [0.25 / np.arange(1, LOBES + 1), np.ones(LOBES)],
        stretch=rng.uniform(0.75, 1.0, (n, 2)),
        radius=rng.uniform(*RADIUS, n),
        # Centre (y, x) in [0, 1], and amplitude of the motion around it; cycles over the video and phases of y, x,
        # rotation, scale, brightness, tint; amplitude of the rotation in radians.
        centre=middle + rng.uniform(-0.08, 0.08, (n, 2)),
        swing=rng.uniform(0.04, 0.14, (n, 2)),
        pace=rng.uniform(0.4, 1.5, (n, 6)),
        phase=rng.uniform(0, 1, (n, 6)),
        turn=rng.uniform(0.2, 1.5, n),
        depth=rng.permutation(n),  # larger is nearer
    )


def render(scene: Scene, frame: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Renders frame `frame` of a scene at `size`, (height, width).

    Returns:
      The image, uint8 RGB (h, w, 3), and for each pixel the row of its object or -1 for background, int8 (h, w).
    """
    time = frame / max(len(scene.shown), 2)
    image = _background(scene, time, size)
    owner = np.full(size, -1, np.int8)
    for row in scene.shown[frame]:
        _paint(image, owner, scene.objects, row, time)
    return image, owner


def _background(scene: Scene, time: float, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    amplitude, phase = scene.camera.T
    y, x, turn, zoom = amplitude * np.sin(2 * np.pi * (time + phase))
    layers = []
    for texture in (scene.coarse, scene.fine):
        # Maps frame pixels to texture pixels: the frame covers about two thirds of the texture.
        scale = (len(texture) - 1) / max(height, width) * (0.68 + 0.07 * zoom)
        cos, sin = scale * np.cos(0.15 * turn), scale * np.sin(0.15 * turn)
        middle = (len(texture) - 1) / 2 * np.array([1 + 0.15 * x, 1 + 0.15 * y])
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
        matrix[:, 2] = middle - matrix[:, :2] @ [(width - 1) / 2, (height - 1) / 2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        layers.append(cv2.warpAffine(texture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101))
    return cv2.addWeighted(layers[0], 0.8, layers[1], 0.5, 0)


def _paint(image: np.ndarray, owner: np.ndarray, objects: SimpleNamespace, row: int, time: float) -> None:
    """Paints one object over the image."""
    height, width = owner.shape
    short = min(height, width)
    wave = np.sin(2 * np.pi * (objects.pace[row] * time + objects.phase[row]))
    y, x = objects.centre[row] + objects.swing[row] * wave[:2]
    radius = objects.radius[row] * (1 + 0.15 * wave[3]) * short
    turn = objects.turn[row] * wave[2] + 2 * np.pi * objects.phase[row, 2]
    reach = int(np.ceil(1.3 * radius)) + 1
    top, left = round(y * height) - reach, round(x * width) - reach
    rows = slice(max(top, 0), min(top + 2 * reach + 1, height))
    columns = slice(max(left, 0), min(left + 2 * reach + 1, width))
    grid_y, grid_x = np.mgrid[rows, columns].astype(np.float32)
    grid_y, grid_x = (grid_y - y * height) / radius, (grid_x - x * width) / radius
    own_y, own_x = _rotate(grid_y, grid_x, turn)
    own_y, own_x = own_y / objects.stretch[row, 0], own_x / objects.stretch[row, 1]

    amplitude, phase = objects.outline[row]
    angles = 2 * np.pi * np.arange(ANGLES)[:, None] / ANGLES * np.arange(1, LOBES + 1)
    outline = 0.85 * (1 + (amplitude * np.sin(angles + 2 * np.pi * phase)).sum(axis=1)).astype(np.float32)
    distance, angle = cv2.cartToPolar(own_x, own_y)
    reached = outline[(angle * (ANGLES / (2 * np.pi))).astype(np.int32) % ANGLES]
    inside = np.clip((reached - distance) * np.float32(radius) + np.float32(0.5), 0, 1)[..., None]

    near = _colour(objects.hue[row] + 0.01 * wave[5], *objects.colour[row]) * (1 + 0.15 * wave[4])
    near = np.minimum(near, 255).astype(np.float32)
    far = near * np.float32(objects.shade[row])
    own_y, own_x = _rotate(own_y, own_x, objects.angle[row])
    share = _texture(objects.texture[row], own_y, own_x, np.float32(objects.frequency[row]))[..., None]
    colour = far + share * (near - far)
    under = image[rows, columns]
    image[rows, columns] = (under + inside * (colour - under) + 0.5).astype(np.uint8)
    owner[rows, columns][inside[..., 0] >= 0.5] = row


def _rotate(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * y - sin * x, sin * y + cos * x


def _texture(family: int, y: np.ndarray, x: np.ndarray, frequency: float) -> np.ndarray:
    """Returns the share of the first colour at points of an object, in [0, 1]."""
    wave_x, wave_y = np.sin(np.pi * frequency * x), np.sin(np.pi * frequency * y)
    if family == 0:  # plain, shaded
        return 0.75 + 0.25 * x
    if family == 1:  # stripes
        return np.clip(0.5 + 3 * wave_x, 0, 1)
    if family == 2:  # checks
        return np.clip(0.5 + 5 * wave_x * wave_y, 0, 1)
    if family == 3:  # dots
        return np.clip(3 * (wave_x**2 * wave_y**2) - 0.5, 0, 1)
    return np.clip(0.5 + 3 * np.sin(np.pi * frequency * np.hypot(y, x)), 0, 1)  # rings


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """Converts HSV in [0, 1] to RGB in [0, 255]."""
    ramp = np.clip(np.abs((hue % 1 * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation + saturation * ramp)
