"""COSNet (Lu et al., CVPR 2019): a siamese encoder, the co-attention between frames, and a segmentation head.

Calling the network runs the pair of frames that training needs. `encode`, `attend` and `decode` are its parts, so that
inference encodes every frame once.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from cosnet_jax.models import coattention, heads
from cosnet_jax.models.aspp import ASPP
from cosnet_jax.models.layers import Conv, depth_to_space, resize_bilinear, upsample
from cosnet_jax.models.refinement import Detail, Refinement
from cosnet_jax.models.rematerialisation import rematerialise
from cosnet_jax.models.scaling import scale_input

Array = jax.Array
FUSIONS = ("summary", "group", "group_released")  # of references, see `COSNet.attend`


class Encoder(nn.Module):
    """The feature embedding module: a backbone, the ASPP and an optional refinement. Attributes as in `COSNet`."""

    body: nn.Module
    channels: int
    aspp_depth: int
    aspp_rates: tuple[int, ...]
    aspp_kernel: int
    prelu: bool
    low_level: int
    detail: int
    separable: bool
    remat: bool
    axis_name: str | None
    dtype: jnp.dtype

    def setup(self):
        aspp = rematerialise(ASPP, train=2) if self.remat else ASPP
        self.aspp = aspp(
            self.channels, self.aspp_depth, self.aspp_rates, self.aspp_kernel, self.prelu, self.separable,
            self.axis_name, self.dtype,
        )  # fmt: skip
        if self.low_level:
            aligned = bool(self.detail)
            self.refinement = Refinement(
                self.channels, self.low_level, aligned, self.separable, self.axis_name, self.dtype
            )
        if self.detail:
            self.join_detail = Detail(self.detail, self.axis_name, self.dtype)
            self.subpixel = Conv(4, use_bias=True, kernel_init=nn.initializers.zeros, dtype=self.dtype)
        self.side = Conv(1, use_bias=True, dtype=self.dtype)

    def __call__(self, images: Array, train: bool) -> Array:
        """Maps scaled images (n, h, w, 3) to features V (n, ~h/s, ~w/s, c), s = 8, or 16 where nothing refines them."""
        features, low_level, finest = self.body(images, train)
        features = self.aspp(features, train)
        if self.low_level:
            features = self.refinement(features, low_level, train)
        if self.detail:
            features = self.join_detail(features, finest, train)
        return features

    def side_logits(self, features: Array) -> Array:
        """Maps features (n, h, w, c) to the encoder's own logits (n, h, w, 1)."""
        return self.side(features)

    def subpixel_logits(self, features: Array) -> Array:
        """Maps features (n, h, w, c) to what the four positions of stride 4 differ by from their mean, (n, h, w, 4)."""
        logits = self.subpixel(features)
        return logits - logits.mean(-1, keepdims=True)


