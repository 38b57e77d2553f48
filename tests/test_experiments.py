"""The script that labels frames: what the teacher is given, and which of its maps become masks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cosnet_jax.errors import InputError
from experiments import label


@pytest.fixture
def frames(tmp_path):
    """A video of three frames: a bright square, a grey one, and one that has a mask already."""
    folder = tmp_path / "set" / "video"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for name, grey in (("bright", 250), ("grey", 140), ("known", 250)):
        image = np.zeros((40, 60, 3), np.uint8)
        image[10:30, 15:45] = grey
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image)
    (folder / "masks" / "known.png").write_bytes(b"drawn by hand")
    return folder


def brightness(image: np.ndarray) -> np.ndarray:
    """A teacher that finds what is bright; it undoes the scaling of (x - 128) / 256."""
    return (image[:, :1] * 256 + 128) / 255


def test_sure_maps_become_masks_of_the_frames_size(frames):
    assert label.label(brightness, frames.parent, 80) == (1, 1)
    mask = cv2.imread(str(frames / "masks" / "bright.png"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((40, 60), np.uint8)
    expected[10:30, 15:45] = 255
    inside, outside = cv2.erode(expected, np.ones((3, 3))), cv2.dilate(expected, np.ones((3, 3)))
    assert mask.shape == (40, 60)
    assert (mask[inside > 0] == 255).all() and (mask[outside == 0] == 0).all()
    assert not (frames / "masks" / "grey.png").exists()  # 140 / 255 lies between 0.3 and 0.7: the teacher is not sure
    assert (frames / "masks" / "known.png").read_bytes() == b"drawn by hand"
    assert label.label(brightness, frames.parent, 80) == (0, 1)


def test_the_teacher_sees_channels_first_in_rgb():
    seen = []
    image = np.full((4, 6, 3), (255, 128, 0), np.uint8)
    label.saliency(lambda x: seen.append(x) or x[:, :1], image, 8)
    assert seen[0].shape == (1, 3, 8, 8) and seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0][0, :, 3, 3], [127 / 256, 0, -0.5])


def test_the_model_is_joined_from_its_pieces(tmp_path):
    pieces = {"chunks": [{"hash": "b"}, {"hash": "a"}], "size": 5}
    (tmp_path / "resources.json").write_text(json.dumps({label.MODEL: pieces}))
    (tmp_path / "a").write_bytes(b"xyz")
    (tmp_path / "b").write_bytes(b"uv")
    assert label.read_model(tmp_path) == b"uvxyz"
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InputError, match="has 3 bytes; expected 5"):
        label.read_model(tmp_path)
    with pytest.raises(InputError, match="is not the folder dist"):
        label.read_model(tmp_path / "a")


def test_a_folder_without_frames_and_a_damaged_frame_are_named(frames, tmp_path):
    with pytest.raises(InputError, match="expected VIDEO/images"):
        label.label(brightness, frames, 80)
    (frames / "images" / "bright.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"bright\.png is not a readable image"):
        label.label(brightness, frames.parent, 80)
