"""The page of `cosnet app`: what is where on it, and what each control does. The only module that imports Gradio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from cosnet_jax.commands.app_clip import MOST_REFERENCES, VIEWS, Choices, Clip, Model, count
from cosnet_jax.commands.app_upload import Limits
from cosnet_jax.errors import InputError
from cosnet_jax.inference.references import SAMPLINGS
from cosnet_jax.video.writer import VideoWriter

MAX_UPLOAD = 512 * 2**20  # bytes
LONGEST_QUEUE = 20  # visitors that wait
KEPT = 3600  # seconds that a clip is kept after it was uploaded or segmented
DEVICE = "device"  # what is done one at a time
SAMPLING_LABELS = {"uniform": "spread over the video", "random": "random", "consecutive": "the nearest"}
BACKGROUNDS = {"transparent": "", "blurred": "blur", "white": "white", "black": "black", "green": "#00b140"}
HEADING = """# Cut out the main object
Drop a video. COSNet compares each frame with a few others: what recurs through the video is the object."""
HINT = "Click a place in the picture. Below, each frame it was compared with is bright where it answered."
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
.refused { border-left: 4px solid #b91c1c; background: #fef2f2; padding: 8px 12px; }
.refused .refused { border: 0; padding: 0; }
.refused * { color: #7f1d1d !important; }
#player video { max-height: 75vh; }
#picture img { cursor: crosshair; }
#answers .grid-container { grid-auto-rows: auto; grid-template-rows: none; }
#answers .gallery-item, #answers .thumbnail-item { height: auto; aspect-ratio: auto; }
@media (max-width: 600px) {
  .gradio-container { padding: 8px !important; }
  #answers .grid-container { grid-template-columns: 1fr 1fr; }
}
"""
GONE = f"There is no video; one is removed after {KEPT // 60} minutes. Upload it again."
# On a phone the results are below the controls; they get their height when the video is loaded.
SCROLL = """() => setTimeout(() => document.querySelector('#view').scrollIntoView({behavior: 'smooth'}), 800)"""


