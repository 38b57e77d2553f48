"""Reads photographs, clips and masks from the git objects of snapshots of repositories."""

import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image, ImageOps

ANIMALS_AND_PEOPLE = (3, 8, 10, 12, 13, 15, 17)  # classes of VOC
LONGEST_SIDE_OF_VIDEO = 1280


class Repository:
    """The files of a commit.

    Args:
      snapshots: folder of clones called OWNER+NAME, bare or not, or with the clone in a folder `repo`.
      source: OWNER/NAME@COMMIT.
    """

    def __init__(self, snapshots: Path, source: str) -> None:
        name, self.commit = source.split("@")
        folder = snapshots / name.replace("/", "+")
        places = (folder / "repo/.git", folder / "repo", folder / ".git", folder)
        self._git = next(place for place in places if (place / "HEAD").exists())
        self.files = set(self._run("ls-tree", "-rz", "--name-only", self.commit).decode().split("\0"))

    def _run(self, *arguments: str) -> bytes:
        return subprocess.run(["git", f"--git-dir={self._git}", *arguments], capture_output=True, check=True).stdout

    def read(self, path: str) -> bytes:
        return self._run("cat-file", "blob", f"{self.commit}:{path}")


def decode(data: bytes) -> np.ndarray:
    """Decodes an image, turned as its EXIF data says, to uint8 RGB (H, W, 3)."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def is_plain_jpeg(data: bytes) -> bool:
    """Tells whether every reader decodes the file to the same image as `decode`."""
    image = Image.open(io.BytesIO(data))
    return image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(0x112, 1) == 1


def decode_mask(path: str, data: bytes, height: int, width: int) -> np.ndarray:
    """Decodes a human mask.

    Args:
      path: its suffix tells the format: .mat has the classes of Clothing Co-Parsing, .txt polygons of COCO, of which
        the large ones are drawn. Images with a palette have the classes of VOC; others are grey.
      data: the file.
      height, width: of the photograph.

    Returns:
      (H, W) uint8, in its own size.
    """
    if path.endswith(".mat"):
        return np.uint8(scipy.io.loadmat(io.BytesIO(data))["groundtruth"] > 0) * 255
    if path.endswith(".txt"):
        lines = [np.float32(line.split()[1:]).reshape(-1, 2) for line in data.decode().splitlines()]
        polygons = [np.float32(line * (width, height)) for line in lines]
        smallest = max(0.02 * width * height, 0.2 * max(map(cv2.contourArea, polygons)))
        mask = np.zeros((height, width), np.uint8)
        for polygon in polygons:
            if cv2.contourArea(polygon) >= smallest:
                cv2.fillPoly(mask, [np.int32(polygon.round())], 255)
        return mask
    image = Image.open(io.BytesIO(data))
    if image.mode != "P":
        return np.asarray(image.convert("L"))
    classes = np.asarray(image)
    objects = np.isin(classes, ANIMALS_AND_PEOPLE)
    # 255 is the border between object and background: a pixel of it goes to what is nearer.
    to_object = cv2.distanceTransform(np.uint8(~objects), cv2.DIST_L2, 5)
    to_background = cv2.distanceTransform(np.uint8(objects | (classes == 255)), cv2.DIST_L2, 5)
    return np.uint8(to_object < to_background) * 255


def read_clip(repository: Repository, path: str, crop: str, span: str, most: int) -> dict[str, np.ndarray]:
    """Reads every fourth frame of a clip, but at least 10 of them where there are so many, and at most `most`.

    Args:
      repository: has the clip.
      path: of a video, or of a folder of frames.
      crop: "x,y,width,height" of the part to take, or "".
      span: "first:end" of the frames to take from, or "".
      most: see above.

    Returns:
      Frames, uint8 RGB (H, W, 3), by their number.
    """
    if path in repository.files:
        with tempfile.NamedTemporaryFile(suffix=Path(path).suffix) as file:
            file.write(repository.read(path))
            file.flush()
            frames = list(_read_video(file.name))
    else:
        pattern = re.compile(re.escape(path) + r"/[^/]*?(\d+)\.(?:jpe?g|png)")
        found = {int(match[1]): match[0] for match in map(pattern.fullmatch, repository.files) if match}
        frames = [found[number] for number in sorted(found)]
    first, end = map(int, span.split(":")) if span else (0, len(frames))
    count = min(end - first, max(10, (end - first) // 4), most)
    indices = np.linspace(first, end - 1, count).round().astype(int)
    x, y, width, height = map(int, crop.split(",")) if crop else (0, 0, None, None)
    part = (slice(y, height and y + height), slice(x, width and x + width))
    images = (decode(repository.read(frames[i])) if isinstance(frames[i], str) else frames[i] for i in indices)
    return {f"{i:05}": image[part] for i, image in zip(indices, images, strict=True)}


def _read_video(path: str) -> Iterator[np.ndarray]:
    if path.endswith(".gif"):
        with Image.open(path) as gif:
            for index in range(gif.n_frames):
                gif.seek(index)
                yield np.asarray(gif.convert("RGB"))
        return
    video = cv2.VideoCapture(path)
    while (frame := video.read()[1]) is not None:
        yield cv2.cvtColor(shrink(frame, LONGEST_SIDE_OF_VIDEO), cv2.COLOR_BGR2RGB)


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrinks an image so that no side is longer than `longest`."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, [max(1, round(side * scale)) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA)
