"""The page in a real browser: upload, segment, play, keep an object, save, cancel; two visitors; what is kept."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from urllib.error import HTTPError

import av
import pytest
from browser import open_browser, open_page
from compilation import compilation_flags
from loopback import free_port

from cosnet_jax.video.writer import VideoWriter

pytestmark = pytest.mark.process
SECONDS = 90  # that a loaded machine may take for a step


class Server:
    """A `cosnet app` with a tiny network, and the folder that it makes its files in."""

    def __init__(self, checkpoint: Path, folder: Path):
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        arguments = ["--checkpoint", checkpoint, "--port", self.port, "--max-seconds", 2, "--max-side", 100]
        environment = os.environ | {"TMPDIR": str(folder), "XLA_FLAGS": compilation_flags()}
        command = [sys.executable, "-m", "cosnet_jax", "app", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout.readline() == f"{self.address}\n"

    def clips(self) -> list[str]:
        """The uploads that are kept."""
        return sorted(path.name for path in self.folder.glob("cosnet-app-*/clips/*/*") if path.is_file())


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        pytest.importorskip("gradio", reason="gradio, which is not installed, makes the page")  # takes seconds
        yield browser


@pytest.fixture(scope="module")
def server(browser, checkpoint, tmp_path_factory):
    server = Server(checkpoint, tmp_path_factory.mktemp("temporary"))
    yield server
    server.process.send_signal(signal.SIGTERM)  # as a process manager ends it
    assert server.process.communicate(timeout=SECONDS)[0] == "" and server.process.returncode == 0
    assert not any(server.folder.glob("cosnet-app-*"))


@pytest.fixture(scope="module")
def clip(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, (48, 64), 10) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def visit(browser, server, width=1280):
    return open_page(browser, server.address, width, 800)


def says(page, where, text):
    """Waits until an element says something."""
    page.wait_for_function(
        "([where, text]) => document.querySelector(where)?.innerText.match(text)", arg=[where, text],
        timeout=1000 * SECONDS,
    )  # fmt: skip


def upload(page, path, text):
    page.wait_for_selector("#start")
    if page.query_selector("#upload button[aria-label=Clear]"):
        page.click("#upload button[aria-label=Clear]")
    page.set_input_files("#upload input[type=file]", path)
    says(page, "#about", text)


def segment(page):
    page.click("#start")
    says(page, "#status", "Done")


def playing(page, name):
    """Waits until the player plays the video of a name; returns its address."""
    page.wait_for_function(
        """name => { const video = document.querySelector('#player video');
        return video && video.src.endsWith(name) && video.readyState > 2 && video.duration > 0.5 }""",
        arg=name, timeout=1000 * SECONDS,
    )  # fmt: skip
    return page.get_attribute("#player video", "src")


def save(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("width", [1280, 390])
def test_upload_segment_play_keep_save(browser, server, clip, width):
    with visit(browser, server, width) as page:
        page.wait_for_selector("#start")
        assert page.is_disabled("#start")
        upload(page, clip, "clip.mp4: 6 frames, 64 x 48, 0.6 s")
        page.wait_for_selector("#upload video")  # the preview
        segment(page)
        first = playing(page, "cutout.webm")
        page.wait_for_function("document.querySelector('#player').getBoundingClientRect().top < innerHeight - 100")
        page.click("#view label:has-text('Overlay')")
        playing(page, "overlay.mp4")
        name, masks = save(page, "#masks")
        assert name == "masks.zip" and len(zipfile.ZipFile(io.BytesIO(masks)).namelist()) == 6
        for button, expected in (("#cut-out", "cutout.webm"), ("#overlay", "overlay.mp4")):
            name, content = save(page, button)
            with av.open(io.BytesIO(content)) as container:
                assert name == expected and sum(1 for _ in container.decode(video=0)) == 6

        page.click("#keep button")
        page.wait_for_selector("#picture img")
        page.click("#picture img")
        page.wait_for_function(
            """first => document.querySelector('#status').innerText.includes('no object was found at this pixel')
            || !document.querySelector('#player video')?.src.startsWith(first)""",
            arg=first.rpartition("/")[0], timeout=1000 * SECONDS,
        )  # fmt: skip
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_is_refused_is_said_and_not_kept(browser, server, frames, tmp_path):
    with VideoWriter(tmp_path / "long.mp4", (48, 64), 2) as writer:
        for frame in frames:
            writer.write(frame)
    with visit(browser, server) as page:
        upload(page, tmp_path / "long.mp4", "long.mp4: 3.0 s long; this page takes 2. Upload a part of it.")
        assert page.eval_on_selector("#about", "element => getComputedStyle(element).borderLeftWidth") == "4px"
        assert page.is_disabled("#start") and "long.mp4" not in server.clips()


def test_the_example_can_be_cancelled_and_replaced(browser, server, clip):
    with visit(browser, server) as page:
        page.click("#example")
        says(page, "#about", "example-100x56.mp4: 24 frames")
        assert "example-100x56.mp4" in server.clips()
        page.click("#start")
        page.wait_for_function("!document.querySelector('#stop').disabled")
        page.click("#stop")
        says(page, "#status", "stopped|Done")
        assert not page.is_disabled("#start")
        upload(page, clip, "6 frames")
        wait_until(lambda: "example-100x56.mp4" not in server.clips())


def test_two_visitors_have_clips_of_their_own(browser, server, clip):
    with visit(browser, server) as ann, visit(browser, server) as bob:
        for page in (ann, bob):
            upload(page, clip, "6 frames")
        ann.click("#start")
        segment(bob)
        says(ann, "#status", "Done")
        hers, his = (playing(page, "cutout.webm") for page in (ann, bob))
        assert hers != his
        upload(bob, clip, "6 frames")
        wait_until(lambda: status_of(his) != 200)  # bob's first one is gone, ann's is not
        assert status_of(hers) == 200


def wait_until(happens):
    end = time.monotonic() + SECONDS
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.2)


def status_of(address):
    try:
        with urllib.request.urlopen(address) as response:
            return response.status
    except HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_taken_port_is_named(server, checkpoint):
    arguments = ["app", "--checkpoint", str(checkpoint), "--port", str(server.port)]
    done = subprocess.run([sys.executable, "-m", "cosnet_jax", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: --host 127.0.0.1 --port {server.port}: cannot be used; ")
