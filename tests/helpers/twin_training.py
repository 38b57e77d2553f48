"""The released training step in plain PyTorch. Tests compare ours with it.

One SGD (momentum 0.9, weight decay 5e-4) updates two groups of parameters, the encoder and the rest. Their learning
rates depend on the kind of step. Every step runs the whole pair model in train mode. Each branch is encoded alone, so a
step updates the encoder's running statistics twice (a, then b). A still step gives the same images to both branches and
trains only the side output (of b). Parameters that its loss does not reach have a gradient of zero, so momentum and
decay apply to them too (at the rate 0 for the heads). BN normalises with the biased batch variance and stores the
unbiased one. The pooled ASPP branch has one value per image, so a batch needs two images or more.
"""

from __future__ import annotations

import warnings

from cosnet_jax.interop.twin import F, PairModel, torch

STILL_LOSS_WEIGHT = 0.1
L1_WEIGHT = 0.8


def learning_rate(iteration: int, total: int, epoch: int, base: float = 2.5e-4) -> float:
    """Computes the rate of step `iteration` of `total`, before the factor of the group; epochs count from 0."""
    factor = 1.0 if epoch <= 5 else 0.5
    return base * factor * (1 - iteration / total) ** 0.9


def repeats(name: str) -> int:
    """Returns how often the release's optimizer lists a parameter, which is how often one step updates it.

    The list has a parameter once per module below the encoder that contains it: once for the stem and the side output's
    classifier, 2 times in the ASPP, 3 times in a residual block, 4 times in a projection shortcut. It has others once.
    """
    return name.count(".") - 1 if name.startswith("encoder.") else 1


def supervised_loss(prediction: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Computes the mean binary cross-entropy times (pixels / positive pixels of the batch), plus 0.8 mean L1 distance.

    Args:
        prediction: (n, 1, h, w) probabilities.
        mask: (n, 1, h, w) float32, 0 or 1. If the batch has no positive pixel the loss is infinite, as in the release.
    """
    weight = mask.numel() / mask.sum()
    return weight * F.binary_cross_entropy(prediction, mask) + L1_WEIGHT * F.l1_loss(prediction, mask)


class ReleasedTraining:
    """Trains a twin in place, step by step. `repeat_updates`: update each parameter `repeats(name)` times a step."""

    def __init__(self, model: PairModel, repeat_updates: bool) -> None:
        self.model = model.train()
        groups: tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]] = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                times = repeats(name) if repeat_updates else 1
                groups[not name.startswith("encoder.")].extend([parameter] * times)
        with warnings.catch_warnings(action="ignore"):  # PyTorch warns of parameters that are listed twice
            self.optimizer = torch.optim.SGD(
                [{"params": group} for group in groups], lr=0, momentum=0.9, weight_decay=5e-4, foreach=False
            )
        for parameter in {*groups[0], *groups[1]}:
            parameter.grad = torch.zeros_like(parameter)
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def still_step(self, images: torch.Tensor, masks: torch.Tensor, rate: float) -> float:
        """Takes a step on images (n, 3, h, w) with masks (n, 1, h, w) at the given rate. Returns the loss."""
        _, _, side = self.model(images, images)
        return self._update(STILL_LOSS_WEIGHT * supervised_loss(side, masks), rate, 0.0)

    def video_step(
        self, a: torch.Tensor, b: torch.Tensor, masks_a: torch.Tensor, masks_b: torch.Tensor, rate: float
    ) -> float:
        """Takes a step on pairs of frames (n, 3, h, w) with masks (n, 1, h, w) at the given rate. Returns the loss."""
        y_a, y_b, _ = self.model(a, b)
        return self._update(supervised_loss(y_a, masks_a) + supervised_loss(y_b, masks_b), 0.01 * rate, 10 * rate)

    def _update(self, loss: torch.Tensor, *rates: float) -> float:
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.step()
        return float(loss.detach())
