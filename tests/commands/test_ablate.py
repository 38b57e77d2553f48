"""The ablations end to end, against evaluations of one setting each."""

import json

import pytest
from tiny_network import tiny_synthetic, write_checkpoint

from cosnet_jax.checkpoints.load import load_checkpoint
from cosnet_jax.checkpoints.store import LATEST
from cosnet_jax.commands import evaluate
from cosnet_jax.commands.ablate import ablate, score_options
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError
from cosnet_jax.evaluation.protocols import get_protocol
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.inference.options import InferenceConfig
from cosnet_jax.inference.segmenter import Segmenter
from cosnet_jax.models.build import build_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network as initialised."""
    return write_checkpoint(tiny_synthetic(), tmp_path_factory.mktemp("work") / LATEST)


@pytest.fixture(scope="module")
def ablation(checkpoint, tmp_path_factory):
    """The folder that the command writes."""
    workdir = tmp_path_factory.mktemp("ablation")
    ablate(tiny_synthetic(), workdir, checkpoint)
    return workdir


@pytest.mark.parametrize(
    ("table", "key", "inference"),
    [
        ("num_references", "7", {"num_references": 7}),
        pytest.param("fusion", "prediction", {"fusion": "prediction"}, marks=pytest.mark.slow),
    ],
)
def test_scores_are_those_of_evaluations(ablation, checkpoint, tmp_path, table, key, inference):
    config = tiny_synthetic()
    config.inference.update(inference)
    config.evaluation.metrics = "J"
    expected = evaluate.evaluate(config, tmp_path, str(checkpoint), None)
    given = json.loads((ablation / "ablation.json").read_text())
    # A pixel whose probability is one half to the last bits may fall either way.
    assert given[table][key] == pytest.approx(expected["J"]["mean"], abs=2e-3)
    assert given["num_references"]["0"] == pytest.approx(expected["single_frame"]["J"]["mean"], abs=2e-3)


def test_the_tables_are_the_papers(ablation):
    given = json.loads((ablation / "ablation.json").read_text())
    assert list(given["num_references"]) == ["0", "1", "2", "5", "7"]
    assert list(given["fusion"]) == ["summary", "prediction"]
    assert list(given["sampling"]) == ["uniform", "random", "consecutive"]
    assert given["fusion"]["summary"] == given["sampling"]["uniform"] == given["num_references"]["5"]
    assert len(given["settings"]) == 8
    assert given["paper"] == {}
    text = (ablation / "ablation.md").read_text()
    assert "| N = 0 | N = 1 | N = 2 | N = 5 | N = 7 |" in text
    page = (ablation / "report.html").read_text()
    assert "number of reference frames N" in page
    assert "<td>val0001</td>" in page or ">val0001<" in page


class SparselyAnnotated:
    """The first synthetic video with masks of three of its frames, one of them empty; it notes what is read."""

    def __init__(self, config):
        (self._whole, *_) = open_sequences("synthetic", "val", config.data)
        self.name, self.frame_names, self.size = "a", self._whole.frame_names, self._whole.size
        self.annotated, self.read_frames = (1, 4, 8), []

    def __len__(self):
        return len(self.frame_names)

    def __iter__(self):
        return iter(self.read(range(len(self))))

    def read(self, indices):
        self.read_frames += indices
        return self._whole.read(indices)

    def mask(self, i):
        return self._whole.mask(i) & (i != 4) if i in self.annotated else None


def test_only_frames_that_count_are_segmented(checkpoint):
    """As FBMS counts them: those with a mask that is not empty; of the others, only references are read."""
    config, (variables, _) = tiny_synthetic(), load_checkpoint(checkpoint)
    options_list = [InferenceConfig(2), InferenceConfig(2, fusion="prediction"), InferenceConfig(0)]
    sequence = SparselyAnnotated(config)
    segmenter = Segmenter(build_model(config.model), variables, size=config.size)
    given = score_options(segmenter, [sequence], options_list, get_protocol("fbms"))
    references = segmenter.references(9, options_list[0])[[1, 8]]
    assert set(sequence.read_frames) == {1, 8, *references.ravel().tolist()}
    segmented = list(segmenter.predict(sequence, options_list))
    for number, options in enumerate(options_list):
        expected = [jaccard(segmented[i].probabilities[number] > 0.5, sequence.mask(i)) for i in (1, 8)]
        assert given[options]["per_frame"]["a"]["frames"] == [sequence.frame_names[1], sequence.frame_names[8]]
        # A pixel whose probability is one half to the last bits may fall either way.
        assert given[options]["per_frame"]["a"]["J"] == pytest.approx(expected, abs=2e-3)


def test_a_checkpoint_of_another_model_is_refused(checkpoint, tmp_path):
    config = tiny_synthetic()
    config.model.channels = 16
    with pytest.raises(InputError, match="another model than the configuration's: channels was 8 and is 16"):
        ablate(config, tmp_path, checkpoint)
