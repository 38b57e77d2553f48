"""Trains COSNet: `cosnet train` with the same arguments."""

import sys

from cosnet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
