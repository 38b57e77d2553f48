"""How a process joins its job."""

from configs import base
from cosnet_jax import job


def test_under_slurm_one_process_a_node_keeps_all_of_its_gpus(monkeypatch):
    """JAX would give it the first one alone."""

    class NoPartners:
        watch = staticmethod(lambda lost: None)

    given = []
    monkeypatch.setattr("jax.distributed.initialize", lambda *arguments, **_: given.append(arguments))
    monkeypatch.setattr(job, "wait_for_all", lambda *_: NoPartners())
    monkeypatch.setattr(job, "_partners", [])
    for name, value in {
        "JOB_ID": "5000", "STEP_NODELIST": "node[07-08]", "NTASKS": "2", "STEP_NUM_NODES": "2", "PROCID": "1",
        "LOCALID": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    settings = base.get_config().distributed
    settings.enabled = True
    job.start(settings)
    assert given == [("node07:62344", 2, 1, None, "deactivate")]
