"""Averages the weights of trainings of which each began from the last (stochastic weight averaging).

Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018. For two of them:

    python -m experiments.average out/lite out/lite_again --output averaged.npz
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights
from cosnet_jax.errors import InputError, report_input_errors


def average(checkpoints: list[str]) -> tuple[dict, ConfigDict]:
    """Averages checkpoints.

    Args:
      checkpoints: see `load_checkpoint`; at least one.

    Returns:
      The mean of their variables, and the configuration of the last one.

    Raises:
      InputError: one cannot be read, or their networks differ.
    """
    loaded = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    for checkpoint, (_, config) in zip(checkpoints, loaded, strict=True):
        if config.model.to_dict() != loaded[0][1].model.to_dict():
            raise InputError(f"{checkpoint} has another network than {checkpoints[0]}")
    every, (*_, config) = zip(*loaded, strict=True)
    mean = jax.tree.map(lambda *arrays: np.mean(np.stack(arrays), axis=0, dtype=np.float32), *every)
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
