"""roi_align against plain loops and torchvision, and the promises of its docstring."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn.ops import RoIAlign, ps_roi_align, roi_align
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, INF, NAN
from tests.ops.roi_cases import LAYOUTS, TOLERANCE, is_channels_last, random_features, random_rois

DTYPES = [torch.float32, torch.float64]
SAMPLING = [(2, False), (3, True), (0, True), (-1, False)]
# Below, at and above the width of every vector, and more than a block of them.
CHANNELS = [1, 7, 40, 300]


def assert_close(ours: Tensor, expected: np.ndarray | Tensor, dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours.double(), torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_equals_the_reference(ratio: int, aligned: bool, layout: str, dtype: torch.dtype) -> None:
    features = random_features(2, 3, 11, 14, dtype=dtype, layout=layout)
    rois = random_rois(9, 2, 28.0, torch.float64 if dtype == torch.float64 else torch.float32)
    pooled = roi_align(features, rois, (3, 4), 0.5, ratio, aligned)
    assert pooled.dtype == dtype
    assert is_channels_last(pooled) == ("channels_last" in layout)
    expected = reference.roi_align(features.double().numpy(), rois.double().numpy(), (3, 4), 0.5, ratio, aligned)
    assert_close(pooled, expected, dtype)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("width", [3, 17, 70])
def test_any_number_of_channels_and_columns(width: int, channels: int, layout: str) -> None:
    """Packs of every length, and RoIs whose taps are dense, or sparse, in a row."""
    features = random_features(1, channels, 6, width, layout=layout)
    rois = torch.tensor([[0.0, 0, 0, width, 6], [0, 1, 1, 3, 5], [0, width - 2, 0, width + 2, 3]])
    pooled = roi_align(features, rois, 2, 1.0, 1, True)
    assert_close(
        pooled[:, -1:],
        reference.roi_align(features[:, -1:].numpy(), rois.numpy(), (2, 2), 1.0, 1, True),
        torch.float32,
    )
    assert_close(
        pooled, torch.cat([roi_align(plane, rois, 2, 1.0, 1, True) for plane in features.split(1, 1)], 1), torch.float32
    )


@pytest.mark.parametrize("ratio", [0, 1, 2, 9])
@pytest.mark.parametrize("bins", [1, 7, 16, 17])
@pytest.mark.parametrize("width", [5, 16, 33, 64, 150])
def test_any_span_of_columns(width: int, bins: int, ratio: int) -> None:
    """Single precision and contiguous planes have kernels of their own, by the columns and bins that a RoI has."""
    tolerance = {"rtol": 1e-4, "atol": 1e-4}  # sample positions up to 150 err by 1e-5, values change by about 3 a pixel
    spans = torch.tensor([1, 7, 15, 17, 31, 40, 50, 62, 70, 140]) + 0.3  # no grid size may hang on rounding
    left = torch.rand(len(spans)) * (width - spans).clamp(min=0)
    rois = torch.stack([torch.zeros(len(spans)), left, torch.rand(len(spans)), left + spans, 3 + spans / 20], dim=1)
    contiguous = random_features(1, 5, 9, width).requires_grad_()
    double = contiguous.detach().double().contiguous(memory_format=torch.channels_last).requires_grad_()
    pooled, expected = (roi_align(features, rois, (2, bins), 1.0, ratio, True) for features in (contiguous, double))
    torch.testing.assert_close(pooled.double(), expected, **tolerance)
    weights = torch.randn_like(pooled)
    gradient, expected_gradient = (
        torch.autograd.grad(output, features, weights.to(output.dtype))[0]
        for output, features in ((pooled, contiguous), (expected, double))
    )
    torch.testing.assert_close(gradient.double(), expected_gradient, check_stride=False, **tolerance)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
@pytest.mark.parametrize("box", DEGENERATE)
def test_degenerate_boxes(box: str, ratio: int, aligned: bool, layout: str) -> None:
    if "huge" in box and ratio <= 0:
        pytest.skip("the loops of the reference would not end; see test_huge_rois_cost_no_more_than_the_map")
    features = random_features(1, 2, 40, 40, dtype=torch.float64, layout=layout).requires_grad_()
    rois = torch.tensor([[0.0, *DEGENERATE[box]], [0, 3, 4, 20, 30]], dtype=torch.float64)
    pooled = roi_align(features, rois, 2, 1.0, ratio, aligned)
    expected = reference.roi_align(features.detach().numpy(), rois.numpy(), (2, 2), 1.0, ratio, aligned)
    assert_close(pooled.detach(), expected, torch.float64)
    gradient = torch.autograd.grad(pooled[0].sum(), features)[0]
    assert gradient.isfinite().all()
    if not rois[0].isfinite().all():
        assert not gradient.any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("extent", [1e6, 1e12, 1e30])
def test_huge_rois_cost_no_more_than_the_map(extent: float, layout: str) -> None:
    """Adaptive sampling lays extent^2 samples; only those on the map, one in each direction per pixel, are visited."""
    features = torch.ones(1, 2, 20, 30, dtype=torch.float64)
    features = features.contiguous(memory_format=getattr(torch, f"{layout}_format", torch.channels_last))
    features.requires_grad_()
    begin = time.process_time()
    pooled = roi_align(features, torch.tensor([[0, -extent, -extent, extent, extent]]), 1)
    pooled.sum().backward()
    assert time.process_time() - begin < 1.0
    on_map = (20 + 1) * (30 + 1)  # samples in [-1, height] x [-1, width]
    assert pooled.flatten()[0].item() == pytest.approx(on_map / (2 * extent) ** 2, rel=0.2)
    assert features.grad is not None
    assert features.grad.sum().item() == pytest.approx(pooled.sum().item())


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_large_rois_equal_the_reference(layout: str) -> None:
    features = random_features(1, 2, 12, 9, dtype=torch.float64, layout=layout)
    rois = torch.tensor([[0.0, -70, -90, 150, 110], [0, 2, -400, 5, 8], [0, -300, -300, 4, 4.5]], dtype=torch.float64)
    for size in ((1, 1), (3, 2)):
        expected = reference.roi_align(features.numpy(), rois.numpy(), size, 1.0, 0, True)
        assert_close(roi_align(features, rois, size, 1.0, 0, True), expected, torch.float64)


def test_a_non_finite_feature_reaches_only_bins_that_use_it() -> None:
    for layout in ("contiguous", "channels_last"):
        features = random_features(1, 20, 8, 24, layout=layout)
        features[:, :, 2, 20] = NAN
        features[:, :, 7, 3] = INF
        clean = roi_align(features, torch.tensor([[0.0, 2, 2, 8, 6]]), 3, 1.0, 2, True)
        assert clean.isfinite().all()
        assert roi_align(features, torch.tensor([[0.0, 19, 1, 22, 4]]), 1, 1.0, 2, True).isnan().all()


@pytest.mark.parametrize("index", [-1.0, 2.0, NAN, INF, 1e30])
def test_a_bad_batch_index_is_named(index: float) -> None:
    features, rois = torch.zeros(2, 1, 4, 4), torch.tensor([[1.0, 0, 0, 1, 1], [index, 0, 0, 1, 1]])
    message = r"roi_align: rois\[1\] has batch index .*; expected at least 0 and below 2, the number of images"
    with pytest.raises(ValueError, match=message):
        roi_align(features, rois, 1)


def test_errors_name_the_argument() -> None:
    features, rois = torch.zeros(2, 3, 4, 4), torch.zeros(1, 5)
    with pytest.raises(ValueError, match=r"^roi_align: input must be \[N, C, H, W\]; got \[3, 4, 4\]$"):
        roi_align(features[0], rois, 1)
    with pytest.raises(ValueError, match=r"^roi_align: rois must be \[K, 5\]; got \[1, 4\]$"):
        roi_align(features, rois[:, 1:], 1)
    with pytest.raises(ValueError, match=r"^roi_align: boxes\[1\] must be \[L, 4\]; got \[1, 5\]$"):
        roi_align(features, [rois[:, 1:], rois], 1)
    with pytest.raises(ValueError, match=r"^roi_align: boxes must be a \[K, 5\] tensor or a list .*; got \[\]$"):
        roi_align(features, [], 1)
    with pytest.raises(ValueError, match=r"^roi_align: rois must be \[K, 5\]; got \[\]$"):
        roi_align(features, torch.tensor(1.0), 2)
    with pytest.raises(ValueError, match=r"^roi_align: output_size must be positive; got \[-1, -1\]$"):
        roi_align(features, rois, -1)
    with pytest.raises(ValueError, match=r"^roi_align: output_size must be positive; got \[0, 2\]$"):
        roi_align(features, rois, (0, 2))
    with pytest.raises(
        ValueError, match=r"^roi_align: output_size must be one number or \(height, width\); got \(1, 2"
    ):
        roi_align(features, rois, (1, 2, 3))
    with pytest.raises(ValueError, match=r"^roi_align: input must be floating point; got int64$"):
        roi_align(features.long(), rois, 1)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_empty_tensors(layout: str) -> None:
    features = random_features(2, 3, 5, 6, layout=layout).requires_grad_()
    pooled = roi_align(features, torch.zeros(0, 5), (2, 3))
    assert pooled.shape == (0, 3, 2, 3)
    pooled.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()
    assert roi_align(features[:, :0], torch.zeros(1, 5), 2).shape == (1, 0, 2, 2)
    assert not roi_align(features[:, :, :0], torch.zeros(1, 5), 2).any()
    assert roi_align(features[:0], torch.zeros(0, 5), 2).shape == (0, 3, 2, 2)


def test_boxes_as_a_list() -> None:
    features, rois = random_features(3, 2, 9, 9), random_rois(8, 3, 9.0)
    rois = rois[rois[:, 0].argsort(stable=True)]
    boxes = [rois[rois[:, 0] == image, 1:] for image in range(3)]
    assert torch.equal(roi_align(features, boxes, 3), roi_align(features, rois, 3))
    assert torch.equal(roi_align(features, tuple(boxes), 3), roi_align(features, rois, 3))


def test_mixed_dtypes_follow_the_input() -> None:
    features, rois = random_features(1, 2, 9, 9), random_rois(4, 1, 9.0)
    expected = roi_align(features.half().float(), rois, 2)
    assert torch.equal(roi_align(features.half(), rois.double(), 2), expected.half())
    assert torch.equal(roi_align(features.double(), rois, 2), roi_align(features.double(), rois.double(), 2))
    half = features.half().requires_grad_()
    roi_align(half, rois, 2).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.float16


HALF = [torch.float16, torch.bfloat16]


@given(
    st.integers(0, 2**31),
    st.sampled_from(HALF),
    st.sampled_from(["contiguous", "channels_last"]),
    st.sampled_from(SAMPLING),
    st.sampled_from([1, 5, 37]),
    st.sampled_from([1, 7, 14, 19]),
    st.sampled_from([5, 20, 70]),
)
def test_half_types_equal_float32_rounded_once(
    seed: int, dtype: torch.dtype, layout: str, sampling: tuple[int, bool], channels: int, bins: int, width: int
) -> None:
    """Bit for bit, forward and backward: half types are exact in float32."""
    torch.manual_seed(seed)
    half = random_features(2, channels, 9, width, dtype=dtype, layout=layout).requires_grad_()
    single = half.detach().float().requires_grad_()
    rois = random_rois(6, 2, 1.5 * width)
    pooled, expected = (roi_align(features, rois, (3, bins), 0.75, *sampling) for features in (half, single))
    assert torch.equal(pooled, expected.to(dtype))
    weights = torch.randn_like(pooled)
    gradient, expected = (
        torch.autograd.grad(output, features, weights.to(output.dtype))[0]
        for output, features in ((pooled, half), (expected, single))
    )
    assert gradient.dtype == dtype
    assert torch.equal(gradient, expected.to(dtype))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", HALF)
def test_half_types_keep_every_value(dtype: torch.dtype, layout: str) -> None:
    """All 65,536 patterns pass through a pool of one pixel: subnormal, infinite and NaN, in packs and one by one."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    expected = values.reshape(256, 256, 1, 1)  # a RoI for each row of the map
    features = expected.permute(2, 1, 0, 3)
    features = features.contiguous(
        memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format
    )
    rois = torch.tensor([[0.0, 0, row, 1, row + 1] for row in range(256)])
    pooled = roi_align(features, rois, 1, 1.0, 1, True)
    assert torch.equal(pooled.isnan(), expected.isnan())
    assert torch.equal(pooled.nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", HALF)
def test_half_types_round_to_the_nearest_even(dtype: torch.dtype, layout: str) -> None:
    """Means of two neighbouring numbers are ties; those beyond the largest are infinite."""
    values = torch.arange(2**15, dtype=torch.int16).view(dtype)
    values = values[values.isfinite()]
    pairs = torch.stack([values[:-1], values[1:]], dim=1)[None, :, None]  # [1, numbers, 1, 2]
    features = pairs.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else pairs
    pooled = roi_align(features, torch.tensor([[0.0, 0, 0, 2, 1]]), 1, 1.0, 1, True)
    assert torch.equal(pooled.flatten(), pairs.double().mean(3).float().to(dtype).flatten())
    largest = torch.full((1, 20, 1, 1), torch.finfo(dtype).max, dtype=dtype)
    gradient = torch.autograd.functional.vjp(
        lambda x: roi_align(x, torch.zeros(2, 5), 1, 1.0, 1), torch.zeros_like(largest), largest.expand(2, -1, -1, -1)
    )[1]
    assert gradient.isposinf().all()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", HALF)
def test_half_features_take_rois_of_any_type(dtype: torch.dtype, layout: str) -> None:
    """RoIs are never rounded to half, where a corner at 1001.25 would become 1001 or 1000."""
    features = random_features(1, 3, 9, 9, dtype=dtype, layout=layout)
    rois = torch.tensor([[0.0, 1001.25, 1000.75, 1006.5, 1005.25]])
    expected = roi_align(features.float(), rois, 2, 1 / 200, 2, True).to(dtype)
    assert torch.equal(roi_align(features, rois, 2, 1 / 200, 2, True), expected)
    assert torch.equal(roi_align(features, rois.double(), 2, 1 / 200, 2, True), expected)


def test_more_rois_than_tables_are_kept_for() -> None:
    """A map of this height leaves memory for the tables of few RoIs, so that each task builds its own."""
    torch.manual_seed(0)
    features = random_features(1, 2, 30_000, 2).requires_grad_()
    rois = random_rois(300, 1, 3.0)
    pooled = roi_align(features, rois, 2)
    few = [roi_align(features, part, 2) for part in rois.split(50)]
    assert torch.equal(pooled, torch.cat(few))
    gradient = torch.autograd.grad(pooled.sum(), features)[0]
    torch.testing.assert_close(gradient, sum(torch.autograd.grad(part.sum(), features)[0] for part in few))


@given(st.integers(0, 2**31), st.sampled_from(SAMPLING), st.sampled_from(LAYOUTS), st.floats(-3, 3))
def test_is_linear(seed: int, sampling: tuple[int, bool], layout: str, factor: float) -> None:
    torch.manual_seed(seed)
    a, b = (random_features(2, 3, 7, 8, dtype=torch.float64, layout=layout) for _ in range(2))
    rois = random_rois(5, 2, 16.0)
    pooled = roi_align(a + factor * b, rois, (2, 3), 0.5, *sampling)
    separate = roi_align(a, rois, (2, 3), 0.5, *sampling) + factor * roi_align(b, rois, (2, 3), 0.5, *sampling)
    torch.testing.assert_close(pooled, separate)


@given(st.integers(0, 2**31), st.sampled_from(SAMPLING), st.integers(1, 9), st.integers(1, 9))
def test_a_plane_pools_to_its_values_at_bin_centres(
    seed: int, sampling: tuple[int, bool], rows: int, columns: int
) -> None:
    """Bilinear samples are exact on a linear function, and their mean is its value at the centre of the bin."""
    torch.manual_seed(seed)
    offset, slope_y, slope_x = torch.randn(3, dtype=torch.float64)
    y, x = torch.arange(30.0, dtype=torch.float64)[:, None], torch.arange(40.0, dtype=torch.float64)
    features = (offset + slope_y * y + slope_x * x)[None, None]
    corner = 1 + 10 * torch.rand(2, dtype=torch.float64)
    size = 1.5 + 16 * torch.rand(2, dtype=torch.float64)  # larger than the least size, and inside the map
    roi = torch.cat([torch.zeros(1), corner, corner + size])[None]
    centre_y = corner[1] + size[1] * (torch.arange(rows, dtype=torch.float64) + 0.5) / rows - 0.5 * sampling[1]
    centre_x = corner[0] + size[0] * (torch.arange(columns, dtype=torch.float64) + 0.5) / columns - 0.5 * sampling[1]
    expected = offset + slope_y * centre_y[:, None] + slope_x * centre_x
    torch.testing.assert_close(roi_align(features, roi, (rows, columns), 1.0, *sampling)[0, 0], expected)


@given(st.integers(0, 2**31), st.sampled_from(SAMPLING), st.sampled_from(LAYOUTS))
def test_the_backward_pass_is_the_adjoint(seed: int, sampling: tuple[int, bool], layout: str) -> None:
    """<roi_align(x), g> = <x, backward(g)>."""
    torch.manual_seed(seed)
    features = random_features(2, 3, 7, 8, dtype=torch.float64, layout=layout).requires_grad_()
    pooled = roi_align(features, random_rois(5, 2, 16.0), (2, 3), 0.5, *sampling)
    weights = torch.randn_like(pooled)
    (gradient,) = torch.autograd.grad(pooled, features, weights)
    torch.testing.assert_close((pooled * weights).sum(), (features * gradient).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("ratio", "aligned"), SAMPLING)
def test_equals_torchvision(ratio: int, aligned: bool, layout: str, dtype: torch.dtype) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    features = random_features(2, 40, 25, 34, dtype=dtype, layout=layout).requires_grad_()
    rois = random_rois(60, 2, 136.0, dtype)
    for size in (7, (14, 14), (3, 5)):
        ours, theirs = (
            operator(features, rois, size, 0.25, ratio, aligned) for operator in (roi_align, torchvision.ops.roi_align)
        )
        assert_close(ours.detach(), theirs.detach(), dtype)
        weights = torch.randn_like(ours)
        gradients = (torch.autograd.grad(pooled, features, weights)[0] for pooled in (ours, theirs))
        assert_close(*gradients, dtype)


def test_a_sampling_ratio_has_a_limit() -> None:
    """Its samples are visited one by one; adaptive sampling stays with the map instead."""
    features, rois = random_features(1, 2, 9, 9), random_rois(2, 1, 9.0)
    assert roi_align(features, rois, 1, 1.0, 4096).isfinite().all()
    for pool in (roi_align, ps_roi_align):
        with pytest.raises(ValueError, match=rf"^{pool.__name__}: sampling_ratio must be at most 4096; got 1000000$"):
            pool(features, rois, 1, 1.0, 1_000_000)


def test_module() -> None:
    module = RoIAlign(7, 0.25, 2, aligned=True)
    assert repr(module) == "RoIAlign(output_size=7, spatial_scale=0.25, sampling_ratio=2, aligned=True)"
    features, rois = random_features(1, 2, 9, 9), random_rois(4, 1, 36.0)
    assert torch.equal(module(features, rois), roi_align(features, rois, 7, 0.25, 2, True))
