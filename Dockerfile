# An image with the command `cosnet`, for training and inference.
#
#   docker build --tag cosnet .                                    # CPU
#   docker build --tag cosnet --build-arg JAX='jax[cuda13]' .      # NVIDIA GPUs; run with --gpus=all
#   docker run --rm --volume "$PWD":/data cosnet segment /data/clip.mp4 --output /data/out
FROM python:3.12-slim
ARG JAX=jax
WORKDIR /cosnet_jax
COPY pyproject.toml README.md LICENSE train.py evaluate.py ./
COPY requirements/ requirements/
COPY configs/ configs/
COPY cosnet_jax/ cosnet_jax/
RUN pip install --no-cache-dir ".[train]" "$JAX"
ENTRYPOINT ["cosnet"]
