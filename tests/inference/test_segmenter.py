"""The engine against the network applied to each frame and its references, one by one."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilation import compilations
from tiny_network import random_variables, tiny_network

from cosnet_jax.errors import InputError
from cosnet_jax.inference.network import get_network
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import resize_frame
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.layers import resize_bilinear

SIZE = (32, 40)


def maps(segmenter, video, options_list, **others):
    """The probabilities of each frame with each of the options."""
    return (prediction.probabilities for prediction in segmenter.predict(video, options_list, **others))


@pytest.fixture(scope="module")
def network():
    model = tiny_network()
    variables = random_variables(model)
    weight = 3 * jax.random.normal(jax.random.key(1), (8, 8))
    return model, {**variables, "params": {**variables["params"], "affinity": {"weight": weight}}}


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(0).integers(0, 256, (7, 50, 61, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def pair_probability(network):
    """Probability (50, 61) of frame a with frame b as its only reference, by the network's training path."""
    model, variables = network
    apply = jax.jit(model.apply)

    def probability(a, b):
        pair = jnp.stack([resize_frame(frame, SIZE) for frame in (a, b)])[None]
        logits, _ = apply(variables, pair)
        return resize_bilinear(jax.nn.sigmoid(logits[:, 0]), (50, 61))[0]

    return probability


def test_prediction_fusion_is_the_mean_over_pairs(network, video, pair_probability):
    segmenter = Segmenter(*network, InferenceConfig(3, "uniform", "prediction"), size=SIZE, edge_radius=0)
    given = segmenter(video)
    assert given.shape == (7, 50, 61)
    assert given.dtype == np.float32
    for query, row in enumerate(choose_references(7, 3, "uniform")):
        expected = np.mean([pair_probability(video[query], video[index]) for index in row], axis=0)
        np.testing.assert_allclose(given[query], expected, atol=2e-6)  # float32 rounding


@pytest.mark.parametrize("sampling", ["uniform", "random", "consecutive"])
def test_with_one_reference_summary_fusion_is_the_pair(network, video, pair_probability, sampling):
    given = Segmenter(*network, InferenceConfig(1, sampling), size=SIZE, edge_radius=0)(video)
    for query, (reference,) in enumerate(choose_references(7, 1, sampling)):
        np.testing.assert_allclose(given[query], pair_probability(video[query], video[reference]), atol=2e-6)


def test_without_references_the_encoder_predicts_alone(network, video):
    model, variables = network
    given = Segmenter(model, variables, InferenceConfig(0), size=SIZE, edge_radius=0)(video[:2])
    frames = jnp.stack([resize_frame(frame, SIZE) for frame in video[:2]])
    _, aux = jax.jit(model.apply)(variables, frames[None])
    np.testing.assert_allclose(given, resize_bilinear(jax.nn.sigmoid(aux["side_logits"][0]), (50, 61)), atol=2e-6)


def test_the_input_is_turned_for_a_tall_video(network, video):
    model, variables = network
    tall = np.ascontiguousarray(video[:2].swapaxes(1, 2))
    options_list = [InferenceConfig(1, edge_radius=0), InferenceConfig(0, edge_radius=0)]
    given = next(maps(Segmenter(model, variables, size=SIZE), tall, options_list))
    logits, aux = jax.jit(model.apply)(variables, jnp.stack([resize_frame(frame, SIZE[::-1]) for frame in tall])[None])
    for probability, (pair,) in zip(given, (logits, aux["side_logits"]), strict=True):
        expected = resize_bilinear(jax.nn.sigmoid(pair[:1]), (61, 50))[0]
        np.testing.assert_allclose(probability, expected, atol=2e-6)


class Counted:
    """A video that notes what is read of it."""

    size = (50, 61)

    def __init__(self, frames):
        self.frames, self.passes, self.picked = frames, 0, []

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        self.passes += 1
        return iter(self.frames)

    def read(self, indices):
        self.picked.append(list(indices))
        return self.frames[indices]


@pytest.mark.parametrize(("sampling", "picked"), [("uniform", [[5]]), ("consecutive", [])])
def test_each_frame_is_encoded_once_and_only_far_references_are_read_apart(
    network, video, sampling, picked, monkeypatch
):
    settings = [InferenceConfig(3, sampling), InferenceConfig(0), InferenceConfig(2, sampling, "prediction")]
    segmenter, encoded = Segmenter(*network, size=SIZE, batch_size=3), []
    expected = list(maps(segmenter, video, settings))
    used = get_network(network[0], SIZE, 3, "default")
    encode = used.encode
    monkeypatch.setattr(used, "encode", lambda *given: encoded.extend(given[1]) or encode(*given))
    frames = Counted(video)
    np.testing.assert_array_equal(list(maps(segmenter, frames, settings)), expected)
    assert len(encoded) == 7
    assert frames.passes == 1
    assert frames.picked == picked


