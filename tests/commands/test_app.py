"""The page in a real browser: upload, segment, scrub, click, save; two visitors; what is kept, and what is sent."""

from __future__ import annotations

import contextlib
import io
import json
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
import cv2
import numpy as np
import pytest
from browser import open_browser
from compilation import compilation_flags
from loopback import free_port

from cosnet_jax import cli
from cosnet_jax.commands import app
from cosnet_jax.video.writer import VideoWriter

SECONDS = 300  # that a loaded machine may take for a step
# Runs the command with short times and small uploads, and prints each connection that it opens to another machine.
PROGRAM = """
import functools, sys
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] != "127.0.0.1":
        print("connects to", arguments[1], flush=True)
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", b"127.0.0.1", None):
        print("looks up", arguments[0], flush=True)
sys.addaudithook(watch)
from cosnet_jax import cli
from cosnet_jax.commands import app, app_page
app_page.MAX_UPLOAD = 100_000
app.Visitors = functools.partial(app.Visitors, left_seconds=1.0, period=0.2)
cli.main(sys.argv[1:])
"""


class Server:
    """A `cosnet app` with a tiny network, and the folder that it makes its files in."""

    def __init__(self, checkpoint: Path, folder: Path):
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        arguments = ["--checkpoint", checkpoint, "--port", self.port, "--max-seconds", 2, "--max-side", 100]
        environment = os.environ | {"TMPDIR": str(folder), "XLA_FLAGS": compilation_flags()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "app", *map(str, arguments)], stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        assert self.process.stdout.readline() == f"{self.address}\n"

    def files(self, kind: str) -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"cosnet-app-*/{kind}/**/*") if path.is_file())

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
def visit(browser, server, width=1200):
    """Opens the page; afterwards, the browser may have had nothing to complain about, and asked no other server."""
    complaints, requests = [], []
    page = browser.new_page(viewport={"width": width, "height": 900})
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
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_function("says => document.querySelector('#about').innerText.includes(says)", arg=says)


def segment(page):
    page.click("#start")
    page.wait_for_function("document.querySelector('#status').innerText.includes('6 frames are done')")
    page.wait_for_selector("#picture img")


def shown(page, name):
    """Waits until the picture is the one of a name, and returns it."""
    page.wait_for_function("name => document.querySelector('#picture img').src.endsWith(name)", arg=name)
    address = page.get_attribute("#picture img", "src")
    assert page.evaluate("document.querySelector('#picture img').decode().then(() => true)")
    with urllib.request.urlopen(address) as response:
        return cv2.imdecode(np.frombuffer(response.read(), np.uint8), cv2.IMREAD_COLOR)


