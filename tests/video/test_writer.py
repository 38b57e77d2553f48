"""Writing videos, read back with PyAV alone, and failures to write."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.video.reader import open_video
from cosnet_jax.video.writer import VideoWriter


def make_frames(count, height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 4, columns * 3, (rows + columns) * 2]
    return [np.stack([(plane + 9 * number) % 200 for plane in planes], -1).astype(np.uint8) for number in range(count)]


def write(path, frames, fps=25, timestamps=None):
    with VideoWriter(path, frames[0].shape[:2], fps, timestamps) as writer:
        for image in frames:
            writer.write(image)
    return path


def test_the_file_has_the_format_that_browsers_play(tmp_path):
    path = write(tmp_path / "a.mp4", make_frames(10), Fraction(30000, 1001))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # playback starts before the whole file is there
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)  # BT.709, limited
        assert stream.average_rate == Fraction(30000, 1001)
        assert stream.duration * stream.time_base == 10 * Fraction(1001, 30000)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_flat_colours_survive(tmp_path):
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in [(200, 30, 30), (30, 200, 30), (30, 30, 200)]]
    back = list(open_video(write(tmp_path / "a.mp4", frames)))
    # Flat colours survive but for the rounding of 8-bit limited-range YUV; a wrong colour matrix is off by 10 and more.
    np.testing.assert_allclose(np.array(back, int), np.array(frames, int), atol=4)


@pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 1), (50, 31), (161, 90)])
def test_odd_sizes_are_made_even_by_repeating_the_edge(tmp_path, height, width):
    (image,) = make_frames(1, height, width)
    (back,) = open_video(write(tmp_path / "a.mp4", [image]))
    assert back.shape == (height + height % 2, width + width % 2, 3)
    expected = np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge").astype(int)
    assert abs(back.astype(int) - expected).mean() < 6  # what the encoder loses


@pytest.mark.parametrize("timestamps", [[0.0, 0.04, 0.08, 0.5, 1.25], [0.0], [0.0, 1 / 3, 1 / 3, 0.4, 0.5]])
def test_variable_frame_rates_are_kept(tmp_path, timestamps):
    fps = Fraction(10)
    path = write(tmp_path / "a.mp4", make_frames(len(timestamps)), fps, timestamps)
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        duration = container.duration / av.time_base
    assert times == pytest.approx(timestamps, abs=2 / 90000)  # ticks; equal times are put one tick apart
    assert duration == pytest.approx(timestamps[-1] + 0.1, abs=2e-3)  # the last frame is shown too


def test_a_copied_video_keeps_its_times(tmp_path):
    times = [0.0, 0.04, 0.4, 0.44, 1.0]
    source = open_video(write(tmp_path / "a.mp4", make_frames(5), 25, times))
    copy = open_video(write(tmp_path / "b.mp4", list(source), source.fps, source.timestamps))
    assert copy.timestamps == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, FileNotFoundError])
def test_an_interruption_leaves_nothing_new(tmp_path, interruption):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older result")
    with pytest.raises(interruption), VideoWriter(path, (48, 64), 25) as writer:
        for image in make_frames(30):
            writer.write(image)
        raise interruption
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert path.read_bytes() == b"an older result"


@pytest.mark.process
@pytest.mark.parametrize("limit", [10, 20_000, "all but 100"])
def test_a_full_disk_is_a_one_line_error_and_leaves_nothing(tmp_path, limit):
    """A limit on the file size replaces the full disk; in the last case it is reached at the very end."""
    code = """if True:
        import resource, sys
        import numpy as np
        from cosnet_jax.video.writer import VideoWriter
        from cosnet_jax.errors import report_input_errors
        path, limit = sys.argv[1], int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
        with report_input_errors(), VideoWriter(path, (64, 64), 25) as writer:
            for image in noise:
                writer.write(image)
    """

    def run(name, limit):
        command = [sys.executable, "-c", code, str(tmp_path / name), str(limit)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    if limit == "all but 100":
        assert run("whole.mp4", 10**9).returncode == 0
        limit = (tmp_path / "whole.mp4").stat().st_size - 100
        (tmp_path / "whole.mp4").unlink()
    result = run("a.mp4", limit)
    assert result.returncode == 1
    assert result.stderr == f"error: {tmp_path / 'a.mp4'}: cannot be written (File too large)\n"
    assert os.listdir(tmp_path) == []


def test_an_unwritable_path_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "a.mp4", tmp_path / "file" / "a.mp4"):
        with pytest.raises(InputError, match="cannot be written"):
            VideoWriter(path, (48, 64), 25)


def test_wrong_frames_are_errors(tmp_path):
    (image,) = make_frames(1)
    for wrong, message in [(image[:-1], r"not uint8 \(47, 64, 3\)"), (image.astype(float), "not float64")]:
        with pytest.raises(InputError, match=message), VideoWriter(tmp_path / "a.mp4", (48, 64), 25) as writer:
            writer.write(wrong)
    with pytest.raises(InputError, match="more frames than the 1 timestamps"):
        write(tmp_path / "a.mp4", [image, image], 25, [0.0])
    with pytest.raises(InputError, match="a video needs a frame"), VideoWriter(tmp_path / "a.mp4", (48, 64), 25):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_an_error(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        VideoWriter(tmp_path / "locked" / "a.mp4", (48, 64), 25)
