"""The losses against plain numpy, and without any sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.models.losses import (
    box_regression_loss,
    class_deltas,
    classification_loss,
    mask_loss,
    objectness_loss,
    sampled,
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
    ]
    assert [loss.item() for loss in losses] == [0, 0, 0, 0]
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
