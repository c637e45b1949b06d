"""roi_pool, ps_roi_pool and ps_roi_align against plain loops and torchvision, and the promises of their docstrings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import ops
from fastmrcnn.ops import PSRoIAlign, PSRoIPool, RoIPool, ps_roi_align, ps_roi_pool, roi_align, roi_pool
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, NAN
from tests.ops.roi_cases import LAYOUTS, TOLERANCE, is_channels_last, random_features, random_rois

# name -> the operator and its reference, as functions of (features, rois, size, scale)
OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., object]]] = {
    "roi_pool": (roi_pool, reference.roi_pool),
    "ps_roi_pool": (ps_roi_pool, reference.ps_roi_pool),
    "ps_roi_align": (partial(ps_roi_align, sampling_ratio=2), partial(reference.ps_roi_align, ratio=2)),
    "ps_roi_align adaptive": (ps_roi_align, reference.ps_roi_align),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)
SIZE = (2, 3)


def assert_close(ours: Tensor, expected: object, dtype: torch.dtype) -> None:
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours.double(), torch.as_tensor(expected).double(), rtol=tolerance, atol=tolerance)


@every_operator
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_reference(name: str, layout: str, dtype: torch.dtype) -> None:
    operator, plain = OPERATORS[name]
    features = random_features(2, 12, 11, 14, dtype=dtype, layout=layout)
    rois = random_rois(9, 2, 28.0, torch.float64 if dtype == torch.float64 else torch.float32)
    pooled = operator(features, rois, SIZE, 0.5)
    assert pooled.dtype == dtype
    assert is_channels_last(pooled) == ("channels_last" in layout)
    assert_close(pooled, plain(features.double().numpy(), rois.double().numpy(), SIZE, 0.5), dtype)


@every_operator
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("box", DEGENERATE)
def test_degenerate_boxes(box: str, layout: str, name: str) -> None:
    operator, plain = OPERATORS[name]
    features = random_features(1, 6, 40, 40, dtype=torch.float64, layout=layout).requires_grad_()
    rois = torch.tensor([[0.0, *DEGENERATE[box]], [0, 3, 4, 20, 30]], dtype=torch.float64)
    pooled = operator(features, rois, SIZE)
    if box != "huge" or name == "ps_roi_align":  # of the others the reference loses whole pixels, or would not end
        assert_close(pooled.detach(), plain(features.detach().numpy(), rois.numpy(), SIZE), torch.float64)
    gradient = torch.autograd.grad(pooled[0].sum(), features)[0]
    assert gradient.isfinite().all()
    if not rois[0].isfinite().all():
        assert not pooled[0].any()
        assert not gradient.any()


def test_roi_pool_keeps_values_that_are_not_finite() -> None:
    """torchvision's maximum begins at the lowest finite number, which it returns for bins of -inf or NaN."""
    features = torch.full((1, 1, 4, 4), -torch.inf)
    assert torch.equal(roi_pool(features, torch.tensor([[0.0, 0, 0, 3, 3]]), 1), features[:, :, :1, :1])
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    features[0, 0, 1, 2] = NAN
    assert roi_pool(features, torch.tensor([[0.0, 0, 0, 3, 3]]), 2).isnan().tolist() == [
        [[[False, True], [False, False]]]
    ]


