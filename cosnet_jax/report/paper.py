"""Scores that the paper (Lu et al., CVPR 2019) and other methods report, all in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping

# The splits that all of these scores are of.
SPLITS = {"davis16": "val", "fbms": "test", "youtube_objects": "test"}

# Table 3 (DAVIS-2016 val), Table 4 (FBMS-59 test) and Table 5 (YouTube-Objects, mean over all videos).
SCORES = {
    "davis16": {
        "J": {"mean": 0.805, "recall": 0.940, "decay": 0.000},
        "F": {"mean": 0.794, "recall": 0.904, "decay": 0.000},
        "T": {"mean": 0.319},
    },
    "fbms": {"J": {"mean": 0.756}},
    "youtube_objects": {"J": {"mean": 0.705}},
}

# Table 5, mean J of each category.
YOUTUBE_OBJECTS = {
    "aeroplane": 0.811,
    "bird": 0.757,
    "boat": 0.713,
    "car": 0.776,
    "cat": 0.665,
    "cow": 0.698,
    "dog": 0.768,
    "horse": 0.674,
    "motorbike": 0.677,
    "train": 0.468,
}

# Table 1, mean J.
ABLATION = {
    "davis16": {
        "vanilla": 0.800,
        "symmetric": 0.805,
        "channelwise": 0.772,
        "none": 0.713,
        "summary": 0.805,
        "prediction": 0.795,
        "uniform": 0.8053,
        "random": 0.8052,
        "consecutive": 0.8026,
    },
    "fbms": {
        "vanilla": 0.752,
        "symmetric": 0.756,
        "channelwise": 0.727,
        "none": 0.701,
        "summary": 0.756,
        "prediction": 0.742,
        "uniform": 0.7561,
        "random": 0.7554,
        "consecutive": 0.7552,
    },
    "youtube_objects": {
        "vanilla": 0.703,
        "symmetric": 0.705,
        "channelwise": 0.675,
        "none": 0.629,
        "summary": 0.705,
        "prediction": 0.699,
        "uniform": 0.7054,
        "random": 0.7055,
        "consecutive": 0.7043,
    },
}

# Table 2, mean J for N references.
REFERENCES = {
    "davis16": {0: 0.713, 1: 0.776, 2: 0.797, 5: 0.805, 7: 0.805},
    "fbms": {0: 0.702, 1: 0.748, 2: 0.753, 5: 0.756, 7: 0.756},
    "youtube_objects": {0: 0.629, 1: 0.677, 2: 0.705, 5: 0.705, 7: 0.705},
}

# DAVIS-2016 val, (mean J, mean F) as the authors report them. Most of the later methods need optical flow.
OTHER_METHODS = {
    "PDB": (0.772, 0.745),
    "AGS": (0.797, 0.774),
    "AnDiff": (0.817, 0.805),
    "MATNet": (0.824, 0.807),
    "FSNet": (0.834, 0.831),
    "HCPN": (0.858, 0.854),
    "HFAN": (0.868, 0.882),
}


def compared_with(results: Mapping) -> str:
    """Returns the dataset whose scores in the paper a `results.json` or `ablation.json` stands beside.

    It is "" for a dataset that is not in the paper, and for another split. A result without a split has the paper's.
    """
    dataset = results["dataset"]
    return dataset if dataset in SPLITS and results.get("split") in (None, "", SPLITS[dataset]) else ""
