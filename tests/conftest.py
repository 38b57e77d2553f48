"""Settings for all tests: four fake devices, and no accelerator."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ.setdefault("MPLBACKEND", "Agg")
