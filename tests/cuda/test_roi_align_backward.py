"""The gradient of roi_align and multiscale_roi_align on CUDA: the adjoint of pooling, in the same bits every run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import roi_align
from tests.cuda.run import TestDevice
from tests.cuda.test_roi_align import DTYPES, SAMPLING, assert_close, coordinates_of, every_layout
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.multiscale_cases import pool, pyramid, rois_of_all_levels
from tests.ops.roi_cases import random_features, random_rois


def gradient(features: Tensor, rois: Tensor, weights: Tensor, *arguments: object) -> Tensor:
    """Of the weighted sum of roi_align, through the public function."""
    features = features.detach().requires_grad_()
    return torch.autograd.grad(roi_align(features, rois, *arguments), features, weights)[0]


def weights_of(features: Tensor, rois: Tensor, size: tuple[int, int], layout: str) -> Tensor:
    return random_features(len(rois), features.shape[1], *size, dtype=features.dtype, layout=layout)


def assert_same_as_on_the_cpu(
    device: TestDevice, features: Tensor, rois: Tensor, size: tuple[int, int], layout: str, *arguments: object
) -> None:
    weights = weights_of(features, rois, size, layout)
    found = device.run(gradient, features, rois, weights, size, *arguments)
    expected = gradient(features, rois, weights, size, *arguments)
    assert found.dtype == features.dtype
    assert found.stride() == expected.stride()
    assert_close(found, expected)


@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_is_the_adjoint_of_the_reference(ratio: int, aligned: bool, layout: str, device: TestDevice) -> None:
    """Column by column: the derivative of every pooled value is what the loops make of a map with a single one."""
    shape, rois = (2, 1, 9, 10), random_rois(4, 2, 20.0, torch.float64)
    features = random_features(*shape, dtype=torch.float64, layout=layout)
    weights = weights_of(features, rois, (2, 3), layout)
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        single = np.zeros(shape)
        single[place] = 1
        pooled = reference.roi_align(single, rois.numpy(), (2, 3), 0.5, ratio, aligned)
        expected[place] = (pooled * weights.numpy()).sum()
    found = device.run(gradient, features, rois, weights, (2, 3), 0.5, ratio, aligned)
    assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), [(2, False), (0, True)])
def test_every_dtype(ratio: int, aligned: bool, layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    features, rois = random_features(2, 8, 11, 18, dtype=dtype, layout=layout), random_rois(9, 2, 30.0)
    assert_same_as_on_the_cpu(device, features, rois.to(coordinates_of(dtype)), (3, 4), layout, 0.5, ratio, aligned)


@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("channels", [1, 3, 5, 20, 132])
def test_any_number_of_channels(channels: int, dtype: torch.dtype, layout: str, device: TestDevice) -> None:
    features = random_features(1, channels, 7, 9, dtype=dtype, layout=layout)
    rois = random_rois(4, 1, 9.0, coordinates_of(dtype))
    assert_same_as_on_the_cpu(device, features, rois, (2, 2), layout, 1.0, 2)


@every_layout
@pytest.mark.parametrize("sides", [(1, 1), (7, 8), (8, 9), (16, 33)])
def test_tile_borders(sides: tuple[int, int], layout: str, device: TestDevice) -> None:
    height, width = sides
    borders = [(x, y) for y in (0, 7, 8, height) for x in (0, 7, 8, 16, width)]
    rois = torch.tensor([[0.0, x - 1.5, y - 1.25, x + 0.75, y + 1.5] for x, y in borders])
    assert_same_as_on_the_cpu(device, random_features(1, 4, *sides, layout=layout), rois, (2, 3), layout, 1.0, 2, True)


@every_layout
@pytest.mark.parametrize("size", [(1, 1), (14, 14), (17, 3), (2, 40)])
def test_any_number_of_bins(size: tuple[int, int], layout: str, device: TestDevice) -> None:
    """Up to sixteen along an axis have room at once."""
    rois = torch.tensor([[0.0, 1, 1, 15, 9], [0, 4.5, 2, 6, 4], [0, -3, -3, 30, 20]])
    for ratio in (1, 0):
        features = random_features(1, 4, 10, 17, layout=layout)
        assert_same_as_on_the_cpu(device, features, rois, size, layout, 1.0, ratio, True)


@every_layout
@pytest.mark.parametrize("count", [8, 9, 257, 1100])
def test_many_rois_on_one_tile(count: int, layout: str, device: TestDevice) -> None:
    """More than have weights at once, than a chunk, and than are listed at once; most of them of another image."""
    rois = random_rois(count, 1, 12.0)
    rois[::3, 0] = 1
    features = random_features(2, 2, 6, 7, layout=layout)
    assert_same_as_on_the_cpu(device, features, rois, (1, 2), layout, 0.5, 1)


@every_layout
def test_chunks_of_rois_that_miss_the_tile_are_passed_over(layout: str, device: TestDevice) -> None:
    """More than a word of bits has chunks, with RoIs in the first, a middle and the last of them."""
    rois = torch.zeros(33 * 256 + 3, 5)
    rois[:, 1:3], rois[:, 3:] = 100, 101  # beyond the map
    rois[[0, 1, 500, 4000, 8191, 8192, 8450], 1:] = torch.tensor([1.0, 2, 6, 5])
    features = random_features(1, 2, 6, 17, layout=layout)
    assert_same_as_on_the_cpu(device, features, rois, (1, 1), layout, 1.0, 1, True)


@every_layout
def test_huge_rois_and_many_samples(layout: str, device: TestDevice) -> None:
    rois = torch.tensor([[0.0, -1e4, -1e4, 1e4, 1e4], [0, -70, -90, 150, 110], [0, 2, -400, 5, 8]], dtype=torch.float64)
    features = random_features(1, 2, 12, 19, dtype=torch.float64, layout=layout)
    assert_same_as_on_the_cpu(device, features, rois, (3, 2), layout, 1.0, 0, True)
    assert_same_as_on_the_cpu(device, features, rois[:0], (3, 2), layout, 1.0, 0, True)
    small = torch.tensor([[0.0, 5.5, 6, 8.5, 9.25]], dtype=torch.float64)
    assert_same_as_on_the_cpu(device, features, small, (1, 1), layout, 1.0, 60)


@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_degenerate_boxes(ratio: int, aligned: bool, layout: str, device: TestDevice) -> None:
    boxes = [box for name, box in DEGENERATE.items() if name != "huge" or ratio > 0]
    rois = torch.tensor([[0.0, *box] for box in boxes], dtype=torch.float64)
    features = random_features(1, 2, 40, 40, dtype=torch.float64, layout=layout)
    assert_same_as_on_the_cpu(device, features, rois, (2, 2), layout, 1.0, ratio, aligned)


@every_layout
def test_a_bad_batch_index_passes_no_gradient(layout: str, device: TestDevice) -> None:
    features = random_features(2, 4, 9, 9, layout=layout)
    rois = torch.tensor([[index, 1.0, 1, 7, 8] for index in (-1, 0, 2, NAN, INF, 1, 1e30)])
    weights = weights_of(features, rois, (2, 2), layout)
    found = device.run(gradient, features, rois, weights, 2)
    good = rois[[1, 5]]
    assert_close(found, gradient(features, good, weights[[1, 5]], 2))


@every_layout
def test_a_non_finite_gradient_reaches_only_pixels_of_its_bin(layout: str, device: TestDevice) -> None:
    features, rois = random_features(1, 4, 8, 16, layout=layout), torch.tensor([[0.0, 1, 1, 13, 7]])
    weights = weights_of(features, rois, (2, 3), layout)
    weights[:, :, 0, 0], weights[:, :, 1, 2] = NAN, INF
    found = device.run(gradient, features, rois, weights, (2, 3), 1.0, 2, True)
    expected = gradient(features, rois, weights, (2, 3), 1.0, 2, True)
    assert found.isnan().any()
    assert torch.equal(found.isfinite(), expected.isfinite())


@every_layout
@pytest.mark.parametrize("shape", [(0, 3, 4, 5, 2), (2, 0, 4, 5, 2), (2, 3, 0, 5, 2), (2, 3, 4, 0, 2), (2, 3, 4, 5, 0)])
def test_nothing(shape: tuple[int, ...], layout: str, device: TestDevice) -> None:
    """No images, channels, rows, columns or RoIs: zeros where there are pixels."""
    features, rois = random_features(*shape[:4], layout=layout), torch.zeros(shape[4], 5)
    found = device.run(gradient, features, rois, weights_of(features, rois, (2, 2), layout), 2)
    assert found.shape == features.shape
    assert not found.any()


@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), [(2, False), (0, True)])
def test_all_levels(ratio: int, aligned: bool, layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    features, rois = (
        pyramid(channels=4, dtype=dtype, layout=layout),
        rois_of_all_levels(12, dtype=coordinates_of(dtype)),
    )
    weights = weights_of(features[0], rois, (3, 4), layout)

    def gradients(features: list[Tensor], rois: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        features = [feature.detach().requires_grad_() for feature in features]
        return torch.autograd.grad(pool(features, rois, (3, 4), ratio, aligned), features, weights)

    found = device.run(gradients, features, rois, weights)
    for ours, expected, feature in zip(found, gradients(features, rois, weights), features, strict=True):
        assert ours.stride() == feature.stride()
        assert_close(ours, expected)


@every_layout
def test_a_level_without_rois_gets_zeros(layout: str, device: TestDevice) -> None:
    def gradients(features: list[Tensor], rois: Tensor) -> tuple[Tensor, ...]:
        features = [feature.detach().requires_grad_() for feature in features]
        return torch.autograd.grad(pool(features, rois).sum(), features)

    found = device.run(gradients, pyramid(layout=layout), torch.tensor([[1.0, 3, 3, 9, 9]]))
    assert found[0][1].any()
    assert not any(level.any() for level in (found[0][0], found[1], found[2]))


@every_layout
def test_runs_give_the_same_bits(layout: str, device: TestDevice) -> None:
    features, rois = random_features(1, 8, 12, 12, layout=layout), random_rois(40, 1, 12.0)
    weights = weights_of(features, rois, (2, 2), layout)
    first, second = (device.run(gradient, features, rois, weights, 2, 1.0, 2) for _ in range(2))
    assert torch.equal(first, second)


@every_layout
def test_the_second_derivative(layout: str, device: TestDevice) -> None:
    """Of the gradient with respect to the weights: the pooled direction."""
    features = random_features(1, 4, 9, 10, dtype=torch.float64, layout=layout).requires_grad_()
    rois, direction = random_rois(3, 1, 9.0, torch.float64), random_features(1, 4, 9, 10, dtype=torch.float64)
    weights = weights_of(features, rois, (2, 2), layout).requires_grad_()

    def second(features: Tensor, rois: Tensor, weights: Tensor, direction: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(roi_align(features, rois, 2), features, weights, create_graph=True)
        return torch.autograd.grad((first * direction).sum(), weights)[0]

    assert_close(device.run(second, features, rois, weights, direction), roi_align(direction, rois, 2))
