"""Images, videos, masks and the images of datasets as inputs."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import av
import numpy as np
from faults.kinds import Kind
from PIL import Image
from raw_datasets import draw_image, draw_mask
from video_files import encode, make_frames

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.predictions import check_predictions, read_masks
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.video.reader import open_video

IDENTITY_MATRIX_OFFSET = 44  # of the matrix in a track header of version 0, from the end of "tkhd"
QUARTER_TURN = (0, 1 << 16, 0, -1 << 16 & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)


def make_images(folder: Path) -> list[str]:
    """One file for each way that an image can be stored in."""
    rgb = Image.fromarray(draw_image(0))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    depth16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    images = {
        "a.jpg": (rgb, {}), "exif.jpg": (rgb, {"exif": exif}), "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "progressive.jpg": (rgb, {"progressive": True}), "grey.jpg": (rgb.convert("L"), {}), "a.png": (rgb, {}),
        "16.png": (depth16, {}), "palette.png": (rgb.quantize(16), {}), "alpha.png": (rgb.convert("RGBA"), {}),
        "one_bit.png": (rgb.convert("1"), {}), "la.png": (rgb.convert("LA"), {}), "a.bmp": (rgb, {}),
        "a.webp": (rgb, {}), "lossless.webp": (rgb.convert("RGBA"), {"lossless": True}),
    }  # fmt: skip
    for name, (image, options) in images.items():
        image.save(folder / name, **options)
    return list(images)


def make_videos(folder: Path) -> list[str]:
    """One file for each kind of container, one that is rotated, one whose size changes, and one without pictures."""
    frames = make_frames(6)
    encode(folder / "a.mp4", frames, "libx264", "yuv420p")
    encode(folder / "times.mp4", frames, "libx264", "yuv420p", times=[0, 40, 90, 400, 410, 900])
    encode(folder / "a.webm", frames, "libvpx-vp9", "yuv420p")
    encode(folder / "a.gif", frames, "gif", "rgb8")
    encode(folder / "a.avi", frames, "mjpeg", "yuvj420p")
    encode(folder / "a.mkv", frames)
    encode(folder / "a.mpg", frames, "mpeg2video", "yuv420p")
    encode(folder / "a.ts", frames, "libx264", "yuv420p")
    (folder / "rotated.mp4").write_bytes(rotated((folder / "a.mp4").read_bytes()))
    small = encode(folder / "small.ts", make_frames(6, 32, 48), "libx264", "yuv420p").read_bytes()
    (folder / "sizes.ts").write_bytes((folder / "a.ts").read_bytes() + small)
    write_sound(folder / "sound.mp4")
    return sorted(path.name for path in folder.iterdir())


def rotated(mp4: bytes) -> bytes:
    """Writes a quarter turn into the track header of an mp4, as phones do."""
    start = mp4.index(b"tkhd") + IDENTITY_MATRIX_OFFSET
    return mp4[:start] + b"".join(value.to_bytes(4, "big") for value in QUARTER_TURN) + mp4[start + 36 :]


def write_sound(path: Path) -> None:
    """Writes a tenth of a second of silence: a file without a video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read_video(_: Path, file: Path) -> None:
    video = open_video(file)
    frames = list(video)
    assert len(frames) == len(video)
    assert all(frame.shape == (*video.size, 3) and frame.dtype == np.uint8 for frame in frames)
    assert video.read([len(video) - 1, 0]).shape == (2, *video.size, 3)
    assert video.fps > 0


@dataclasses.dataclass(frozen=True)
class Truth:
    """The ground truth of one sequence."""

    name: str = "bear"
    frame_names: tuple[str, ...] = ("0", "1", "2", "3")
    annotated: tuple[int, ...] = (0, 1, 2, 3)

    def mask(self, i: int) -> np.ndarray:
        return draw_mask(i)


def make_predictions(folder: Path) -> list[str]:
    """A folder of predicted masks of every kind that is read: grey of 1, 8 and 16 bits, palette, RGBA."""
    masks = [Image.fromarray(draw_mask(i).astype(np.uint8) * 255) for i in range(4)]
    palette = masks[2].convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0] * 128)
    stored = [
        masks[0], Image.fromarray(np.asarray(masks[1]).astype(np.uint16) * 257), palette, masks[3].convert("RGBA")
    ]  # fmt: skip
    (folder / "bear").mkdir()
    for i, image in enumerate(stored):
        image.save(folder / "bear" / f"{i}.png")
    return [f"bear/{i}.png" for i in range(4)]


def read_predictions(folder: Path, _: Path) -> None:
    check_predictions(folder, [Truth()], get_protocol("davis16"))
    masks = read_masks([folder / "bear" / f"{i}.png" for i in range(4)])
    assert all(mask.dtype == bool and mask.ndim == 2 for mask in masks)


def make_frames_and_masks(folder: Path) -> list[str]:
    """The images and masks of datasets."""
    image, mask = Image.fromarray(draw_image(0)), Image.fromarray(draw_mask(0).astype(np.uint8) * 255)
    stored = {"image.jpg": image, "image.png": image, "mask.png": mask, "mask.jpg": mask, "mask.pgm": mask}
    stored["mask.ppm"] = mask.convert("RGB")
    for name, picture in stored.items():
        encoded = io.BytesIO()
        picture.save(encoded, {"jpg": "JPEG", "png": "PNG", "pgm": "PPM", "ppm": "PPM"}[name[-3:]])
        (folder / name).write_bytes(encoded.getvalue())
    return list(stored)


def read_frame_and_mask(folder: Path, file: Path) -> None:
    """Checks a frame of a dataset as `cosnet prepare` does; a frame without problems must become an example."""
    from cosnet_jax.data.builders.base import Frame
    from cosnet_jax.data.builders.davis16 import Davis16
    from cosnet_jax.data.builders.fbms import Fbms
    from cosnet_jax.data.builders.msra10k import Msra10k

    is_mask = file.stem == "mask"
    builders = (Fbms,) if file.suffix in (".pgm", ".ppm") else (Davis16, Msra10k)
    for builder in builders:
        frame = Frame("bear", "0", folder / "image.jpg" if is_mask else file, file if is_mask else folder / "mask.png")
        if problems := builder.check_frame(frame):
            raise InputError(problems[0])
        builder._example(builder, frame)


KINDS = (
    Kind("image", make_images, read_video),
    Kind("video", make_videos, read_video),
    Kind("predicted mask", make_predictions, read_predictions),
    Kind("dataset image", make_frames_and_masks, read_frame_and_mask),
)