@pytest.mark.parametrize(("batch_size", "held"), [(1, 8), (4, 20)])
def test_few_frames_are_held_at_a_time(network, video, batch_size, held):
    alive, most = set(), 0

    class Watched:
        """Frames that note how many of them exist."""

        size = (50, 61)

        def __len__(self):
            return 40

        def __iter__(self):
            for index in range(40):
                frame = video[index % 7].copy()
                alive.add(index)
                weakref.finalize(frame, alive.remove, index)
                yield frame

        def read(self, indices):
            return [video[index % 7] for index in indices]

    for number, _ in enumerate(
        Segmenter(*network, InferenceConfig(2), size=SIZE, batch_size=batch_size).predict(Watched())
    ):
        most = max(most, len(alive))
        assert number < 40
    assert most <= held  # those read ahead, in two batches on the device, and with the caller


def test_several_settings_at_once_are_each_alone(network, video):
    settings = [InferenceConfig(3), InferenceConfig(0), InferenceConfig(2, "consecutive", "prediction")]
    together = list(maps(Segmenter(*network, size=SIZE), video, settings))
    for number, setting in enumerate(settings):
        alone = Segmenter(*network, setting, size=SIZE)(video)
        np.testing.assert_array_equal(np.stack([probabilities[number] for probabilities in together]), alone)


OPTIONS = [
    InferenceConfig(3),
    InferenceConfig(0),
    InferenceConfig(2, "consecutive", "prediction"),
    InferenceConfig(3, "random", "group"),
]


# On 1, 2 and 4 of the 4 devices; the last batch is filled up.
@pytest.mark.parametrize("batch_size", [3, pytest.param(6, marks=pytest.mark.slow), None])
def test_batches_and_devices_change_no_map(network, video, batch_size):
    expected = np.array(list(maps(Segmenter(*network, size=SIZE, batch_size=1), video, OPTIONS)))
    given = np.array(list(maps(Segmenter(*network, size=SIZE, batch_size=batch_size), video, OPTIONS)))
    assert given.shape == (7, 4, 50, 61)
    np.testing.assert_allclose(given, expected, atol=2e-6)  # float32 rounding


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_nothing_is_compiled_after_the_first_batches(network, batch_size):
    """Frames with the same references as others, with other ones, and a last batch that is not full."""
    video = np.random.default_rng(0).integers(0, 256, (23, 50, 61, 3)).astype(np.uint8)
    settings = [InferenceConfig(5), InferenceConfig(3, "consecutive", "prediction"), InferenceConfig(0)]
    stream = maps(Segmenter(*network, size=(33, 40), batch_size=batch_size), video, settings)
    with compilations() as compiled:
        next(stream)
        assert compiled
        compiled.clear()
        assert len(list(stream)) == 22
        assert not compiled


@pytest.mark.parametrize("batch_size", [1, 3])
def test_chosen_frames_are_segmented_as_among_all_and_others_are_not_encoded(network, video, batch_size, monkeypatch):
    queries, settings = [1, 2, 6], [InferenceConfig(2), InferenceConfig(2, "random", seed=3)]
    expected = np.array(list(maps(Segmenter(*network, size=SIZE, batch_size=batch_size), video, settings)))[queries]
    segmenter, encoded = Segmenter(*network, size=SIZE, batch_size=batch_size), []
    used = get_network(network[0], SIZE, batch_size, "default")
    encode = used.encode
    monkeypatch.setattr(used, "encode", lambda *given: encoded.extend(given[1]) or encode(*given))
    np.testing.assert_allclose(list(maps(segmenter, video, settings, queries=queries)), expected, atol=2e-6)
    tables = [choose_references(7, 2, sampling, 3)[queries] for sampling in ("uniform", "random")]
    assert len(encoded) == len(np.union1d(queries, tables)) < 7


def test_wrong_inputs_are_named(network, video):
    segmenter = Segmenter(*network, size=SIZE)
    with pytest.raises(InputError, match="the video has no frames"):
        segmenter(video[:0])
    with pytest.raises(InputError, match=r"references are \[7\]; expected frame numbers from 0 to 6"):
        segmenter(video, references=[7])
    with pytest.raises(InputError, match=r"frame \d is \(50, 61\) uint8; expected \(H, W, 3\) uint8"):
        segmenter(video[..., 0])
    with pytest.raises(InputError, match=r"expected \(50, 61\) as the frames before it"):
        segmenter([video[0], video[1][:40]])
    with pytest.raises(InputError, match=r"size is None; expected \(height, width\)"):
        Segmenter(*network)
