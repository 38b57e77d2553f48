"""Scores a checkpoint or a folder of masks: `cosnet evaluate` with the same arguments."""

import sys

from cosnet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
