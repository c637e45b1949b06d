"""Tensors that begin anywhere in their memory, as slices do: kernels that move several values at once must not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import decode_boxes, match_boxes, nms, paste_masks, roi_align, roi_pool, select_detections
from tests.cuda.run import TestDevice
from tests.ops.box_cases import clustered_boxes
from tests.ops.roi_cases import TOLERANCE, random_features, random_rois

HALF = [torch.float32, torch.float16]


def shifted(tensor: Tensor) -> Tensor:
    """The same in memory of its own, one value beyond where it would begin."""
    extent = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    memory = torch.zeros(extent + 1, dtype=tensor.dtype)[1:]
    assert memory.data_ptr() % 16 == tensor.element_size()
    return memory.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_pooling(pool: Callable[..., Tensor], layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    features, rois = random_features(1, 16, 6, 9, dtype=dtype, layout=layout), random_rois(3, 1, 9.0)
    pooled = device.run(pool, shifted(features), shifted(rois), 2, 1.0)
    torch.testing.assert_close(pooled, pool(features, rois, 2, 1.0), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_gradients(pool: Callable[..., Tensor], layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    def gradient(features: Tensor, rois: Tensor, weights: Tensor) -> Tensor:
        features = features.detach().requires_grad_()
        return torch.autograd.grad(pool(features, rois, 2, 1.0), features, weights)[0]

    features, rois = random_features(1, 16, 6, 9, dtype=dtype, layout=layout), random_rois(3, 1, 9.0)
    weights = random_features(3, 16, 2, 2, dtype=dtype, layout=layout)
    found = device.run(gradient, features, rois, shifted(weights))
    expected = gradient(features, rois, weights)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    "operator",
    [
        lambda place, boxes, scores: nms(place(boxes), place(scores), 0.5),
        lambda place, boxes, scores: match_boxes(place(boxes[:9]), place(boxes), foreground=0.7, background=0.3),
        lambda place, boxes, scores: decode_boxes(place(boxes / 99), place(boxes)),
        lambda place, boxes, scores: paste_masks(place(scores[:36].view(4, 3, 3)), place(boxes[:4]), (20, 30)),
        lambda place, boxes, scores: (
            select_detections(
                place(scores[:40].view(1, 20, 2)),
                place(boxes.view(1, 20, 8) / 99),
                place(boxes[None, :20]),
                None,
                [(99, 99)],
            ).boxes
        ),
    ],
    ids=["nms", "match_boxes", "decode_boxes", "paste_masks", "select_detections"],
)
def test_boxes(operator: Callable[..., Tensor], device: TestDevice) -> None:
    boxes, scores = clustered_boxes(40, 8), torch.rand(40)
    assert torch.equal(device.run(operator, shifted, boxes, scores), operator(lambda tensor: tensor, boxes, scores))
