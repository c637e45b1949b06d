"""The heads of the paper's ablations against plain numpy: what they put out, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fastmrcnn.models import BoxHeadConfig, MaskHeadConfig, PoolerConfig
from fastmrcnn.models.box_head import BoxHead, BoxPrediction
from fastmrcnn.models.instances import SampledRoIs, Targets
from fastmrcnn.models.losses import mask_loss, softmax_mask_loss
from fastmrcnn.models.mask_head import ROIS_IN_CACHE, MaskHead
from fastmrcnn.ops import PaddedProposals

CLASSES, CELLS, CHANNELS = 3, 5, 4
LABELS = [1, 3, 2, 3]


def mask_head(**options: object) -> MaskHead:
    torch.manual_seed(0)
    defaults = {"pooler": PoolerConfig(CELLS), "channels": 6, "convolutions": 1, "hidden": 8}
    head = MaskHead(CHANNELS, CELLS, CLASSES, MaskHeadConfig(**defaults | options))  # type: ignore[arg-type]
    nn.init.normal_(head.logits.weight)
    return head


def in_double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("predictor", ["fcn", "mlp"])
def test_masks_of_the_own_class(predictor: str) -> None:
    head, regions = mask_head(predictor=predictor), torch.randn(4, CHANNELS, CELLS, CELLS)
    logits = head(regions)
    assert logits.shape == (4, CLASSES + 1, 2 * CELLS, 2 * CELLS)
    found = head.probabilities(logits, torch.tensor(LABELS))
    for row, label in enumerate(LABELS):
        expected = 1 / (1 + np.exp(-in_double(logits)[row, label]))
        np.testing.assert_allclose(in_double(found[row]), expected, rtol=1e-5)


@pytest.mark.parametrize(("activation", "drawn"), [("sigmoid", 1), ("softmax", CLASSES + 1)])
def test_the_losses_need_the_masks_of_no_other_class(activation: str, drawn: int) -> None:
    head, regions = mask_head(activation=activation), torch.randn(4, CHANNELS, CELLS, CELLS, requires_grad=True)
    labels, target = torch.tensor([1, 3, 0, -1]), torch.rand(4, 2 * CELLS, 2 * CELLS)
    leaves = [regions, *head.parameters()]
    own, every = head(regions, labels=labels), head(regions)
    assert own.shape == (4, drawn, 2 * CELLS, 2 * CELLS)
    loss = mask_loss if activation == "sigmoid" else softmax_mask_loss
    torch.testing.assert_close(loss(own, labels, target), loss(every, labels, target))
    gradients = (torch.autograd.grad(loss(logits, labels, target), leaves) for logits in (own, every))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("count", [0, 1, ROIS_IN_CACHE, 2 * ROIS_IN_CACHE + 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_inference_draws_the_masks_of_no_other_class(count: int, layout: torch.memory_format) -> None:
    head, labels = mask_head(), torch.arange(count) % (CLASSES + 2) - 1
    regions = torch.randn(count, CHANNELS, CELLS, CELLS).to(memory_format=layout)
    with torch.no_grad():
        own = head(regions, labels=labels)
        assert own.shape == (count, 1, 2 * CELLS, 2 * CELLS)
        expected = head.probabilities(head(regions), labels)
        torch.testing.assert_close(head.probabilities(own, labels), expected)


@pytest.mark.parametrize("predictor", ["fcn", "mlp"])
def test_masks_under_a_softmax(predictor: str) -> None:
    head = mask_head(predictor=predictor, activation="softmax")
    logits = head(torch.randn(4, CHANNELS, CELLS, CELLS))
    found = head.probabilities(logits, torch.tensor(LABELS))
    odds = np.exp(in_double(logits))
    for row, label in enumerate(LABELS):
        expected = odds[row, label] / odds[row].sum(axis=0)
        np.testing.assert_allclose(in_double(found[row]), expected, rtol=1e-5)
        won = odds[row].argmax(axis=0) == label
        assert (won >= (in_double(found[row]) >= 0.5)).all()  # where a mask is drawn, no class is likelier


@pytest.mark.parametrize("predictor", ["fcn", "mlp"])
def test_one_mask_for_all_classes(predictor: str) -> None:
    head = mask_head(predictor=predictor, class_agnostic=True)
    logits = head(torch.randn(4, CHANNELS, CELLS, CELLS))
    assert logits.shape == (4, 1, 2 * CELLS, 2 * CELLS)
    found = head.probabilities(logits, torch.tensor(LABELS))
    np.testing.assert_allclose(in_double(found), 1 / (1 + np.exp(-in_double(logits)[:, 0])), rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_the_loss_is_that_of_the_activation(activation: str) -> None:
    """One object that fills the image: every pixel of its RoIs is to show its class."""
    head = mask_head(activation=activation)
    logits, labels = torch.randn(3, CLASSES + 1, 8, 8), torch.tensor([2, 2, 0])
    boxes = torch.tensor([[2.0, 2, 18, 18], [4, 3, 12, 15], [2, 2, 18, 18]])
    rois = SampledRoIs(boxes, labels, torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4), positives=2)
    targets = Targets(
        torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([2]), torch.ones(1, 20, 20).byte(), torch.zeros(0, 4)
    )
    odds = np.exp(in_double(logits)[:2])
    shares = odds[:, 2] / (odds.sum(axis=1) if activation == "softmax" else 1 + odds[:, 2])
    found = head.losses(logits, [rois], [targets])["loss_mask"]
    assert found.item() == pytest.approx(-np.log(shares).mean(), rel=1e-5)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_the_mlp_is_a_chain_of_layers(layers: int) -> None:
    head = mask_head(predictor="mlp", convolutions=0, fully_connected=layers)
    regions = torch.randn(2, CHANNELS, CELLS, CELLS)
    x = in_double(regions).reshape(2, -1)
    for layer in head.layers:
        x = np.maximum(x @ in_double(layer.linear.weight).T + in_double(layer.linear.bias), 0)
    x = x @ in_double(head.logits.weight).T + in_double(head.logits.bias)
    expected = x.reshape(2, CLASSES + 1, 2 * CELLS, 2 * CELLS)
    np.testing.assert_allclose(in_double(head(regions)), expected, atol=1e-4, rtol=1e-4)


def test_the_mlp_of_the_paper() -> None:
    """Table 2e: fully connected layers 1024, 1024 and 80 * 28^2 (here with the background's masks)."""
    with torch.device("meta"):
        head = MaskHead(256, 14, 80, MaskHeadConfig(predictor="mlp", convolutions=0))
    weights = [list(p.shape) for name, p in head.named_parameters() if name.endswith("weight")]
    assert weights == [[1024, 256 * 14 * 14], [1024, 1024], [81 * 28 * 28, 1024]]


def test_the_mlp_starts_undecided() -> None:
    head = MaskHead(CHANNELS, CELLS, CLASSES, MaskHeadConfig(predictor="mlp", hidden=8))
    assert head(torch.randn(2, CHANNELS, CELLS, CELLS)).abs().max() < 0.1


def box_head(*, class_agnostic: bool) -> BoxHead:
    torch.manual_seed(0)
    config = BoxHeadConfig(
        PoolerConfig(CELLS), hidden=8, class_agnostic=class_agnostic, score_threshold=0.2, box_weights=(10, 10, 5, 5)
    )
    return BoxHead(CHANNELS, CELLS, CLASSES, config)


def test_a_class_agnostic_box_serves_the_detections_of_all_classes() -> None:
    head = box_head(class_agnostic=True)
    logits = torch.randn(6, CLASSES + 1) * 2
    deltas = torch.randn(6, 4)
    corners = torch.rand(6, 2) * 50 + torch.arange(6)[:, None] * 100  # far from each other: NMS drops nothing
    boxes = torch.cat((corners, corners + 20 + 30 * torch.rand(6, 2)), dim=1)
    proposals = PaddedProposals(boxes[None], torch.zeros(1, 6), torch.tensor([6]))
    found = head.detect(BoxPrediction(logits, deltas), proposals, torch.tensor([[1000, 1000]]))

    expected = []
    for score_row, delta, box in zip(in_double(logits), in_double(deltas), in_double(boxes), strict=True):
        odds = np.exp(score_row)
        scores = odds / odds.sum()
        size, centre = box[2:] - box[:2], (box[2:] + box[:2]) / 2
        centre = centre + delta[:2] / 10 * size
        size = size * np.exp(delta[2:] / 5)
        decoded = np.concatenate([centre - size / 2, centre + size / 2]).clip(0, 1000)
        expected += [(scores[label], label, *decoded) for label in range(1, CLASSES + 1) if scores[label] > 0.2]
    expected.sort(reverse=True)
    assert len(expected) > 3
    count = int(found.counts[0])
    assert found.labels[0, :count].tolist() == [row[1] for row in expected]
    np.testing.assert_allclose(in_double(found.scores[0, :count]), [row[0] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(in_double(found.boxes[0, :count]), [row[2:] for row in expected], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_the_loss_of_boxes(class_agnostic: bool) -> None:
    head = box_head(class_agnostic=class_agnostic)
    prediction = head(torch.randn(5, CHANNELS, CELLS, CELLS))
    assert prediction.deltas.shape == (5, 4 if class_agnostic else (CLASSES + 1) * 4)
    labels, wanted = torch.tensor([3, 1, 0, 0, -1]), torch.randn(5, 4)
    rois = SampledRoIs(torch.zeros(5, 4), labels, torch.zeros(5, dtype=torch.int64), wanted, positives=3)
    found = head.losses(prediction, [rois])["loss_box_reg"]
    by_class = in_double(prediction.deltas).reshape(5, -1, 4)
    own = [by_class[row, 0 if class_agnostic else label] for row, label in enumerate(labels.tolist()[:2])]
    expected = np.abs(np.stack(own) - in_double(wanted)[:2]).sum() / 4  # four RoIs, two of them with an object
    assert found.item() == pytest.approx(expected, rel=1e-5)
