"""The page that plays a sequence holds its frames, its masks and its scores."""

from __future__ import annotations

import base64
import json
import re

import cv2
import numpy as np
from memory_sequence import MemorySequence, write_masks

from cosnet_jax.report import player
from cosnet_jax.report.player import layer, write_player


def shown_frames(path):
    return json.loads(re.search(r"const frames = (.*);\n", path.read_text(encoding="utf-8"))[1])


def decoded(uri):
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def square(left):
    mask = np.zeros((40, 60), bool)
    mask[10:30, left : left + 20] = True
    return mask


def test_frames_masks_and_scores_of_a_sequence(tmp_path):
    truths = [square(5), None, square(9), square(11), square(13)]
    name = "a</script><b>"
    sequence = MemorySequence(name, truths)
    predictions = {frame: square(7) for frame in sequence.frame_names[:4]}  # the last one has no file
    masks = write_masks(tmp_path / "masks", {name: predictions})
    write_player(tmp_path / "all.html", sequence, masks, {"00002": 0.815}, 9)
    frames = shown_frames(tmp_path / "all.html")
    assert [frame["name"] for frame in frames] == ["00000", "00001", "00002", "00003"]
    assert [frame["score"] for frame in frames] == ["", "", "J 81.5", ""]
    assert [bool(frame["truth"]) for frame in frames] == [True, False, True, True]
    assert (decoded(frames[0]["image"])[0, 0] == 100).all()
    np.testing.assert_array_equal(decoded(frames[2]["truth"])[..., 3] > 0, square(9))
    np.testing.assert_array_equal(decoded(frames[2]["prediction"])[..., 3] > 0, square(7))
    assert "<b>" not in (tmp_path / "all.html").read_text()  # the name is escaped

    write_player(tmp_path / "some.html", sequence, masks, {}, 2)
    assert [frame["name"] for frame in shown_frames(tmp_path / "some.html")] == ["00000", "00003"]


def test_a_layer_is_tinted_inside_opaque_at_the_edge_and_not_too_wide():
    mask = np.zeros((700, 1400), bool)
    mask[200:500, 400:1000] = True
    picture = decoded(layer(mask, (10, 20, 30)))
    assert picture.shape == (320, 640, 4)
    assert picture[160, 320].tolist() == [30, 20, 10, round(255 * player.OPACITY)]
    assert picture[0, 0, 3] == 0 and picture[..., 3].max() == 255
