"""ps_roi_align and ps_roi_pool on CUDA: the CPU's values, to the bit, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import ps_roi_align, ps_roi_pool
from tests.cuda.run import TestDevice
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.roi_cases import LAYOUTS, TOLERANCE, random_features, random_rois

# name -> the operator and its reference, as functions of (features, rois, size, scale)
OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., object]]] = {
    "ps_roi_pool": (ps_roi_pool, reference.ps_roi_pool),
    "ps_roi_align": (partial(ps_roi_align, sampling_ratio=2), partial(reference.ps_roi_align, ratio=2)),
    "ps_roi_align adaptive": (ps_roi_align, reference.ps_roi_align),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)
every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def gradient(
    operator: Callable[..., Tensor],
    features: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    weights: Tensor,
) -> Tensor:
    features = features.detach().requires_grad_()
    return torch.autograd.grad(operator(features, rois, size, scale), features, weights)[0]


@every_operator
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_cpu(name: str, layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    """Two groups of output channels, tiles that are cut off by the map's sides."""
    operator, size = OPERATORS[name][0], (2, 3)
    features = random_features(2, 54, 11, 19, dtype=dtype, layout=layout)
    rois = random_rois(6, 2, 38.0, torch.float64 if dtype == torch.float64 else torch.float32)
    pooled, expected = device.run(operator, features, rois, size, 0.5), operator(features, rois, size, 0.5)
    assert torch.equal(pooled, expected)
    assert pooled.stride() == expected.stride()
    weights = torch.randn(6, 9, *size, dtype=dtype)
    ours, theirs = (
        device.run(gradient, operator, features, rois, size, 0.5, weights),
        gradient(operator, features, rois, size, 0.5, weights),
    )
    assert ours.stride() == theirs.stride()
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@every_operator
def test_equals_the_reference(name: str, device: TestDevice) -> None:
    operator, plain = OPERATORS[name]
    features, rois = random_features(2, 6, 12, 15, dtype=torch.float64), random_rois(6, 2, 30.0, torch.float64)
    pooled = device.run(operator, features, rois, (2, 3), 0.5)
    expected = torch.as_tensor(plain(features.numpy(), rois.numpy(), (2, 3), 0.5))
    torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-12)


@every_operator
def test_more_rois_than_a_block_looks_at(name: str, device: TestDevice) -> None:
    operator = OPERATORS[name][0]
    features, rois, weights = random_features(1, 2, 9, 9), random_rois(140, 1, 9.0), torch.randn(140, 1, 2, 1)
    arguments = (operator, features, rois, (2, 1), 1.0, weights)
    ours = device.run(gradient, *arguments)
    torch.testing.assert_close(ours, gradient(*arguments), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours, device.run(gradient, *arguments))


@every_operator
@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_boxes(dtype: torch.dtype, layout: str, name: str, device: TestDevice) -> None:
    operator = OPERATORS[name][0]
    features = random_features(1, 2, 40, 40, dtype=dtype, layout=layout)
    rois = torch.tensor([[0.0, *box] for box in DEGENERATE.values()], dtype=dtype)
    arguments = (features, rois, (2, 1), 1.0)
    assert torch.equal(device.run(operator, *arguments), operator(*arguments))
    weights = torch.randn(len(rois), 1, 2, 1, dtype=dtype)
    ours, expected = device.run(gradient, operator, *arguments, weights), gradient(operator, *arguments, weights)
    torch.testing.assert_close(ours, expected)


@every_operator
@every_layout
def test_a_bad_batch_index_pools_to_nan_and_passes_no_gradient(layout: str, name: str, device: TestDevice) -> None:
    operator = OPERATORS[name][0]
    features = random_features(2, 4, 8, 8, layout=layout)
    rois = torch.tensor([[image, 1.0, 1, 6, 6] for image in (0, -1, 2, NAN, INF, 1e30, 1)])
    good = [0, 6]
    pooled = device.run(operator, features, rois, (2, 2), 1.0)
    assert pooled[1:6].isnan().all()
    assert torch.equal(pooled[good], operator(features, rois[good], (2, 2), 1.0))
    weights = torch.ones(7, 1, 2, 2)
    expected = gradient(operator, features, rois[good], (2, 2), 1.0, weights[good])
    ours = device.run(gradient, operator, features, rois, (2, 2), 1.0, weights)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@every_operator
@pytest.mark.parametrize("shape", [(0, 4, 4, 4), (1, 0, 4, 4), (1, 4, 0, 4), (1, 4, 4, 4)])
def test_nothing_to_pool(shape: tuple[int, ...], name: str, device: TestDevice) -> None:
    """Empty maps have bins without pixels; without RoIs the gradient is zero."""
    operator = OPERATORS[name][0]
    features, rois = torch.rand(shape), torch.zeros(int(shape[2] == 0), 5)
    pooled = device.run(operator, features, rois, (2, 2), 1.0)
    assert pooled.shape == (len(rois), shape[1] // 4, 2, 2)
    assert not pooled.any()
    assert torch.equal(device.run(gradient, operator, features, rois, (2, 2), 1.0, pooled), torch.zeros(shape))
