"""Batches over the four fake devices, against one device."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cosnet_jax.parallel import Devices


@pytest.mark.parametrize(("batch_size", "each"), [(1, 1), (3, 3), (4, 1), (6, 3), (8, 2)])
def test_a_batch_is_split_evenly_over_as_many_devices_as_divide_it(batch_size, each):
    devices = Devices(batch_size)
    run = devices.compile(
        lambda shared, x: {"sum": shared["a"] * x["x"].sum(1), "part": jnp.full(len(x["y"]), len(x["y"]))}
    )
    x, y = np.arange(5.0 * batch_size).reshape(batch_size, 5), np.zeros((batch_size, 2))
    shared = devices.replicate({"a": jnp.array(3.0)})
    for inputs in ({"x": x, "y": y}, jax.device_put({"x": x, "y": y}, jax.devices()[0])):
        results = run(shared, inputs)
        np.testing.assert_allclose(results["sum"], 3 * x.sum(axis=1))
        assert results["part"].tolist() == [each] * batch_size
        assert results["sum"].devices() == {jax.devices()[0]}


def test_a_result_can_be_shared_in_the_next_call():
    devices = Devices(4)
    double = devices.compile(lambda shared, x: x * shared)
    total = devices.compile(lambda shared, x: x + shared.sum())
    doubled = double(jnp.array(2.0), np.arange(4.0))
    np.testing.assert_allclose(total(doubled, doubled), np.arange(4.0) * 2 + 12)


def test_one_example_for_each_cpu_keeps_them_busy():
    assert Devices.default_batch_size(per_accelerator=8) == 4


def test_a_program_that_another_process_has_written_by_half_is_compiled_anew():
    def compile_again():
        def half_written(x):
            return x + 1

        return jax.jit(half_written)(1)

    assert compile_again() == 2
    (program,) = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("jit_half_written-*-cache")
    try:
        os.truncate(program, program.stat().st_size // 2)
        assert compile_again() == 2
    finally:
        program.unlink()
