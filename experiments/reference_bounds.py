"""What references add to a network, and what bounds it: one network with better and better references.

    python -m experiments.reference_bounds --config=configs/davis16_lite.py \
        --checkpoint=cosnet_jax/assets/davis16_lite.npz --workdir=OUT --config.data.davis16.source=DAVIS

Scores the split that the configuration evaluates by J, not smoothed, without a CRF, and writes a table, `bounds.md`,
with a row for each way. Some of them know the truth:

- "best": the references are the other frames, of those that are scored, whose own masks (N = 0) are best;
- "exact attention": a position of the object attends to the object alone, one of the background to that alone (and to
  all of a reference that has no position of its kind);
- "better of the two": the mask of N = 0 or of N = 5, whichever is better, for each sequence or for each frame.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from cosnet_jax.checkpoints.load import load_checkpoint_for
from cosnet_jax.commands.config_arguments import add_config_arguments
from cosnet_jax.config import inference_size, read_config
from cosnet_jax.data.sequence import Sequence
from cosnet_jax.data.sequences import open_sequences
from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.evaluation.ground_truth import read_ground_truth
from cosnet_jax.evaluation.protocols import Protocol, get_protocol, protocol_of
from cosnet_jax.evaluation.region import jaccard
from cosnet_jax.files import writable_folder, write_bytes
from cosnet_jax.inference.references import choose_references
from cosnet_jax.inference.resize import match_orientation, resize_frame
from cosnet_jax.models import coattention
from cosnet_jax.models.build import build_model
from cosnet_jax.models.cosnet import COSNet, flatten
from cosnet_jax.progress import track
from cosnet_jax.training.config import check_config

REFERENCES = 5
ROWS = {
    "alone": "N = 0, the encoder's own prediction",
    "itself": "N = 1, the frame is its own reference",
    "five": "N = 5, uniform",
    "hidden": "N = 5, the head sees Z alone",
    "best": "N = 5, best",
    "exact": "N = 5, exact attention",
    "best exact": "N = 5, best, exact attention",
    "sequence": "better of the two, for each sequence",
    "frame": "better of the two, for each frame",
    "grid": "the truth itself, averaged to positions of stride 4 and resized back",
}


class Comparison:
    """The frames of one sequence, encoded, to be segmented with any references."""

    def __init__(self, model: COSNet, variables: dict, size: tuple[int, int]):
        """Compiles nothing yet.

        Args:
          model, variables: the network.
          size: (height, width) of its input.
        """

        def encode(image):
            """(*size, 3) -> V, keys, values and the probabilities of N = 0."""
            features = model.apply(variables, image[None], method="encode")
            keys, values = (model.apply(variables, features, method=name) for name in ("keys", "values"))
            return features, keys, values, jax.nn.sigmoid(model.apply(variables, features, size, method="side_logits"))

        def segment_from(network: COSNet, features, keys, values, barred, hidden):
            """As `COSNet.attend` and `decode`, where `barred` (N, i, j) takes pairs of positions out of the softmax."""
            queries = network.affinity.query(flatten(features))
            gated = []
            for reference, pairs in enumerate(barred):
                affinity = coattention.affinity(queries, keys[reference][None]) - 1e4 * pairs
                summary = coattention.attention_summary(affinity, values[reference][None])
                gated.append(network.gate(summary.reshape(features.shape)))
            logits = network.head_a(sum(gated) / len(gated), jnp.where(hidden, 0.0, features), False)
            return network._resize(logits, features, size)

        def segment(*inputs):
            return jax.nn.sigmoid(model.apply(variables, *inputs, method=segment_from))

        self.encode, self.segment = jax.jit(encode), jax.jit(segment)
        self.pool = jax.jit(lambda labels: model.apply(variables, labels, method="values"))
        self.size = size

    def grids(self, truth: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Whether each position of a query (i,) and of a reference (j,) is of the object. `shape`: (h, w) of V.

        A position of stride s stands at pixel s i and is what most of the s x s pixels around it are; one of a
        reference is what most of the positions are that it is the mean of.
        """
        stride = -(-self.size[0] // shape[0])
        area = cv2.resize(np.float32(truth), self.size[::-1], interpolation=cv2.INTER_AREA)
        around = cv2.blur(area, (stride, stride), borderType=cv2.BORDER_REPLICATE)[::stride, ::stride]
        return around.ravel() > 0.5, np.ravel(self.pool(around[None, ..., None])) > 0.5

    def score(self, sequence: Sequence, protocol: Protocol) -> dict[str, list[float]]:
        """Returns J of each evaluated frame for each of `ROWS` but the better of the two.

        Raises:
          InputError: a frame has no ground truth, which "exact attention" asks for.
        """
        truths, evaluated = read_ground_truth(sequence, protocol)
        if len(truths) < len(sequence):
            raise InputError(
                f"sequence {sequence.name!r}: {len(truths)} of {len(sequence)} frames have a mask; expected all"
            )
        encoded = [jax.device_get(self.encode(resize_frame(frame, self.size))) for frame in sequence]
        shape = encoded[0][0].shape[1:3]
        grids = {index: self.grids(truth, shape) for index, truth in truths.items()}
        scores = defaultdict(list)

        def add(row: str, index: int, probabilities: np.ndarray) -> None:
            mask = cv2.resize(np.asarray(probabilities[0]), truths[index].shape[::-1]) > 0.5
            scores[row].append(jaccard(mask, truths[index]))

        for index in evaluated:
            add("alone", index, encoded[index][3])
        ranked = [evaluated[position] for position in np.argsort(scores["alone"])[::-1]]
        uniform = choose_references(len(sequence), REFERENCES, "uniform", 0)
        for index in evaluated:
            features, chosen = encoded[index][0], uniform[index].tolist()
            best = [number for number in ranked if number != index][:REFERENCES] or [index]

            def segment(references, exact=False, hidden=False, index=index, features=features):
                keys, values = (np.concatenate([encoded[number][part] for number in references]) for part in (1, 2))
                pairs = [grids[index][0][:, None] != grids[number][1] for number in references]
                return self.segment(features, keys, values, np.float32(pairs) * exact, hidden)

            add("itself", index, segment([index]))
            add("five", index, segment(chosen))
            add("hidden", index, segment(chosen, hidden=True))
            add("best", index, segment(best))
            add("exact", index, segment(chosen, exact=True))
            add("best exact", index, segment(best, exact=True))
            finest = [-(-length // 4) for length in self.size]
            area = cv2.resize(np.float32(truths[index]), finest[::-1], interpolation=cv2.INTER_AREA)
            add("grid", index, area[None])
        return scores


def mean_scores(per_sequence: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Returns the mean J of each sequence for each of `ROWS`."""
    means: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    for name, scores in per_sequence.items():
        for row, values in scores.items():
            means[row][name] = float(np.mean(values))
        pair = np.array([scores["alone"], scores["five"]])
        means["sequence"][name], means["frame"][name] = pair.mean(axis=1).max(), pair.max(axis=0).mean()
    return means


def table(means: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yields the lines of a table in Markdown: a row for each way, with the mean and each sequence, in percent."""
    names = list(means["alone"])
    yield f"| | J | {' | '.join(names)} |"
    yield f"| --- |{' ---: |' * (1 + len(names))}"
    for row, by_name in means.items():
        values = [np.mean(list(by_name.values())), *(by_name[name] for name in names)]
        yield f"| {ROWS[row]} | {' | '.join(f'{100 * value:.1f}' for value in values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_arguments(parser, "the table")
    arguments, overrides = parser.parse_known_args()
    with report_input_errors():
        config = read_config(arguments.config, overrides)
        check_config(config)
        if config.model.coattention == "none":
            raise InputError("model.coattention is 'none'; expected one of the co-attentions")
        workdir = writable_folder(arguments.workdir)
        variables = load_checkpoint_for(config, arguments.checkpoint)
        sequences = open_sequences(config.data.eval_dataset, config.data.eval_split, config.data)
        protocol = get_protocol(protocol_of(config.data.eval_dataset))
        comparisons: dict[tuple[int, int], Comparison] = {}
        scores = {}
        for sequence in track(sequences, "comparing"):
            size = match_orientation(inference_size(config), sequence.size)
            if size not in comparisons:
                comparisons[size] = Comparison(build_model(config.model), variables, size)
            scores[sequence.name] = comparisons[size].score(sequence, protocol)
        text = "\n".join(table(mean_scores(scores))) + "\n"
        write_bytes(workdir / "bounds.md", text.encode())
        print(text)


if __name__ == "__main__":
    main()
