"""Writes `results.json` and the other files of scores."""

from __future__ import annotations

import json
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import writable_folder, write_text


def write_results(path: str | Path, results: dict) -> None:
    """Writes scores as JSON; the file is either complete or not there.

    Args:
      path: the file, usually `results.json`; its folder is made where it does not exist.
      results: what `score.score_masks` returns.

    Raises:
      InputError: the results hold something that JSON cannot (e.g. a NaN), or the file cannot be written.
    """
    path = Path(path)
    try:
        text = json.dumps(results, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the results cannot be written as JSON ({error})") from error
    writable_folder(path.parent)
    write_text(path, text + "\n")
