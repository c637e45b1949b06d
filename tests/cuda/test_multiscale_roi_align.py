"""multiscale_roi_align on CUDA against plain loops, the CPU's kernel and its single-level form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import assign_levels, multiscale_roi_align, roi_align
from tests.cuda.run import Interpreted, TestDevice
from tests.cuda.test_roi_align import DTYPES, SAMPLING, coordinates_of, every_layout
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, NAN
from tests.ops.multiscale_cases import LEVELS, SCALES, assert_close, pool, pyramid, rois_of_all_levels


@pytest.mark.parametrize("dtype", DTYPES)
@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
@pytest.mark.parametrize("rule", ["torchvision", "detectron2"])
def test_equals_the_reference(
    rule: str, ratio: int, aligned: bool, layout: str, dtype: torch.dtype, device: TestDevice
) -> None:
    features, rois = pyramid(dtype=dtype, layout=layout), rois_of_all_levels(12, dtype=coordinates_of(dtype))
    pooled = device.run(pool, features, rois, (3, 4), ratio, aligned, level_rule=rule)
    assert pooled.dtype == dtype
    arrays = [feature.double().numpy() for feature in features]
    expected = reference.multiscale_roi_align(
        arrays, rois.numpy(), (3, 4), SCALES, ratio, aligned, finest=1, rule=rule, **LEVELS
    )
    assert_close(pooled, expected, dtype)


@every_layout
@pytest.mark.parametrize("channels", [5, 8])
def test_each_row_has_the_bits_of_the_single_level(channels: int, layout: str, device: TestDevice) -> None:
    features, rois = pyramid(3, channels, layout=layout), rois_of_all_levels(20, 3)
    levels = assign_levels(rois[:, 1:], 1, 3, **LEVELS)
    pooled = device.run(pool, features, rois)
    for index, feature in enumerate(features):
        chosen = levels == 1 + index
        assert torch.equal(pooled[chosen], device.run(roi_align, feature, rois[chosen], 2, SCALES[index], 2, True))


@every_layout
@pytest.mark.parametrize("levels", [1, 2, 32])
def test_any_number_of_levels(levels: int, layout: str, device: TestDevice) -> None:
    features = [torch.full((1, 1, 6, 6), float(level)) for level in range(levels)]
    if layout == "channels_last":
        features = [feature.expand(1, 8, 6, 6).contiguous(memory_format=torch.channels_last) for feature in features]
    scales = [2.0**-level for level in range(levels)]
    sides = torch.tensor([2.0**exponent for exponent in range(0, 40, 3)])
    rois = torch.stack([sides * 0, sides * 0, sides * 0, sides, sides], dim=1)
    arguments = (features, rois, 1, scales, 1)
    options = {"canonical_scale": 2, "canonical_level": 1}
    found = device.run(multiscale_roi_align, *arguments, **options)
    assert torch.equal(found, multiscale_roi_align(*arguments, **options))


@every_layout
def test_degenerate_boxes_and_batch_indices(layout: str, device: TestDevice) -> None:
    rois = torch.tensor([[image, *box] for box in DEGENERATE.values() for image in (0.0, 1.0)], dtype=torch.float64)
    features = pyramid(dtype=torch.float64, layout=layout)
    assert_close(device.run(pool, features, rois), pool(features, rois), torch.float64)
    rois[::2, 0] = torch.tensor([2.0, NAN, -1.0]).repeat(len(rois))[: len(rois[::2])]
    found = device.run(pool, features, rois)
    assert found[::2].isnan().all()
    assert_close(found[1::2], pool(features, rois[1::2]), torch.float64)


def test_no_rois(device: TestDevice) -> None:
    assert device.run(pool, pyramid(), torch.zeros(0, 5)).shape == (0, 3, 2, 2)


@every_layout
def test_one_launch_for_all_levels(layout: str, interpreted: Interpreted) -> None:
    before = len(interpreted.device.launches)
    interpreted.run(pool, pyramid(layout=layout), rois_of_all_levels(5))
    assert len(interpreted.device.launches) - before == 1


@every_layout
def test_a_level_without_pixels_pools_to_zeros(layout: str, device: TestDevice) -> None:
    """And its RoIs pass no gradient, while those of the other levels do."""
    features, rois = pyramid(channels=4, layout=layout), rois_of_all_levels(9)
    features[1] = features[1][:, :, :, :0]
    levels = assign_levels(rois[:, 1:], 1, 3, **LEVELS)

    def pooled_and_gradients(features: list[Tensor], rois: Tensor) -> tuple[Tensor, ...]:
        features = [feature.detach().requires_grad_() for feature in features]
        pooled = pool(features, rois)
        return pooled, *torch.autograd.grad(pooled.sum(), features)

    found, expected = device.run(pooled_and_gradients, features, rois), pooled_and_gradients(features, rois)
    assert not found[0][levels == 2].any()
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours.detach(), theirs.detach(), torch.float32)
