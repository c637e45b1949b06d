"""multiscale_roi_align against loops over levels, its single-level form and torchvision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastmrcnn import _C
from fastmrcnn.ops import assign_levels, multiscale_roi_align, roi_align
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.multiscale_cases import (
    LEVELS,
    SAMPLING,
    SCALES,
    assert_close,
    every_layout,
    pool,
    pyramid,
    rois_of_all_levels,
)
from tests.ops.roi_cases import LAYOUTS, is_channels_last, random_rois


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
@pytest.mark.parametrize("rule", ["torchvision", "detectron2"])
def test_equals_the_reference(rule: str, ratio: int, aligned: bool, layout: str, dtype: torch.dtype) -> None:
    features = pyramid(dtype=dtype, layout=layout)
    rois = rois_of_all_levels(20, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    pooled = pool(features, rois, (3, 4), ratio, aligned, level_rule=rule)
    assert pooled.dtype == dtype
    assert is_channels_last(pooled) == ("channels_last" in layout)
    expected = reference.multiscale_roi_align(
        [feature.double().numpy() for feature in features],
        rois.numpy(),
        (3, 4),
        SCALES,
        ratio,
        aligned,
        finest=1,
        rule=rule,
        **LEVELS,
    )
    assert_close(pooled, expected, dtype)


@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [2, 7, 40])
def test_each_row_has_the_bits_of_the_single_level(channels: int, dtype: torch.dtype, layout: str) -> None:
    """Values, and gradients level by level: no pass, order or part may depend on the other levels."""
    features = [feature.requires_grad_() for feature in pyramid(3, channels, dtype, layout)]
    rois = rois_of_all_levels(70, 3, dtype)
    levels = assign_levels(rois[:, 1:], 1, 3, **LEVELS)
    pooled = pool(features, rois)
    weights = torch.randn_like(pooled)
    gradients = torch.autograd.grad(pooled, features, weights)
    for index, (feature, gradient) in enumerate(zip(features, gradients, strict=True)):
        chosen = levels == 1 + index
        alone = roi_align(feature, rois[chosen], 2, SCALES[index], 2, True)
        assert torch.equal(pooled[chosen], alone)
        assert torch.equal(gradient, torch.autograd.grad(alone, feature, weights[chosen])[0])
        assert gradient.stride() == feature.stride()


@every_layout
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_degenerate_boxes(ratio: int, aligned: bool, layout: str) -> None:
    boxes = {name: box for name, box in DEGENERATE.items() if not (name == "huge" and ratio <= 0)}
    rois = torch.tensor([[image, *box] for box in boxes.values() for image in (0.0, 1.0)], dtype=torch.float64)
    features = [feature.requires_grad_() for feature in pyramid(dtype=torch.float64, layout=layout)]
    pooled = pool(features, rois, (2, 2), ratio, aligned)
    arrays = [feature.detach().numpy() for feature in features]
    expected = reference.multiscale_roi_align(arrays, rois.numpy(), (2, 2), SCALES, ratio, aligned, finest=1, **LEVELS)
    assert_close(pooled.detach(), expected, torch.float64)
    for gradient in torch.autograd.grad(pooled.sum(), features):
        assert gradient.isfinite().all()


@every_layout
def test_a_map_without_rois_gets_zeros(layout: str) -> None:
    features = [feature.requires_grad_() for feature in pyramid(layout=layout)]
    small = torch.tensor([[1.0, 3, 3, 9, 9]])
    gradients = torch.autograd.grad(pool(features, small).sum(), features)
    assert gradients[0][1].any()
    assert not gradients[0][0].any()
    assert not gradients[1].any()
    assert not gradients[2].any()
    pooled = pool(features, torch.zeros(0, 5))
    assert pooled.shape == (0, 3, 2, 2)
    assert not any(gradient.any() for gradient in torch.autograd.grad(pooled.sum(), features))


def test_one_map_is_roi_align() -> None:
    feature, rois = pyramid()[1], rois_of_all_levels(20)
    assert torch.equal(multiscale_roi_align([feature], rois, 3, [1 / 4], 2), roi_align(feature, rois, 3, 1 / 4, 2))


def test_boxes_beyond_either_end_take_the_last_map() -> None:
    features = [torch.full((1, 1, 8, 8), float(level)) for level in (5, 6, 7)]
    rois = torch.tensor([[0.0, 1, 1, 2, 2], [0, -500, -500, 900, 900]])
    scales = [2.0**-level for level in (5, 6, 7)]
    assert multiscale_roi_align(features, rois, 1, scales, 1).flatten().tolist() == [5, 6]
    assert multiscale_roi_align(features, rois, 1, scales, 1, finest_level=4).flatten().tolist() == [5, 7]
    assert multiscale_roi_align(features, rois, 1, scales, 1, canonical_scale=56).flatten().tolist() == [5, 7]
    assert multiscale_roi_align(features, rois, 1, scales, 1, canonical_level=9).flatten().tolist() == [5, 7]


def test_mixed_layouts_follow_the_first() -> None:
    contiguous, channels_last = pyramid(), pyramid(layout="channels_last")
    rois = rois_of_all_levels(20)
    mixed = [contiguous[0], *channels_last[1:]]
    assert torch.equal(pool(mixed, rois), pool([feature.contiguous() for feature in mixed], rois))
    mixed = [channels_last[0], *contiguous[1:]]
    pooled = pool(mixed, rois, 1, 2, True)
    assert is_channels_last(pool(mixed, rois))
    assert torch.equal(pooled, pool([f.contiguous(memory_format=torch.channels_last) for f in mixed], rois, 1, 2, True))


def test_boxes_as_a_list() -> None:
    features, rois = pyramid(), rois_of_all_levels(20)
    rois = rois[rois[:, 0].argsort(stable=True)]
    boxes = [rois[rois[:, 0] == image, 1:] for image in range(2)]
    assert torch.equal(pool(features, boxes), pool(features, rois))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8])
def test_a_list_of_narrow_boxes_keeps_the_index_of_each_image(dtype: torch.dtype) -> None:
    """259 images: bfloat16 has no 257, uint8 nothing above 255. And 2051, where float16 has even numbers only."""
    images = 2051 if dtype == torch.float16 else 259
    features = torch.arange(float(images)).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    boxes = [torch.tensor([[0, 0, 2, 2]], dtype=dtype)] * images
    assert torch.equal(multiscale_roi_align([features], boxes, 1, [1.0], 1).flatten(), features[:, 0, 0, 0])


@given(st.integers(0, 2**31), st.sampled_from(["contiguous", "channels_last"]))
def test_rows_go_with_their_rois(seed: int, layout: str) -> None:
    torch.manual_seed(seed)
    features, rois, order = pyramid(layout=layout), random_rois(25, 2, 80.0), torch.randperm(25)
    assert torch.equal(pool(features, rois[order]), pool(features, rois)[order])


@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_do_not_depend_on_threads(dtype: torch.dtype, layout: str, threads: Callable[[int], None]) -> None:
    features = [feature.requires_grad_() for feature in pyramid(3, 35, dtype, layout)]
    rois, results = rois_of_all_levels(200, 3, dtype), []
    for count in (1, 2, 3, 1):
        threads(count)
        pooled = pool(features, rois)
        results.append((pooled.detach(), *torch.autograd.grad(pooled.square().sum(), features)))
    for result in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(result, results[0], strict=True))


@pytest.mark.parametrize("index", [-1.0, 2.0, NAN, INF])
def test_a_bad_batch_index_is_named(index: float) -> None:
    rois = torch.tensor([[1.0, 0, 0, 1, 1], [index, 0, 0, 40, 40]])
    message = (
        r"multiscale_roi_align: rois\[1\] has batch index .*; expected at least 0 and below 2, the number of images"
    )
    with pytest.raises(ValueError, match=message):
        pool(pyramid(), rois)


def test_errors_name_the_feature() -> None:
    fine, middle, coarse = pyramid()
    rois, name = rois_of_all_levels(20), "^multiscale_roi_align: "
    with pytest.raises(ValueError, match=name + r"features must hold at least one tensor; got none$"):
        pool([], rois)
    with pytest.raises(ValueError, match=name + r"features\[0\] must be \[N, C, H, W\]; got \[3, 24, 28\]$"):
        pool([fine[0], middle, coarse], rois)
    expected = r"must be \[N, C, H, W\] with the N and C of the first; got "
    with pytest.raises(ValueError, match=name + r"features\[1\] " + expected + r"\[3, 13, 14\]$"):
        pool([fine, middle[0], coarse], rois)
    with pytest.raises(ValueError, match=name + r"features\[2\] " + expected + r"\[2, 2, 6, 7\]$"):
        pool([fine, middle, coarse[:, :2]], rois)
    with pytest.raises(ValueError, match=name + r"features\[2\] must be float32, as features\[0\] is; got float64$"):
        pool([fine, middle, coarse.double()], rois)
    with pytest.raises(ValueError, match=name + r"features\[0\] must be floating point; got int64$"):
        pool([fine.long(), middle.long(), coarse.long()], rois)
    with pytest.raises(ValueError, match=name + r"spatial_scales must be 2 numbers, one for each of features; got 3$"):
        pool([fine, middle], rois)
    for scale in (0.0, -0.25, NAN, INF):
        with pytest.raises(ValueError, match=name + r"spatial_scales must be positive and finite; got "):
            multiscale_roi_align([fine, middle], rois, 2, [1 / 2, scale])
    with pytest.raises(ValueError, match=name + r"features must be 1 to 32 tensors; got 33$"):
        multiscale_roi_align([fine] * 33, rois, 2, [1.0] * 33)
    for scales in ([], [0.0, 1, 1], [NAN, 1, 1]):
        with pytest.raises(ValueError, match=name + r"spatial_scales must be positive, one for each of features; got "):
            multiscale_roi_align([fine, middle, coarse], rois, 2, scales)


def test_errors_name_the_other_arguments() -> None:
    features, rois, name = pyramid(), rois_of_all_levels(20), "^multiscale_roi_align: "
    with pytest.raises(ValueError, match=name + r"rois must be \[K, 5\]; got \[20, 4\]$"):
        pool(features, rois[:, 1:])
    with pytest.raises(ValueError, match=name + r"boxes\[0\] must be \[L, 4\]; got \[20, 5\]$"):
        pool(features, [rois])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=name + r"output_size must be positive; got \[0, 0\]$"):
        pool(features, rois, 0, 2, True)
    with pytest.raises(ValueError, match=name + r"level_rule must be 'torchvision' or 'detectron2'; got 'x'$"):
        pool(features, rois, level_rule="x")
    for level in (-1001, 1001, 2**63 - 1, -(2**63)):
        with pytest.raises(ValueError, match=name + rf"levels must lie in -1000\.\.1000; got {level}$"):
            pool(features, rois, finest_level=level)
    with pytest.raises(ValueError, match=name + r"canonical_scale must be positive and below 1e15; got -1$"):
        multiscale_roi_align(features, rois, 2, SCALES, canonical_scale=-1)


def test_the_native_kernel_asks_all_maps_for_one_order() -> None:
    """The first map and the output have one pixel, which fits both orders; the others differ."""
    first, rois = torch.rand(1, 3, 1, 1), torch.tensor([[0.0, 0, 0, 9, 9]])
    maps = [first, torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)]
    output = torch.empty(1, 3, 1, 1)
    geometry = (SCALES, 1, 16.0, 2, "torchvision", 2, True)
    message = r"^multiscale_roi_align: features and output must all be contiguous or all channels-last$"
    with pytest.raises(ValueError, match=message):
        _C.multiscale_roi_align((1, 0), maps, rois, *geometry, output)
    _C.multiscale_roi_align((1, 0), maps[:2], rois, SCALES[:2], *geometry[1:], output)
