"""Refines probability maps with a fully connected CRF over the pixels of a frame, as the released COSNet does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.processes import map_in_processes
from cosnet_jax.section import Section, setting
from cosnet_jax.threads import map_in_threads

Key = TypeVar("Key")
BACKENDS = ("jax", "pydensecrf")


@dataclasses.dataclass(frozen=True)
class CRFParams(Section, name="inference.crf"):
    """Parameters of the CRF (Kraehenbuehl and Koltun, NIPS 2011).

    The defaults are the release's, which tries the widths 10, 15 and 20 and the weights 8, 9 and 10 of the appearance
    kernel.
    """

    enabled: bool = False  # in `cosnet evaluate`; `cosnet segment` has --crf
    gaussian_sxy: float = setting(1.0, low=1e-3, high=10_000)  # standard deviation of the smoothness kernel, pixels
    gaussian_compat: float = setting(5.0, low=0, high=10_000)  # its weight
    bilateral_sxy: float = setting(15.0, low=1e-3, high=10_000)  # standard deviation of the appearance kernel, pixels
    bilateral_srgb: float = setting(7.0, low=1e-3, high=10_000)  # the same in grey levels (0-255)
    bilateral_compat: float = setting(9.0, low=0, high=10_000)  # its weight
    iterations: int = setting(5, low=0, high=1000)  # mean-field steps
    normalise: bool = True  # stretch each frame's probabilities to [0, 1] first
    backend: str = setting("jax", choices=BACKENDS)  # pydensecrf: the reference, extra [crf]


def refine(image: np.ndarray, probability: np.ndarray, params: CRFParams = CRFParams()) -> np.ndarray:
    """Runs mean-field inference in a fully connected CRF with two labels.

    The unary energy is the negative logarithm of the probabilities (at least 1e-5). Two Potts terms with symmetrically
    normalised kernels join it: a Gaussian over pixel positions (smoothness), and one over positions and colours
    (appearance, bilateral).

    Args:
      image: uint8 RGB (H, W, 3).
      probability: (H, W), probability of the foreground in [0, 1].
      params: the parameters.

    Returns:
      float32 (H, W), the refined probability of the foreground.

    Raises:
      InputError: the shapes differ, the map is not finite, the kernels are too narrow for a frame of this size, or the
        backend is not installed.
    """
    return next(_refine_each(image, probability, [params]))


def refine_stream(
    items: Iterable[tuple[Key, np.ndarray, np.ndarray]], params: CRFParams = CRFParams(), workers: int | None = None
) -> Generator[tuple[Key, np.ndarray]]:
    """Refines a stream of frames in threads or processes, in order, while the caller makes the next ones.

    Args:
      items: a key, an image and a probability map per frame, the last two as `refine` takes them. The key is only
        passed on. Items are taken up to `2 * workers` frames ahead.
      params: the parameters.
      workers: number of threads ("jax") or processes ("pydensecrf"); None or 0 for one per core.

    Returns:
      An iterator over the key and the refined map, float32 (H, W), of each frame. The workers end with the iterator.

    Raises:
      InputError: the backend is not installed; or, while iterating, as `refine`.
    """
    check_installed(params)
    tasks = ((key, (image, probability)) for key, image, probability in items)
    return _map(params.backend)(functools.partial(refine, params=params), tasks, workers)


def score_settings(
    examples: Iterable[tuple[Key, np.ndarray, np.ndarray, np.ndarray]],
    settings: Sequence[CRFParams | None],
    workers: int | None = None,
) -> Iterator[tuple[Key, list[float]]]:
    """Scores parameter settings on frames with ground truth, for a search on a validation set.

    Args:
      examples: a key, an image, a probability map and the ground truth per frame: image and map as `refine` takes them,
        ground truth bool (H, W).
      settings: the settings to compare, all of one backend; None for the maps without CRF.
      workers: as in `refine_stream`.

    Returns:
      An iterator over the keys, in order, each with the region similarity J of the map above 0.5 for each setting.
      Average over the examples as the benchmark does (over a sequence's frames, then over sequences).

    Raises:
      InputError: the backend is not installed, or as `refine`.
    """
    present = [params for params in settings if params]
    for params in present:
        check_installed(params)
    tasks = ((key, (*example, settings)) for key, *example in examples)
    return _map(present[0].backend if present else "jax")(_score, tasks, workers)


def check_installed(params: CRFParams) -> None:
    """Raises an InputError if the backend of the parameters is not installed."""
    if params.backend == "pydensecrf":
        _pydensecrf()


def _score(
    image: np.ndarray, probability: np.ndarray, truth: np.ndarray, settings: Sequence[CRFParams | None]
) -> list[float]:
    refined = _refine_each(image, probability, [params for params in settings if params])
    return [jaccard((next(refined) if params else probability) > 0.5, truth) for params in settings]


def _map(backend: str) -> Callable[..., Any]:
    """Returns what runs a backend in parallel: pydensecrf holds the GIL, the other releases it."""
    return map_in_processes if backend == "pydensecrf" else map_in_threads


def _refine_each(image: np.ndarray, probability: np.ndarray, settings: Sequence[CRFParams]) -> Iterator[np.ndarray]:
    """Yields the map refined with each of some settings; see `refine`."""
    if image.shape != (*probability.shape, 3) or image.dtype != np.uint8 or not image.size:
        given = f"{image.dtype} {image.shape} and {probability.shape}"
        raise InputError(f"the CRF needs a uint8 (H, W, 3) image and an (H, W) map, not {given}")
    foreground = np.asarray(probability, np.float32)
    if not np.isfinite(foreground.min() + foreground.max()):
        raise InputError("the CRF needs finite probabilities")
    if all(params.backend == "jax" for params in settings):
        from cosnet_jax.inference import dense_crf  # imports Numba

        yield from map(np.asarray, dense_crf.refine(image, foreground, settings))
    else:
        yield from (_refine_by_pydensecrf(image, foreground, params) for params in settings)


def _refine_by_pydensecrf(image: np.ndarray, foreground: np.ndarray, params: CRFParams) -> np.ndarray:
    densecrf, utils = _pydensecrf()
    height, width = foreground.shape
    low, high = foreground.min(), foreground.max()
    if params.normalise and low < high:  # a constant map has nothing to stretch
        foreground = (foreground - low) / (high - low)
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(utils.unary_from_softmax(np.stack([1 - foreground, foreground])))
    # create_pairwise_gaussian gives features in the order (y, x), as the release uses them. addPairwiseGaussian would
    # use (x, y), which changes the label of 0.05% of the pixels.
    smoothness = utils.create_pairwise_gaussian([params.gaussian_sxy] * 2, (height, width))
    appearance = utils.create_pairwise_bilateral(
        [params.bilateral_sxy] * 2, [params.bilateral_srgb] * 3, image, chdim=2
    )
    for features, compat in ((smoothness, params.gaussian_compat), (appearance, params.bilateral_compat)):
        field.addPairwiseEnergy(
            features, compat, kernel=densecrf.DIAG_KERNEL, normalization=densecrf.NORMALIZE_SYMMETRIC
        )
    marginals = np.asarray(field.inference(params.iterations), np.float32)
    return marginals[1].reshape(height, width)


def _pydensecrf():
    try:
        from pydensecrf import densecrf, utils
    except ImportError as error:
        raise InputError(
            "crf.backend pydensecrf needs the package pydensecrf2: pip install pydensecrf2, or take the backend jax"
        ) from error
    return densecrf, utils
