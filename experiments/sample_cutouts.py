"""Makes the pictures of the sample clip from photographs that come with scikit-image, all in the public domain.

    pip download --no-deps scikit-image==0.26.0 && unzip scikit_image-*.whl 'skimage/data/*'
    python -m experiments.sample_cutouts skimage/data cosnet_jax/assets

`cosnet_jax/assets/README.md` names the photographers. Polygons drawn by hand say what is outside an object and what is
inside; GrabCut (Rother et al., 2004) decides between them.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.files import writable_folder

Polygon = list[tuple[int, int]]  # (x, y) in pixels of the photograph

ASTRONAUT_OUTSIDE = [
    (145, 90), (165, 20), (225, 5), (285, 20), (310, 80), (298, 130), (280, 170), (312, 210), (318, 240), (350, 260),
    (372, 345), (400, 340), (450, 350), (500, 420), (511, 480), (511, 511), (12, 511), (14, 400), (20, 310), (50, 250),
    (75, 225), (105, 225), (105, 190), (140, 145), (180, 145), (170, 120), (155, 130),
]  # fmt: skip
ASTRONAUT_INSIDE = [
    [(175, 60), (225, 25), (275, 60), (280, 100), (262, 150), (225, 180), (190, 150), (175, 110)],  # head
    [(60, 270), (110, 250), (150, 290), (240, 320), (300, 270), (330, 300), (345, 340), (300, 380), (275, 420),
     (280, 505), (40, 505), (35, 400)],  # body
    [(130, 190), (165, 165), (190, 170), (200, 250), (160, 240)],  # collar
    [(240, 255), (285, 220), (295, 250), (270, 280), (200, 285), (160, 260), (140, 235), (200, 265)],
    [(300, 400), (350, 360), (420, 355), (470, 390), (485, 450), (490, 505), (290, 505)],  # helmet
]  # fmt: skip


def grab(photograph: np.ndarray, outside: Polygon, inside: list[Polygon]) -> np.ndarray:
    """Finds the opacity (h, w) uint8, 0 to 255, of the object between an outer and some inner polygons."""
    labels = np.full(photograph.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.fillPoly(labels, [np.int32(outside)], cv2.GC_PR_FGD)
    cv2.fillPoly(labels, [np.int32(polygon) for polygon in inside], cv2.GC_FGD)
    cv2.grabCut(photograph, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    outline = max(cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    return cv2.medianBlur(cv2.drawContours(np.zeros_like(found), [outline], -1, 255, cv2.FILLED), 5)


def cup_outlines() -> tuple[Polygon, list[Polygon]]:
    """Polygons around and in the coffee cup: ellipses of saucer and cup, and the spoon's handle."""
    shape = np.zeros((400, 600), np.uint8)
    cv2.ellipse(shape, (277, 222), (200, 164), 9, 0, 360, 255, cv2.FILLED)
    cv2.ellipse(shape, (290, 113), (117, 96), 3, 0, 360, 255, cv2.FILLED)
    cv2.fillPoly(shape, [np.int32([(400, 72), (412, 66), (424, 75), (421, 90), (410, 140), (400, 140)])], 255)

    def outline(mask: np.ndarray) -> Polygon:
        return cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0][:, 0]

    return outline(cv2.dilate(shape, np.ones((15, 15)))), [outline(cv2.erode(shape, np.ones((9, 9))))]


def write_cutout(path: Path, photograph: np.ndarray, opacity: np.ndarray, height: int) -> None:
    """Writes an object with its opacity, cropped to the object and scaled to a height in pixels."""
    x, y, w, h = cv2.boundingRect(opacity)
    picture = np.dstack([photograph, opacity])[y : y + h, x : x + w]
    picture = cv2.resize(picture, (round(w * height / h), height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_WEBP_QUALITY, 85])


def make_pictures(photographs: Path, output: Path) -> None:
    """Writes the pictures of the sample clip from the photographs of scikit-image.

    Raises:
      InputError: a photograph cannot be read, or the folder cannot be written to.
    """
    writable_folder(output)
    astronaut, coffee, rocket = (read(photographs / name) for name in ("astronaut.png", "coffee.png", "rocket.jpg"))
    opacity = grab(astronaut, ASTRONAUT_OUTSIDE, ASTRONAUT_INSIDE)
    write_cutout(output / "sample_astronaut.webp", astronaut, opacity, 300)
    write_cutout(output / "sample_cup.webp", coffee, grab(coffee, *cup_outlines()), 200)
    cv2.imwrite(str(output / "sample_launch_pad.jpg"), rocket, [cv2.IMWRITE_JPEG_QUALITY, 80])


def read(path: Path) -> np.ndarray:
    """Reads a photograph, (h, w, 3) uint8 BGR, or raises an InputError that names it."""
    photograph = cv2.imread(str(path))
    if photograph is None:
        raise InputError(f"{path} is not a readable image; expected one of scikit-image 0.26.0")
    return photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    with report_input_errors():
        make_pictures(arguments.photographs, arguments.output)


if __name__ == "__main__":
    main()
