"""The page of `cosnet app`: what is where on it, and what each control does. The only module that imports Gradio."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastapi
import gradio as gr
from gradio import processing_utils, routes
from ml_collections import ConfigDict

from cosnet_jax.commands.app_clip import MOST_REFERENCES, VIEWS, Limits, Model
from cosnet_jax.commands.app_visitors import Visitors
from cosnet_jax.errors import InputError
from cosnet_jax.inference.references import SAMPLINGS

MAX_UPLOAD = 512 * 2**20  # bytes
LONGEST_QUEUE = 20  # visitors that wait
DEVICE = "device"  # what is done one at a time
SAMPLING_LABELS = {"uniform": "spread over the video", "random": "random", "consecutive": "the nearest"}
HEADING = """# Cut out the main object
Drop a video. COSNet compares each frame with a few others: what recurs through the video is the object."""
HINT = "Click a place in the picture. Below, each frame it was compared with is bright where it answered."
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
#picture img { cursor: crosshair; }
#answers .grid-container { grid-auto-rows: auto; grid-template-rows: none; }
#answers .gallery-item, #answers .thumbnail-item { height: auto; aspect-ratio: auto; }
@media (max-width: 600px) {
  .gradio-container { padding: 8px !important; }
  #answers .grid-container { grid-template-columns: 1fr 1fr; }
}
"""


class Inputs(NamedTuple):
    """The column for the video and how it is segmented."""

    upload: gr.File
    about: gr.Markdown
    count: gr.Slider
    sampling: gr.Radio
    start: gr.Button
    status: gr.Markdown


class Results(NamedTuple):
    """The column for what came of it; hidden until then."""

    view: gr.Radio
    picture: gr.Image
    frame: gr.Slider
    masks: gr.DownloadButton
    cutout: gr.DownloadButton
    overlay: gr.DownloadButton
    hint: gr.Markdown
    answers: gr.Gallery


