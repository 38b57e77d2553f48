"""The scripts of experiments/: a teacher's masks, the mean of weights, what bounds the references, and the pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import cv2
import jax
import numpy as np
import pytest
from PIL import Image
from raw_datasets import make_davis, save
from tiny_network import random_variables, tiny_synthetic

from cosnet_jax.checkpoints.store import load_checkpoint
from cosnet_jax.checkpoints.weights_file import export_weights
from cosnet_jax.commands.ablate import score_ways
from cosnet_jax.config import as_stored
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.inference.options import InferenceOptions
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model
from experiments import average, label, moving_strip, pictures, reference_bounds, sample_cutouts

ROOT = Path(__file__).parents[1]


def run(script: ModuleType, *arguments: str) -> None:
    """Runs a script as its command line does."""
    with mock.patch.object(sys, "argv", [script.__name__, *arguments]):
        script.main()


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
    assert label.label(brightness, frames.parent) == (1, 1)
    mask = cv2.imread(str(frames / "masks" / "bright.png"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((40, 60), np.uint8)
    expected[10:30, 15:45] = 255
    inside, outside = cv2.erode(expected, np.ones((3, 3))), cv2.dilate(expected, np.ones((3, 3)))
    assert mask.shape == (40, 60)
    assert (mask[inside > 0] == 255).all() and (mask[outside == 0] == 0).all()
    assert not (frames / "masks" / "grey.png").exists()  # 140 / 255 lies between 0.3 and 0.7: the teacher is not sure
    assert (frames / "masks" / "known.png").read_bytes() == b"drawn by hand"
    assert label.label(brightness, frames.parent) == (0, 1)


def test_a_mask_of_any_format_counts_and_frames_of_one_stem_are_refused(frames):
    (frames / "masks" / "known.png").rename(frames / "masks" / "known.BMP")
    assert label.label(brightness, frames.parent) == (1, 1)
    assert {path.name for path in (frames / "masks").iterdir()} == {"known.BMP", "bright.png"}
    (frames / "images" / "grey.bmp").hardlink_to(frames / "images" / "grey.png")
    with pytest.raises(InputError, match=r"grey\.png has the same stem as grey\.bmp"):
        label.label(brightness, frames.parent)


def test_the_command_says_how_many_masks_it_wrote(frames, monkeypatch, capsys):
    monkeypatch.setattr(label, "load_teacher", lambda package: {"dist": brightness}[str(package)])
    run(label, "dist", str(frames.parent))
    assert capsys.readouterr().out == "1 masks written; 1 frames left without, as the network was not sure\n"


def test_the_teacher_sees_channels_first_in_rgb():
    seen = []
    image = np.full((4, 6, 3), (255, 128, 0), np.uint8)
    label.saliency(lambda x: seen.append(x) or x[:, :1], image)
    assert seen[0].shape == (1, 3, 1024, 1024) and seen[0].dtype == np.float32
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
        label.label(brightness, frames)
    (frames / "images" / "bright.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"bright\.png is not a readable image"):
        label.label(brightness, frames.parent)
    image = cv2.imencode(".jpg", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    (frames / "images" / "bright.png").unlink()
    (frames / "images" / "torn.jpg").write_bytes(image[:-40])
    with pytest.raises(InputError, match=r"torn\.jpg is truncated"):
        label.label(lambda _: pytest.fail("asked before all frames were checked"), frames.parent)


class SparselyAnnotated:
    """A sequence that has a mask for its second frame alone."""

    annotated = (1,)

    def __init__(self, sequence):
        self.name, self.frame_names, self.mask = sequence.name, sequence.frame_names, sequence.mask

    def __len__(self):
        return len(self.frame_names)


@pytest.mark.slow
def test_bounds_of_the_references_begin_with_what_evaluations_say(tmp_path):
    config = tiny_synthetic(data_dir=str(tmp_path))
    config.model.reference_pooling = 2
    model, protocol = build_model(config.model), get_protocol("davis16")
    variables, sequences = random_variables(model), open_sequences("synthetic", "val", config.data)
    ways = [InferenceOptions(0), InferenceOptions(5)]
    expected = score_ways(Segmenter(model, variables, config.size), sequences, ways, protocol)
    comparison = reference_bounds.Comparison(model, variables, config.size)
    scores = {sequence.name: comparison.score(sequence, protocol) for sequence in sequences}
    means = reference_bounds.mean_scores(scores)
    for row, way in zip(("alone", "five"), ways, strict=True):
        # A pixel whose probability is one half to the last bits may fall either way.
        given = np.mean(list(means[row].values()))
        assert given == pytest.approx(expected[way]["J"]["mean"], abs=2e-3)
    for name, by_row in scores.items():
        assert len({len(values) for values in by_row.values()}) == 1
        larger = max(means["alone"][name], means["five"][name])
        assert means["frame"][name] >= means["sequence"][name] == larger
        assert means["grid"][name] > 0.5
    misfit = {**variables, "params": {name: tree for name, tree in variables["params"].items() if name != "gate"}}
    with pytest.raises(InputError, match="the weights do not fit the network"):
        reference_bounds.Comparison(model, misfit, config.size).score(sequences[0], protocol)
    sparse = SparselyAnnotated(sequences[0])
    with pytest.raises(InputError, match=r"'val0000': 1 of 9 frames have a mask; expected all"):
        comparison.score(sparse, get_protocol("fbms"))
    lines = list(reference_bounds.table(means))
    assert lines[0] == "| | J | val0000 | val0001 |" and len(lines) == 2 + len(reference_bounds.ROWS)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_bounds_are_written_as_a_table_and_ask_for_coattention(checkpoint, tmp_path, monkeypatch, capsys):
    rows = {row: [0.25, 0.75] for row in reference_bounds.ROWS if row not in ("sequence", "frame")}
    monkeypatch.setattr(reference_bounds.Comparison, "score", lambda self, sequence, protocol: rows)
    stored = load_checkpoint(checkpoint)[1]
    given = [
        f"--config={ROOT / 'configs' / 'synthetic.py'}:smoke", f"--checkpoint={checkpoint}",
        f"--workdir={tmp_path}", f"--config.data.data_dir={tmp_path}",
        *(f"--config.model.{key}={value}" for key, value in stored.model.items()),
    ]  # fmt: skip
    run(reference_bounds, *given)
    text = (tmp_path / "bounds.md").read_text()
    assert text in capsys.readouterr().out and "| N = 5, uniform | 50.0 |" in text
    with pytest.raises(SystemExit):
        run(reference_bounds, *given, "--config.model.coattention=none")
    assert "coattention is 'none'; expected one of the co-attentions" in capsys.readouterr().err


def test_positions_are_of_the_object_where_their_surroundings_are():
    config = tiny_synthetic()
    config.model.reference_pooling = 2
    model = build_model(config.model)
    comparison = reference_bounds.Comparison(model, random_variables(model), (65, 65))
    truth = np.zeros((130, 130), np.uint8)
    # Pixels 12 to 35 and 28 to 64 of the input: positions 2 to 4 (16 to 32) and 4 to 8 (32 to 64).
    truth[24:72, 56:] = 1
    query, reference = (labels.astype(int) for labels in comparison.grids(truth, (9, 9)))
    expected = np.zeros((9, 9), int)
    expected[2:5, 4:] = 1
    np.testing.assert_array_equal(query.reshape(9, 9), expected)
    pooled = np.zeros((5, 5), int)
    pooled[1, 2:] = 1  # rows 2 and 3 are of it; of rows 4 and 5 only one is, which is no majority
    np.testing.assert_array_equal(reference.reshape(5, 5), pooled)


def test_the_average_of_weights_is_their_mean_and_other_networks_are_refused(tmp_path):
    config = tiny_synthetic()
    paths, every = [str(tmp_path / f"{seed}.npz") for seed in range(3)], []
    for seed, path in enumerate(paths):
        variables = random_variables(build_model(config.model), seed)
        noise = np.random.default_rng(seed).normal(0, 0.05, (8, 8))
        # Near each other and the identity, as those of trainings of one start.
        variables["params"]["affinity"]["projection"] = np.float32(np.eye(8) + noise)
        export_weights(path, variables, config)
        every.append(load_checkpoint(path)[0])
    run(average, *paths, "--output", str(tmp_path / "mean.npz"))
    mean, stored = average.average(paths)
    written = load_checkpoint(tmp_path / "mean.npz")[0]
    jax.tree.map(lambda half, given: np.testing.assert_allclose(half, given, rtol=1e-3, atol=1e-6), written, mean)
    projection = mean["params"]["affinity"]["projection"]
    np.testing.assert_allclose(projection @ projection.T, np.eye(8), atol=1e-5)
    leaves = zip(jax.tree.leaves(mean), *map(jax.tree.leaves, every), strict=True)
    others = [(given, each) for given, *each in leaves if given is not projection]
    assert len(others) > 20
    for given, each in others:
        np.testing.assert_allclose(given, sum(np.asarray(array, np.float64) for array in each) / 3, atol=1e-6)
        assert given.dtype == np.float32
    assert stored.model.channels == config.model.channels == 8
    del every[0]["batch_stats"]
    export_weights(tmp_path / "other.npz", every[0], config)  # no statistics
    config.model.remat = True  # the same network
    export_weights(paths[1], every[1], config)
    assert average.average(paths[:2])[1].model.remat
    config.model.channels = 16
    export_weights(tmp_path / "wider.npz", random_variables(build_model(config.model)), config)
    for name in ("wider.npz", "other.npz"):
        with pytest.raises(InputError, match=rf"{name} has another network than"):
            average.average([paths[0], str(tmp_path / name)])


def test_pictures_show_the_middle_frames_of_the_best_and_worst_sequences(tmp_path, capsys):
    names = [f"v{number}" for number in range(7)]
    config = tiny_synthetic(data_dir=str(tmp_path / "prepared"))
    config.data.davis16.source = str(make_davis(tmp_path / "DAVIS", {"bear": 2}, dict.fromkeys(names, 3)))
    for name in names:
        prediction = np.zeros((40, 56), bool)
        prediction[5:15, 5:15] = True
        save(tmp_path / "masks" / name / "00001.png", prediction * np.uint8(255))
    scores = {name: {"J": [0.5, 0.9, 0.1, 0.6, 0.8, 0.2, 0.3][number]} for number, name in enumerate(names)}
    results = {"dataset": "davis16", "split": "val", "per_sequence": scores, "config": as_stored(config)}
    (tmp_path / "results.json").write_text(json.dumps(results))
    run(pictures, str(tmp_path), str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"v{number}.jpg" for number in (1, 4, 6, 5, 2)}
    shown = cv2.imread(str(tmp_path / "out" / "v1.jpg"))
    assert shown.shape[1] == pictures.WIDTH
    (tmp_path / "masks" / "v2" / "00001.png").unlink()
    with pytest.raises(SystemExit):
        run(pictures, str(tmp_path), str(tmp_path / "out"))
    assert "v2/00001.png: cannot be read (No such file" in capsys.readouterr().err
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(SystemExit):
        run(pictures, str(tmp_path), str(tmp_path / "out"))
    assert "results.json is not what evaluate.py writes" in capsys.readouterr().err


def test_the_moving_strip_shows_frames_beside_what_was_cut_out(tmp_path, capsys):
    for number, grey in enumerate((50, 200)):
        save(tmp_path / "frames" / f"{number}.jpg", np.full((40, 60, 3), grey, np.uint8))
        cutout = np.full((40, 60, 4), grey, np.uint8)
        cutout[..., 3] = 255 * (np.arange(60) < 30)  # the left half is the object
        save(tmp_path / "cutout" / f"{number}.png", cutout)
    run(moving_strip, str(tmp_path / "frames"), str(tmp_path / "cutout"), str(tmp_path / "strip.webp"), "--height=40")
    with Image.open(tmp_path / "strip.webp") as strip:
        assert strip.n_frames == 2 and strip.size == (120, 40)
        strip.seek(0)
        picture = np.asarray(strip.convert("RGB"), int)
    assert abs(picture[:, :60] - 50).mean() < 5 and abs(picture[:, 60:88] - 50).mean() < 5
    assert picture[:, 95:].mean() > 200  # the pattern
    (tmp_path / "frames" / "1.jpg").unlink()
    with pytest.raises(InputError, match=r"has no frame for .*1\.png"):
        moving_strip.read_strips(tmp_path / "frames", tmp_path / "cutout", 40)
    (tmp_path / "frames" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1\.jpg or .*1\.png"):
        moving_strip.read_strips(tmp_path / "frames", tmp_path / "cutout", 40)
    with pytest.raises(InputError, match=r"expected \*\.png"):
        moving_strip.read_strips(tmp_path / "frames", tmp_path / "frames", 40)
    for wrong in ("--height=0", "--fps=0"):
        with pytest.raises(SystemExit):
            run(moving_strip, str(tmp_path / "frames"), str(tmp_path / "cutout"), str(tmp_path / "strip.webp"), wrong)
        assert f"error: {wrong.split('=')[0]} is 0" in capsys.readouterr().err


def test_cutouts_end_where_the_object_ends(tmp_path, capsys):
    photograph = np.full((60, 80, 3), 40, np.uint8)
    photograph += np.random.default_rng(0).integers(0, 20, photograph.shape, np.uint8)
    truth = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 20, 255, cv2.FILLED)
    photograph[truth > 0] += 120
    around, within = [(15, 5), (65, 5), (65, 55), (15, 55)], [(35, 25), (45, 25), (45, 35), (35, 35)]
    opacity = sample_cutouts.grab(photograph, around, [within])
    assert np.count_nonzero(opacity != truth) <= 30  # of the 1,257 pixels: the median filter rounds the outline
    sample_cutouts.write_cutout(tmp_path / "disc.webp", photograph, opacity, 82)
    with Image.open(tmp_path / "disc.webp") as cutout:
        assert cutout.mode == "RGBA" and cutout.size == (82, 82)
    with pytest.raises(SystemExit):
        run(sample_cutouts, str(tmp_path), str(tmp_path))
    assert "astronaut.png is not a readable image" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        run(sample_cutouts, str(tmp_path), str(tmp_path / "file"))
    assert f"error: {tmp_path / 'file'}" in capsys.readouterr().err
