"""Writes raw datasets in their official layouts, with a few small frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from cosnet_jax.data.config import DataConfig

HEIGHT, WIDTH = 40, 56


def draw_image(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Draws smooth random colours, which JPEG hardly changes."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def draw_mask(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Draws a rectangle: bool (height, width)."""
    top, left = np.random.default_rng(seed).integers(0, 12, 2)
    mask = np.zeros((height, width), bool)
    mask[top : top + 20, left : left + 30] = True
    return mask


def save(path: Path, array: np.ndarray, **options) -> Path:
    """Writes an image with Pillow, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def make_davis(root: Path, train: dict[str, int], val: dict[str, int]) -> Path:
    """Writes DAVIS-2016 at 480p. `train` and `val` map sequence names to numbers of frames."""
    for split, sequences in (("train", train), ("val", val)):
        lines = []
        for name, length in sequences.items():
            for i in range(length):
                seed = sum(name.encode()) + i
                image, mask = f"JPEGImages/480p/{name}/{i:05d}.jpg", f"Annotations/480p/{name}/{i:05d}.png"
                save(root / image, draw_image(seed), quality=95)
                save(root / mask, draw_mask(seed).astype(np.uint8) * 255)
                lines.append(f"/{image} /{mask} \n")
        listing = root / "ImageSets" / "480p" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(lines))
    return root


def make_stills(images: Path, masks: Path, count: int, start: int = 0) -> None:
    """Writes still images `NNNN.jpg` and masks `NNNN.png`."""
    for i in range(start, start + count):
        save(images / f"{i:04d}.jpg", draw_image(i), quality=95)
        save(masks / f"{i:04d}.png", draw_mask(i).astype(np.uint8) * 255)


def make_videos(root: Path, videos: dict[str, tuple[int, Iterable[int]]], start: int = 0) -> None:
    """Writes a set of videos. `videos` maps names to (number of frames, the frames that have a mask)."""
    for number, (name, (length, annotated)) in enumerate(videos.items()):
        first = start + 10 * number
        for i in range(length):
            save(root / name / "images" / f"{i}.jpg", draw_image(first + i), quality=95)
        for i in annotated:
            save(root / name / "masks" / f"{i}.png", draw_mask(first + i).astype(np.uint8) * 255)


def make_definition(labels: list[int], annotated: list[tuple[int, str, str]]) -> str:
    """Makes a definition file in the format of the dataset."""
    lines = ["Ground truth definition file; do not change!", "", "Total number of regions:", str(len(labels)), ""]
    for region, label in enumerate(labels):
        lines += [f"Scale of region {region}:", str(label), ""]
    lines += ["Confusion penality matrix"] + ["0 1"] * len(labels) + ["", "Total number of frames in this shot:", "6"]
    for number, truth, image in annotated:
        lines += ["Frame number:", str(number), "File name:", truth, "Input file name:", image]
    return "\r\n".join(lines) + "\r\n"


def make_color_sequence(folder: Path) -> Path:
    """Makes six frames. The first and the fifth have a colour ground truth with two objects; one is not in the .dat."""
    name = folder.name
    for i in range(1, 7):
        save(folder / f"{name}_{i:04d}.jpg", draw_image(i))
    truth = folder / "GroundTruth"
    for i in (1, 5):
        labels = np.full((*draw_mask(i).shape, 3), 255, np.uint8)
        labels[draw_mask(i)] = (255, 0, 255)
        labels[:, :10][draw_mask(i)[:, :10]] = (255, 128, 0)
        save(truth / f"{name}_{i:04d}_gt.ppm", labels)
        save(truth / f"{name}_{i:04d}_PROB_gt.ppm", labels)
    annotated = [(i - 1, f"{name}_{i:04d}_gt.ppm", f"{name}_{i:04d}.ppm") for i in (1, 5)]
    (truth / f"{name}Def.dat").write_text(make_definition([0xFFFFFF, 0xFF00FF], annotated))
    return folder


def make_grey_sequence(folder: Path, with_definition: bool) -> Path:
    """Makes eleven frames. Frames 1 and 10 have a grey ground truth with background 0."""
    name = folder.name
    for i in range(1, 12):
        save(folder / f"{name}_{i:02d}.jpg", draw_image(i))
    truth = folder / "GroundTruth"
    for i in (1, 10):
        save(truth / f"{name}_{i:02d}.pgm", np.where(draw_mask(i), 85, 0).astype(np.uint8))
    if with_definition:
        annotated = [(i - 1, f"{name}_{i:02d}.pgm", f"{name}_{i:02d}.ppm") for i in (1, 10)]
        (truth / f"{name}Def.dat").write_text(make_definition([0, 85], annotated))
    return folder


def make_config(data_dir: Path, **changes) -> ConfigDict:
    """Makes a `config.data` with small synthetic videos and no augmentation."""
    config = DataConfig.defaults()
    config.update({"data_dir": str(data_dir), "train_stills": "stills", "threads": 2})
    config.synthetic.update({"num_videos": 3, "num_val_videos": 2, "num_frames": 6, "num_stills": 8, "size": (32, 48)})
    config.augment.update({"crop": 1.0, "scale": (1.0, 1.0), "flip": 0.0, "colour": 0.0})
    config.update(changes)
    return config
