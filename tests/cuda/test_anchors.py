"""generate_anchors on CUDA: the CPU's numbers, to the bit, without a copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastmrcnn.ops import generate_anchors
from tests.cuda.run import TestDevice
from tests.ops.test_anchors import PYRAMID, UNEVEN

MANY = {**UNEVEN, "sizes": [tuple(range(8, 60)), (7,)], "aspect_ratios": [(0.5, 0.7, 1, 1.4, 2), (1,)]}  # 260 a cell
EMPTY = {**UNEVEN, "feature_sizes": [(0, 5), (5, 0)]}


def on(device: TestDevice) -> str:
    """What the interpreter replaces are the calls with tensors of the CPU."""
    return "cuda" if device.name == "gpu" else "cpu"


@pytest.mark.parametrize("pyramid", [PYRAMID, UNEVEN, MANY, EMPTY], ids=["pyramid", "uneven", "many", "empty"])
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_cpu(pyramid: dict[str, Any], rounded: bool, dtype: torch.dtype, device: TestDevice) -> None:
    options = {**pyramid, "rounded": rounded, "sizes_first": not rounded, "dtype": dtype}
    for ours, expected in zip(
        device.run(generate_anchors, **options, device=on(device)), generate_anchors(**options), strict=True
    ):
        assert torch.equal(ours, expected)


def test_refuses_what_the_cpu_refuses(device: TestDevice) -> None:
    with pytest.raises(ValueError, match=r"^generate_anchors: anchors must be \[H, W, A, 4\]; got \[2, 2, 3, 4\]$"):
        device.native("generate_anchors", (4, 4), (32,), (0.5, 1), True, False, torch.empty(2, 2, 3, 4))
