"""The page of `cosnet app`: what is where on it, and what each control does. The only module that imports Gradio."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from cosnet_jax.commands.app_clip import Choices, Clip, Model
from cosnet_jax.commands.app_upload import Limits
from cosnet_jax.errors import InputError
from cosnet_jax.video.writer import VideoWriter

MAX_UPLOAD = 512 * 2**20  # bytes
LONGEST_QUEUE = 20  # visitors that wait
KEPT = 3600  # seconds that a clip is kept after it was uploaded or segmented
VIEWS = ("Cut-out", "Overlay")
BACKGROUNDS = {"transparent": "", "blurred": "blur", "white": "white", "black": "black", "green": "#00b140"}
HEADING = """# Cut out the main object
Drop a video. COSNet compares each frame with a few others: what recurs through the video is the object."""
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
.refused { border-left: 4px solid #b91c1c; background: #fef2f2; padding: 8px 12px; }
.refused .refused { border: 0; padding: 0; }
.refused * { color: #7f1d1d !important; }
#player video { max-height: 75vh; background: repeating-conic-gradient(#c8c8c8 0 25%, #ebebeb 0 50%) 0 / 24px 24px; }
#picture img { cursor: crosshair; }
@media (max-width: 600px) { .gradio-container { padding: 8px !important; } }
"""
GONE = f"There is no video; one is removed after {KEPT // 60} minutes. Upload it again."
# On a phone the results are below the controls; they get their height when the video is loaded.
SCROLL = """() => setTimeout(() => document.querySelector('#view')?.scrollIntoView({behavior: 'smooth'}), 800)"""


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
        kept = gr.State()  # the place (x, y, frame) that was clicked
        gr.Markdown(HEADING)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                label = f"A video of up to {limits.seconds:g} seconds"
                upload = gr.Video(label=label, sources=["upload"], height=220, elem_id="upload")
                about = gr.Markdown(elem_id="about")
                with gr.Row():
                    start = gr.Button("Segment", variant="primary", interactive=False, min_width=90, elem_id="start")
                    stop = gr.Button("Cancel", interactive=False, min_width=90, elem_id="stop")
                    example = gr.Button("Example", min_width=90, elem_id="example")
                status = gr.Markdown(elem_id="status", min_height=40)
                sharpen = gr.Checkbox(inference.crf.enabled, label="Sharpen the edges (slower)")
                background = gr.Dropdown(list(BACKGROUNDS.items()), value="", label="Background of the cut-out")
                feather = gr.Slider(0, 20, 0, step=0.5, label="Soften the edge by (pixels)", buttons=[])
                smoothing = inference.temporal_smoothing
                smoothing = gr.Slider(0, 5, smoothing, step=0.5, label="Smooth over time by (frames)", buttons=[])
            with gr.Column(scale=2, min_width=300, visible=False) as results:
                view = gr.Radio(list(VIEWS), value=VIEWS[0], label="Show", elem_id="view")
                player = gr.Video(
                    autoplay=True, loop=True, show_label=False, interactive=False, buttons=[], elem_id="player"
                )
                with gr.Row():
                    downloads = {
                        name: gr.DownloadButton(f"Save {name.lower()}", min_width=90, size="sm", elem_id=name.lower())
                        for name in ("Masks", *VIEWS)
                    }
                with gr.Accordion("Keep one object", open=False, elem_id="keep"):
                    gr.Markdown("Click on the object to keep; the others are dropped. Segment again to undo it.")
                    frame = gr.Slider(0, 1, 0, step=1, precision=0, label="Frame", buttons=[])
                    picture = gr.Image(
                        format="jpeg", interactive=False, show_label=False, buttons=[], elem_id="picture",
                        alt_text="the chosen frame",
                    )  # fmt: skip

        def refusal(error: InputError) -> Any:
            text = re.sub("^--keep is [^;]*; ", "", str(error).replace(str(folder), "the server's folder"))
            return gr.update(value=text, elem_classes=["refused"])

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

        def segment(clip: Clip | None, view: str, *chosen: Any) -> Iterator[dict[Any, Any]]:
            """Segments the visitor's clip; shows how far it is, then the results."""
            if clip is None:
                yield {status: refusal(InputError(GONE))}
                return
            waiting = gr.update(value="The network gets ready ...", elem_classes=[])
            yield {start: gr.update(interactive=False), stop: gr.update(interactive=True), status: waiting}
            idle, length = {start: gr.update(interactive=True), stop: gr.update(interactive=False)}, len(clip.video)
            try:
                for done in clip.segment(model, Choices(*chosen)):
                    yield {status: f"{done} of {length} ..."}
                yield idle | {
                    state: clip,  # so that it is kept from now on
                    status: "Done.",
                    results: gr.update(visible=True),
                    player: clip.results[view],
                    frame: gr.update(value=length // 2, maximum=max(length - 1, 1)),
                    picture: clip.picture(length // 2),
                    **{button: clip.results[name] for name, button in downloads.items()},
                }
            except InputError as error:
                told = refusal(error)
                gr.Warning(told["value"])  # on a phone, the status is far from what was clicked
                yield idle | {status: told}

        def place(frame: int, click: gr.SelectData) -> tuple[int, ...]:
            return *map(int, click.index), frame

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        received = [state, upload, about, start, status, results]
        upload.upload(receive, [upload, state], received, show_progress_on=about, api_visibility="private")
        example.click(take_example, state, received, show_progress_on=about, api_visibility="private")
        chosen = [kept, sharpen, background, feather, smoothing]
        outputs = [state, start, stop, status, results, player, frame, picture, *downloads.values()]
        for event in (
            start.click(lambda: None, None, kept, queue=False, **private),
            picture.select(place, frame, kept, queue=False, **private),
        ):
            done = event.then(segment, [state, view, *chosen], outputs, concurrency_id="device", **private)
            done.then(None, js=SCROLL)
        stop.click(lambda clip: setattr(clip, "stopped", True), state, queue=False, **private)
        view.input(lambda clip, view: clip and clip.results[view], [state, view], player, **private)
        frame.input(
            lambda clip, frame: clip and clip.picture(frame), [state, frame], picture, trigger_mode="always_last",
            **private,
        )  # fmt: skip
    return page


def draw_example(folder: Path) -> Path:
    """Writes the example clip, unless it is there: a ball that rolls over a hilly landscape."""
    path, (height, width), length = folder / "example.mp4", (240, 426), 24
    if not path.exists():
        noise = np.random.default_rng(0).integers(60, 190, (6, 14, 3), np.uint8)
        land = cv2.resize(noise, (width + 2 * length, height), interpolation=cv2.INTER_CUBIC)
        with VideoWriter(path, (height, width), 12) as writer:
            for number in range(length):
                frame = land[:, 2 * number :][:, :width].copy()
                centre = 60 + 12 * number, 150 - int(70 * abs(np.sin(number / 3.5)))
                writer.write(cv2.circle(frame, centre, 38, (235, 70, 30), -1, cv2.LINE_AA))
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
