"""Labels of matched boxes, and crowds that are taught neither as objects nor as background."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastmrcnn.data import Sample as DataSample
from fastmrcnn.data import collate
from fastmrcnn.models import BoxHeadConfig, RPNConfig, torchvision_resnet50_fpn
from fastmrcnn.models.instances import Targets
from fastmrcnn.models.matching import gather_labels, match_target, regression_targets
from fastmrcnn.models.roi_heads import sample_rois
from fastmrcnn.models.sampling import Sample
from fastmrcnn.ops import BACKGROUND, IGNORED
from tests.models.small import images_of, small_model, target_of

CROWD = [40.0, 4.0, 92.0, 60.0]  # px of the original image


def test_labels_of_matches() -> None:
    matches = torch.tensor([1, BACKGROUND, IGNORED, 0])
    assert gather_labels(matches, torch.tensor([5, 9])).tolist() == [9, 0, -1, 5]


def test_labels_without_objects() -> None:
    matches = torch.tensor([BACKGROUND, IGNORED])
    assert gather_labels(matches, torch.zeros(0, dtype=torch.int64)).tolist() == [0, -1]


def test_boxes_without_an_object_have_no_offsets() -> None:
    """Not even those without area, whose logarithms are not finite."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 0, 0], [3, 3, 3, 3], [20, 20, 30, 40]])
    objects = torch.tensor([[5.0, 0, 15, 10], [20, 20, 30, 40]])
    deltas = regression_targets(objects, torch.tensor([0, BACKGROUND, IGNORED, 1]), boxes, (10, 10, 5, 5))
    assert deltas.tolist() == [[5, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert regression_targets(objects[:0], torch.full((4,), BACKGROUND), boxes, (1, 1, 1, 1)).tolist() == [[0] * 4] * 4


def crowded_sample() -> DataSample:
    """An object on the left, a crowd on the right."""
    [image] = images_of((64, 96))
    target = target_of(image, [[4, 10, 30, 40], [40, 4, 92, 60]], [1, 1])
    iscrowd, areas = torch.tensor([False, True]), torch.tensor([780.0, 2912.0])
    pixels = (image * 255).to(torch.uint8)
    return DataSample(
        pixels, 1, Path("a.png"), target["boxes"], torch.tensor([0, 1]), target["masks"].bool(), iscrowd, areas
    )


def test_no_anchor_inside_of_a_crowd_is_taught() -> None:
    """From the data set's sample to the labels that the RPN's sampler draws from; the image is doubled on the way."""
    images, targets, _ = collate([crowded_sample()])
    model = small_model(input={"min_size": 128, "max_size": 192, "enlarge": True}).train()
    anchors, labels = [], []
    model.rpn.register_forward_hook(lambda _module, _inputs, outputs: anchors.append(torch.cat(outputs[0].anchors)))

    def record(candidates: Tensor, count: int, positive_fraction: float, _: torch.Generator | None) -> Sample:
        labels.append(candidates)
        return Sample.of(torch.where(candidates >= 1)[0], torch.where(candidates == 0)[0][:count])

    model.rpn.sampler = record
    losses = model(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    x1, y1, x2, y2 = anchors[0].unbind(1)
    left, top, right, bottom = (2 * value for value in CROWD)
    inside = (x1 >= left) & (y1 >= top) & (x2 <= right) & (y2 <= bottom)
    assert inside.sum() > 100
    assert (labels[0][inside] == -1).all()
    assert (labels[0][~inside] == 0).sum() > 100
    assert (labels[0] == 1).any()

    model(images, [{key: value for key, value in target.items() if key != "ignore"} for target in targets])
    assert (labels[1][inside] == 0).all()
    assert torch.equal(labels[0] == 1, labels[1] == 1)


@pytest.mark.parametrize("objects", [0, 1])
def test_no_proposal_inside_of_a_crowd_is_taught(objects: int) -> None:
    target = Targets(
        torch.tensor([[0.0, 0, 20, 20]])[:objects],
        torch.tensor([2])[:objects],
        torch.zeros(objects, 64, 96, dtype=torch.uint8),
        torch.tensor([CROWD]),
    )
    proposals = torch.tensor([[50.0, 10, 80, 50], [30, 10, 62, 50], [0, 0, 20, 18], [0, 40, 20, 60], [0, 0, 0, 0]])
    drawn = []

    def record(candidates: Tensor, count: int, positive_fraction: float, _: torch.Generator | None) -> Sample:
        drawn.append(candidates.tolist())
        return Sample.of(torch.where(candidates >= 1)[0], torch.where(candidates == 0)[0])

    rois = sample_rois(proposals, torch.tensor(4), target, BoxHeadConfig(), record)  # the fifth is padding
    # The second lies inside by 22/32 of its area.
    assert drawn == [[-1, 0, 2, 0, -1, 2] if objects else [-1, 0, 0, 0, -1]]
    assert rois.labels.tolist() == sorted((label for label in drawn[0] if label >= 0), reverse=True)


def test_crowds_are_background_where_nothing_is_ignored() -> None:
    """What torchvision's recipe trains: its data set drops the crowds."""
    object_box, inside = [0.0, 0, 20, 20], [50.0, 10, 80, 50]
    target = Targets(
        torch.tensor([object_box]), torch.tensor([2]), torch.zeros(1, 64, 96, dtype=torch.uint8), torch.tensor([CROWD])
    )
    boxes = torch.tensor([inside, object_box])
    theirs = torchvision_resnet50_fpn(["cat", "dog"])
    for ours, preset in ((RPNConfig(), theirs.rpn), (BoxHeadConfig(), theirs.box_head)):
        for every_object in (False, True):
            assert match_target(target, boxes, ours, every_object=every_object).tolist() == [IGNORED, 0]
            assert match_target(target, boxes, preset, every_object=every_object).tolist() == [BACKGROUND, 0]


def test_a_lone_crowd_trains() -> None:
    sample = crowded_sample()
    images, targets, _ = collate([sample.select(sample.iscrowd)])
    losses = small_model().train()(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
