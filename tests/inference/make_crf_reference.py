"""Makes crf_reference.npz, what pydensecrf computes for small frames; test_dense_crf.py reads it.

    pip install pydensecrf2 && python tests/inference/make_crf_reference.py

The package is source only and does not build on every Python that the tests run on, so its results are stored.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

REFERENCE = Path(__file__).with_name("crf_reference.npz")
# gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat, iterations, of each stored result.
SETTINGS = np.array([
    (1, 5, 15, 7, 9, 5),  # the release's
    (1, 1, 15, 7, 1, 5),  # weak, so that the probabilities stay soft and show every parameter
    (1, 0, 10, 12, 3, 1),
    (3, 2, 20, 5, 0, 1),
    (0.7, 1, 4, 20, 2, 5),
])  # fmt: skip


def make_example(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes a disk on a shaded background and its noisy, misplaced probability map."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    disk = (rows - height * 0.5) ** 2 + (columns - width * 0.45) ** 2 < (height * 0.3) ** 2
    colours = np.where(disk[..., None], [170, 120, 80], [90, 110, 130]) + columns[..., None] * 0.5
    image = (colours + rng.normal(0, 8, (height, width, 3))).clip(0, 255).astype(np.uint8)
    guess = (rows - height * 0.55) ** 2 + (columns - width * 0.52) ** 2 < (height * 0.33) ** 2
    soft = cv2.GaussianBlur(guess.astype(np.float32), (0, 0), 3) * 0.6 + 0.2
    probability = (soft + rng.normal(0, 0.05, soft.shape)).clip(0, 1)
    return image, np.round(probability * 255).astype(np.uint8)


def pydensecrf(image: np.ndarray, probability: np.ndarray, setting: np.ndarray) -> np.ndarray:
    """Calls pydensecrf as the released COSNet does; the probability is stretched to [0, 1] first."""
    from pydensecrf import densecrf, utils

    gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat, iterations = setting
    height, width = probability.shape
    foreground = (probability - probability.min()) / (probability.max() - probability.min())
    field = densecrf.DenseCRF2D(width, height, 2)
    field.setUnaryEnergy(utils.unary_from_softmax(np.stack([1 - foreground, foreground])))
    smoothness = utils.create_pairwise_gaussian(sdims=[gaussian_sxy] * 2, shape=(height, width))
    appearance = utils.create_pairwise_bilateral(
        sdims=[bilateral_sxy] * 2, schan=[bilateral_srgb] * 3, img=image, chdim=2
    )
    for features, compat in ((smoothness, gaussian_compat), (appearance, bilateral_compat)):
        field.addPairwiseEnergy(
            features, compat=compat, kernel=densecrf.DIAG_KERNEL, normalization=densecrf.NORMALIZE_SYMMETRIC
        )
    return np.array(field.inference(int(iterations)))[1].reshape(height, width)


def main() -> None:
    stored = {"settings": SETTINGS}
    examples = {"even": (make_example(32, 40, 0), SETTINGS), "odd": (make_example(61, 83, 1), SETTINGS[:1])}
    for name, ((image, probability), settings) in examples.items():
        results = [pydensecrf(image, probability.astype(np.float32) / 255, setting) for setting in settings]
        stored |= {f"{name}_image": image, f"{name}_probability": probability}
        stored[f"{name}_refined"] = np.round(np.stack(results) * 65535).astype(np.uint16)
    np.savez_compressed(REFERENCE, **stored)


if __name__ == "__main__":
    main()
