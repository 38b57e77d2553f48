"""`python -m cosnet_jax COMMAND`."""

import sys

from cosnet_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
