"""The picture of an explanation: its rows and columns show what they are given."""

import cv2
import numpy as np

from cosnet_jax.visualization.explanation import draw_explanation


def draw(attention_at=(1, 2), gate=0.5, pixel=(10, 50)):
    """A black frame and two black references, an empty and a full mask, and one bright cell of attention."""
    attention = np.zeros((2, 4, 8))
    attention[:, attention_at[0], attention_at[1]] = 1
    masks = {"N = 0": np.zeros((40, 80), bool), "N = 1": np.ones((40, 80), bool)}
    frames = np.zeros((3, 40, 80, 3), np.uint8)
    png = draw_explanation(frames, ["7", "1", "9"], masks, pixel, attention, np.full((2, 4, 8), gate))
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def changed(before, after):
    """The rows and columns of three by three where two pictures differ."""
    height, width = before.shape[:2]
    where = np.argwhere((before != after).any(axis=-1))
    return {(int(3 * y / height), int(3 * x / width)) for y, x in where}


def test_every_argument_changes_its_own_part():
    picture = draw()
    assert changed(picture, draw()) == set()
    assert changed(picture, draw(attention_at=(3, 6))) == {(1, 1), (1, 2)}
    assert changed(picture, draw(gate=0.9)) == {(2, 1), (2, 2)}
    assert changed(picture, draw(pixel=(30, 20))) == {(1, 0)}
