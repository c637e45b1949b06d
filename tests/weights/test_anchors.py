"""Models that go on with anchors of other sizes and shapes."""

from __future__ import annotations

import pytest
import torch

from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.weights.anchors import changed_anchors, with_anchors


def test_all_weights_are_kept_and_the_anchors_are_others() -> None:
    model = MaskRCNN(tiny(("a",)))
    anchors = changed_anchors(model.config.rpn.anchors, 0.5, (0.25, 0.5, 1.0))
    changed = with_anchors(model, anchors)
    assert changed.config.rpn.anchors.sizes == ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    assert changed.config.rpn.anchors.aspect_ratios == (0.25, 0.5, 1.0)
    for name, tensor in model.state_dict().items():
        assert torch.equal(changed.state_dict()[name], tensor), name
    found = changed.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))
    assert found.boxes.shape[1] == 4


def test_another_number_of_anchors_has_no_weights() -> None:
    model = MaskRCNN(tiny(("a",)))
    with pytest.raises(
        UserError, match=r"^x: expected 3 aspect ratios, as many as its weights have; got \(1.0, 2.0\)$"
    ):
        with_anchors(model, changed_anchors(model.config.rpn.anchors, 1.0, (1.0, 2.0)), source="x")
