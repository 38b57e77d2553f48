"""Videos as phones, cameras and editors write them: what they say is applied or carried to the output."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from video_files import encode, make_frames

from cosnet_jax.errors import InputError
from cosnet_jax.video.encodings import WEBM
from cosnet_jax.video.find import find_videos
from cosnet_jax.video.hdr import HLG, PQ, to_bt709
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter

FRAMES = make_frames(5)


@pytest.mark.parametrize("name", ["clip.webp", "clip.png"])
def test_animated_images_are_videos(name, tmp_path):
    first, *others = [Image.fromarray(frame) for frame in FRAMES]
    first.save(tmp_path / name, save_all=True, append_images=others, duration=100, lossless=True)
    with open_video(tmp_path / name) as video:
        np.testing.assert_array_equal(list(video), FRAMES)
        np.testing.assert_array_equal(video.read([3, 0]), [FRAMES[3], FRAMES[0]])
        assert (video.fps, video.timestamps) == (10, None)


def test_animated_images_keep_their_times(tmp_path):
    first, *others = [Image.fromarray(frame) for frame in FRAMES]
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=[100, 300, 100, 100, 100])
    assert open_video(tmp_path / "a.webp").timestamps == (0, 0.1, 0.4, 0.5, 0.6)


def test_pixels_that_are_not_square(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (48, 66), 25, sample_aspect=Fraction(4, 3)) as writer:
        writer.write(FRAMES[0])
    assert open_video(tmp_path / "a.mp4").sample_aspect == Fraction(4, 3)


def test_transparent_vp9_is_composited_over_black(tmp_path):
    alpha = np.full((48, 66, 1), 255, np.uint8)
    alpha[:, :33] = 0
    with VideoWriter(tmp_path / "a.webm", (48, 66), 25, encoding=WEBM) as writer:
        for frame in FRAMES:
            writer.write(np.concatenate([frame, alpha], axis=2))
    video = open_video(tmp_path / "a.webm")
    for index, frame in enumerate(video):
        assert frame[:, :28].max() < 10 < frame[:, 40:].mean()
        np.testing.assert_array_equal(video.read([index])[0], frame)


@pytest.mark.parametrize(("height", "matrix"), [(480, 5), (720, 1)])
def test_untagged_video_is_bt709_from_720_lines(height, matrix, tmp_path):
    red = [np.tile(np.array([200, 40, 40], np.uint8), (height, 64, 1))] * 2
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv444p"
        for image in red:
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv444p", dst_colorspace=matrix)
            frame.colorspace = 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert abs(open_video(tmp_path / "a.mkv").read([0])[0].astype(int) - red[0]).max() <= 3


def test_tone_mapping_keeps_greys_and_their_order():
    ramp = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[:, None, None], 3, axis=2)
    for transfer in (PQ, HLG):
        mapped = to_bt709(ramp, transfer)[:, 0].astype(int)
        assert (np.ptp(mapped, axis=1) <= 1).all() and (np.diff(mapped, axis=0) >= 0).all()
        assert mapped[0, 0] == 0 and mapped[-1, 0] >= 250
    # 203 cd/m2, diffuse white, is 58% of PQ and 75% of HLG (ITU-R BT.2408).
    white = [
        to_bt709(np.full((1, 1, 3), share * 65535, np.uint16), t)[0, 0, 0] for share, t in ((0.58, PQ), (0.75, HLG))
    ]
    assert min(white) > 225 and abs(int(white[0]) - int(white[1])) <= 2


def test_hevc_photographs_are_read_whole_or_refused(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(InputError, match=r"a\.heic"):
        open_video(tmp_path / "a.heic")
    Image.fromarray(FRAMES[0]).save(tmp_path / "b.avif")
    assert open_video(tmp_path / "b.avif").size == FRAMES[0].shape[:2]


def test_videos_of_cameras_are_found_in_a_folder(tmp_path):
    for name in ("a.mp4", "00001.MTS", "vid.3gp", "notes.txt"):
        (tmp_path / name).touch()
    assert [video.name for video in find_videos(tmp_path)] == ["00001.MTS", "a.mp4", "vid.3gp"]


def test_interlaced_frames_are_counted_by_decoding(tmp_path):
    encode(tmp_path / "a.ts", make_frames(6), "mpeg2video", "yuv420p", flags="+ildct+ilme")
    assert len(list(open_video(tmp_path / "a.ts"))) == len(open_video(tmp_path / "a.ts")) == 6


@pytest.mark.parametrize(("suffix", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("m2v", "mpeg2video")])
def test_a_raw_stream_has_its_own_rate_or_the_one_given(tmp_path, suffix, codec):
    path, form = tmp_path / f"raw.{suffix}", {"m2v": "mpeg2video"}.get(suffix, suffix)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for image in make_frames(8, 64, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    video = open_video(path)
    assert (len(video), video.fps, video.timestamps) == (8, 30, None)
    assert video.at_rate(Fraction(12)).fps == 12 and len(list(video.at_rate(Fraction(12)))) == 8


def test_a_file_with_times_takes_no_other_rate(tmp_path):
    with pytest.raises(InputError, match=r"a\.mkv: it says itself when its frames are shown"):
        open_video(encode(tmp_path / "a.mkv", make_frames(3))).at_rate(Fraction(12))
