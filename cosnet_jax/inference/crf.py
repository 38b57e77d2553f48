"""Refines probability maps with a fully connected CRF over the pixels of a frame, as the released COSNet does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.config import report_setting_errors
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.processes import map_in_processes
from cosnet_jax.threads import map_in_threads

Key = TypeVar("Key")
BACKENDS = ("jax", "pydensecrf")


@dataclasses.dataclass(frozen=True)
class CRFParams:
    """Parameters of the CRF (Kraehenbuehl and Koltun, NIPS 2011); the defaults are the release's.

    The release tries three widths (10, 15, 20) and three weights (8, 9, 10) of the appearance kernel; the default is
    the middle of both. On degraded ground truth of 16 DAVIS-2016 training frames the weight made almost no difference;
    the narrowest kernel was best for coarse outlines, the widest for blotchy maps. The command `search-crf` finds the
    best values for a model.

    Attributes:
      gaussian_sxy: standard deviation of the smoothness kernel in pixels.
      gaussian_compat: weight of the smoothness kernel.
      bilateral_sxy: standard deviation of the appearance kernel in pixels.
      bilateral_srgb: standard deviation of the appearance kernel in grey levels (0-255).
      bilateral_compat: weight of the appearance kernel.
      iterations: number of mean-field steps.
      normalise: whether each frame's probabilities are stretched to [0, 1] first.
      backend: "jax" (`dense_crf`), or "pydensecrf", the reference, which needs the package pydensecrf2.
    """

    gaussian_sxy: float = 1.0
    gaussian_compat: float = 5.0
    bilateral_sxy: float = 15.0
    bilateral_srgb: float = 7.0
    bilateral_compat: float = 9.0
    iterations: int = 5
    normalise: bool = True
    backend: str = "jax"

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise InputError(f"crf.backend is {self.backend!r}; expected {' or '.join(BACKENDS)}")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not getattr(self, name) > 0:
                raise InputError(f"crf.{name} must be above 0, not {getattr(self, name)}")
        for name in ("gaussian_compat", "bilateral_compat", "iterations"):
            if not getattr(self, name) >= 0:
                raise InputError(f"crf.{name} must not be below 0, not {getattr(self, name)}")


@report_setting_errors()
def params_from_config(config: ConfigDict | None) -> CRFParams:
    """Reads the parameters from `config.inference.crf`; a key that a stored configuration lacks keeps its default.

    Raises:
      InputError: a value is out of range.
    """
    names = [field.name for field in dataclasses.fields(CRFParams)]
    return CRFParams(**{name: config[name] for name in names if config is not None and name in config})


def configured(config: ConfigDict) -> CRFParams | None:
    """Reads the parameters from `config.inference.crf`.

    Returns:
      The parameters, or None where the CRF is not enabled.

    Raises:
      InputError: a value is out of range, or the backend is not installed.
    """
    params = params_from_config(config)
    if config.enabled:
        check_installed(params)
    return params if config.enabled else None


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
