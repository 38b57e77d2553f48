"""The folder of checkpoints: what is damaged is noticed, set aside and gone without."""

from __future__ import annotations

import gc
import hashlib
import json
import time

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_network import tiny_synthetic

from cosnet_jax import parallel
from cosnet_jax.checkpoints.store import CheckpointFolder
from cosnet_jax.errors import InputError

# A read or a write that fails leaves tasks and threads of orbax, which fail in their turn; that is not ours to mend.
pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
LIKE = {"params": {"a": jnp.zeros((16, 16)), "b": jnp.zeros(3)}, "step": jnp.zeros((), jnp.int32)}


def state_of(step):
    noise = np.random.default_rng(step).normal(size=(16, 16)).astype(np.float32)
    return {"params": {"a": jnp.asarray(noise), "b": jnp.ones(3)}, "step": jnp.asarray(step, jnp.int32)}


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints."""
    writer = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2, 3):
        writer.save(step, state_of(step), tiny_synthetic(), {"position": step})
    writer.close()
    yield tmp_path
    gc.collect()  # so that what orbax leaves after a failure is found here, where it is expected


def newest(folder):
    reader = CheckpointFolder(folder, keep=3)
    try:
        return reader.restore_newest(LIKE)
    finally:
        reader.close()


def arrays_of(folder):
    """The file with the arrays of a checkpoint."""
    return max((folder / "state").glob("**/d/*"), key=lambda path: path.stat().st_size)


def test_what_is_of_steps_that_are_taken_again_is_set_aside(folder):
    (folder / "3.outdated").mkdir()
    writer = CheckpointFolder(folder, keep=3)
    writer.set_aside_from(3)
    writer.save(2, state_of(7), tiny_synthetic(), {"position": "again"})  # the newest: it stays
    writer.save(1, state_of(7), tiny_synthetic(), {})
    writer.save(0, state_of(7), tiny_synthetic(), {"position": "first"})
    writer.close()
    assert newest(folder)[2] == {"position": "first"}
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1.outdated", "2.outdated", "3.outdated"]


def test_a_checkpoint_has_the_checksums_of_sha256sum_from_the_beginning(folder):
    writer = CheckpointFolder(folder, keep=3)
    writer.save(4, state_of(4), tiny_synthetic(), {})
    while not (folder / "4").exists():
        time.sleep(0.001)
    lines = (folder / "4" / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / "4" / name).read_bytes()).hexdigest() == digest
    files = [path for path in (folder / "4").glob("*/**/*") if path.is_file()]
    assert len(lines) == len(files) > 3
    writer.close()


def change_bit(folder):
    path = arrays_of(folder / "3")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_progress(folder):
    """A change that is valid JSON: the checksum alone tells."""
    path = next(path for path in (folder / "3" / "progress").glob("*") if b"position" in path.read_bytes())
    path.write_text(json.dumps({"position": 2}))


def delete(folder):
    arrays_of(folder / "3").unlink()


@pytest.mark.parametrize("damage", [change_bit, change_progress, delete])
def test_a_damaged_checkpoint_is_named_and_set_aside(folder, capsys, damage):
    damage(folder)
    step, state, progress = newest(folder)
    assert (step, progress) == (2, {"position": 2})
    np.testing.assert_array_equal(state["params"]["a"], state_of(2)["params"]["a"])
    assert f"{folder / '3'} is damaged" in capsys.readouterr().out
    assert (folder / "3.damaged").is_dir()
    writer = CheckpointFolder(folder, keep=3)  # the step is written again
    writer.save(3, state_of(3), tiny_synthetic(), {})
    writer.close()
    assert newest(folder)[0] == 3


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, parallel.Preempted])
def test_a_signal_while_a_checkpoint_is_read_or_written_is_no_damage(folder, interruption, monkeypatch):
    """Orbax catches everything while it reads an array, and raises an error of its own."""

    def interrupted(*_, **__):
        raise ValueError("reading an array") from interruption()

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "restore", interrupted)
        with pytest.raises(interruption):
            newest(folder)
        patch.setattr(ocp.CheckpointManager, "save", interrupted)
        writer = CheckpointFolder(folder, keep=3)
        with pytest.raises(interruption):
            writer.save(4, state_of(4), tiny_synthetic(), {})
        writer.close()
    assert not list(folder.glob("*.damaged"))
    assert newest(folder)[0] == 3


def test_a_checkpoint_of_another_architecture_is_no_damage(folder):
    reader = CheckpointFolder(folder, keep=3)
    with pytest.raises(InputError, match=r"another architecture \(1 arrays differ, e\.g\. params/c\)"):
        reader.restore_newest({**LIKE, "params": {**LIKE["params"], "c": jnp.zeros(1)}})
    reader.close()
    assert (folder / "3").is_dir()


def test_a_full_disk_is_one_line_and_leaves_the_earlier_checkpoints(folder):
    resource = pytest.importorskip("resource")
    writer, limits = CheckpointFolder(folder, keep=3), resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match="a checkpoint cannot be written"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            writer.save(4, state_of(4), tiny_synthetic(), {})
        finally:
            try:
                writer.close()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for _ in range(50):  # orbax's own threads may still write what each opening removes
        assert newest(folder)[0] == 3
        if not [path for path in folder.iterdir() if "tmp" in path.name]:
            return
        time.sleep(0.1)
    pytest.fail("temporary files are left")
