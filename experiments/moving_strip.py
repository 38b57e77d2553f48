"""Makes the README's moving picture: frames of a video beside what `cosnet segment --cutout png` made of them.

python experiments/moving_strip.py FRAMES OUT/cutout strip.webp [--height=160] [--fps=12]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--fps", type=float, default=12)
    arguments = parser.parse_args()
    cutouts = sorted(arguments.cutouts.glob("*.png"))
    frames = [next(arguments.frames.glob(f"{path.stem}.*")) for path in cutouts]
    strips = [beside(Image.open(f), Image.open(c), arguments.height) for f, c in zip(frames, cutouts, strict=True)]
    strips[0].save(
        arguments.output, save_all=True, append_images=strips[1:], duration=round(1000 / arguments.fps), loop=0,
        quality=60, method=6,
    )  # fmt: skip


if __name__ == "__main__":
    main()