def save(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("width", [1200, 400])
def test_upload_segment_scrub_click_save(browser, server, clip, frames, width):
    with visit(browser, server, width) as page:
        assert page.is_disabled("#start")
        upload(page, clip, "clip.mp4: 6 frames, 64 x 48, 0.6 s")
        page.fill("#count input[type=number]", "2")
        page.click("#sampling label:has-text('the nearest')")
        segment(page)
        shown(page, "00003-cut-out.jpg")
        page.click("#view label:has-text('Original')")
        assert abs(shown(page, "00003-original.jpg")[..., ::-1].astype(int) - frames[3]).mean() < 40
        page.focus("#frame input[type=range]")
        page.keyboard.press("ArrowRight")
        assert abs(shown(page, "00004-original.jpg")[..., ::-1].astype(int) - frames[4]).mean() < 40
        for view in ("Mask", "Overlay", "Cut-out"):
            page.click(f"#view label:has-text('{view}')")
            assert shown(page, f"00004-{view.lower()}.jpg").shape == (48, 64, 3)

        page.click("#picture img", position={"x": 30, "y": 20})
        page.wait_for_function("document.querySelectorAll('#answers .grid-container img').length == 3")
        captions = page.eval_on_selector_all("#answers .caption-label", "all => all.map(one => one.innerText)")
        assert captions == ["frame 4, clicked", "frame 3", "frame 5"]

        name, masks = save(page, "#masks")
        assert name == "masks.zip" and len(zipfile.ZipFile(io.BytesIO(masks)).namelist()) == 6
        for button, expected in (("#cut-out", "cutout.webm"), ("#overlay", "overlay.mp4")):
            name, content = save(page, button)
            with av.open(io.BytesIO(content)) as container:
                assert name == expected and sum(1 for _ in container.decode(video=0)) == 6
        widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert widths == [width, width]


def test_what_is_refused_is_said_and_not_kept(browser, server, frames, tmp_path):
    with VideoWriter(tmp_path / "long.mp4", (48, 64), 2) as writer:
        for frame in frames:
            writer.write(frame)
    (tmp_path / "text.mp4").write_text("no video")
    with visit(browser, server) as page:
        upload(page, tmp_path / "long.mp4", "long.mp4 is 3.0 s long; this page takes 2. Upload a part of it.")
        upload(page, tmp_path / "text.mp4", "text.mp4: not a readable video")
        assert page.is_disabled("#start")
        assert not {"long.mp4", "text.mp4"} & {*server.files("uploads"), *server.files("private")}
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="big.mp4"\r\n\r\n'
    body, kind = head + bytes(100_001) + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    assert status_of(urllib.request.Request(f"{server.address}/gradio_api/upload", body, kind)) == 413


def test_an_address_is_neither_downloaded_nor_passed_on(server):
    """The server tells of each connection that it opens, see `PROGRAM`; its end finds that there was none."""
    for control, component in ((0, "upload"), (1, "count")):
        address = {"path": f"http://93.184.216.34/{component}.mp4", "meta": {"_type": "gradio.FileData"}}
        session, data = f"stranger{control}", [[address], [address, "uniform", "Mask"]][control]
        body = json.dumps({"data": data, "fn_index": control, "session_hash": session}).encode()
        join = urllib.request.Request(
            f"{server.address}/gradio_api/queue/join", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(join).close()
        with urllib.request.urlopen(f"{server.address}/gradio_api/queue/data?session_hash={session}") as events:
            messages = [json.loads(line.removeprefix(b"data: ")) for line in events if line.startswith(b"data: ")]
        (done,) = [message for message in messages if message["msg"] == "process_completed"]
        assert not done["success"] and done["output"]["error"] == "an address cannot be uploaded; expected a file"
    assert status_of(f"{server.address}/gradio_api/file=http://93.184.216.34/a.mp4") == 403
    assert not {"upload.mp4", "count.mp4"} & {*server.files("uploads")}


def test_two_visitors_queue_and_a_closed_page_leaves_nothing(browser, server, clip):
    def others():  # of other tests, whose pages were closed
        return [name for kind in ("private", "public") for name in server.files(kind)]

    wait_until(lambda: not others())
    with visit(browser, server) as ann:
        with visit(browser, server) as bob:
            for page in (ann, bob):
                upload(page, clip, "6 frames")
            ann.click("#start")
            segment(bob)
            ann.wait_for_function("document.querySelector('#status').innerText.includes('6 frames are done')")
            addresses = [page.get_attribute("#picture img", "src") for page in (ann, bob)]
            assert addresses[0] != addresses[1]
            assert server.files("private") == ["clip.mp4", "clip.mp4"]
        wait_until(lambda: server.files("private") == ["clip.mp4"])
        assert status_of(addresses[1]) == 403  # bob's are gone, ann's are not
        assert status_of(addresses[0]) == 200
        private = next(server.folder.glob("cosnet-app-*/private/*/clip.mp4"))
        assert status_of(f"{server.address}/gradio_api/file={private}") == 403  # uploads are not served
    wait_until(lambda: not others())


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


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_closed_terminal_ends_the_server_unless_nohup_was_asked_for(monkeypatch, before):
    ended = {}
    monkeypatch.setattr(signal, "getsignal", lambda number: before)
    monkeypatch.setattr(signal, "signal", ended.__setitem__)
    app.end_as_by_ctrl_c()
    assert signal.SIGTERM in ended and (signal.SIGHUP in ended) == (before == signal.SIG_DFL)


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
        (["--max-side", "0"], "--max-side is 0; expected 1 pixel or more"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        cli.main(["app", *arguments])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
