"""`cosnet app`: a web page on which visitors cut the main object out of their videos."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import tempfile
import threading
from pathlib import Path

from cosnet_jax.checkpoints.load import SHIPPED_MODEL, load_checkpoint
from cosnet_jax.commands.app_clip import Model
from cosnet_jax.commands.app_upload import Limits
from cosnet_jax.errors import InputError
from cosnet_jax.files import report_write_errors, writable_folder

EXAMPLE = "cosnet app --port 7860"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("--checkpoint", default=SHIPPED_MODEL, metavar="DIR",
        help="a checkpoint, a weights file, or the working directory of a training (the shipped model)")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in (127.0.0.1)")
    add("--port", type=int, default=7860, help="port to listen at (7860)")
    add("--max-seconds", type=float, default=Limits.seconds, metavar="S", help=f"longest video ({Limits.seconds:g})")
    add("--max-side", type=int, default=Limits.side, metavar="PIXELS",
        help=f"a larger video is scaled down to this height or width ({Limits.side})")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C, SIGTERM or a closed terminal; then all files of visitors are removed."""
    limits = Limits(arguments.max_seconds, arguments.max_side)
    if not 0 < arguments.port < 2**16:
        raise InputError(f"--port is {arguments.port}; expected 1 to {2**16 - 1}")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        from cosnet_jax.commands.app_page import build_page, serve
    except ModuleNotFoundError as error:
        raise InputError(f"`cosnet app` needs {error.name}: pip install 'cosnet_jax[app]'") from None
    model = Model(*load_checkpoint(arguments.checkpoint))
    end_as_by_ctrl_c()
    with report_write_errors("TMPDIR"):
        temporary = tempfile.TemporaryDirectory(prefix="cosnet-app-", ignore_cleanup_errors=True)
    with temporary as name:
        folder = Path(name).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        page = build_page(writable_folder(folder / "clips"), model, limits)
        serve(page, folder / "clips", arguments.host, arguments.port)
        print(f"http://{arguments.host}:{arguments.port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        page.close(verbose=False)
    return 0


def end_as_by_ctrl_c() -> None:
    """Makes SIGTERM and SIGHUP act as Ctrl-C. `nohup` ignores SIGHUP, and that stays so; Windows has none."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
