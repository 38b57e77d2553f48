"""Refines probability maps with a fully connected CRF over the pixels of a frame, as the released COSNet does."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cosnet_jax.errors import InputError
from cosnet_jax.section import Section, setting
from cosnet_jax.threads import map_in_threads

Key = TypeVar("Key")
BACKENDS = ("jax", "pydensecrf")
NARROWEST = 1e-3  # standard deviation of a kernel


@dataclass(frozen=True)
class CRFConfig(Section, name="inference.crf"):
    """The CRF (Kraehenbuehl and Koltun, NIPS 2011); the defaults are the release's.

    The release tries the widths 10, 15, 20 and the weights 8, 9, 10 of the appearance kernel; these are the middle.
    """

    enabled: bool = False  # in `cosnet evaluate`; `cosnet segment` has --crf
    gaussian_sxy: float = setting(1.0, low=NARROWEST, high=1e4)  # pixels, standard deviation of the smoothness kernel
    gaussian_compat: float = setting(5.0, low=0, high=1e4)  # its weight
    bilateral_sxy: float = setting(15.0, low=NARROWEST, high=1e4)  # pixels, that of the appearance kernel
    bilateral_srgb: float = setting(7.0, low=NARROWEST, high=1e4)  # grey levels, that of the appearance kernel
    bilateral_compat: float = setting(9.0, low=0, high=1e4)  # its weight
    iterations: int = setting(5, low=0, high=1000)  # mean-field steps
    normalise: bool = True  # stretch each frame's probabilities to [0, 1] first
    backend: str = setting("jax", choices=BACKENDS)  # pydensecrf is the reference, in the extra `crf`


def refine(image: np.ndarray, probability: np.ndarray, params: CRFConfig = CRFConfig()) -> np.ndarray:
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
      InputError: the shapes differ, the map is not finite, or the kernels are too narrow for a frame of this size.
    """
    if image.shape != (*probability.shape, 3) or image.dtype != np.uint8 or not image.size:
        given = f"{image.dtype} {image.shape} and {probability.shape}"
        raise InputError(f"the CRF needs a uint8 (H, W, 3) image and an (H, W) map, not {given}")
    foreground = np.asarray(probability, np.float32)
    if not np.isfinite(foreground.min() + foreground.max()):
        raise InputError("the CRF needs finite probabilities")
    if params.backend == "pydensecrf":
        return _refine_by_pydensecrf(image, foreground, params)
    from cosnet_jax.inference import dense_crf  # imports Numba

    return np.asarray(dense_crf.refine(image, foreground, params))


def refine_stream(
    items: Iterable[tuple[Key, np.ndarray, np.ndarray]], params: CRFConfig = CRFConfig(), workers: int | None = None
) -> Generator[tuple[Key, np.ndarray]]:
    """Refines a stream of frames in threads, in order, while the caller makes the next ones.

    Args:
      items: a key, an image and a probability map per frame, the last two as `refine` takes them.
      params: the parameters.
      workers: number of threads; None for one per core. (pydensecrf holds the GIL: it refines one frame at a time.)

    Yields:
      The key and the refined map, float32 (H, W), of each frame; see `map_in_threads`.
    """
    tasks = ((key, (image, probability, params)) for key, image, probability in items)
    return map_in_threads(refine, tasks, workers)


def check_installed(params: CRFConfig) -> None:
    """Raises an InputError if the backend is not installed, before long work starts."""
    if params.backend == "pydensecrf" and importlib.util.find_spec("pydensecrf") is None:
        raise InputError(
            "crf.backend pydensecrf needs the package pydensecrf2: pip install pydensecrf2, or take the backend jax"
        )


def _refine_by_pydensecrf(image: np.ndarray, foreground: np.ndarray, params: CRFConfig) -> np.ndarray:
    from pydensecrf import densecrf, utils

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
    return np.asarray(field.inference(params.iterations), np.float32)[1].reshape(height, width)
