"""The memory that a training says it takes."""

import re

import jax
import numpy as np
from compilation import compilations

from cosnet_jax import parallel
from cosnet_jax.training.memory_plan import plan_memory
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
    batch = {"image": np.zeros((8, 2, 4, 6, 3), np.uint8), "mask": np.zeros((8, 2, 4, 6), np.float16)}
    text = plan_memory(state, {"video": step}, {"video": batch})
    assert re.fullmatch(r"memory of each device: parameters 4 MiB, optimiser 12 MiB, a video step \d+ MiB more", text)
    sharded = parallel.shard(batch)
    with compilations() as compiled:
        step(state, sharded)
    assert not compiled
