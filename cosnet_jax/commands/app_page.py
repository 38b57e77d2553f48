"""The page of `cosnet app`: what is where on it, and what each control does. Imports Gradio."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from cosnet_jax.commands.app_clip import MAX_RATE, VIEWS, Limits, Model
from cosnet_jax.commands.app_visitors import Visitors
from cosnet_jax.errors import InputError
from cosnet_jax.inference.references import SAMPLINGS

MOST_REFERENCES = 10
MAX_UPLOAD = 512 * 2**20  # bytes
LONGEST_QUEUE = 20  # visitors that wait
DEVICE = "device"  # what is done one at a time
SAMPLING_LABELS = {"uniform": "spread over the video", "random": "random", "consecutive": "the nearest"}
HEADING = """# Cut out the main object
Drop a video. COSNet compares each frame with a few others: what recurs through the video is the object."""
HINT = "Click a place in the picture to see which places of the other frames it was compared with."
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
#picture img { cursor: crosshair; }
@media (max-width: 600px) { .gradio-container { padding: 8px !important; } }
"""


def build_page(visitors: Visitors, model: Model, limits: Limits) -> gr.Blocks:
    """Lays out the page and ties its controls to the visitors' clips.

    Args:
      visitors: who have clips.
      model: segments them.
      limits: named on the page.

    Returns:
      The page; `launch` it.
    """
    inference = model.config.inference
    taken = f"A video of up to {limits.seconds:g} seconds and {limits.side} pixels a side"
    with gr.Blocks(title="COSNet", analytics_enabled=False) as page:
        gr.Markdown(HEADING)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.File(label=taken, file_types=["video"], height=150, elem_id="upload")
                about = gr.Markdown(elem_id="about")
                count = gr.Slider(
                    0, MOST_REFERENCES, min(inference.num_references, MOST_REFERENCES), step=1, precision=0,
                    label="Compare each frame with N others", elem_id="count",
                )  # fmt: skip
                sampling = gr.Radio(
                    [(SAMPLING_LABELS[name], name) for name in SAMPLINGS], value=inference.sampling,
                    label="Which others", elem_id="sampling",
                )  # fmt: skip
                start = gr.Button("Segment", variant="primary", interactive=False, elem_id="start")
                status = gr.Markdown(elem_id="status", min_height=60)
            with gr.Column(scale=2, min_width=300):
                view = gr.Radio(list(VIEWS), value="Cut-out", label="Show", elem_id="view", visible=False)
                picture = gr.Image(
                    label="Frame", type="filepath", interactive=False, show_label=False, buttons=[], elem_id="picture",
                    visible=False,
                )  # fmt: skip
                frame = gr.Slider(0, 1, 0, step=1, precision=0, label="Frame", elem_id="frame", visible=False)
                with gr.Row(visible=False) as row:
                    downloads = [
                        gr.DownloadButton(label, min_width=90, size="md", elem_id=name)
                        for label, name in (("Masks", "masks"), ("Cut-out", "cutout"), ("Overlay", "overlay"))
                    ]
                hint = gr.Markdown(HINT, visible=False)
                answers = gr.Gallery(
                    label="Where the clicked place found its answer", columns=3, height="auto", object_fit="contain",
                    interactive=False, buttons=[], elem_id="answers", visible=False,
                )  # fmt: skip
        shown = [view, picture, frame, row, hint, answers]

        def receive(path: str | None, request: gr.Request):
            hidden = [gr.update(visible=False)] * len(shown)
            if path is None:
                return [gr.skip()] * (4 + len(shown))
            try:
                clip = visitors.receive(request.session_hash, Path(path))
            except InputError as error:
                gr.Warning(str(error))
                return [None, f"**{error}**", gr.update(interactive=False), "", *hidden]
            return [None, clip.describe(), gr.update(interactive=True), "", *hidden]

        def segment(num_references: int, choice: str, kind: str, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            with errors_on_page():
                clip = visitors.clip(request.session_hash)
                progress(0, desc="The network gets ready")
                for done in clip.segment(model, num_references, choice):
                    progress((done, len(clip.video)), desc="Segmented", unit="frames")
                last, middle = len(clip.video) - 1, len(clip.video) // 2
                visible = gr.update(visible=True)
                return [
                    f"{len(clip.video)} frames are done.",
                    visible,
                    gr.update(value=clip.picture(middle, kind), visible=True),
                    gr.update(value=middle, maximum=max(last, 1), visible=last > 0),
                    visible,
                    visible,
                    gr.update(value=None, visible=False),
                    *map(str, clip.downloads()),
                ]

        def show(number: int, kind: str, request: gr.Request):
            with errors_on_page():
                return clip_of(request).picture(number, kind)

        def answer(number: int, click: gr.SelectData, request: gr.Request):
            with errors_on_page():
                found = clip_of(request).answers(model, number, tuple(map(int, click.index)))
            return gr.update(value=found, visible=True)

        def clip_of(request: gr.Request):
            return visitors.clip(request.session_hash)

        def leave(request: gr.Request):
            visitors.leave(request.session_hash)

        private = {"api_visibility": "private"}
        upload.upload(
            receive, upload, [upload, about, start, status, *shown], show_progress_on=about, **private
        )  # fmt: skip
        start.click(
            segment, [count, sampling, view], [status, *shown, *downloads], concurrency_id=DEVICE, show_progress_on=status,
            **private,
        )  # fmt: skip
        gr.on(
            [frame.input, view.input], show, [frame, view], picture, queue=False, show_progress="hidden",
            trigger_mode="always_last", **private,
        )  # fmt: skip
        picture.select(answer, frame, answers, concurrency_id=DEVICE, **private)
        page.unload(leave)
    return page


@contextlib.contextmanager
def errors_on_page() -> Iterator[None]:
    """Shows an `InputError` to the visitor."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None


def serve(page: gr.Blocks, visitors: Visitors, host: str, port: int) -> None:
    """Starts the server, in threads of its own.

    Raises:
      InputError: the port cannot be used.
    """
    gr.set_static_paths([visitors.public])
    page.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, inbrowser=False,
            max_file_size=MAX_UPLOAD, footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False,
            pwa=False, mcp_server=False, css=CSS,
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"{host}:{port} cannot be used ({error}); choose another --port or --host") from None
