"""roi_pool on CUDA: the CPU's maxima and places, to the bit, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import roi_pool
from tests.cuda.run import TestDevice
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.roi_cases import TOLERANCE, random_features, random_rois

every_dtype = pytest.mark.parametrize("dtype", list(TOLERANCE))
every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def maxima(features: Tensor, rois: Tensor, scale: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    pooled: tuple[Tensor, Tensor] = torch.ops.fastmrcnn.roi_pool(features, rois, scale, *size)
    return pooled


def gradient(features: Tensor, rois: Tensor, scale: float, size: tuple[int, int], weights: Tensor) -> Tensor:
    features = features.detach().requires_grad_()
    return torch.autograd.grad(roi_pool(features, rois, size, scale), features, weights)[0]


@every_dtype
@every_layout
@pytest.mark.parametrize(
    ("channels", "height", "width", "size"),
    [(1, 9, 14, (2, 3)), (24, 11, 7, (3, 2)), (33, 17, 9, (1, 1)), (136, 5, 6, (2, 2)), (2, 12, 70, (9, 8))],
)
def test_equals_the_cpu(
    channels: int, height: int, width: int, size: tuple[int, int], layout: str, dtype: torch.dtype, device: TestDevice
) -> None:
    """Channels within and beyond a block, dividing into packs or not; more bins than a block has at once."""
    features = random_features(2, channels, height, width, dtype=dtype, layout=layout)
    rois = random_rois(7, 2, 2.0 * width, torch.float64 if dtype == torch.float64 else torch.float32)
    for ours, expected in zip(
        device.run(maxima, features, rois, 0.5, size), maxima(features, rois, 0.5, size), strict=True
    ):
        assert torch.equal(ours, expected)
    weights = torch.randn(7, channels, *size, dtype=dtype)
    ours, expected = (
        device.run(gradient, features, rois, 0.5, size, weights),
        gradient(features, rois, 0.5, size, weights),
    )
    assert ours.stride() == expected.stride()
    torch.testing.assert_close(ours, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_equals_the_reference(device: TestDevice) -> None:
    features, rois = random_features(2, 3, 12, 15, dtype=torch.float64), random_rois(6, 2, 30.0, torch.float64)
    pooled = device.run(roi_pool, features, rois, (3, 2), 0.5)
    expected = reference.roi_pool(features.numpy(), rois.numpy(), (3, 2), 0.5)
    assert torch.equal(pooled, torch.from_numpy(expected))


@every_layout
def test_many_rois_of_few_pixels(layout: str, device: TestDevice) -> None:
    """More RoIs than a block lists at once; a pixel is the maximum of many bins, and lies in those of one RoI."""
    features = random_features(1, 2, 6, 10, layout=layout)
    rois = random_rois(150, 1, 9.0)
    rois[:20, 3:] = rois[:20, 1:3]
    weights = torch.randn(150, 2, 4, 4)
    arguments = (features, rois, 1.0, (4, 4), weights)
    ours = device.run(gradient, *arguments)
    torch.testing.assert_close(ours, gradient(*arguments), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours, device.run(gradient, *arguments))


@every_layout
def test_ties_and_nan(layout: str, device: TestDevice) -> None:
    features = torch.randint(-1, 2, (1, 20, 10, 12)) * torch.tensor(-0.5)  # zeros of both signs
    features[torch.rand(features.shape) < 0.1] = NAN
    features[:, :, :3, :3] = -INF
    if layout == "channels_last":
        features = features.to(memory_format=torch.channels_last)
    rois = random_rois(8, 1, 12.0)
    (pooled, places), (expected, expected_places) = (
        device.run(maxima, features, rois, 1.0, (3, 3)),
        maxima(features, rois, 1.0, (3, 3)),
    )
    assert torch.equal(places, expected_places)
    assert torch.equal(pooled.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert torch.equal(pooled.isnan(), expected.isnan())


@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_boxes(dtype: torch.dtype, layout: str, device: TestDevice) -> None:
    rois = torch.tensor([[0.0, *box] for box in DEGENERATE.values()], dtype=dtype)
    features, weights = random_features(1, 4, 40, 40, dtype=dtype, layout=layout), torch.randn(len(rois), 4, 2, 3)
    arguments = (features, rois, 1.0, (2, 3))
    for ours, expected in zip(device.run(maxima, *arguments), maxima(*arguments), strict=True):
        assert torch.equal(ours, expected)
    weights = weights.to(dtype)
    torch.testing.assert_close(device.run(gradient, *arguments, weights), gradient(*arguments, weights))


@every_layout
def test_a_bad_batch_index_pools_to_nan_and_passes_no_gradient(layout: str, device: TestDevice) -> None:
    features = random_features(2, 4, 8, 8, layout=layout)
    rois = torch.tensor([[image, 1.0, 1, 6, 6] for image in (0, -1, 2, NAN, INF, 1e30, 1)])
    good = [0, 6]
    pooled, places = device.run(maxima, features, rois, 1.0, (2, 2))
    assert pooled[1:6].isnan().all()
    assert (places[1:6] == -1).all()
    assert torch.equal(pooled[good], roi_pool(features, rois[good], 2))
    weights = torch.ones(7, 4, 2, 2)
    expected = gradient(features, rois[good], 1.0, (2, 2), weights[good])
    assert torch.equal(device.run(gradient, features, rois, 1.0, (2, 2), weights), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (1, 0, 4, 4), (1, 3, 0, 4), (1, 3, 4, 4)])
def test_nothing_to_pool(shape: tuple[int, ...], device: TestDevice) -> None:
    """Empty maps have bins without pixels; without RoIs the gradient is zero."""
    features, rois = torch.rand(shape), torch.zeros(int(shape[2] == 0), 5)
    pooled = device.run(roi_pool, features, rois, 2)
    assert pooled.shape == (len(rois), shape[1], 2, 2)
    assert not pooled.any()
    assert torch.equal(device.run(gradient, features, rois, 1.0, (2, 2), pooled), torch.zeros(shape))


@every_layout
def test_places_beyond_the_map_are_passed_over(layout: str, device: TestDevice) -> None:
    """The CPU refuses them."""
    rois, grad = torch.tensor([[0.0, 0, 0, 9, 9]]), torch.ones(1, 2, 1, 3)
    places = torch.tensor([-5, 100, 2**31 - 1], dtype=torch.int32).expand(1, 2, 1, 3)
    shape, channels_last = (1, 2, 10, 10), layout == "channels_last"
    spread = torch.ops.fastmrcnn.roi_pool_backward
    assert not device.run(spread, grad, rois, places, 1.0, shape, channels_last).any()
