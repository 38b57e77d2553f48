"""The paper's setting: ResNet-101, symmetric co-attention, 473x473, DAVIS-2016 with MSRA10K and DUT-OMRON.

    python train.py --config=configs/davis16.py --workdir=out/davis16 --config.data.davis16.source=DAVIS \
        --config.data.msra10k.source=MSRA10K_Imgs_GT --config.data.dut_omron.source=DUT-OMRON

Not run to the end. The paper reports J 80.5 on DAVIS-2016 val after CRF. `configs/davis16.py:smoke` takes four tiny
steps.
"""

from configs import base


def get_config(mode: str = ""):
    base.check_mode(mode, "smoke")
    config = base.get_config()
    config.name = "davis16"
    config.evaluation.metrics = "J,F,T"
    if mode == "smoke":
        base.make_smoke(config)
    return config
