"""Properties that hold for every input, with inputs that Hypothesis looks for: texts, names, tables, images.

`test_inputs.py` damages the bytes of sound files; here inputs are well formed and their contents are anything.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ml_collections import ConfigDict
from PIL import Image
from raw_datasets import make_davis

from configs import synthetic
from cosnet_jax.config import as_stored, check_config, flatten, parse_config, read_config
from cosnet_jax.data.builders.base import Scan
from cosnet_jax.data.builders.davis16 import Davis16
from cosnet_jax.data.builders.fbms import Fbms
from cosnet_jax.errors import InputError, printable
from cosnet_jax.files import LONGEST_NAME, bounded_name, is_plain_name, natural_key
from cosnet_jax.inference import crf
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.video.images import decode_image, decode_mask
from tests.data.builders.test_fbms import definition, make_grey_sequence

# The same examples in every run. A machine under load may take any time for one.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=200)
settings.load_profile("same")

PATH_PARTS = st.sampled_from(["..", ".", "", "a", "bear", "480p", "JPEGImages", "Annotations", "é😀", "etc", "passwd"])
PATHS = st.builds(lambda parts, start: start + "/".join(parts), st.lists(PATH_PARTS, max_size=5), st.sampled_from("/ "))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


def inside(scan: Scan, folder: Path) -> bool:
    """Whether all files that a scan would read lie in a folder."""
    files = [path for frame in scan.frames() for path in (frame.image, frame.mask) if path]
    return all(Path(os.path.normpath(path)).is_relative_to(folder) for path in files)


@pytest.fixture(scope="module")
def davis(tmp_path_factory) -> Path:
    source = make_davis(tmp_path_factory.mktemp("listing") / "davis", {"bear": 1}, {"camel": 1})
    for name in ("0.jpg", "0.png"):  # what a listing must not reach
        (source.parent / name).write_bytes(next(source.glob("**/*.jpg")).read_bytes())
    return source


@given(st.lists(st.tuples(PATHS, PATHS), max_size=3))
@example([("/../0.jpg", "/../0.png")])
def test_no_listing_of_davis_leads_out_of_the_dataset(davis, pairs):
    (davis / "ImageSets" / "480p" / "val.txt").write_text("\n".join(" ".join(pair) for pair in pairs))
    assert inside(Davis16.scan(davis), davis)


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
    (fbms / "Testset" / "bear01" / "GroundTruth" / "bear01Def.dat").write_text(definition([0, 85], annotated))
    assert inside(Fbms.scan(fbms), fbms)


STORED = as_stored(synthetic.get_config())
KEYS = sorted(flatten(ConfigDict(STORED)))


@settings(max_examples=100)
@given(st.sampled_from(KEYS), JSON)
@example("inference.num_references", 2.5)
@example("inference.num_references", math.nan)
@example("inference.num_references", True)
@example("inference.size", [33.5, 33])
@example("seed", "abc")
@example("seed", -1)
def test_a_stored_configuration_with_any_value_is_taken_or_refused(key, value):
    stored = json.loads(json.dumps(STORED))
    *sections, last = key.split(".")
    section = stored
    for name in sections:
        section = section[name]
    section[last] = value
    with contextlib.suppress(InputError):
        config = parse_config(json.dumps(stored))
        segmenter = Segmenter.from_config(config, {}, sampling="random" if key == "seed" else None)
        assert len(segmenter.references(10)) == 10
        assert all(isinstance(side, int) for side in segmenter.size)
        crf.params_from_config(config.inference.get("crf"))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model.blocks", 16.0, "a whole number from 1 to 100"),
        ("model.channels", 2.5, "a whole number from 1 to 4096"),
        ("model.channels", 10**9, "a whole number from 1 to 4096"),
        ("model.aspp_rates", ["a", 6, 9], "at most 8 entries, each a whole number from 1 to 512"),
        ("model.aspp_rates", [10**9], "at most 8 entries, each a whole number from 1 to 512"),
        ("model.reference_pooling", 1.5, "a whole number from 1 to 64"),
        ("model.reference_pooling", 10**6, "a whole number from 1 to 64"),
        ("model.affinity_budget", 1e12, "a number from 0 to 131072"),
        ("model.prelu", 1, "a truth value"),
        ("inference.crf.iterations", 10**12, "a whole number from 0 to 1000"),
        ("inference.size", [33.5, 33], "at most 2 entries, each a whole number from 17 to 4096"),
    ],
)
def test_a_setting_of_another_type_or_out_of_range_is_named(key, value, expected):
    """Some of them gave a traceback at the first frame, others were computed without end."""
    stored = json.loads(json.dumps(STORED))
    *sections, last = key.split(".")
    functools.reduce(dict.__getitem__, sections, stored)[last] = value
    with pytest.raises(InputError, match=re.escape(f"{key} is {value!r}; expected {expected}")):
        parse_config(json.dumps(stored))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@settings(max_examples=100)
@given(st.sampled_from(KEYS), st.text(string.printable, max_size=20) | LEAVES.map(repr))
def test_an_override_with_any_value_is_taken_or_refused(key, value):
    try:
        check_config(read_config(synthetic.__file__, [f"--config.{key}={value}"]))
    except InputError as error:
        assert "\n" not in str(error)


NAMES = st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=300)


@given(NAMES)
def test_a_bounded_name_fits_a_file_system_and_keeps_a_short_name(name):
    name = os.fsdecode(name.encode(errors="replace"))
    bounded = bounded_name(name)
    assert len(os.fsencode(bounded)) <= LONGEST_NAME
    assert bounded == name or len(os.fsencode(name)) > LONGEST_NAME
    assert is_plain_name(bounded) == is_plain_name(name)


@given(st.text() | st.binary().map(os.fsdecode))
def test_a_message_is_one_line_that_prints(text):
    assert printable(text).isprintable()
    printable(text).encode()  # no half of a surrogate is left


@given(st.lists(st.text("ab019.", max_size=8), max_size=8, unique=True))
def test_the_natural_order_is_one_order(names):
    ordered = sorted(names, key=natural_key)
    assert sorted(reversed(names), key=natural_key) == ordered
    numbers = [int(name) for name in ordered if name.isdigit()]
    assert numbers == sorted(numbers)


SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
COLOURS = SIZES.flatmap(lambda size: arrays(np.uint8, (*size, 3)))
GREYS = SIZES.flatmap(lambda size: arrays(np.uint8, size))


@given(COLOURS, st.sampled_from(["PNG", "BMP", "PPM", "WebP"]), st.sampled_from(["RGB", "L", "1", "P"]))
def test_an_image_is_what_pillow_reads(array, form, mode):
    image, encoded = Image.fromarray(array).convert(mode), io.BytesIO()
    if form == "WebP" or (form == "PPM" and mode == "P"):
        image = image.convert("RGB")
    image.save(encoded, form, **({"lossless": True} if form == "WebP" else {}))
    expected = np.asarray(Image.open(io.BytesIO(encoded.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(decode_image(encoded.getvalue()), expected)


@given(GREYS, st.sampled_from(["L", "RGB", "RGBA"]), st.integers(0, 254))
def test_a_mask_is_what_exceeds_the_threshold(array, mode, threshold):
    encoded = io.BytesIO()
    Image.fromarray(array).convert(mode).save(encoded, "PNG")
    np.testing.assert_array_equal(decode_mask(encoded.getvalue(), threshold), array > threshold)
