"""Configurations: by name or file, overridden, checked, compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_network import tiny_synthetic

from cosnet_jax.config import as_stored, changed_settings, parse_config, read_config
from cosnet_jax.errors import InputError
from cosnet_jax.section import Section, setting
from cosnet_jax.training.config import Config, check_config
from cosnet_jax.training.workdir import CONFIG_FILE, claim_workdir

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
ROOT = Path(__file__).parents[1]


def test_a_name_and_a_file_are_the_same_configuration(tmp_path):
    by_name = read_config("davis16_lite:smoke", ["--config.seed=3"])
    by_file = read_config(f"{ROOT}/configs/davis16_lite.py:smoke", ["--config.seed=3"])
    assert by_name.to_dict() == by_file.to_dict()
    assert (by_name.seed, by_name.total_steps) == (3, 4)
    own = tmp_path / "own.py"
    own.write_text("from configs import base\n\n\ndef get_config():\n    return base.get_config()\n")
    assert read_config(str(own)).to_dict() == Config.defaults().to_dict()


@pytest.mark.parametrize(
    ("path", "override", "message"),
    [
        ("nothing", "", "nothing"),
        ("synthetic:smke", "", "smke"),
        ("synthetic", "--config.batch_siz=2", "batch_siz"),
        ("synthetic", "--config.batch_size=many", "many"),
        ("synthetic", "stray", "stray"),
    ],
)
def test_what_does_not_exist_is_named(path, override, message):
    with pytest.raises(InputError, match=message):
        read_config(path, [override] if override else [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile_steps", (4, 3)), ("step_pattern", "still,film"), ("model.aspp_rates", (0,)),
        ("inference.crf.iterations", -1), ("data.augment.scale", (2.0, 1.0)), ("optimizer.name", "lion"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(key, value):
    config = tiny_synthetic()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=rf"^{key} is .*expected"):
        check_config(config)


@dataclass(frozen=True)
class Drawn(Section, name="drawn"):
    number: int = setting(1, low=0, high=9)
    share: float = 0.5
    flag: bool = False
    names: tuple[str, ...] = setting(())
    size: tuple[int, int] | None = setting(None)


@pytest.mark.parametrize(
    "values",
    [{"number": 1.5}, {"number": True}, {"number": 10}, {"share": "a"}, {"flag": 1}, {"names": (1,)}, {"names": "ab"},
     {"size": (1,)}, {"size": 3}, {"other": 1}],
)  # fmt: skip
def test_a_section_refuses_other_types_ranges_and_names(values):
    with pytest.raises(InputError, match=rf"drawn.{next(iter(values))}"):
        Drawn.read(values)


def test_a_section_takes_what_json_gives_back():
    given = Drawn(number=3, share=1, names=("a",), size=(4, 5))
    assert Drawn.read(json.loads(json.dumps(vars(given)))) == given
    assert Drawn.read(Drawn.defaults()) == Drawn()


def test_a_stored_configuration_comes_back():
    config = tiny_synthetic()
    stored = parse_config(json.dumps(as_stored(config)))
    assert changed_settings(stored, config) == {}
    config.model.channels = 9
    assert changed_settings(stored, config) == {"model.channels": (8, 9)}
    for text in ("[", "[]", "{}", '{"model": 1, "inference": {}}', "[" * 20_000):
        with pytest.raises(InputError):
            parse_config(text)


def test_a_training_with_other_settings_is_not_continued(tmp_path):
    claim_workdir(tiny_synthetic(), tmp_path)
    claim_workdir(tiny_synthetic(), tmp_path)
    other = tiny_synthetic()
    other.batch_size = 6
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="batch_size was"):
        claim_workdir(other, tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["batch_size"] == tiny_synthetic().batch_size
