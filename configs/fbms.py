"""The paper's model on FBMS-59 (test: 30 sequences). For evaluation; training is that of configs/davis16.py.

    python evaluate.py --config=configs/fbms.py --workdir=out/fbms --checkpoint=out/davis16 \
        --config.data.fbms.source=FBMS_DATASET

Not run. The paper reports a mean J of 75.6. --predictions=MASKS scores a folder of masks instead.
"""

from configs import davis16


def get_config(mode: str = ""):
    config = davis16.get_config(mode)
    config.name = "fbms"
    config.data.eval_dataset = "fbms"
    config.data.eval_split = "test"
    config.evaluation.metrics = "J,F"
    return config
