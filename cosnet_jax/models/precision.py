"""The precision in which accelerators multiply."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax


def with_matmul_precision(function: Callable, matmul_precision: str) -> Callable:
    """Makes a function that is compiled with products and convolutions of a precision.

    Args:
      function: any that JAX traces.
      matmul_precision: "float32", or "default" for what accelerators do by themselves (TF32 on NVIDIA, bfloat16 on
        TPU).
    """

    @functools.wraps(function)
    def run(*arguments, **settings):
        with jax.default_matmul_precision(matmul_precision):
            return function(*arguments, **settings)

    return run