@given(
    st.integers(0, 2**31),
    st.sampled_from(list(TOLERANCE)),
    st.sampled_from(["contiguous", "channels_last"]),
    st.sampled_from([1, 17, 70]),
    st.sampled_from([4, 15, 50]),
    st.booleans(),
)
def test_roi_pool_names_the_maximum(
    seed: int, dtype: torch.dtype, layout: str, channels: int, width: int, with_nan: bool
) -> None:
    """Exact in every type: the first of equal maxima, zeros of both signs being equal, and the last NaN."""
    torch.manual_seed(seed)
    features = random_features(2, channels, 9, width, dtype=dtype, layout=layout)
    features.copy_(torch.randint(-3, 3, features.shape)).mul_(torch.tensor(-0.5))  # ties, and zeros of both signs
    if with_nan:
        features[torch.rand(features.shape) < 0.05] = NAN
    rois = random_rois(5, 2, 1.2 * width, torch.float64 if dtype == torch.float64 else torch.float32)
    pooled, argmax = torch.ops.fastmrcnn.roi_pool(features, rois, 1.0, 3, 5)
    for (k, c, i, j), place in np.ndenumerate(argmax.numpy()):
        x1, y1, x2, y2 = rois[k, 1:].tolist()
        rows = reference.pixels_of_bins(y1, y2, 3, 9, inclusive=True)[i]
        columns = reference.pixels_of_bins(x1, x2, 5, width, inclusive=True)[j]
        if c not in (0, channels - 1):
            continue
        places = [y * width + x for y in rows for x in columns]
        values = features[int(rois[k, 0]), c].flatten()[places].tolist()
        nans = [where for where, value in zip(places, values, strict=True) if value != value]
        first = places[values.index(max(values))] if places and not nans else -1
        assert place == (nans[-1] if nans else first)
        expected = features[int(rois[k, 0]), c].flatten()[place].item() if places else 0.0
        assert pooled[k, c, i, j].item() == expected or (nans and pooled[k, c, i, j].isnan())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_roi_pool_gradients_of_half_types_equal_float32_rounded_once(layout: str, dtype: torch.dtype) -> None:
    half = random_features(2, 40, 12, 20, dtype=dtype, layout=layout).requires_grad_()
    single = half.detach().float().requires_grad_()
    rois = random_rois(50, 2, 20.0)
    pooled, expected = (roi_pool(features, rois, 3) for features in (half, single))
    assert torch.equal(pooled.float(), expected)
    weights = torch.randn_like(pooled)
    (gradient,) = torch.autograd.grad(pooled, half, weights)
    assert torch.equal(gradient, torch.autograd.grad(expected, single, weights.float())[0].to(dtype))


def test_roi_pool_backward_refuses_places_off_the_map() -> None:
    rois, grad = torch.zeros(1, 5), torch.ones(1, 2, 1, 1)
    for layout in (False, True):
        message = r"^roi_pool_backward: argmax holds pixel 20, which is not in grad_input of \[1, 2, 4, 5\]$"
        with pytest.raises(ValueError, match=message):
            torch.ops.fastmrcnn.roi_pool_backward(
                grad, rois, torch.full((1, 2, 1, 1), 20, dtype=torch.int32), 1.0, (1, 2, 4, 5), layout
            )


def test_roi_pool_gradient_goes_to_the_first_maximum() -> None:
    features = torch.zeros(1, 1, 3, 3, requires_grad=True)
    roi_pool(features, torch.tensor([[0.0, 1, 1, 2, 2]]), 1).sum().backward()
    assert features.grad is not None
    assert features.grad.nonzero().tolist() == [[0, 0, 1, 1]]


def test_ps_roi_align_is_roi_align_with_a_channel_per_bin() -> None:
    features, rois = random_features(2, 12, 9, 9), random_rois(7, 2, 18.0)
    every_channel = roi_align(features, rois, SIZE, 0.5, 2, True)
    expected = torch.from_numpy(reference.select_bins(every_channel.numpy()).copy())
    torch.testing.assert_close(ps_roi_align(features, rois, SIZE, 0.5, 2), expected)


@every_operator
@given(seed=st.integers(0, 2**31), layout=st.sampled_from(LAYOUTS))
def test_a_constant_map_pools_to_the_constant(name: str, seed: int, layout: str) -> None:
    torch.manual_seed(seed)
    features = random_features(1, 6, 30, 30, layout=layout).fill_(2.5)
    corner = 1 + 10 * torch.rand(2)
    roi = torch.cat([torch.zeros(1), corner, corner + 1 + 15 * torch.rand(2)])[None]
    pooled = OPERATORS[name][0](features, roi, SIZE)
    torch.testing.assert_close(pooled, torch.full_like(pooled, 2.5))


