"""roi_align on CUDA against plain loops and the CPU's kernel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import roi_align
from tests.cuda.run import TestDevice
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.roi_cases import TOLERANCE, random_features, random_rois

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SAMPLING = [(2, False), (3, True), (0, True), (-1, False)]
every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def coordinates_of(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> None:
    """Within what sums in another order differ by, and one rounding to a half type."""
    tolerance = TOLERANCE[dtype or expected.dtype]
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=tolerance, atol=tolerance, equal_nan=True, check_stride=False
    )


@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_equals_the_reference(ratio: int, aligned: bool, layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    features = random_features(2, 3, 11, 14, dtype=dtype, layout=layout)
    rois = random_rois(9, 2, 28.0, coordinates_of(dtype))
    pooled = device.run(roi_align, features, rois, (3, 4), 0.5, ratio, aligned)
    assert pooled.dtype == dtype
    assert pooled.is_contiguous() == (layout == "contiguous")
    expected = reference.roi_align(features.double().numpy(), rois.double().numpy(), (3, 4), 0.5, ratio, aligned)
    assert_close(pooled, torch.as_tensor(expected), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
@pytest.mark.parametrize("channels", [1, 3, 5, 8, 20, 67])
def test_any_number_of_channels(channels: int, layout: str, dtype: torch.dtype, device: TestDevice) -> None:
    """Below, at and above a pack, a warp of packs and the planes of a block; odd rows."""
    features = random_features(2, channels, 5, 9, dtype=dtype, layout=layout)
    rois = random_rois(5, 2, 9.0, coordinates_of(dtype))
    assert_close(device.run(roi_align, features, rois, 2, 1.0, 2), roi_align(features, rois, 2, 1.0, 2))


@every_layout
@pytest.mark.parametrize("channels", [132, 300])
def test_more_packs_than_lanes(channels: int, layout: str, device: TestDevice) -> None:
    features, rois = random_features(1, channels, 7, 7, layout=layout), random_rois(3, 1, 7.0)
    assert_close(device.run(roi_align, features, rois, 7, 1.0, 2, True), roi_align(features, rois, 7, 1.0, 2, True))


@every_layout
@pytest.mark.parametrize("size", [(1, 1), (14, 14), (29, 3), (2, 70)])
def test_any_number_of_bins(size: tuple[int, int], layout: str, device: TestDevice) -> None:
    """Several blocks a RoI; bins that share pixels, and more bins than threads build tables at once."""
    features, rois = random_features(1, 32, 6, 8, layout=layout), random_rois(3, 1, 8.0)
    for ratio in (1, 0):
        found = device.run(roi_align, features, rois, size, 1.0, ratio, True)
        assert_close(found, roi_align(features, rois, size, 1.0, ratio, True))


@every_layout
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(("width", "size"), [(33, (2, 2)), (33, (7, 6)), (600, (7, 6))])
def test_wide_and_huge_rois(width: int, size: tuple[int, int], ratio: int, layout: str, device: TestDevice) -> None:
    """Bins that lie apart, bins of more taps than their share of the table, rows in more than one part."""
    features = random_features(1, 2, 5, width, layout=layout)
    wide = [[0.0, 1, 0, width - 1, 4], [0, -5 * width, -20, 6 * width, 30], [0, width - 3, 1, width + 2, 4]]
    rois = torch.tensor([*wide, [0, -1e4, -1e4, 1e4, 1e4]])
    assert_close(
        device.run(roi_align, features, rois, size, 1.0, ratio, True).double(),
        roi_align(features.double(), rois.double(), size, 1.0, ratio, True),
        torch.float16,  # positions in single precision err by ulps of ten thousand
    )


@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_maps_too_large_for_tables(dtype: torch.dtype, layout: str, device: TestDevice) -> None:
    features = random_features(1, 2, 3, 4200, dtype=dtype, layout=layout)
    rois = torch.tensor([[0.0, 4100, 0, 4199, 3], [0, 17.5, 0.5, 40, 2], [1, 0, 0, 3, 3]], dtype=coordinates_of(dtype))
    found = device.run(roi_align, features, rois, 2, 1.0, 0, True)
    assert_close(found[:2], roi_align(features, rois[:2], 2, 1.0, 0, True))
    assert found[2].isnan().all()


@every_layout
def test_many_samples_of_one_pixel(layout: str, device: TestDevice) -> None:
    features, rois = random_features(1, 1, 4, 4, layout=layout), torch.tensor([[0.0, 0.5, 0.5, 2.5, 3]])
    assert_close(device.run(roi_align, features, rois, 1, 1.0, 300), roi_align(features, rois, 1, 1.0, 300))


@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_degenerate_boxes(ratio: int, aligned: bool, layout: str, device: TestDevice) -> None:
    features = random_features(1, 2, 40, 40, dtype=torch.float64, layout=layout)
    rois = torch.tensor([[0.0, *box] for box in DEGENERATE.values()], dtype=torch.float64)
    found = device.run(roi_align, features, rois, 2, 1.0, ratio, aligned)
    assert_close(found, roi_align(features, rois, 2, 1.0, ratio, aligned))
    assert not found[~rois.isfinite().all(1)].any()


@every_layout
def test_a_bad_batch_index_pools_to_nan(layout: str, device: TestDevice) -> None:
    """Which the CPU refuses; to look at the values would wait for the device."""
    features = random_features(2, 8, 6, 6, layout=layout)
    rois = torch.tensor([[index, 0.0, 0, 4, 4] for index in (-1, 2, NAN, INF, 1e30, 1, -0.5, 0)])
    found = device.run(roi_align, features, rois, 2)
    assert found[[0, 1, 2, 3, 4, 6]].isnan().all()
    assert_close(found[[5, 7]], roi_align(features, rois[[5, 7]], 2))


@every_layout
def test_a_non_finite_feature_reaches_only_bins_that_use_it(layout: str, device: TestDevice) -> None:
    features = random_features(1, 20, 8, 24, layout=layout)
    features[:, :, 2, 20] = NAN
    features[:, :, 7, 3] = INF
    rois = torch.tensor([[0.0, 2, 2, 8, 6], [0, 19, 1, 22, 4]])
    pooled = device.run(roi_align, features, rois, 1, 1.0, 2, True)
    assert pooled[0].isfinite().all()
    assert pooled[1].isnan().all()


@every_layout
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 0), (0, 3, 4, 5, 2), (2, 0, 4, 5, 2), (2, 3, 0, 5, 2), (2, 3, 4, 0, 2)])
def test_nothing(shape: tuple[int, ...], layout: str, device: TestDevice) -> None:
    """No RoIs, images, channels, rows or columns; of no images every batch index is bad."""
    features, rois = random_features(*shape[:4], layout=layout), torch.zeros(shape[4], 5)
    pooled = device.run(roi_align, features, rois, 2)
    assert pooled.shape == (shape[4], shape[1], 2, 2)
    assert pooled.isnan().all() if shape[0] == 0 else not pooled.any()
