"""decode_boxes on CUDA: the CPU's numbers, to the bit in float32."""

from __future__ import annotations

import pytest
import torch

from fastmrcnn.ops import decode_boxes
from tests.cuda.run import TestDevice
from tests.ops.box_cases import DEGENERATE, random_boxes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("count", "classes"), [(0, 1), (1, 1), (255, 1), (257, 1), (33, 7)])
@pytest.mark.parametrize("image_size", [None, (60, 90)])
def test_equals_the_cpu(
    count: int, classes: int, image_size: tuple[int, int] | None, dtype: torch.dtype, device: TestDevice
) -> None:
    boxes, deltas = random_boxes(count, dtype=dtype), torch.randn(count, 4 * classes, dtype=dtype) * 3
    weights = (10.0, 10.0, 5.0, 5.0)
    decoded = device.run(decode_boxes, deltas, boxes, weights, image_size=image_size)
    expected = decode_boxes(deltas, boxes, weights, image_size=image_size)
    if dtype == torch.float32:
        assert torch.equal(decoded, expected)
    else:  # the exponentials are of two libraries
        torch.testing.assert_close(decoded, expected, rtol=1e-14, atol=1e-12)


def test_degenerate_boxes(device: TestDevice) -> None:
    boxes = torch.tensor([*DEGENERATE.values()])
    deltas = torch.tensor([[0.1, -0.2, 0.3, 9.0], [float("nan"), 0, 0, 0]]).repeat(len(boxes), 1)[: len(boxes)]
    decoded, expected = device.run(decode_boxes, deltas, boxes), decode_boxes(deltas, boxes)
    torch.testing.assert_close(decoded, expected, rtol=0, atol=0, equal_nan=True)