class COSNet(nn.Module):
    """The whole network. Images are RGB, 0 to 255, of any size; all results have that size.

    Attributes:
      backbone: any module, called as `backbone(images, train)` with scaled images (n, h, w, 3). It returns its last
        features, the last ones of stride 8 (used where `low_level` is not 0), and the last ones of stride 4 (`detail`).
      coattention: vanilla, symmetric, channelwise, or none (a frame's prediction is the encoder's own).
      head: "paper" (two 3x3 convolutions, shared by both branches) or "released" (one, separate weights per branch).
      channels: C, the channels of the features V.
      head_features: channels inside the head.
      aspp_depth, aspp_rates, aspp_kernel, prelu: see `ASPP`.
      low_level: channels of the stride-8 features that refine those of the ASPP, see `Refinement`; 0: no refinement.
      detail: hidden channels of the layer that adds the features of stride 4, see `Detail`; then masks have stride 4:
        the logits of a position are spread over four as V says. 0: off; needs features V of stride 8.
      separable: the 3x3 convolutions behind the backbone are separable, see `Conv`: a fraction of the products.
      gate_bias: whether Eq. 8 has its bias b_f.
      reference_pooling: average-pool reference features by this factor before co-attention (the subsampling of Wang et
        al., Non-local Neural Networks, CVPR 2018); 1, as in the paper: off.
      remat: training computes the ASPP's activations again for the gradient instead of keeping them.
      input_scaling: see `scale_input`.
      affinity_budget: largest affinity of a batch of frames with a reference, in MiB of float32. A larger one is
        computed in blocks, with the same result.
      axis_name: the mapped axis over devices that batch normalisation shares its statistics over, or None.
      dtype: type of the computation; parameters, statistics, softmax and logits are float32.
    """

    backbone: nn.Module
    coattention: str = "symmetric"
    head: str = "paper"
    channels: int = 512
    head_features: int = 256
    aspp_depth: int = 512
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    aspp_kernel: int = 3
    prelu: bool = True
    low_level: int = 0
    detail: int = 0
    separable: bool = False
    gate_bias: bool = True
    reference_pooling: int = 1
    remat: bool = False
    input_scaling: str = "imagenet"
    affinity_budget: float = 512
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.encoder = Encoder(
            self.backbone.clone(parent=None, name=None), self.channels, self.aspp_depth, self.aspp_rates,
            self.aspp_kernel, self.prelu, self.low_level, self.detail, self.separable, self.remat, self.axis_name,
            self.dtype,
        )  # fmt: skip
        if self.coattention == "none":
            return
        if self.coattention not in coattention.VARIANTS:
            raise ValueError(f"coattention is {self.coattention!r}; expected {', '.join(coattention.VARIANTS)} or none")
        if self.head not in heads.CONVOLUTIONS:
            raise ValueError(f"head is {self.head!r}; expected {' or '.join(heads.CONVOLUTIONS)}")
        self.affinity = coattention.VARIANTS[self.coattention](self.channels)
        self.gate = coattention.Gate(self.gate_bias, self.dtype)
        shape = (heads.CONVOLUTIONS[self.head], self.head_features, self.separable, self.axis_name, self.dtype)
        self.head_a = heads.SegmentationHead(*shape)
        self.head_b = self.head_a if self.head == "paper" else heads.SegmentationHead(*shape)

    def __call__(self, pairs: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        """Segments pairs of frames of the same video, each with the other as its reference.

        Args:
          pairs: (n, 2, h, w, 3) RGB, 0 to 255.
          train: as in `encode`; the statistics are those of all 2n frames.

        Returns:
          Logits (n, 2, h, w) float32; without co-attention they are the side output's. And what they were made of:
          "features" V (n, 2, h', w', c), "side_logits" (n, 2, h, w) of the encoder alone, and see `decode_pair`.
        """
        n, _, *size, _ = pairs.shape
        features = self.encode(pairs.reshape(2 * n, *size, 3), train)
        aux = {"side_logits": self.side_logits(features, size).reshape(n, 2, *size)}
        aux["features"] = features.reshape(n, 2, *features.shape[1:])
        if self.coattention == "none":
            return aux["side_logits"], aux
        logits, attended = self.decode_pair(aux["features"][:, 0], aux["features"][:, 1], size, train)
        return logits, aux | attended

    def encode(self, images: Array, train: bool = False) -> Array:
        """Computes the features V of images.

        Args:
          images: (n, h, w, 3) RGB, 0 to 255, uint8 or float.
          train: normalise by the batch's statistics and update the running ones.

        Returns:
          V, (n, ~h/s, ~w/s, c) with s = 8; s = 16 at output stride 16 without refinement (`low_level`).
        """
        return self.encoder(scale_input(images, self.input_scaling).astype(self.dtype), train)

    def side_logits(self, features: Array, size: Sequence[int]) -> Array:
        """Computes the encoder's own prediction, without any other frame (N = 0).

        Args:
          features: (n, h, w, c) from `encode`.
          size: (height, width) of the result.

        Returns:
          Logits (n, height, width), float32.
        """
        return self.to_pixels(self.encoder.side_logits(features), features, size)

    def to_pixels(self, logits: Array, features: Array, size: Sequence[int]) -> Array:
        """Maps logits (n * m, h, w, 1) of frames with features V (n, h, w, c) to those of pixels (n * m, *size)."""
        logits = logits.astype(jnp.float32)
        if not self.detail:
            return resize_bilinear(logits, size)[..., 0]
        finer = [-(-length // 4) for length in size]
        spread = depth_to_space(self.encoder.subpixel_logits(features).astype(jnp.float32), finer)
        logits = upsample(logits, 2, finer) + jnp.repeat(spread, len(logits) // len(spread), axis=0)
        return upsample(logits, 4, size)[..., 0]

    def queries(self, features: Array) -> Array:
        """Maps the features (n, h, w, c) of frames to the queries (n, i, d) that keys are compared with."""
        return self.affinity.query(flatten(features))

    def values(self, features: Array) -> Array:
        """Maps a reference's features (n, h, w, c) to the values (n, j, c) that summaries are means of."""
        if self.reference_pooling > 1:
            square = 2 * (self.reference_pooling,)
            features = nn.avg_pool(features, square, strides=square, padding="SAME", count_include_pad=False)
        return flatten(features)

    def keys(self, features: Array) -> Array:
        """Maps a reference's features (n, h, w, c) to the keys (n, j, d) that queries are compared with."""
        return self.affinity.key(self.values(features))

    def attend(self, features: Array, keys: Array, values: Array, fusion: str = "summary") -> tuple[Array, Array]:
        """Computes the gated attention summary over N references (with N = 1, Eqs. 7-9).

        Args:
          features: (n, h, w, c) of the query frames.
          keys: (n, N, j, d) of each query's references, from `keys`.
          values: (n, N, j, c) of the same references, from `values`.
          fusion: "summary" averages the references' gated summaries (Eq. 13). "group" takes one softmax over the
            positions of all references (the authors' group co-attention). "group_released" applies it after a softmax
            over the query's positions, a mistake in the authors' file.

        Returns:
          Z (n, h, w, c), and the gates (n, N, h, w) of the references (N = 1 for a group).
        """
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is {fusion!r}; expected one of {', '.join(FUSIONS)}")
        if fusion != "summary":  # to (n, 1, N * j, ...): one reference with the positions of all
            keys, values = (x.reshape(len(x), 1, -1, x.shape[-1]) for x in (keys, values))
        queries, budget = self.queries(features), self.affinity_budget

        def add(network: COSNet, total: Array, reference: tuple[Array, Array]) -> tuple[Array, Array]:
            summary = coattention.attend(queries, *reference, budget, fusion == "group_released")
            gated, gate = network.gate(summary.reshape(features.shape))
            return total + gated.astype(jnp.float32), gate

        # One reference after the other, so that its affinity stays in a CPU's cache.
        each = nn.scan(add, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        total, gates = each(self, jnp.zeros(features.shape, jnp.float32), (keys, values))
        return (total / keys.shape[1]).astype(features.dtype), gates

    def decode(self, features: Array, summary: Array, size: Sequence[int]) -> Array:
        """Segments query frames from X = [Z, V] (Eq. 10), with the head of branch a.

        Args:
          features: V (n, h, w, c) from `encode`.
          summary: Z (n, h, w, c) from `attend`; or m for each query in a row, (n * m, h, w, c).
          size: (height, width) of the result.

        Returns:
          Logits (n or n * m, height, width), float32.
        """
        return self.to_pixels(self.head_a(summary, features, train=False), features, size)

    def decode_pair(
        self, a: Array, b: Array, size: Sequence[int], train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Segments two frames, each with the other as its reference and the head of its own branch.

        Args:
          a, b: features (n, h, w, c) from `encode`.
          size: (height, width) of the result.
          train: as in `encode`.

        Returns:
          Logits (n, 2, height, width), float32. And by name, each in the order of the frames: "affinity" S (n, 2, i, j)
          of the positions of a frame with those of the other one, unless it exceeds `affinity_budget`; "summary" Z
          before the gate (n, 2, h, w, c); "gate" (n, 2, h, w).
        """
        frames, aux = (a, b), {}
        values = self.values(b), self.values(a)
        # S = query(V_a) . key(V_b) serves both directions, so frame b asks with its keys.
        queries = self.queries(a), self.affinity.key(flatten(b))
        keys = self.affinity.key(values[0]), self.affinity.query(values[1])
        if coattention.fits_in_budget(queries[0], keys[0], self.affinity_budget):
            first = coattention.affinity(queries[0], keys[0])
            pooled = self.reference_pooling > 1
            second = coattention.affinity(queries[1], keys[1]) if pooled else jnp.swapaxes(first, 1, 2)
            aux["affinity"] = jnp.stack([first, second], 1)
            # Z_a = V_b S_c, Z_b = V_a S_r
            summaries = [coattention.attention_summary(*parts) for parts in zip((first, second), values, strict=True)]
        else:
            parts = zip(queries, keys, values, strict=True)
            summaries = [coattention.attend(*each, self.affinity_budget) for each in parts]
        summaries = [summary.reshape(frame.shape) for summary, frame in zip(summaries, frames, strict=True)]
        gated, gates = zip(*(self.gate(summary) for summary in summaries), strict=True)
        aux |= {"summary": jnp.stack(summaries, 1), "gate": jnp.stack(gates, 1)}
        if self.head == "paper":  # the branches share the head, and the statistics of its batch normalisation
            both = jnp.concatenate(frames)
            logits = self.to_pixels(self.head_a(jnp.concatenate(gated), both, train), both, size)
            return jnp.moveaxis(logits.reshape(2, -1, *size), 0, 1), aux
        heads_of = zip((self.head_a, self.head_b), gated, frames, strict=True)
        each = [self.to_pixels(head(summary, frame, train), frame, size) for head, summary, frame in heads_of]
        return jnp.stack(each, 1), aux


def flatten(features: Array) -> Array:
    """Reshapes (n, h, w, c) to (n, h * w, c)."""
    return features.reshape(features.shape[0], -1, features.shape[-1])
