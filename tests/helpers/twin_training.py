"""The released training step in plain PyTorch. Tests compare ours with it.

One SGD (momentum 0.9, weight decay added to the gradient) updates two groups of parameters, the encoder and the rest.
Their learning rates depend on the kind of step. Every step runs the whole pair model in train mode. Each branch is
encoded alone, so a step updates the encoder's running statistics twice (a, then b): its `num_batches_tracked` grow by
2, those of the heads by 1. A still step gives the same images to both branches and trains only the side output (of b).
Parameters that its loss does not reach have a gradient of zero, so momentum and decay apply to them too (at the rate 0
for the heads). BN normalises with the biased batch variance and stores the unbiased one. The pooled ASPP branch has one
value per image, so a batch needs two images or more.
"""

from __future__ import annotations

from cosnet_jax.interop.twin import F, PairModel, torch

STILL_LOSS_WEIGHT = 0.1
L1_WEIGHT = 0.8


def is_still(iteration: int) -> bool:
    """Returns whether a step trains on still images. Steps 0, 3, 6, ... do, the others train on pairs."""
    return iteration % 3 == 0


def learning_rate(iteration: int, total: int, epoch: int, base: float = 2.5e-4) -> float:
    """Computes the polynomially decaying rate of a step, before the factor of the group.

    Args:
        iteration: number of steps before this one, over all epochs.
        total: number of steps of the whole training.
        epoch: counted from 0; the rate is halved from epoch 6 on.
        base: the rate of the first step.
    """
    factor = 1.0 if epoch <= 5 else 0.5
    return base * factor * (1 - iteration / total) ** 0.9


def group_rates(still: bool, rate: float) -> tuple[float, float]:
    """Returns the learning rate of the encoder, and that of the co-attention and heads."""
    return (rate, 0.0) if still else (0.01 * rate, 10 * rate)


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
    """Trains a twin in place, step by step.

    Args:
        model: the twin; this sets it to train mode.
        repeat_updates: update each parameter `repeats(name)` times a step, one after the other. The gradient is the
            same each time; the momentum and the decayed weight are those after the previous update.
        momentum: momentum of the SGD; its buffers start at zero.
        weight_decay: factor of the weights that is added to the gradient of every parameter that trains.
    """

    def __init__(
        self, model: PairModel, repeat_updates: bool, momentum: float = 0.9, weight_decay: float = 5e-4
    ) -> None:
        self.model = model.train()
        self.repeat_updates = repeat_updates
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.buffers = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

    def still_step(self, images: torch.Tensor, masks: torch.Tensor, rate: float) -> float:
        """Takes a step on images (n, 3, h, w) with masks (n, 1, h, w) at the given rate. Returns the loss."""
        _, _, side = self.model(images, images)
        return self._update(STILL_LOSS_WEIGHT * supervised_loss(side, masks), *group_rates(True, rate))

    def video_step(
        self, a: torch.Tensor, b: torch.Tensor, masks_a: torch.Tensor, masks_b: torch.Tensor, rate: float
    ) -> float:
        """Takes a step on pairs of frames (n, 3, h, w) with masks (n, 1, h, w) at the given rate. Returns the loss."""
        y_a, y_b, _ = self.model(a, b)
        return self._update(supervised_loss(y_a, masks_a) + supervised_loss(y_b, masks_b), *group_rates(False, rate))

    def _update(self, loss: torch.Tensor, encoder_rate: float, other_rate: float) -> float:
        gradients = torch.autograd.grad(loss, list(self.parameters.values()), allow_unused=True)
        with torch.no_grad():
            for (name, parameter), gradient in zip(self.parameters.items(), gradients, strict=True):
                if gradient is None:
                    gradient = torch.zeros_like(parameter)
                rate = encoder_rate if name.startswith("encoder.") else other_rate
                for _ in range(repeats(name) if self.repeat_updates else 1):
                    self.buffers[name].mul_(self.momentum).add_(gradient + self.weight_decay * parameter)
                    parameter.sub_(rate * self.buffers[name])
        return float(loss.detach())
