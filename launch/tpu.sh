#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU slice:
#
#   launch/tpu.sh NAME ZONE --config=configs/davis16.py --workdir=/mnt/shared/davis16 [--config.KEY=VALUE ...]
#
# NAME is that of the TPU VM in the zone. Each of its hosts has this checkout in ~/cosnet_jax with an environment in
# ~/cosnet_jax/.venv (`pip install '.[train]' 'jax[tpu]'`); the data and the working directory are on a file system that
# all hosts share, e.g. Filestore. JAX finds the other hosts by the slice's metadata. Maintenance sends SIGTERM: the job
# saves the step it is at and exits with 0, and the same command continues.
set -euo pipefail
name=$1 zone=$2
shift 2
printf -v flags ' %q' "$@"
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd cosnet_jax && .venv/bin/python -u train.py$flags --config.distributed.enabled=true"
