"""Training and evaluation end to end, on the synthetic videos."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from compilation import compilation_flags
from tiny_network import make_tiny

from configs import davis16, davis16_lite, synthetic
from cosnet_jax.checkpoints import store as checkpoints
from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.commands.evaluate import evaluate
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model, init_variables
from cosnet_jax.training.loop import train
from cosnet_jax.training.metric_log import METRICS_FILE, read_metrics
from cosnet_jax.training.optimizer import make_optimizer
from cosnet_jax.training.state import init_state

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def tiny():
    """A configuration that trains in seconds."""
    config = synthetic.get_config("smoke")
    config.batch_size = 4
    config.size = (32, 32)
    make_tiny(config)
    config.data.synthetic.update({"num_videos": 3, "num_val_videos": 2, "num_frames": 4, "num_stills": 5})
    config.data.synthetic.size = (32, 32)
    config.total_steps = 6
    config.validate_every = 3
    config.checkpoint_every = 2
    config.profile_steps = (2, 3)
    return config


def start_training(workdir, *flags):
    """Starts `train.py` as a user would, on one device, in a process group of its own."""
    file = workdir.parent / "tiny.py"
    file.write_text("from tests.training.test_train import tiny\n\n\ndef get_config():\n    return tiny()\n")
    command = [sys.executable, "train.py", f"--config={file}", f"--workdir={workdir}", *flags]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = {**os.environ, "XLA_FLAGS": compilation_flags(devices=1), "PYTHONPATH": path}
    pipe = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipe)


def wait_for(training, text):
    """Waits until a training prints a line that begins with this text."""
    assert any(line.startswith(text) for line in training.stdout)


def final_state(workdir):
    """The state of the newest checkpoint."""
    config = tiny()
    variables = init_variables(build_model(config.model), config.seed)
    like = init_state(variables, make_optimizer(config.optimizer, variables["params"], config.total_steps))
    folder = checkpoints.CheckpointFolder(workdir / checkpoints.LATEST, keep=2)
    _, state, _ = folder.restore_newest(like)
    folder.close()
    return jax.device_get(state)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The working directory of a training that was never interrupted."""
    workdir = tmp_path_factory.mktemp("trained") / "work"
    training = start_training(workdir)
    output, _ = training.communicate()
    assert training.returncode == 0
    assert re.search(r"^step 1: still loss \d\.\d+, side .*, learning rate \S+, \S+ s a step", output, re.M)
    return workdir


@pytest.mark.slow
def test_a_training_that_was_stopped_and_killed_goes_on_to_the_same_bits(trained, tmp_path):
    workdir = tmp_path / "work"
    training = start_training(workdir, "--config.stopped_status=75")
    wait_for(training, "step 1")
    os.killpg(training.pid, signal.SIGTERM)
    output = next(line for line in training.stdout if line.startswith("SIGTERM"))
    assert re.match(r"SIGTERM: saved step [2-4]; the same command continues", output)
    while training.poll() is None:  # an impatient scheduler; Python heeds no handlers while it ends
        training.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    training.communicate(timeout=60)
    assert training.returncode == 75

    training = start_training(workdir)
    wait_for(training, "step 5")  # the checkpoint of step 4 has begun
    training.kill()
    training.communicate(timeout=60)
    assert training.returncode < 0
    again = start_training(workdir)
    output, _ = again.communicate()
    assert again.returncode == 0
    assert re.search(r"continues from step [2-4]\b", output)  # 4 if it was written by then
    given, expected = final_state(workdir), final_state(trained)
    assert expected.step == 6
    jax.tree.map(np.testing.assert_array_equal, given, expected)
    steps = [record["step"] for record in read_metrics(workdir / METRICS_FILE) if record["kind"] == "video"]
    assert steps == sorted(set(steps))


def test_training_leaves_log_configuration_and_best_checkpoint(trained):
    records = read_metrics(trained / METRICS_FILE)
    assert [record["step"] for record in records if record["kind"] == "validation"] == [3, 6]
    assert {record["kind"] for record in records} == {"still", "video", "validation"}
    assert all(np.isfinite(record["loss"]) for record in records if "loss" in record)
    assert json.loads((trained / "config.json").read_text())["total_steps"] == 6
    assert checkpoints.find_checkpoint(trained).parent.name == checkpoints.BEST
    assert all(record["images_per_second_per_device"] > 0 for record in records if record["kind"] != "validation")
    assert list((trained / "tensorboard").iterdir())
    assert list((trained / "profile").glob("**/*.xplane.pb"))


