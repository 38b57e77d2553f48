"""The page in a real browser: upload, segment, play, click, save, cancel; two visitors; what is kept."""

from __future__ import annotations

import contextlib
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
from browser import open_browser
from compilation import compilation_flags
from loopback import free_port

from cosnet_jax import cli
from cosnet_jax.video.writer import VideoWriter

pytestmark = pytest.mark.process
SECONDS = 90  # that a loaded machine may take for a step
# Runs the command, and prints each connection that it opens to another machine.
PROGRAM = """
import sys
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] != "127.0.0.1":
        print("connects to", arguments[1], flush=True)
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", b"127.0.0.1", None):
        print("looks up", arguments[0], flush=True)
if __name__ == "__main__":
    sys.addaudithook(watch)
    from cosnet_jax import cli
    cli.main(sys.argv[1:])
"""


class Server:
    """A `cosnet app` with a tiny network, and the folder that it makes its files in."""

    def __init__(self, checkpoint: Path, folder: Path):
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "program.py").write_text(PROGRAM)
        arguments = ["--checkpoint", checkpoint, "--port", self.port, "--max-seconds", 2, "--max-side", 100]
        environment = os.environ | {"TMPDIR": str(folder), "XLA_FLAGS": compilation_flags()}
        self.process = subprocess.Popen(
            [sys.executable, folder / "program.py", "app", *map(str, arguments)], stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        assert self.process.stdout.readline() == f"{self.address}\n"

    def clips(self) -> list[str]:
        """The uploads that are kept."""
        return sorted(path.name for path in self.folder.glob("cosnet-app-*/clips/*/*") if path.is_file())

    def stop(self) -> str:
        """Ends it as a process manager does; returns what it printed since."""
        self.process.send_signal(signal.SIGTERM)
        printed = self.process.communicate(timeout=SECONDS)[0]
        assert self.process.returncode == 0
        return printed


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        pytest.importorskip("gradio", reason="gradio, which is not installed, makes the page")  # takes seconds
        yield browser


@pytest.fixture(scope="module")
def server(browser, checkpoint, tmp_path_factory):
    server = Server(checkpoint, tmp_path_factory.mktemp("temporary"))
    yield server
    assert server.stop() == ""  # no connection to another machine
    assert not any(server.folder.glob("cosnet-app-*"))


@pytest.fixture(scope="module")
def clip(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, (48, 64), 10) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@contextlib.contextmanager
def visit(browser, server, width=1280):
    """Opens the page; afterwards, the browser may have had nothing to complain about, and asked no other server."""
    complaints, requests = [], []
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_default_timeout(1000 * SECONDS)
    page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.address)
    page.wait_for_selector("#start")
    yield page
    page.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((server.address, "data:", "blob:"))] == []


def upload(page, path, says):
    if page.query_selector("#upload button[aria-label=Clear]"):
        page.click("#upload button[aria-label=Clear]")
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_function("says => document.querySelector('#about').innerText.includes(says)", arg=says)


def segment(page, says="6 frames are done"):
    page.click("#start")
    page.wait_for_function("says => document.querySelector('#status').innerText.includes(says)", arg=says)
    page.wait_for_selector("#player video")


def playing(page, name):
    """Waits until the player plays the video of a name."""
    page.wait_for_function(
        """name => { const video = document.querySelector('#player video');
        return video && video.src.endsWith(name) && video.readyState > 2 && video.duration > 0.5 }""",
        arg=name,
    )


def save(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("width", [1280, 390])
def test_upload_segment_play_click_save(browser, server, clip, width):
    with visit(browser, server, width) as page:
        assert page.is_disabled("#start")
        upload(page, clip, "clip.mp4: 6 frames, 64 x 48, 0.6 s")
        page.wait_for_selector("#upload video")  # the preview
        segment(page)
        playing(page, "cut-out-small.mp4")
        page.wait_for_function("document.querySelector('#player').getBoundingClientRect().top < innerHeight - 100")
        for view, name in (("Mask", "mask"), ("Overlay", "overlay-small"), ("Original", "original")):
            page.click(f"#view label:has-text('{view}')")
            playing(page, f"{name}.mp4")

        page.click("#why button")
        page.wait_for_selector("#picture img")
        page.click("#picture img", position={"x": 30, "y": 20})
        page.wait_for_function("document.querySelectorAll('#answers .grid-container img').length > 1")
        captions = page.eval_on_selector_all("#answers .caption-label", "all => all.map(one => one.innerText)")
        assert captions[0] == "frame 3, clicked"

        name, masks = save(page, "#masks")
        assert name == "masks.zip" and len(zipfile.ZipFile(io.BytesIO(masks)).namelist()) == 6
        for button, expected in (("#cut-out", "cutout.webm"), ("#overlay", "overlay.mp4")):
            name, content = save(page, button)
            with av.open(io.BytesIO(content)) as container:
                assert name == expected and sum(1 for _ in container.decode(video=0)) == 6
        widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert widths == [width, width]


def test_what_is_refused_is_said_and_not_kept(browser, server, frames, clip, tmp_path):
    with VideoWriter(tmp_path / "long.mp4", (48, 64), 2) as writer:
        for frame in frames:
            writer.write(frame)
    (tmp_path / "text.mp4").write_text("no video")
    with visit(browser, server) as page:
        upload(page, tmp_path / "long.mp4", "long.mp4: 3.0 s long; this page takes 2. Upload a part of it.")
        assert page.eval_on_selector("#about", "element => getComputedStyle(element).borderLeftWidth") == "4px"
        assert page.is_disabled("#start") and "long.mp4" not in server.clips()


def test_the_example_and_another_upload_in_its_place(browser, server, clip):
    with visit(browser, server) as page:
        page.click("#example")
        page.wait_for_function("document.querySelector('#about').innerText.includes('example-100x56.mp4: 24 frames')")
        assert "example-100x56.mp4" in server.clips()
        upload(page, clip, "6 frames")
        wait_until(lambda: "example-100x56.mp4" not in server.clips())


def test_a_segmentation_can_be_cancelled(browser, server):
    with visit(browser, server) as page:
        page.click("#example")
        page.wait_for_function("document.querySelector('#about').innerText.includes('24 frames')")
        page.click("#start")
        page.wait_for_function("!document.querySelector('#stop').disabled")
        page.click("#stop")
        page.wait_for_function("document.querySelector('#status').innerText.match(/stopped|done/)")
        assert not page.is_disabled("#start")


def test_two_visitors_have_clips_of_their_own(browser, server, clip):
    with visit(browser, server) as ann, visit(browser, server) as bob:
        for page in (ann, bob):
            upload(page, clip, "6 frames")
        ann.click("#start")
        segment(bob)
        ann.wait_for_function("document.querySelector('#status').innerText.includes('6 frames are done')")
        addresses = []
        for page in (ann, bob):
            playing(page, "cut-out-small.mp4")
            addresses.append(page.get_attribute("#player video", "src"))
        assert addresses[0] != addresses[1]
        upload(bob, clip, "6 frames")
        wait_until(lambda: status_of(addresses[1]) != 200)  # bob's first one is gone, ann's is not
        assert status_of(addresses[0]) == 200


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
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: --host 127.0.0.1 --port {server.port}: cannot be used; choose others (")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "--port is 0; expected 1 to 65535"),
        (["--max-seconds", "0"], "--max-seconds is 0; expected more than 0"),
        (["--max-side", "0"], "--max-side is 0; expected 32 pixels or more"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        cli.main(["app", *arguments])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
