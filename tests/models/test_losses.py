"""The losses against plain numpy, and without any sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastmrcnn.models.losses import (
    box_regression_loss,
    class_deltas,
    classification_loss,
    mask_loss,
    objectness_loss,
    sampled,
    softmax_mask_loss,
)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return softplus(logits) - logits * targets


def test_objectness_loss() -> None:
    logits, labels = torch.randn(40) * 5, torch.randint(0, 2, (40,))
    expected = binary_cross_entropy(logits.double().numpy(), labels.numpy()).mean()
    assert objectness_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    assert objectness_loss(logits, labels, 256).item() == pytest.approx(expected * 40 / 256, rel=1e-6)


def test_classification_loss() -> None:
    logits, labels = torch.randn(40, 5) * 3, torch.randint(0, 5, (40,))
    x = logits.double().numpy()
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(x, labels.numpy(), strict=True)])
    assert classification_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_box_regression_loss(beta: float) -> None:
    deltas, targets = torch.randn(30, 4), torch.randn(30, 4)
    difference = np.abs((deltas - targets).double().numpy())
    quadratic = 0.5 * difference**2 / beta if beta else difference
    expected = np.where(difference < beta, quadratic, difference - 0.5 * beta).sum() / 64
    every = torch.ones(30, dtype=torch.bool)
    loss = box_regression_loss(deltas, targets, every, beta=beta, samples=torch.tensor(64))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_class_deltas_picks_the_four_of_each_label() -> None:
    deltas, labels = torch.randn(6, 3 * 4), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = np.stack([deltas.numpy()[row, 4 * label : 4 * label + 4] for row, label in enumerate(labels.tolist())])
    assert np.array_equal(class_deltas(deltas, labels).numpy(), expected)


def test_mask_loss_looks_at_the_true_class_only() -> None:
    logits, labels, targets = torch.randn(4, 3, 5, 5), torch.tensor([1, 2, 2, 1]), torch.rand(4, 5, 5)
    own = np.stack([logits.double().numpy()[row, label] for row, label in enumerate(labels.tolist())])
    expected = binary_cross_entropy(own, targets.double().numpy()).mean()
    assert mask_loss(logits, labels, targets).item() == pytest.approx(expected, rel=1e-6)


def test_a_class_agnostic_head_says_one_thing_for_all() -> None:
    labels, targets = torch.tensor([1, 2, 2, 1]), torch.rand(4, 5, 5)
    deltas, logits = torch.randn(4, 4), torch.randn(4, 1, 5, 5)
    assert torch.equal(class_deltas(deltas, labels), deltas)
    expected = binary_cross_entropy(logits[:, 0].double().numpy(), targets.double().numpy()).mean()
    assert mask_loss(logits, labels, targets).item() == pytest.approx(expected, rel=1e-6)


def softmax_mask_loss_plainly(logits: np.ndarray, labels: list[int], targets: np.ndarray) -> float:
    """Pixel by pixel: the divergence of what should be there, the class or the background, less its entropy."""
    losses = []
    for maps, label, target in zip(logits, labels, targets, strict=True):
        if label <= 0:
            continue
        for row, column in np.ndindex(target.shape):
            odds = np.exp(maps[:, row, column])
            shares = odds / odds.sum()
            wanted = np.zeros_like(shares)
            wanted[label] += target[row, column]
            wanted[0] += 1 - target[row, column]
            losses.append(-(wanted * np.log(shares)).sum())
    return float(np.mean(losses)) if losses else 0.0


@pytest.mark.parametrize("labels", [[1, 2, 2, 1], [2, 0, -1, 1], [0, -1, 0, 0]])
@pytest.mark.parametrize("binary", [True, False])
def test_softmax_mask_loss(labels: list[int], binary: bool) -> None:
    logits, targets = torch.randn(4, 3, 5, 6) * 3, torch.rand(4, 5, 6)
    targets = targets.round() if binary else targets
    expected = softmax_mask_loss_plainly(logits.double().numpy(), labels, targets.double().numpy())
    found = softmax_mask_loss(logits, torch.tensor(labels), targets)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_whole_pixels_under_the_softmax_are_torchs_cross_entropy() -> None:
    logits, labels, targets = torch.randn(4, 3, 5, 6), torch.tensor([1, 2, 2, 1]), torch.rand(4, 5, 6).round()
    expected = F.cross_entropy(logits, (targets * labels[:, None, None]).long())
    torch.testing.assert_close(softmax_mask_loss(logits, labels, targets), expected)


def test_classes_compete_for_pixels_under_the_softmax_alone() -> None:
    """The coupling of the paper's ablation: with sigmoids, no other class's mask has a gradient."""
    labels, targets = torch.tensor([1, 2]), torch.rand(2, 4, 4)
    for loss, others_learn in ((mask_loss, False), (softmax_mask_loss, True)):
        logits = torch.randn(2, 3, 4, 4, requires_grad=True)
        loss(logits, labels, targets).backward()
        assert (logits.grad[0, 2] != 0).all() == others_learn
        assert (logits.grad[1, 0] != 0).all() == others_learn
        assert (logits.grad[0, 1] != 0).all()


@pytest.mark.parametrize("loss", [mask_loss, softmax_mask_loss])
def test_gradients_of_the_mask_losses(loss: Callable[..., Tensor]) -> None:
    logits = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(4, 3, 3, dtype=torch.float64)
    labels = torch.tensor([1, 0, 2, -1])
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, targets), (logits,))


@pytest.mark.parametrize("loss", [mask_loss, softmax_mask_loss])
def test_certain_masks_have_finite_losses(loss: Callable[..., Tensor]) -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1], logits[:, 0] = 1e4, -1e4
    for wanted, expected in ((1.0, 0.0), (0.0, 2e4 if loss is softmax_mask_loss else 1e4)):
        assert loss(logits, torch.tensor([1]), torch.full((1, 2, 2), wanted)).item() == expected


def test_without_samples_the_losses_are_zero_and_attached() -> None:
    logits = torch.zeros(0, requires_grad=True)
    scores = torch.zeros(0, 3, requires_grad=True)
    deltas = torch.zeros(0, 4, requires_grad=True)
    masks = torch.zeros(0, 3, 5, 5, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    losses = [
        objectness_loss(logits, none),
        classification_loss(scores, none),
        box_regression_loss(deltas, torch.zeros(0, 4), none > 0, beta=0.0, samples=sampled(none)),
        mask_loss(masks, none, torch.zeros(0, 5, 5)),
        softmax_mask_loss(masks, none, torch.zeros(0, 5, 5)),
    ]
    assert [loss.item() for loss in losses] == [0, 0, 0, 0, 0]
    torch.stack(losses).sum().backward()
    for leaf in (logits, scores, deltas, masks):
        assert leaf.grad is not None


def test_empty_slots_count_for_nothing() -> None:
    """Whatever stands in them, the losses and the gradients of the others are those without them."""
    filled = torch.tensor([0, 1, 3])
    labels = torch.tensor([2, 1, -1, 0, -1])
    positive = labels > 0
    inputs = [torch.randn(5), torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 3, 6, 6)]
    wanted_boxes, wanted_masks = torch.randn(5, 4), torch.rand(5, 6, 6)
    for values in (*inputs, wanted_boxes, wanted_masks):
        values[labels < 0] = 1e6

    def losses(rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaves = [values[rows].requires_grad_() for values in inputs]
        objectness, scores, deltas, masks = leaves
        own, samples = labels[rows], sampled(labels[rows])
        found = torch.stack(
            [
                objectness_loss(objectness, own.clamp(max=1)),
                classification_loss(scores, own),
                box_regression_loss(deltas, wanted_boxes[rows], positive[rows], beta=0.0, samples=samples),
                mask_loss(masks, own, wanted_masks[rows]),
                softmax_mask_loss(masks, own, wanted_masks[rows]),
            ]
        )
        found.sum().backward()
        return found.detach(), [leaf.grad for leaf in leaves]

    expected, gradients = losses(filled)
    found, padded = losses(torch.arange(5))
    torch.testing.assert_close(found, expected)
    for gradient, own in zip(padded, gradients, strict=True):
        torch.testing.assert_close(gradient[filled], own)
        assert (gradient[labels < 0] == 0).all()