def test_another_configuration_in_the_same_folder_is_refused(trained):
    with pytest.raises(InputError, match=r"another configuration \(optimizer.learning_rate was 0.002 and is 0.1\)"):
        config = tiny()
        config.optimizer.learning_rate = 0.1
        train(config, trained)


def test_evaluation_writes_scores_masks_and_report(trained, tmp_path):
    results = evaluate(tiny(), tmp_path, str(trained), None)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored == json.loads(json.dumps(results))
    assert stored["dataset"] == "synthetic"
    assert stored["split"] == "val"
    assert stored["sequences"] == 2
    assert set(stored["J"]) == set(stored["F"]) == {"mean", "recall", "decay"}
    assert set(stored["per_sequence"]) == {"val0000", "val0001"}
    assert 0 <= stored["single_frame"]["J"]["mean"] <= 1
    assert stored["config"]["size"] == [32, 32]
    assert len(list((tmp_path / "masks").glob("*/*.png"))) == 8
    assert "<img" in (tmp_path / "report.html").read_text()
    # The masks that were written score the same as predictions.
    again = evaluate(tiny(), tmp_path / "again", None, str(tmp_path / "masks"))
    assert again["J"] == results["J"]
    assert again["F"] == results["F"]


@pytest.mark.slow
def test_evaluation_refines_both_kinds_of_masks_by_the_crf(trained, tmp_path):
    config = tiny()
    config.inference.crf.update({"enabled": True, "bilateral_sxy": 4.0})
    evaluate(config, tmp_path, str(trained), None)
    variables, _ = load_checkpoint(trained)
    params = crf.CRFConfig(bilateral_sxy=4.0)
    for folder, count in (("masks", config.inference.num_references), ("single_frame", 0)):
        segmenter = Segmenter.from_config(config, variables, num_references=count)
        for sequence in open_sequences("synthetic", "val", config.data):
            for name, (_, image, (probability,)) in zip(sequence.frame_names, segmenter.segment(sequence), strict=True):
                mask = cv2.imread(str(tmp_path / folder / sequence.name / f"{name}.png"), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(mask > 0, crf.refine(image, probability, params) > 0.5)
    config.inference.crf.bilateral_sxy = 0.0
    with pytest.raises(InputError, match=r"crf.bilateral_sxy must be above 0"):
        evaluate(config, tmp_path / "again", str(trained), None)


def test_a_checkpoint_of_another_model_is_named(trained, tmp_path):
    config = tiny()
    config.model.channels = 16
    with pytest.raises(InputError, match=r"another model than the configuration's: channels was 8 and is 16"):
        evaluate(config, tmp_path, str(trained), None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("step_pattern", "still,movie", "step_pattern is 'still,movie'; expected still and video"),
        ("batch_size", 6, "batch_size is 6; expected a multiple of the 4 devices"),
        ("size", (473,), "size is .*expected 2 entries"),
        ("total_steps", 0, "total_steps is 0; expected a whole number at least 1"),
        ("init", "nowhere.npz", "nowhere.npz"),
    ],
)
def test_wrong_settings_are_named_before_the_first_step(tmp_path, key, value, message):
    config = tiny()
    with config.ignore_type():
        config[key] = value
    with pytest.raises(InputError, match=message):
        train(config, tmp_path)


def test_wrong_model_is_named_before_the_data_are_touched(tmp_path):
    config = tiny()
    config.model.backbone = "vgg16"
    config.data.train_videos = "davis16"
    with pytest.raises(InputError, match=r"model\.backbone is 'vgg16'; expected resnet101 or resnet50"):
        train(config, tmp_path)


def test_a_missing_dataset_is_named(tmp_path):
    config = tiny()
    config.data.train_videos = "davis16"
    config.data.davis16.source = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere"):
        train(config, tmp_path / "work")


@pytest.mark.parametrize("module", [davis16, davis16_lite, synthetic])
def test_configurations_are_locked_and_have_a_smoke_mode(module):
    config = module.get_config()
    with pytest.raises(AttributeError, match="learning_rat"):
        config.optimizer.learning_rat = 1.0
    build_model(config.model)
    with pytest.raises(KeyError, match="mode is 'smke'; expected"):
        module.get_config("smke")
    assert module.get_config("smoke").total_steps < 10 < config.total_steps
