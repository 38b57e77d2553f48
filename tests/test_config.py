"""Configurations that earlier versions stored: what is renamed, dropped, kept, and refused where it matters."""

from __future__ import annotations

import json

import pytest
from tiny_network import tiny_synthetic

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights
from cosnet_jax.config import ADDED, as_stored, changed_settings, check_config, upgrade_config
from cosnet_jax.errors import InputError
from cosnet_jax.models.build import build_model
from cosnet_jax.training.workdir import CONFIG_FILE, claim_workdir


def earlier(**changes):
    """A configuration as an earlier version stored it; `changes` by dotted key, with __ for the dot."""
    stored = as_stored(tiny_synthetic())
    stored["cycle"] = stored.pop("step_pattern")
    stored["distributed"] = False
    stored["model"]["width"], stored["data"]["max_gap"] = 1.0, 0
    stored["loss"] |= {"orthogonal": 1e-4, "orthogonal_matrix": "P"}
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        stored[section][key] = value
    return stored


def test_an_earlier_configuration_is_todays():
    assert changed_settings(upgrade_config(earlier()), tiny_synthetic()) == {}
    assert upgrade_config(earlier()).step_pattern == tiny_synthetic().step_pattern


def test_a_network_from_before_a_setting_existed_is_not_one_that_has_it():
    stored, today = earlier(), tiny_synthetic()
    for key in ADDED:
        del stored["model"][key]
    assert changed_settings(upgrade_config(stored), today) == {}
    today.model.detail = 4
    assert changed_settings(upgrade_config(stored), today) == {"model.detail": (0, 4)}


def test_a_training_with_a_removed_setting_is_not_continued(tmp_path):
    (tmp_path / CONFIG_FILE).write_text(json.dumps(earlier(data__max_gap=5)))
    with pytest.raises(InputError, match=r"another configuration \(data.max_gap was 5 and is None\)"):
        claim_workdir(tiny_synthetic(), tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(earlier()))
    claim_workdir(tiny_synthetic(), tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["step_pattern"] == tiny_synthetic().step_pattern


def test_how_a_network_was_trained_does_not_keep_it_from_being_loaded(tmp_path):
    export_weights(
        tmp_path / "small.npz", {"params": {}}, upgrade_config(earlier(data__max_gap=5, loss__orthogonal=0.1))
    )
    _, config = load_checkpoint(tmp_path / "small.npz")
    build_model(config.model)


def test_settings_out_of_range_are_named_before_any_work():
    for key, value, message in (
        ("profile_steps", (0, 3), r"profile_steps is \(0, 3\); expected \(first, last\) step"),
        ("profile_steps", (4,), r"profile_steps is \(4,\)"),
        ("stopped_status", 256, "stopped_status is 256; expected an exit status, 0 to 255"),
        ("seed", -1, "seed is -1; expected a whole number from 0 to 4294967295"),
    ):
        config = tiny_synthetic()
        config[key] = value
        with pytest.raises(InputError, match=message):
            check_config(config)
