"""Files and names that once ended in a traceback, took all memory or waited for ever."""

from __future__ import annotations

import io
import os
import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from memory_sequence import MemorySequence
from PIL import Image
from raw_datasets import make_davis, make_grey_sequence
from video_files import encode, make_frames

from cosnet_jax.commands.segment import segment
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.predictions import check_predictions
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.files import atomic_write
from cosnet_jax.video.encodings import MP4, PRORES, WEBM
from cosnet_jax.video.masks import read_mask
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter


def claiming(size: tuple[int, int]) -> bytes:
    """A PNG of few bytes whose header claims a size (width, height)."""
    encoded = io.BytesIO()
    Image.new("RGB", (4, 4)).save(encoded, "PNG")
    data = bytearray(encoded.getvalue())
    struct.pack_into(">II", data, 16, *size)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("size", [(0, 0), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_too_many_pixels_is_named(tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(claiming(size))
    for read in (open_video, read_mask):
        with pytest.raises(InputError, match=r"a\.png"):
            read(path)


def test_a_gif_of_too_many_pixels_is_named(tmp_path):
    data = bytearray(encode(tmp_path / "a.gif", make_frames(3), "gif", "rgb8").read_bytes())
    struct.pack_into("<HH", data, 6, 15_000, 15_000)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.gif"):
        list(open_video(tmp_path / "a.gif"))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.ts\n",
    ],
)
def test_a_playlist_does_not_show_other_files(tmp_path, text):
    other = encode(tmp_path / "other.ts", make_frames(3), "mpeg2video", "yuv420p")
    path = tmp_path / "a.m3u8"
    path.write_text(text.format(other=other))
    with pytest.raises(InputError, match=r"a\.m3u8"):
        open_video(path)


def test_a_video_whose_size_changes_is_named(tmp_path):
    first = encode(tmp_path / "a.ts", make_frames(3), "libx264", "yuv420p").read_bytes()
    second = encode(tmp_path / "b.ts", make_frames(3, 32, 48), "libx264", "yuv420p").read_bytes()
    (tmp_path / "a.ts").write_bytes(first + second)
    with pytest.raises(InputError, match=r"a\.ts"):
        list(open_video(tmp_path / "a.ts"))


@pytest.mark.parametrize(("seconds", "fps"), [(3000, Fraction(1, 1000)), (Fraction(1, 2500), 1000)])
def test_a_rate_that_no_encoder_takes_keeps_its_times(tmp_path, seconds, fps):
    path, ticks = tmp_path / "a.mov", [round(number * seconds * 10_000) for number in range(3)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10_000)
        stream.height, stream.width, stream.pix_fmt = 8, 8, "gray"
        for tick in ticks:
            packet = av.Packet(bytes(64))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, tick, tick, Fraction(1, 10_000)
            container.mux(packet)
    video = open_video(path)
    assert (video.fps, video.timestamps) == (fps, tuple(tick / 10_000 for tick in ticks))
    with VideoWriter(tmp_path / "b.mp4", video.size, video.fps, video.timestamps) as writer:
        for image in video:
            writer.write(image)
    assert open_video(tmp_path / "b.mp4").timestamps == pytest.approx(video.timestamps, abs=1e-4)


@pytest.mark.parametrize(("encoding", "side"), [(MP4, 16_384), (WEBM, 65_535), (PRORES, 65_535)])
def test_frames_too_large_for_an_encoder_are_named(tmp_path, encoding, side):
    with pytest.raises(InputError, match=rf"{side + 1} x 2 pixels"):
        VideoWriter(tmp_path / f"a{encoding.suffix}", (2, side + 1), 25, encoding=encoding)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipes_are_not_read(tmp_path):
    folder = tmp_path / "bear"
    folder.mkdir()
    os.mkfifo(folder / "0.jpg")
    with pytest.raises(InputError, match=r"0\.jpg"):
        open_video(folder)
    os.mkfifo(folder / "00001.png")
    with pytest.raises(InputError, match=r"00001\.png"):
        check_predictions(tmp_path, [MemorySequence("bear", [np.zeros((4, 4), bool)] * 3)], get_protocol("davis16"))


@pytest.mark.parametrize("number", ["1" * 5000, "²", "-1"])
def test_numbers_in_a_definition_of_fbms_can_be_anything(tmp_path, number):
    make_grey_sequence(tmp_path / "Testset" / "bear01", with_definition=True)
    path = next(tmp_path.glob("**/*.dat"))
    text = path.read_text(encoding="utf-8")
    for title in ("Scale of region 0:", "Frame number:"):
        start = text.index(title) + len(title)
        text = f"{text[:start]}\n{number}{text[text.index(chr(10), start + 2) :]}"
    path.write_text(text, encoding="utf-8")
    Fbms.scan(tmp_path)
    Fbms.read_mask(next(tmp_path.glob("**/*.pgm")))


LINES = [
    b"\xff\xfe /a",
    b"/JPEGImages/480p/" + b"x" * 300 + b"/0.jpg /a/" + b"x" * 300 + b"/0.png",
    b"/a\0/0.jpg /a\0/0.png",
    b"/JPEGImages/../0.jpg /Annotations/../0.png",
]


@pytest.mark.parametrize("line", LINES)
def test_a_listing_of_davis_can_hold_any_bytes(tmp_path, line):
    source = make_davis(tmp_path, {"bear": 1}, {"camel": 1})
    (source / "ImageSets" / "480p" / "val.txt").write_bytes(line)
    assert Davis16.scan(source).problems


NAMES = ("a\nb", "\x1b[31mred", "é😀", "<script>alert(1)<script>", "%s %d", "a b", "-rf", "x" * 251, "😀" * 62)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not have such names")
def test_results_have_the_names_of_their_frames(tmp_path, checkpoint):
    folder = tmp_path / "in" / "<b>\n"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((32, 40, 3), 20 * number, np.uint8))
        (folder / f"{number}.png").rename(folder / f"{name}.png")
    before = set(tmp_path.glob("*"))
    (result,) = segment([folder], tmp_path / "out", checkpoint, num_references=1)
    assert {path.name for path in (result.output / "masks").iterdir()} == {f"{name}.png" for name in NAMES}
    assert set(tmp_path.glob("*")) == before | {tmp_path / "out"}


def test_a_link_at_the_place_of_a_result_is_not_followed(tmp_path):
    victim, result = tmp_path / "victim", tmp_path / "mask.png"
    victim.write_text("precious")
    result.symlink_to(victim)
    with atomic_write(result) as temporary:
        temporary.write_text("mask")
    assert victim.read_text() == "precious"
    assert result.read_text() == "mask"
