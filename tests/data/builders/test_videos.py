"""The user's own sets of videos."""

import shutil

import numpy as np
from raw_datasets import draw_image, draw_mask, make_config, make_videos, save

from cosnet_jax.data.builders.videos import Videos
from cosnet_jax.data.sequences import open_sequences


def test_every_video_is_a_sequence_with_frames_in_natural_order(tmp_path):
    make_videos(tmp_path / "raw/pets", {"cat": (12, (0, 2, 11)), "dog": (2, (0, 1))})
    save(tmp_path / "raw/pets/dog/images/2.jpg", draw_image(99, 30, 20), quality=95)  # another size is fine
    config = make_config(tmp_path / "prepared", videos={"source": str(tmp_path / "raw")})
    cat, dog = open_sequences("videos", "train", config)
    assert (cat.name, dog.name) == ("pets_cat", "pets_dog")
    assert cat.frame_names == tuple(map(str, range(12))) and cat.annotated == (0, 2, 11)
    assert cat.mask(1) is None and np.array_equal(cat.mask(11), draw_mask(11))
    assert dog.frame_and_mask(2)[0].shape == (30, 20, 3) and dog.annotated == (0, 1)
    again = make_config(tmp_path / "prepared")  # without a source, what is prepared is used
    assert open_sequences("videos", "train", again) == [cat, dog]


def test_problems_are_named(tmp_path):
    make_videos(tmp_path / "pets", {"cat": (2, (0, 1)), "cow": (1, ()), "dog": (1, (0, 5)), "emu": (1, (0,))})
    (tmp_path / "pets/cow/masks").mkdir()
    shutil.rmtree(tmp_path / "pets/emu/images")
    (tmp_path / "pets/emu/images").mkdir()
    save(tmp_path / "pets/cat/images/1.png", draw_image(1))
    scan = Videos.scan(tmp_path / "pets")
    double, no_mask, no_image = scan.problems
    assert "1.png has the same stem as 1.jpg" in double
    assert "cow/masks holds no mask of an image" in no_mask
    assert "emu/images holds no images" in no_image
    assert any("dog/masks has 1 masks without an image" in note for note in scan.notes)
    assert Videos.scan(tmp_path / "pets/cat").frames() == []
