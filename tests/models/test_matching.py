"""Matching against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn.models.matching import BACKGROUND, IGNORED, gather_labels, match_boxes


def match_plainly(iou: np.ndarray, foreground: float, background: float, every_object: bool) -> list[int]:
    objects, boxes = iou.shape
    matches = []
    for n in range(boxes):
        best = max(range(objects), key=lambda m: iou[m, n], default=None)
        if best is None or iou[best, n] < background:
            matches.append(BACKGROUND)
        elif iou[best, n] < foreground:
            matches.append(IGNORED)
        else:
            matches.append(best)
        if every_object and best is not None and any(0 < iou[m, n] == iou[m].max() for m in range(objects)):
            matches[-1] = best
    return matches


# Few distinct values, so that ties and values on the thresholds occur.
ious = st.integers(0, 5).flatmap(
    lambda m: st.integers(0, 8).flatmap(
        lambda n: st.lists(st.sampled_from([0, 0.2, 0.3, 0.5, 0.7, 0.9]), min_size=m * n, max_size=m * n).map(
            lambda values: np.array(values, dtype=np.float32).reshape(m, n)
        )
    )
)


@given(iou=ious, every_object=st.booleans(), thresholds=st.sampled_from([(0.7, 0.3), (0.5, 0.5)]))
def test_matches_equal_a_plain_loop(iou: np.ndarray, every_object: bool, thresholds: tuple[float, float]) -> None:
    foreground, background = (float(np.float32(t)) for t in thresholds)
    matches = match_boxes(
        torch.from_numpy(iou), foreground=foreground, background=background, every_object=every_object
    )
    assert matches.dtype == torch.int64
    assert matches.tolist() == match_plainly(iou, foreground, background, every_object)


def test_an_object_that_nothing_touches_claims_no_box() -> None:
    iou = torch.tensor([[0.8, 0.0, 0.1], [0.0, 0.0, 0.0]])
    matches = match_boxes(iou, foreground=0.7, background=0.3, every_object=True)
    assert matches.tolist() == [0, BACKGROUND, BACKGROUND]


def test_labels_of_matches() -> None:
    matches = torch.tensor([1, BACKGROUND, IGNORED, 0])
    assert gather_labels(matches, torch.tensor([5, 9])).tolist() == [9, 0, -1, 5]
    nothing = torch.full((3,), BACKGROUND)
    assert gather_labels(nothing, torch.zeros(0, dtype=torch.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("every_object", [False, True])
def test_matches_equal_torchvision(every_object: bool) -> None:
    utils = pytest.importorskip("torchvision.models.detection._utils", reason="torchvision is the peer")
    iou = torch.rand(6, 500)
    theirs = utils.Matcher(0.7, 0.3, allow_low_quality_matches=every_object)(iou)
    assert torch.equal(match_boxes(iou, foreground=0.7, background=0.3, every_object=every_object), theirs)