class Actions:
    """What the controls do: each method takes their values and returns updates of the page.

    Args:
      visitors: who have clips.
      model: segments them.
    """

    def __init__(self, visitors: Visitors, model: Model):
        self._visitors, self._model = visitors, model

    def receive(self, path: str, request: gr.Request) -> list[Any]:
        """Takes an upload. Updates upload, about, start, status and the results."""
        hidden = [gr.update(visible=False)] * len(Results._fields)
        try:
            about, is_taken = self._visitors.receive(request.session_hash, Path(path)).describe(), True
        except InputError as error:
            about, is_taken = f"**{self._visitors.message(error)}**", False
        return [None, about, gr.update(interactive=is_taken), "", *hidden]

    def segment(
        self, count: int, sampling: str, view: str, request: gr.Request, progress: gr.Progress = gr.Progress()  # noqa: B008
    ) -> list[Any]:  # fmt: skip
        """Segments the visitor's clip. Updates status and the results, which begin at the frame in the middle."""
        with self._errors_shown():
            clip = self._visitors.clip(request.session_hash)
            length = len(clip.video)
            progress(0, desc="The network gets ready")
            for done in clip.segment(self._model, count, sampling):
                progress((done, length), desc="Segmented", unit="frames")
            downloads = [gr.update(value=path, visible=True) for path in clip.downloads()]
            middle, visible = length // 2, gr.update(visible=True)
            picture = gr.update(value=clip.picture(middle, view), visible=True)
            frame = gr.update(value=middle, maximum=max(length - 1, 1), visible=length > 1)
            answers = gr.update(value=None, visible=False)
            return [f"{length} frames are done.", visible, picture, frame, *downloads, visible, answers]

    def show(self, frame: int, view: str, request: gr.Request) -> Path:
        """Shows a frame. Updates the picture."""
        with self._errors_shown():
            return self._visitors.clip(request.session_hash).picture(frame, view)

    def answer(self, frame: int, click: gr.SelectData, request: gr.Request) -> Any:
        """Shows what answered a clicked place. Updates the answers."""
        with self._errors_shown():
            x, y = map(int, click.index)
            return gr.update(
                value=self._visitors.clip(request.session_hash).answers(self._model, frame, (x, y)), visible=True
            )

    def leave(self, request: gr.Request) -> None:
        """Notes that the page was closed."""
        self._visitors.leave(request.session_hash)

    @contextlib.contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Shows an `InputError` to the visitor."""
        try:
            yield
        except InputError as error:
            raise gr.Error(self._visitors.message(error), print_exception=False) from None


def build_page(visitors: Visitors, model: Model, limits: Limits) -> gr.Blocks:
    """Lays out the page and ties its controls to what they do.

    Args:
      visitors: who have clips.
      model: segments them.
      limits: named on the page.

    Returns:
      The page, for `serve`.
    """
    actions = Actions(visitors, model)
    with gr.Blocks(title="COSNet", analytics_enabled=False) as page:
        gr.Markdown(HEADING)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                inputs = _lay_out_inputs(limits, model.config.inference)
            with gr.Column(scale=2, min_width=300):
                results = _lay_out_results()
        upload, about, count, sampling, start, status = inputs
        upload.upload(
            actions.receive, upload, [upload, about, start, status, *results], show_progress_on=about,
            api_visibility="private",
        )  # fmt: skip
        start.click(
            actions.segment, [count, sampling, results.view], [status, *results], concurrency_id=DEVICE,
            show_progress_on=status, api_visibility="private",
        )  # fmt: skip
        gr.on(
            [results.frame.input, results.view.input], actions.show, [results.frame, results.view], results.picture,
            queue=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
        )  # fmt: skip
        results.picture.select(
            actions.answer, results.frame, results.answers, concurrency_id=DEVICE, api_visibility="private"
        )
        page.unload(actions.leave)
    return page


def _lay_out_inputs(limits: Limits, inference: ConfigDict) -> Inputs:
    taken = f"A video of up to {limits.seconds:g} seconds and {limits.side} pixels a side"
    return Inputs(
        upload=gr.File(label=taken, file_types=["video"], height=150, elem_id="upload"),
        about=gr.Markdown(elem_id="about"),
        count=gr.Slider(
            0, MOST_REFERENCES, min(inference.num_references, MOST_REFERENCES), step=1, precision=0,
            label="Frames to compare each with (N)", buttons=[], elem_id="count",
        ),
        sampling=gr.Radio(
            [(SAMPLING_LABELS[name], name) for name in SAMPLINGS], value=inference.sampling, label="Which frames",
            elem_id="sampling",
        ),
        start=gr.Button("Segment", variant="primary", interactive=False, elem_id="start"),
        status=gr.Markdown(elem_id="status", min_height=60),
    )  # fmt: skip


def _lay_out_results() -> Results:
    view = gr.Radio(list(VIEWS), value="Cut-out", label="Show", elem_id="view", visible=False)
    picture = gr.Image(
        type="filepath", interactive=False, show_label=False, buttons=[], elem_id="picture", visible=False,
        alt_text="the chosen frame",
    )  # fmt: skip
    frame = gr.Slider(0, 1, 0, step=1, precision=0, label="Frame", buttons=[], elem_id="frame", visible=False)
    with gr.Row():
        masks, cutout, overlay = (
            gr.DownloadButton(f"Save {name}", min_width=90, size="sm", elem_id=name, visible=False)
            for name in ("masks", "cut-out", "overlay")
        )
    hint = gr.Markdown(HINT, visible=False)
    answers = gr.Gallery(
        show_label=False, columns=3, height="auto", object_fit="contain", interactive=False, buttons=[],
        elem_id="answers", visible=False,
    )  # fmt: skip
    return Results(view, picture, frame, masks, cutout, overlay, hint, answers)


def forbid_downloads() -> None:
    """Makes Gradio refuse addresses in place of files.

    It would download any address that a visitor gives as the value of a control, without a bound, and its route of
    files would pass any address on. What is replaced has no public name; `requirements/app.txt` bounds the version.
    """
    for module, name, refuse in (
        (processing_utils, "async_ssrf_protected_download", _refuse_download),
        (routes, "secure_url_stream_response", _refuse_request),
    ):
        if not hasattr(module, name):
            raise InputError(f"`cosnet app` does not know this version of Gradio, {gr.__version__}; expected 6.31")
        setattr(module, name, refuse)


async def _refuse_download(url: str, cache_dir: str) -> str:
    raise gr.Error("an address cannot be uploaded; expected a file", print_exception=False)


async def _refuse_request(url: str, request: fastapi.Request) -> fastapi.Response:
    raise fastapi.HTTPException(403, "addresses are not served")


def serve(page: gr.Blocks, visitors: Visitors, host: str, port: int) -> None:
    """Starts the server, in threads of its own.

    Args:
      page: from `build_page`.
      visitors: of the page; the server shows the files of their `public` folder.
      host: address to listen at.
      port: port to listen at.

    Raises:
      InputError: nothing can listen there.
    """
    forbid_downloads()
    gr.set_static_paths([visitors.public])
    page.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, inbrowser=False,
            max_file_size=MAX_UPLOAD, footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False,
            pwa=False, mcp_server=False, css=CSS, theme=gr.themes.Default(primary_hue="indigo"),
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be used; choose others ({error})") from None
