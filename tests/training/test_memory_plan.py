"""The memory that a training says it takes."""

import re

import jax
import numpy as np
import pytest
from compilation import compilations

from cosnet_jax import parallel
from cosnet_jax.training.memory_plan import MIB, empty_batch, plan_memory
from cosnet_jax.training.state import TrainState


def test_the_plan_counts_bytes_and_what_it_compiles_is_what_runs():
    side = 2 * 512
    weights, moments = np.ones((side, side), np.float32), np.ones((3, side, side), np.float32)
    state = parallel.replicate(TrainState(np.int32(0), {"w": weights}, {}, {"m": moments}, {}))

    def step(state, batch):
        weights = state.params["w"]
        hidden = weights @ weights * batch["image"].astype(np.float32).sum()  # 4 MiB
        return state, {"loss": jax.lax.pmean((hidden @ hidden @ weights).max(), parallel.AXIS)}

    step = parallel.parallelise(step)
    text = plan_memory(state, {"video": step}, (4, 6), examples=8)
    assert re.fullmatch(r"memory of each device: parameters 4 MiB, optimiser 12 MiB, a video step \d+ MiB more", text)
    batch = parallel.shard(empty_batch("video", (4, 6), 8))
    with compilations() as compiled:
        step(state, batch)
    assert not compiled


@pytest.mark.parametrize(("kind", "shape"), [("still", (3, 4, 6)), ("video", (3, 2, 4, 6))])
def test_the_empty_batch_has_the_shapes_of_the_pipelines(kind, shape):
    batch = empty_batch(kind, (4, 6), 3)
    assert batch["image"].shape == (*shape, 3) and batch["mask"].shape == shape
    assert batch["image"].dtype == batch["mask"].dtype == np.uint8
    assert MIB == 1024**2