@pytest.mark.parametrize("name", ["ps_roi_pool", "ps_roi_align", "roi_pool"])
def test_errors_name_the_argument(name: str) -> None:
    operator: Callable[..., Tensor] = getattr(ops, name)
    features, rois = torch.zeros(1, 4, 5, 5), torch.tensor([[0.0, 0, 0, 2, 2]])
    with pytest.raises(ValueError, match=rf"^{name}: input must be \[N, C, H, W\]; got \[4, 5, 5\]$"):
        operator(features[0], rois, 2)
    with pytest.raises(ValueError, match=rf"^{name}: rois must be \[K, 5\]; got \[1, 3\]$"):
        operator(features, rois[:, :3], 2)
    with pytest.raises(ValueError, match=rf"^{name}: rois\[0\] has batch index 1; expected at least 0 and below 1"):
        operator(features, rois + 1, 2)
    with pytest.raises(ValueError, match=rf"^{name}: output_size must be positive; got \[2, 0\]$"):
        operator(features, rois, (2, 0))
    with pytest.raises(ValueError, match=rf"^{name}: input must be floating point; got int32$"):
        operator(features.int(), rois, 2)
    if name != "roi_pool":
        with pytest.raises(
            ValueError, match=rf"^{name}: input must have a multiple of 3 x 1 channels; got \[1, 4, 5, 5\]$"
        ):
            operator(features, rois, (3, 1))


@every_operator
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_empty_tensors(layout: str, name: str) -> None:
    operator, _ = OPERATORS[name]
    features = random_features(2, 6, 5, 6, layout=layout).requires_grad_()
    pooled = operator(features, torch.zeros(0, 5), SIZE)
    assert pooled.shape == (0, 6 if name == "roi_pool" else 1, *SIZE)
    pooled.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()
    assert not operator(features[:, :, :0], torch.zeros(1, 5), SIZE).any()


@every_operator
def test_boxes_as_a_list(name: str) -> None:
    operator, _ = OPERATORS[name]
    features, rois = random_features(2, 6, 9, 9), random_rois(8, 2, 9.0)
    rois = rois[rois[:, 0].argsort(stable=True)]
    boxes = [rois[rois[:, 0] == image, 1:] for image in range(2)]
    assert torch.equal(operator(features, boxes, SIZE), operator(features, rois, SIZE))


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_equals_torchvision(layout: str, dtype: torch.dtype, name: str) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    operator, arguments = name.split()[0], (SIZE, 0.25) if name != "ps_roi_align" else (SIZE, 0.25, 2)
    features = random_features(2, 12, 25, 34, dtype=dtype, layout=layout).requires_grad_()
    rois = random_rois(60, 2, 136.0, dtype)
    ours = getattr(ops, operator)(features, rois, *arguments)
    theirs = getattr(torchvision.ops, operator)(features, rois, *arguments)
    assert_close(ours.detach(), theirs.detach(), dtype)
    if name == "ps_roi_pool":
        return  # whose gradient in torchvision is not that of its output: it clips bins elsewhere
    weights = torch.randn_like(ours)
    gradients = (torch.autograd.grad(pooled, features, weights)[0] for pooled in (ours, theirs))
    assert_close(*gradients, dtype)


def test_modules() -> None:
    features, rois = random_features(1, 8, 9, 9), random_rois(4, 1, 36.0)
    assert repr(RoIPool(3, 0.25)) == "RoIPool(output_size=3, spatial_scale=0.25)"
    assert repr(PSRoIPool(2, 0.25)) == "PSRoIPool(output_size=2, spatial_scale=0.25)"
    assert repr(PSRoIAlign(2, 0.25, 2)) == "PSRoIAlign(output_size=2, spatial_scale=0.25, sampling_ratio=2)"
    assert torch.equal(RoIPool(3, 0.25)(features, rois), roi_pool(features, rois, 3, 0.25))
    assert torch.equal(PSRoIPool(2, 0.25)(features, rois), ps_roi_pool(features, rois, 2, 0.25))
    assert torch.equal(PSRoIAlign(2, 0.25, 2)(features, rois), ps_roi_align(features, rois, 2, 0.25, 2))
