"""The paper's model on YouTube-Objects (126 sequences, 10 categories). For evaluation; training: configs/davis16.py.

    python evaluate.py --config=configs/youtube_objects.py --workdir=out/youtube_objects --checkpoint=out/davis16 \
        --config.data.youtube_objects.source=YouTube-Objects

Not run. The paper reports a mean J of 70.5 over videos. --predictions=MASKS scores a folder of masks instead.
"""

from configs import davis16


def get_config(mode: str = ""):
    config = davis16.get_config(mode)
    config.name = "youtube_objects"
    config.data.eval_dataset = "youtube_objects"
    config.data.eval_split = "test"
    config.evaluation.metrics = "J,F"
    return config
