"""Makes the README's moving picture: frames of a video beside what `cosnet segment --cutout png` made of them.

python -m experiments.moving_strip FRAMES OUT/cutout strip.webp [--height=160] [--fps=12]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.files import writable_folder

CHECK = 10  # pixels of a square of the pattern behind the cut-out


def beside(frame: Image.Image, cutout: Image.Image, height: int) -> Image.Image:
    """Puts a frame and its cut-out over a chequered pattern side by side."""
    width = round(height * frame.width / frame.height)
    rows, columns = np.indices((height, width)) // CHECK
    grey = np.where((rows + columns) % 2, 225, 250).astype(np.uint8)
    behind = Image.fromarray(grey).convert("RGBA")
    behind.alpha_composite(cutout.convert("RGBA").resize((width, height), Image.Resampling.LANCZOS))
    strip = Image.new("RGB", (2 * width, height))
    strip.paste(frame.resize((width, height), Image.Resampling.LANCZOS), (0, 0))
    strip.paste(behind.convert("RGB"), (width, 0))
    return strip


def read_strips(frames: Path, cutouts: Path, height: int) -> list[Image.Image]:
    """Reads the cut-outs of a folder, each with the frame of the same name, and puts them side by side.

    Raises:
      InputError: there are no cut-outs, one has no frame, a picture cannot be read, or the height is below 1.
    """
    if height < 1:
        raise InputError(f"--height is {height}; expected at least 1")
    paths = sorted(cutouts.glob("*.png"))
    if not paths:
        raise InputError(f"{cutouts} has no cut-outs; expected *.png")
    strips = []
    for cutout in paths:
        frame = next(frames.glob(f"{cutout.stem}.*"), None)
        if frame is None:
            raise InputError(f"{frames} has no frame for {cutout}; expected {cutout.stem}.*")
        try:
            strips.append(beside(Image.open(frame), Image.open(cutout), height))
        except OSError as error:  # Pillow's own among them
            raise InputError(f"{frame} or {cutout} is not a readable image ({error})") from error
    return strips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--fps", type=float, default=12)
    arguments = parser.parse_args()
    with report_input_errors():
        if not arguments.fps > 0:
            raise InputError(f"--fps is {arguments.fps}; expected more than 0")
        writable_folder(arguments.output.parent)
        first, *others = read_strips(arguments.frames, arguments.cutouts, arguments.height)
        first.save(
            arguments.output, save_all=True, append_images=others, duration=round(1000 / arguments.fps), loop=0,
            quality=60, method=6,
        )  # fmt: skip


if __name__ == "__main__":
    main()
