"""Properties that hold for every input: damaged files are read or refused in one line, names lead nowhere else."""

from __future__ import annotations

import contextlib
import io
import os
import random
import string
from pathlib import Path

import pytest
from damaged import INPUTS, damage, read_or_refuse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_datasets import make_davis, make_definition, make_grey_sequence

from configs import synthetic
from cosnet_jax.config import flatten, read_config
from cosnet_jax.data.builders.base import Scan
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.errors import InputError, printable, report_input_errors
from cosnet_jax.files import natural_key
from cosnet_jax.training.config import check_config

# The same examples in every run. A machine under load may take any time for one.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("same")


@pytest.fixture(scope="module")
def sound_inputs(tmp_path_factory) -> dict[str, Path]:
    """A sound file of every kind of input."""
    return {name: make(tmp_path_factory.mktemp("sound")) for name, (make, _) in INPUTS.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", INPUTS)
def test_a_damaged_file_is_read_or_refused(kind, sound_inputs, tmp_path):
    sound, (_, read) = sound_inputs[kind], INPUTS[kind]
    read(sound)
    for seed in range(40):
        read_or_refuse(read, tmp_path / sound.name, damage(sound.read_bytes(), random.Random(seed)))


PATH_PARTS = st.sampled_from(["..", ".", "", "a", "bear", "480p", "JPEGImages", "Annotations", "é😀", "etc", "passwd"])
PATHS = st.builds(lambda parts, start: start + "/".join(parts), st.lists(PATH_PARTS, max_size=5), st.sampled_from("/ "))


def inside(scan: Scan, folder: Path) -> bool:
    """Whether all files that a scan would read lie in a folder."""
    files = [path for frame in scan.frames() for path in (frame.image, frame.mask) if path]
    return all(Path(os.path.normpath(path)).is_relative_to(folder) for path in files)


@pytest.fixture(scope="module")
def davis_listing(tmp_path_factory) -> Path:
    source = make_davis(tmp_path_factory.mktemp("listing") / "davis", {"bear": 1}, {"camel": 1})
    for name in ("0.jpg", "0.png"):  # what a listing must not reach
        (source.parent / name).write_bytes(next(source.glob("**/*.jpg")).read_bytes())
    return source


@given(st.lists(st.tuples(PATHS, PATHS), max_size=3))
@example([("/../0.jpg", "/../0.png")])
def test_no_listing_of_davis_leads_out_of_the_dataset(davis_listing, pairs):
    (davis_listing / "ImageSets" / "480p" / "val.txt").write_text("\n".join(" ".join(pair) for pair in pairs))
    assert inside(Davis16.scan(davis_listing), davis_listing)


@pytest.fixture(scope="module")
def fbms(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("definition") / "fbms"
    make_grey_sequence(source / "Testset" / "bear01", with_definition=True)
    (source.parent / "mask.pgm").write_bytes(next(source.glob("**/*.pgm")).read_bytes())
    return source


TRUTHS = st.sampled_from(["bear01_01.pgm", "../../../../mask.pgm", "/etc/passwd", "..", "x/../bear01_01.pgm"])


@given(st.lists(st.tuples(st.integers(), TRUTHS | PATHS, st.just("bear01_01.ppm") | PATHS), max_size=3))
@example([(0, "../../../../mask.pgm", "bear01_01.ppm")])
def test_no_definition_of_fbms_leads_out_of_the_dataset(fbms, annotated):
    (fbms / "Testset" / "bear01" / "GroundTruth" / "bear01Def.dat").write_text(make_definition([0, 85], annotated))
    assert inside(Fbms.scan(fbms), fbms)


KEYS = sorted(flatten(synthetic.get_config()))
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@given(st.sampled_from(KEYS), st.text(string.printable, max_size=20) | VALUES.map(repr))
@example("size", "os.system")
@example("optimizer.learning_rate", "[" * 20_000)
def test_an_override_with_any_value_is_taken_or_refused(key, value):
    with contextlib.suppress(InputError):
        check_config(read_config(synthetic.__file__, [f"--config.{key}={value}"]))


@given(st.text() | st.binary().map(os.fsdecode))
@example(os.fsdecode(b"a\n\x1b[2J\xff\xe2\x80\xae.mp4"))
def test_an_error_is_one_line_that_prints(text):
    printable(text).encode()  # no half of a surrogate is left
    with contextlib.redirect_stderr(io.StringIO()) as printed, pytest.raises(SystemExit), report_input_errors():
        raise InputError(text)
    line = printed.getvalue()
    assert line[:-1].isprintable()
    assert line.endswith("\n")


@given(st.lists(st.text("ab019.", max_size=8), max_size=8, unique=True))
def test_the_natural_order_is_one_order(names):
    ordered = sorted(names, key=natural_key)
    assert sorted(reversed(names), key=natural_key) == ordered
    numbers = [int(name) for name in ordered if name.isdigit()]
    assert numbers == sorted(numbers)