def build_page(folder: Path, model: Model, limits: Limits) -> gr.Blocks:
    """Lays out the page and ties its controls to what they do.

    Args:
      folder: for the clips of visitors; a clip goes when its visitor uploads another one, or after `KEPT` seconds.
      model: segments them.
      limits: what visitors may upload.

    Returns:
      The page, for `serve`.
    """
    inference = model.config.inference
    with gr.Blocks(title="COSNet", analytics_enabled=False, delete_cache=(600, KEPT)) as page:
        state = gr.State(time_to_live=KEPT, delete_callback=lambda clip: clip and clip.remove())
        gr.Markdown(HEADING)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.Video(
                    label=f"A video of up to {limits.seconds:g} seconds", sources=["upload"], height=220,
                    elem_id="upload",
                )  # fmt: skip
                about = gr.Markdown(elem_id="about")
                with gr.Row():
                    start = gr.Button("Segment", variant="primary", interactive=False, min_width=90, elem_id="start")
                    stop = gr.Button("Cancel", interactive=False, min_width=90, elem_id="stop")
                    example = gr.Button("Example", min_width=90, elem_id="example")
                status = gr.Markdown(elem_id="status", min_height=40)
                sharpen = gr.Checkbox(inference.crf.enabled, label="Sharpen the edges (slower)", elem_id="sharpen")
                background = gr.Dropdown(
                    list(BACKGROUNDS.items()), value="", label="Background of the cut-out", elem_id="background"
                )
                feather = gr.Slider(0, 20, 0, step=0.5, label="Soften the edge by (pixels)", buttons=[])
                smoothing = gr.Slider(
                    0, 5, inference.temporal_smoothing, step=0.5, label="Smooth over time by (frames)", buttons=[]
                )
                with gr.Accordion("How frames are compared", open=False):
                    number = gr.Slider(
                        0, MOST_REFERENCES, min(inference.num_references, MOST_REFERENCES), step=1, precision=0,
                        label="Frames to compare each with (N)", buttons=[], elem_id="count",
                    )  # fmt: skip
                    sampling = gr.Radio(
                        [(SAMPLING_LABELS[name], name) for name in SAMPLINGS], value=inference.sampling,
                        label="Which frames", elem_id="sampling",
                    )  # fmt: skip
            with gr.Column(scale=2, min_width=300, visible=False, elem_id="results") as results:
                view = gr.Radio(list(VIEWS), value="Cut-out", label="Show", elem_id="view")
                player = gr.Video(
                    autoplay=True, loop=True, show_label=False, interactive=False, buttons=[], elem_id="player"
                )
                with gr.Row():
                    downloads = [
                        gr.DownloadButton(f"Save {name}", min_width=90, size="sm", elem_id=name)
                        for name in ("masks", "cut-out", "overlay")
                    ]
                with gr.Accordion("Why these pixels?", open=False, elem_id="why"):
                    frame = gr.Slider(0, 1, 0, step=1, precision=0, label="Frame", buttons=[], elem_id="frame")
                    picture = gr.Image(
                        format="jpeg", interactive=False, show_label=False, buttons=[], elem_id="picture",
                        alt_text="the chosen frame",
                    )  # fmt: skip
                    gr.Markdown(HINT)
                    answers = gr.Gallery(
                        format="jpeg", show_label=False, columns=3, height="auto", object_fit="contain",
                        interactive=False, buttons=[], elem_id="answers",
                    )  # fmt: skip

        def refusal(error: InputError) -> Any:
            return gr.update(value=str(error).replace(str(folder), "the server's folder"), elem_classes=["refused"])

        def receive(path: str, clip: Clip | None) -> dict[Any, Any]:
            """Takes an upload."""
            if clip:
                clip.remove()
            updates = {state: None, start: gr.update(interactive=False), status: "", results: gr.update(visible=False)}
            try:
                clip = Clip(Path(path), folder, limits)
            except InputError as error:
                return updates | {about: refusal(error)}
            told = gr.update(value=clip.describe(), elem_classes=[])
            return updates | {state: clip, about: told, start: gr.update(interactive=True)}

        def take_example(clip: Clip | None) -> dict[Any, Any]:
            path = draw_example(folder)
            return receive(str(path), clip) | {upload: str(path)}

        def segment(clip: Clip, view: str, *chosen: Any) -> Iterator[dict[Any, Any]]:
            """Segments the visitor's clip; shows how far it is, then the results."""
            busy = {start: gr.update(interactive=False), stop: gr.update(interactive=True)}
            idle = {start: gr.update(interactive=True), stop: gr.update(interactive=False)}
            if clip is None:
                yield {status: refusal(InputError(GONE))}
                return
            length = len(clip.video)
            yield busy | {status: gr.update(value="The network gets ready ...", elem_classes=[])}
            try:
                for done in clip.segment(model, Choices(*chosen)):
                    yield {status: f"{done} of {count(length, 'frame')} ..."}
                yield idle | {
                    state: clip,  # so that it is kept from now on
                    status: f"{count(length, 'frame')} {'is' if length == 1 else 'are'} done.",
                    results: gr.update(visible=True),
                    player: clip.file(VIEWS[view]),
                    frame: gr.update(value=length // 2, maximum=max(length - 1, 1)),
                    picture: clip.picture(length // 2),
                    answers: None,
                    **dict(zip(downloads, clip.downloads(), strict=True)),
                }
            except InputError as error:
                yield idle | {status: refusal(error)}

        def shown(function: Any) -> Any:
            """Lets a control show an `InputError` to the visitor."""

            def run(*arguments: Any) -> Any:
                try:
                    if arguments[0] is None:
                        raise InputError(GONE)
                    return function(*arguments)
                except InputError as error:
                    raise gr.Error(str(error), print_exception=False) from None

            return run

        def answer(clip: Clip, frame: int, click: gr.SelectData) -> Any:
            return shown(Clip.answers)(clip, frame, tuple(map(int, click.index)))

        private: dict[str, Any] = {"api_visibility": "private"}
        received = [state, upload, about, start, status, results]
        upload.upload(receive, [upload, state], received, show_progress_on=about, **private)
        example.click(take_example, state, received, show_progress_on=about, **private)
        outputs = [state, start, stop, status, results, player, frame, picture, answers, *downloads]
        start.click(
            segment, [state, view, sharpen, background, feather, smoothing, number, sampling], outputs,
            concurrency_id=DEVICE, show_progress="hidden", **private,
        ).then(None, js=SCROLL)  # fmt: skip
        stop.click(lambda clip: setattr(clip, "stopped", True), state, queue=False, **private)
        view.input(
            shown(lambda clip, view: clip.file(VIEWS[view])), [state, view], player, show_progress="hidden", **private
        )
        frame.input(
            shown(Clip.picture), [state, frame], picture, show_progress="hidden", trigger_mode="always_last", **private
        )
        picture.select(answer, [state, frame], answers, concurrency_id=DEVICE, **private)
    return page


def draw_example(folder: Path) -> Path:
    """Writes the example clip, unless it is there: a ball that rolls over a hilly landscape."""
    path, (height, width), length = folder / "example.mp4", (240, 426), 24
    if not path.exists():
        noise = np.random.default_rng(0).integers(60, 190, (6, 14, 3), np.uint8)
        land = cv2.resize(noise, (width + 4 * length, height), interpolation=cv2.INTER_CUBIC)
        with VideoWriter(path, (height, width), 12) as writer:
            for number in range(length):
                frame, x = land[:, 2 * number :][:, :width].copy(), 60 + 12 * number
                centre = x, 150 - int(70 * abs(np.sin(number / 3.5)))
                for share in np.linspace(1, 0.1, 10):  # brighter towards the light
                    place = centre[0] - int(14 * (1 - share)), centre[1] - int(14 * (1 - share))
                    colour = (235, 60 + 120 * (1 - share), 20 + 60 * (1 - share))
                    cv2.circle(frame, place, int(38 * share), colour, -1, cv2.LINE_AA)
                writer.write(frame)
    return path


def serve(page: gr.Blocks, folder: Path, host: str, port: int) -> None:
    """Starts the server in threads of its own; it serves the files of `folder` to who knows their names.

    Raises:
      InputError: nothing can listen at this address and port.
    """
    gr.set_static_paths([folder])
    page.queue(max_size=LONGEST_QUEUE, default_concurrency_limit=4)
    try:
        page.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, inbrowser=False,
            max_file_size=MAX_UPLOAD, footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False,
            pwa=False, mcp_server=False, css=CSS, theme=gr.themes.Default(primary_hue="indigo"),
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be used; choose others ({error})") from None
