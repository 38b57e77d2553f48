"""What the record of a training says of steps that are not finite, and what it needs for TensorBoard."""

from __future__ import annotations

import contextlib
import io
import sys
from unittest import mock

import pytest

from cosnet_jax.errors import InputError
from cosnet_jax.training.metric_log import METRICS_FILE, MetricLog, read_metrics
from cosnet_jax.training.step_log import StepLog

resource = pytest.importorskip("resource")
WHOLE = {"loss": 0.5, "side": 0.25, "finite": 1.0}
NAN = {"loss": float("nan"), "side": 0.25, "finite": 0.0}
GRADIENTS = {"loss": 4.0, "side": 0.25, "finite": 0.0}


def records_of(folder, steps, skips, left=0):
    """Records after every second of some steps; so many more were planned when the training was stopped."""
    with contextlib.closing(MetricLog(folder, 0)) as log:
        step_log = StepLog(log, 2, len(steps) + left, lambda step: 0.1, skips)
        for number, metrics in enumerate(steps, 1):
            step_log.add(number, "video", metrics, images=1)
        if left:
            step_log.end(len(steps))
    return read_metrics(folder / METRICS_FILE)


@pytest.mark.parametrize(("metrics", "part"), [(NAN, "loss"), (GRADIENTS, "the gradients")])
def test_a_step_that_is_not_finite_stops_the_training(tmp_path, metrics, part):
    with pytest.raises(InputError, match=f"step 2: {part} of the video step is not finite"):
        records_of(tmp_path, [WHOLE, metrics, WHOLE, WHOLE], skips=False)


def test_skipped_steps_are_counted_and_left_out_of_the_means(tmp_path):
    records = records_of(tmp_path, [WHOLE, NAN, GRADIENTS, NAN, WHOLE, WHOLE], skips=True)
    assert [record["step"] for record in records] == [2, 4, 6]
    assert [record.get("skipped") for record in records] == [1, 2, None]
    assert [record.get("loss") for record in records] == [0.5, None, 0.5]


@pytest.mark.parametrize(("foreground", "name"), [(0.0, "empty"), (1.0, "full")])
def test_masks_with_nothing_to_find_stop_the_training(tmp_path, foreground, name):
    blank = WHOLE | {"loss": 0.0, "foreground": foreground}
    with pytest.raises(InputError, match=f"step 67: the masks of the last 64 images of video steps are all {name}"):
        records_of(tmp_path, [WHOLE, blank, WHOLE | {"foreground": 0.2}, *[blank] * 70], skips=False)


@pytest.mark.parametrize("steps", [3, 4])
def test_a_training_that_is_stopped_records_its_last_steps(tmp_path, steps):
    records = records_of(tmp_path, [WHOLE, WHOLE, NAN, WHOLE][:steps], skips=True, left=5)
    assert [(record["step"], record.get("skipped")) for record in records] == [(2, None), (steps, 1)]


def test_a_validation_that_comes_again_is_recorded_once(tmp_path):
    """SIGTERM came in its way, then it was done, then the training was killed before its next checkpoint."""
    for due in (False, True, True):
        with contextlib.closing(MetricLog(tmp_path, 4, validation_due=due)) as log:
            if not due:
                log.write(4, "video", WHOLE)
            log.write(4, "validation", {"J": 0.5})
    assert [(record["step"], record["kind"]) for record in read_metrics(tmp_path / METRICS_FILE)] == [
        (4, "video"),
        (4, "validation"),
    ]


def test_writing_for_tensorboard_imports_no_torch(tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] in ("torch", "tensorboardX"):
            monkeypatch.delitem(sys.modules, name)  # put back in the end
    log = MetricLog(tmp_path, 0)
    log.write(1, "still", {"loss": 1.0})
    log.close()
    assert "tensorboardX" in sys.modules and "torch" not in sys.modules
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"still/loss" in file.read_bytes()


@pytest.mark.parametrize("full", [METRICS_FILE, "tensorboard"])
def test_a_full_disk_ends_in_one_line(tmp_path, full):
    with contextlib.closing(MetricLog(tmp_path, 0)) as log:
        if full == METRICS_FILE:
            log._events.close()
            log._events = mock.Mock()
        else:
            log._file.close()
            log._file = io.StringIO()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
        try:
            with pytest.raises(InputError, match=rf"{full}: cannot be written \(File too large\)"):
                for step in range(100):
                    log.write(step, "still", {"loss": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
