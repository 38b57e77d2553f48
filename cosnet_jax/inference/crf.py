"""Sharpens probability maps with a fully connected CRF over the frame's pixels, as the released COSNet does."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.processes import map_in_processes


@dataclasses.dataclass(frozen=True)
class CRFParams:
    """Parameters of the CRF (Kraehenbuehl and Koltun, NIPS 2011); the defaults are the release's.

    The release tries three widths (10, 15, 20) and three weights (8, 9, 10) of the appearance kernel; the default is
    the middle of both. On degraded ground truth of 16 DAVIS-2016 training frames the weight hardly mattered; the
    narrowest kernel was best for outlines that are only coarse, the widest for blotchy maps. The command
    `search-crf` finds what suits a model.

    Attributes:
      gaussian_sxy: standard deviation of the smoothness kernel in pixels.
      gaussian_compat: weight of the smoothness kernel.
      bilateral_sxy: standard deviation of the appearance kernel in pixels.
      bilateral_srgb: standard deviation of the appearance kernel in grey levels (0-255).
      bilateral_compat: weight of the appearance kernel.
      iterations: mean-field steps.
      normalise: stretch each frame's probabilities to [0, 1] first.
    """

    gaussian_sxy: float = 1.0
    gaussian_compat: float = 5.0
    bilateral_sxy: float = 15.0
    bilateral_srgb: float = 7.0
    bilateral_compat: float = 9.0
    iterations: int = 5
    normalise: bool = True

    def __post_init__(self):
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not getattr(self, name) > 0:
                raise InputError(f"crf.{name} must be above 0, not {getattr(self, name)}")
        for name in ("gaussian_compat", "bilateral_compat", "iterations"):
            if not getattr(self, name) >= 0:
                raise InputError(f"crf.{name} must not be below 0, not {getattr(self, name)}")


def params_of(config: ConfigDict) -> CRFParams:
    """The parameters of `config.inference.crf`; raises an InputError if one is out of range."""
    return CRFParams(**{field.name: config[field.name] for field in dataclasses.fields(CRFParams)})


def configured(config: ConfigDict) -> CRFParams | None:
    """As `params_of`, or None where the CRF is not enabled.

    Raises:
      InputError: a value is out of range, or pydensecrf2 is not installed.
    """
    params = params_of(config)
    if config.enabled:
        check_installed()
    return params if config.enabled else None


RELEASE_SETTINGS = tuple(
    CRFParams(bilateral_sxy=sxy, bilateral_compat=compat) for sxy, compat in itertools.product((10, 15, 20), (8, 9, 10))
)


def refine(image: np.ndarray, probability: np.ndarray, params: CRFParams = CRFParams()) -> np.ndarray:
    """Runs mean-field inference in a fully connected CRF with two labels.

    The energy has the negative logarithm of the probabilities (at least 1e-5) as its unary, and two Potts terms with
    symmetrically normalised kernels: a Gaussian of the pixels' places, and one of their places and colours (bilateral).

    Args:
      image: uint8 RGB (H, W, 3).
      probability: of the foreground, (H, W), in [0, 1].
      params: the parameters.

    Returns:
      The refined probability of the foreground, float32 (H, W).

    Raises:
      InputError: the arrays do not fit together, the map is not finite, or pydensecrf2 is not installed.
    """
    densecrf, utils = _pydensecrf()
    if image.shape != (*probability.shape, 3) or image.dtype != np.uint8 or not image.size:
        given = f"{image.dtype} {image.shape} and {probability.shape}"
        raise InputError(f"the CRF needs a uint8 (H, W, 3) image and an (H, W) map, not {given}")
    height, width = probability.shape
    foreground = np.asarray(probability, np.float32)
    low, high = foreground.min(), foreground.max()
    if not np.isfinite(low + high):
        raise InputError("the CRF needs finite probabilities")
    if params.normalise and low < high:  # a constant map has nothing to stretch
        foreground = (foreground - low) / (high - low)
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(utils.unary_from_softmax(np.stack([1 - foreground, foreground])))
    # Features made by hand go in as (y, x); addPairwiseGaussian would take (x, y), and label 0.05% of pixels otherwise.
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


def refine_stream(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], params: CRFParams = CRFParams(), workers: int | None = None
) -> Iterator[np.ndarray]:
    """Refines a stream of frames in worker processes, in order, while the caller makes the next ones.

    Args:
      pairs: images and probability maps as `refine` takes them; taken up to `2 * workers` frames ahead.
      params: the parameters.
      workers: number of processes; None or 0 for one a core.

    Returns:
      An iterator over the refined maps, float32 (H, W). The processes end with it, or when it is closed.

    Raises:
      InputError: pydensecrf2 is not installed (said at once, not at the first frame).
    """
    _pydensecrf()
    return map_in_processes(functools.partial(refine, params=params), pairs, workers)


def score_settings(
    examples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    settings: Sequence[CRFParams | None] = RELEASE_SETTINGS,
    workers: int | None = None,
) -> np.ndarray:
    """Scores parameter settings on frames with ground truth, for a search on a validation set.

    Args:
      examples: (image, probability, truth) triples: the first two as `refine` takes them, the truth bool (H, W).
      settings: what is compared, None for the maps as they are; by default the release's nine.
      workers: number of processes; None or 0 for one a core.

    Returns:
      float64 (len(settings), number of examples): the region similarity J of each refined map above 0.5. Average over
      the examples as the benchmark does (over a sequence's frames, then over sequences).
    """
    _pydensecrf()
    tasks = ((*example, params) for example in examples for params in settings)
    scores = list(map_in_processes(_score, tasks, workers))
    return np.array(scores, float).reshape(-1, len(settings)).T


def check_installed() -> None:
    """Raises an InputError if pydensecrf2 is not installed."""
    _pydensecrf()


def _score(image: np.ndarray, probability: np.ndarray, truth: np.ndarray, params: CRFParams | None) -> float:
    refined = probability if params is None else refine(image, probability, params)
    return jaccard(refined > 0.5, truth)


def _pydensecrf():
    try:
        from pydensecrf import densecrf, utils
    except ImportError as error:
        raise InputError("the CRF needs the package pydensecrf2: pip install pydensecrf2") from error
    return densecrf, utils
