"""The command `live`: pipes in and out, growing files, Ctrl-C, counted frames."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time

import av
import numpy as np
import pytest
from video_files import encode, make_frames

from cosnet_jax import cli
from cosnet_jax.commands import live
from cosnet_jax.inference.segmenter import Segmenter


def decoded(file, pixels):
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format=pixels) for frame in container.decode(video=0)])


def command(checkpoint, source, output, *options):
    program = [sys.executable, "-m", "cosnet_jax", "live"]
    return [*program, source, "--output", output, "--checkpoint", checkpoint, *options]


@pytest.mark.process
def test_masks_of_a_pipe_are_those_of_the_online_segmenter(checkpoint, tmp_path):
    source = encode(tmp_path / "a.mkv", make_frames(7))
    arguments = command(checkpoint, "-", "-", "--show", "masks")
    result = subprocess.run(arguments, input=source.read_bytes(), capture_output=True, check=True)
    assert b"7 frames" in result.stderr
    online = Segmenter.from_pretrained(checkpoint).online()
    expected = [255 * (online.push(frame) > 0.5) for frame in make_frames(7)]
    np.testing.assert_array_equal(decoded(io.BytesIO(result.stdout), "gray"), expected)


@pytest.mark.process
@pytest.mark.parametrize(
    ("show", "channels"), [pytest.param("overlay", "rgb24", marks=pytest.mark.slow), ("rgba", "rgba")]
)
def test_a_file_is_written_whole(checkpoint, tmp_path, show, channels):
    source, output = encode(tmp_path / "a.mkv", make_frames(3)), tmp_path / "out.mkv"
    arguments = ["live", str(source), "--output", str(output), "--show", show, "--checkpoint", str(checkpoint)]
    assert cli.main(arguments) == 0
    assert decoded(str(output), channels).shape == (3, 48, 66, 3 if show == "overlay" else 4)


@pytest.mark.process
@pytest.mark.usefixtures("default_sigint")
def test_raw_frames_and_ctrl_c_leave_a_whole_file(checkpoint, tmp_path):
    output = tmp_path / "out.mkv"
    arguments = command(checkpoint, "-", output, "--raw", "66", "48")
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for frame in make_frames(4):
            process.stdin.write(frame.tobytes())
        process.stdin.flush()
        shown = b""
        while b"4 frames" not in shown and process.poll() is None:
            shown += process.stderr.read1(200)
        process.send_signal(signal.SIGINT)
        shown += process.stderr.read()
    assert process.returncode == 0, shown
    assert len(decoded(str(output), "rgb24")) == 4


def test_a_growing_file_is_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 1.0)
    data = encode(tmp_path / "a.mkv", make_frames(5)).read_bytes()
    growing = tmp_path / "b.mkv"
    growing.write_bytes(data[: len(data) // 2])

    def grow():
        time.sleep(0.3)
        with growing.open("ab") as file:
            file.write(data[len(data) // 2 :])

    thread = threading.Thread(target=grow)
    thread.start()
    frames = [frame for frame, _ in live.frames_of(str(growing), None, live.Stop())]
    thread.join()
    np.testing.assert_array_equal(frames, make_frames(5))


def test_a_source_that_is_none_is_one_line(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["live", str(tmp_path / "none.mkv"), "--output", "out.mkv", "--checkpoint", str(checkpoint)])
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path}/none.mkv: No such file")
