"""select_detections_softly against its steps, one operator each; its shapes follow from those of the arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import (
    PaddedDetections,
    clip_boxes_to_image,
    decode_boxes,
    select_detections,
    select_detections_softly,
    soft_nms,
)
from tests.ops.detection_cases import SIZES, Head, random_head

OPTIONS = {"score_threshold": 0.05, "nms_iou": 0.3, "sigma": 0.4}


def select(head: Head, **options: Any) -> PaddedDetections:
    return select_detections_softly(head.logits, head.deltas, head.proposals, head.counts, head.sizes, **options)


def step_by_step(head: Head, image: int, method: str, detections: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = head.real(image)
    scores = head.logits[image, :count].softmax(dim=1)[:, 1:]
    row, label = (scores > OPTIONS["score_threshold"]).nonzero(as_tuple=True)
    boxes = decode_boxes(head.deltas[image, :count], head.proposals[image, :count], (10.0, 10.0, 5.0, 5.0))
    boxes = boxes[row] if boxes.dim() == 2 else boxes[row, label + 1]
    boxes = clip_boxes_to_image(boxes, head.sizes[image])
    large = (boxes[:, 2:] - boxes[:, :2] >= 1e-2).all(dim=1)
    row, label, boxes = row[large], label[large], boxes[large]
    keep, decayed = soft_nms(
        boxes,
        scores[row, label],
        idxs=label,
        method=method,  # type: ignore[arg-type]
        sigma=OPTIONS["sigma"],
        iou_threshold=OPTIONS["nms_iou"],
        score_threshold=OPTIONS["score_threshold"],
    )
    keep, decayed = keep[:detections], decayed[:detections]
    return boxes[keep], decayed, label[keep] + 1, row[keep]


@pytest.mark.parametrize("method", ["gaussian", "linear"])
@pytest.mark.parametrize("detections", [1, 7, 400])
@pytest.mark.parametrize("agnostic", [False, True])
def test_equals_its_steps(method: Any, detections: int, agnostic: bool) -> None:
    for counts in (None, [60, 0, 25]):
        head = random_head(3, counts=counts, agnostic=agnostic)
        found = select(head, method=method, detections=detections, **OPTIONS)
        assert found.boxes.shape == (3, detections, 4)
        for image, parts in enumerate(found.per_image()):
            for part, expected in zip(parts, step_by_step(head, image, method, detections), strict=True):
                torch.testing.assert_close(part, expected)
            behind = [part[image, len(parts[0]) :] for part in found[:4]]
            assert all((part == 0).all() for part in behind)
    assert len(SIZES) == 3


def test_objects_that_hide_each_other_stay() -> None:
    """Two of a class whose boxes overlap by more than the NMS of boxes lets pass: the second has a lower score."""
    proposals = torch.tensor([[[10.0, 10, 50, 50], [10, 10, 50, 42]]])
    logits = torch.tensor([[[0.0, 4.0], [0.0, 3.0]]])
    arguments = (logits, torch.zeros(1, 2, 8), proposals, None, [(60, 60)])
    assert select_detections(*arguments, nms_iou=0.5).counts.tolist() == [1]
    found = select_detections_softly(*arguments, sigma=0.5)
    assert found.counts.tolist() == [2]
    factor = torch.exp(torch.tensor(-(0.8**2) / 0.5))
    torch.testing.assert_close(found.scores[0, 1], torch.tensor(3.0).sigmoid() * factor)


def test_nothing_to_select_from() -> None:
    for head in (random_head(2, 0), random_head(0, 5), random_head(2, 5, 0)):
        found = select(head, detections=4)
        assert found.counts.tolist() == [0] * head.logits.shape[0]
        assert found.boxes.shape == (head.logits.shape[0], 4, 4)
        assert not found.scores.any()
    odd = random_head(1, 3)
    odd.logits[0, 0, 1], odd.deltas[0, 1], odd.proposals[0, 2, 0] = torch.nan, torch.nan, torch.nan
    assert select(odd, score_threshold=0.0).counts.tolist() == [0]


def test_under_fake_tensors_and_compilation() -> None:
    head = random_head(2)

    def run(logits: Tensor, deltas: Tensor, proposals: Tensor, sizes: Tensor) -> PaddedDetections:
        return select_detections_softly(logits, deltas, proposals, None, sizes, detections=20)

    arguments = (head.logits, head.deltas, head.proposals, torch.tensor(head.sizes[:2]))
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(*arguments), run(*arguments), strict=True):
        torch.testing.assert_close(found, expected)
    boxes, scores = torch.rand(9, 4).cumsum(dim=1), torch.rand(9)
    torch.library.opcheck(
        torch.ops.fastmrcnn.soft_nms_padded.default,
        (boxes, scores, None, "gaussian", 0.5, 0.3, 0.0),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_errors() -> None:
    head = random_head(2)
    with pytest.raises(ValueError, match=r"^select_detections_softly: detections must be >= 0; got -1$"):
        select(head, detections=-1)
    with pytest.raises(ValueError, match=r"^soft_nms: sigma must be positive; got 0"):
        select(head, sigma=0.0)
