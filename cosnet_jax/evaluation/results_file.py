"""The file `results.json`."""

from __future__ import annotations

import json
from pathlib import Path

from cosnet_jax.errors import InputError
from cosnet_jax.files import atomic_write, writable_folder


def write_results(path: str | Path, results: dict) -> None:
    """Writes scores as JSON: completely or not at all.

    Args:
      path: the file, usually `results.json`; its folder is made if need be.
      results: what `score.score_masks` returns.

    Raises:
      InputError: something in the results is no JSON (e.g. a NaN), or the file cannot be written.
    """
    path = Path(path)
    try:
        text = json.dumps(results, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the results cannot be written as JSON ({error})") from error
    writable_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_results(path: str | Path) -> dict:
    """Reads what `write_results` wrote.

    Raises:
      InputError: the file is missing or is no JSON object with scores.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(results, dict) or "per_sequence" not in results:
        raise InputError(f"{path}: not the results of an evaluation (no 'per_sequence')")
    return results
