"""Every setting there is, with the paper's values where the paper has one.

The settings stand in dataclasses beside the code that reads them, one line each: `Config` in
cosnet_jax/training/config.py, and from there one for each section (`model`, `loss`, `optimizer`, `data`, `inference`,
`evaluation`, `distributed`). The other configurations are a few assignments over this one. Any key can be set on the
command line, `--config.optimizer.learning_rate=1e-3`; a misspelt key is an error.

The paper gives the input size 473x473, batch size 8, SGD with an initial learning rate of 2.5e-4, C = 512, the head,
the alternation of still and video steps, Eq. 11, and Eq. 12 with lambda = 1e-4. It does not give momentum, weight decay
and the parameters it applies to, the decay of the learning rate, the number of steps, PReLU after the ASPP or
augmentation; these were chosen. Two things differ from the paper:

- Eq. 11 is a sum over pixels. Here it is the mean over pixels and examples, for a sum at 473x473 is 223,729 times as
  large, and SGD's steps with it.
- Eq. 12 does nothing with lambda = 1e-4. P is kept orthogonal instead, see `cosnet_jax/training/orthogonal.py`.
"""

from ml_collections import ConfigDict

from cosnet_jax.training.config import Config


def get_config() -> ConfigDict:
    """The complete configuration, locked against new keys."""
    return Config.defaults().lock()


def check_mode(mode: str, *known: str) -> None:
    """Refuses a mode, what follows a configuration file's colon, that is neither empty nor known."""
    if mode and mode not in known:
        raise KeyError(f"mode is {mode!r}; expected {' or '.join(known)}")


def make_smoke(config: ConfigDict) -> None:
    """Turns a configuration into one that shows that everything runs: small images, four steps."""
    config.size = (65, 65)
    config.batch_size = 2
    config.total_steps = 4
    config.log_every = 1
    config.validate_every = 4
    config.validate_frames = 2
    config.checkpoint_every = 2
    config.inference.size = None
    config.inference.num_references = 1
