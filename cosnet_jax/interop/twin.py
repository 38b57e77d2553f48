"""A PyTorch twin of the released COSNet, for comparison only; torch is an optional dependency.

Its `state_dict` has the released model's names, shapes, dtypes and order. Images are (n, 3, h, w) float32, BGR, 0-255
minus the mean. A worked case of the released model confirms the padding, the order and the resizing of each stage:

- The max pooling of the stem has `ceil_mode`: a side of x becomes ceil((x - 1) / 2) + 1.
- ResNet-101 with strides 1, 2, 1, 1 (in the first 1x1 convolution) and dilations 1, 1, 2, 4 (of all blocks of a layer).
- Convolutions of the ASPP have biases; the head's 3x3 convolutions and the gate have none.
- Affinity s[i, j] = (linear_e v_a[i]) . v_b[j], not scaled. Both branches share one gate. The head takes
  [gated summary, feature]: `conv1`, `bn1`, `main_classifier1` in branch a, `conv2`, `bn2`, `main_classifier2` in b.
- Every resize is bilinear (align_corners=False) without antialiasing; every BN has eps 1e-5 and momentum 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cosnet_jax.errors import InputError

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    raise InputError("comparing with PyTorch needs torch: pip install 'cosnet_jax[torch]'") from error

RESNET101 = (3, 4, 23, 3)  # bottlenecks of layers 1-4


class Bottleneck(nn.Module):
    """ResNet bottleneck with the stride in the first 1x1 convolution."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = nn.Identity()
        if projection:
            norm = nn.BatchNorm2d(4 * width).requires_grad_(False)  # the release freezes only these
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False), norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2048, 512, 1)
        self.bn_x = nn.BatchNorm2d(512)
        self.conv2d_0 = nn.Conv2d(2048, 512, 1)
        self.bn_0 = nn.BatchNorm2d(512)
        for index, dilation in enumerate((6, 12, 18), start=1):
            self.add_module(f"conv2d_{index}", nn.Conv2d(2048, 512, 3, padding=dilation, dilation=dilation))
            self.add_module(f"bn_{index}", nn.BatchNorm2d(512))
        self.bottleneck = nn.Conv2d(5 * 512, 256, 3, padding=1)
        self.bn = nn.BatchNorm2d(256)
        self.prelu = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.relu(self.bn_x(self.conv(x.mean(dim=(2, 3), keepdim=True))))
        branches = [pooled.expand(-1, -1, *x.shape[2:])]  # resizing a 1x1 map is a broadcast
        branches += [F.relu(getattr(self, f"bn_{k}")(getattr(self, f"conv2d_{k}")(x))) for k in range(4)]
        return self.prelu(self.bn(self.bottleneck(torch.cat(branches, dim=1))))


def _layer(inputs: int, width: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride, dilation, projection=True)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1, dilation, False) for _ in range(blocks - 1)))


class Encoder(nn.Module):
    """A ResNet with `depths` bottlenecks in layers 1-4, ASPP, and the side output's classifier."""

    def __init__(self, depths: tuple[int, int, int, int] = RESNET101) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, depths[0], stride=1, dilation=1)
        self.layer2 = _layer(256, 128, depths[1], stride=2, dilation=1)
        self.layer3 = _layer(512, 256, depths[2], stride=1, dilation=2)
        self.layer4 = _layer(1024, 512, depths[3], stride=1, dilation=4)
        self.layer5 = ASPP()
        self.main_classifier = nn.Conv2d(256, 1, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the features (n, 256, ~h/8, ~w/8) and the side output (n, 1, h, w), probabilities."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1, ceil_mode=True)
        feature = self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return feature, to_probabilities(self.main_classifier(feature), images.shape[2:])


def to_probabilities(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.sigmoid(F.interpolate(logits, size=size, mode="bilinear", align_corners=False))


class PairModel(nn.Module):
    """The released co-attention model. `forward(a, b)` returns the predictions (ya, yb) and b's side output."""

    def __init__(self, depths: tuple[int, int, int, int] = RESNET101) -> None:
        super().__init__()
        self.encoder = Encoder(depths)
        self.linear_e = nn.Linear(256, 256, bias=False)
        self.gate = nn.Conv2d(256, 1, 1, bias=False)
        self.conv1 = nn.Conv2d(512, 256, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(512, 256, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(256)
        self.bn2 = nn.BatchNorm2d(256)
        self.main_classifier1 = nn.Conv2d(256, 1, 1)
        self.main_classifier2 = nn.Conv2d(256, 1, 1)

    def affinity(self, v_a: torch.Tensor, v_b: torch.Tensor) -> torch.Tensor:
        """Maps two features (n, 256, h, w) to the similarities of their positions (n, i, j)."""
        return torch.einsum("ndi,dc,ncj->nij", v_a.flatten(2), self.linear_e.weight.T, v_b.flatten(2))

    def gated(self, summary: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the summary times its gate, and the gate (n, 1, h, w)."""
        gate = torch.sigmoid(self.gate(summary))
        return summary * gate, gate

    def head_a(self, summary: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        """Maps the gated summary and the feature of branch a to logits (n, 1, h, w); `head_b` those of branch b."""
        return self.main_classifier1(F.relu(self.bn1(self.conv1(torch.cat([summary, feature], dim=1)))))

    def head_b(self, summary: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        return self.main_classifier2(F.relu(self.bn2(self.conv2(torch.cat([summary, feature], dim=1)))))

    def stages(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        """Computes every named intermediate of a pair, in order of computation.

        Args:
            a, b: (n, 3, h, w) float32. Each batch is encoded alone (in train mode: with its own statistics).

        Returns:
            `affinity` (n, i, j), and for each branch x in a, b: `feature_x`, `side_x` (probabilities), `summary_x` (not
            gated), `gate_x`, `y_x` (probabilities).
        """
        out: dict[str, torch.Tensor] = {}
        out["feature_a"], out["side_a"] = self.encoder(a)
        out["feature_b"], out["side_b"] = self.encoder(b)
        v_a, v_b = out["feature_a"], out["feature_b"]
        s = out["affinity"] = self.affinity(v_a, v_b)
        out["summary_a"] = torch.einsum("nij,ncj->nci", s.softmax(dim=2), v_b.flatten(2)).reshape(v_a.shape)
        out["summary_b"] = torch.einsum("nij,nci->ncj", s.softmax(dim=1), v_a.flatten(2)).reshape(v_b.shape)
        for x, head in (("a", self.head_a), ("b", self.head_b)):
            z, out[f"gate_{x}"] = self.gated(out[f"summary_{x}"])
            out[f"y_{x}"] = to_probabilities(head(z, out[f"feature_{x}"]), a.shape[2:])
        return out

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        out = self.stages(a, b)
        return out["y_a"], out["y_b"], out["side_b"]


def load_twin(state_dict: Mapping[str, np.ndarray]) -> PairModel:
    """Builds the twin, in eval mode, from NumPy arrays in the released names; floats of any width become float32."""
    dtypes = {name: np.int64 if name.endswith("num_batches_tracked") else np.float32 for name in state_dict}
    tensors = {name: torch.from_numpy(np.array(value, dtypes[name])) for name, value in state_dict.items()}
    with torch.device("meta"):  # allocates and initialises nothing
        model = PairModel().eval()
    model.load_state_dict(tensors, assign=True)
    return model


def to_numpy(state_dict: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Copies a twin's `state_dict()` to NumPy arrays."""
    return {name: value.detach().cpu().numpy().copy() for name, value in state_dict.items()}
