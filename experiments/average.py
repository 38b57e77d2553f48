"""Averages the weights of trainings of which each began from the last (stochastic weight averaging).

Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018. Of two of them the ends:

    python -m experiments.average out/lite/checkpoints out/lite_again/checkpoints --output averaged.npz

Of a working directory itself, `out/lite`, the checkpoint that is best by validation counts, if one was validated.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights
from cosnet_jax.config import changed_settings
from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.training.orthogonal import nearest_orthogonal


def average(checkpoints: list[str]) -> tuple[dict, ConfigDict]:
    """Averages checkpoints.

    Args:
      checkpoints: see `load_checkpoint`; at least one.

    Returns:
      The mean of their variables, P of Eq. 4 made orthogonal again, and the configuration of the last one.

    Raises:
      InputError: one cannot be read, or their networks differ.
    """
    loaded = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    for checkpoint, (variables, config) in zip(checkpoints, loaded, strict=True):
        first, its_config = loaded[0]
        shapes, expected = (jax.tree.map(np.shape, tree) for tree in (variables, first))
        if changed_settings(its_config.model, config.model) or shapes != expected:
            raise InputError(f"{checkpoint} has another network than {checkpoints[0]}")
    every, (*_, config) = zip(*loaded, strict=True)
    mean = jax.tree.map(lambda *arrays: np.mean(np.stack(arrays), axis=0, dtype=np.float32), *every)
    if config.model.coattention == "symmetric":
        affinity = mean["params"]["affinity"]
        affinity["projection"] = np.asarray(nearest_orthogonal(affinity["projection"]))
    return mean, config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", help="checkpoints, weights files or working directories of trainings")
    parser.add_argument("--output", type=Path, required=True, help="weights file to write (.npz)")
    arguments = parser.parse_args()
    with report_input_errors():
        export_weights(arguments.output, *average(arguments.checkpoints))


if __name__ == "__main__":
    main()
