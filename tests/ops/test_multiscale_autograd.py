"""Derivatives of multiscale_roi_align, and the ways torch takes to it: compiler, fakes, modes, dispatcher."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.library import opcheck

from fastmrcnn.ops import assign_levels
from tests.ops.multiscale_cases import (
    LEVELS,
    SAMPLING,
    SCALES,
    every_layout,
    pool,
    pyramid,
    rois_of_all_levels,
)
from tests.ops.roi_cases import LAYOUTS, random_features, random_rois


def test_features_that_need_no_gradient_get_none() -> None:
    features, rois = pyramid(), rois_of_all_levels(20)
    features[1].requires_grad_()
    (gradient,) = torch.autograd.grad(pool(features, rois).sum(), features[1])
    for feature in features:
        feature.requires_grad_()
    assert torch.equal(gradient, torch.autograd.grad(pool(features, rois).sum(), features)[1])
    rois.requires_grad_()
    pool(features, rois).sum().backward()
    assert rois.grad is None
    assert not pool([feature.detach() for feature in features], rois).requires_grad


def test_half_features_and_float_boxes_under_autocast() -> None:
    rois = rois_of_all_levels(20) + 1 / 3  # not a number of half precision
    for dtype in (torch.bfloat16, torch.float16):
        features = [feature.to(dtype).requires_grad_() for feature in pyramid()]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = pool(features, rois)
        assert torch.equal(pooled, pool([feature.float() for feature in features], rois).to(dtype))
        for gradient in torch.autograd.grad(pooled.sum(), features):
            assert gradient.dtype == dtype


@given(st.integers(0, 2**31), st.sampled_from(SAMPLING), st.sampled_from(LAYOUTS), st.floats(-3, 3))
def test_is_linear_and_the_backward_pass_its_adjoint(
    seed: int, sampling: tuple[int, bool], layout: str, factor: float
) -> None:
    torch.manual_seed(seed)
    a, b = (pyramid(dtype=torch.float64, layout=layout) for _ in range(2))
    rois = random_rois(12, 2, 80.0)
    features = [(x + factor * y).requires_grad_() for x, y in zip(a, b, strict=True)]
    pooled = pool(features, rois, (2, 3), *sampling)
    separate = pool(a, rois, (2, 3), *sampling) + factor * pool(b, rois, (2, 3), *sampling)
    torch.testing.assert_close(pooled, separate)
    weights = torch.randn_like(pooled)
    gradients = torch.autograd.grad(pooled, features, weights)
    inner = sum((feature * gradient).sum() for feature, gradient in zip(features, gradients, strict=True))
    torch.testing.assert_close((pooled * weights).sum(), inner)


@every_layout
def test_derivatives(layout: str) -> None:
    features = [
        random_features(2, 2, side, side + 1, dtype=torch.float64, layout=layout).requires_grad_() for side in (4, 3, 2)
    ]
    rois = torch.tensor([[0.0, 1, 1, 7, 6], [1, 0, 2, 15, 22], [0, -3, -2, 50, 40]], dtype=torch.float64)
    assert assign_levels(rois[:, 1:], 1, 3, **LEVELS).tolist() == [1, 2, 3]
    torch.autograd.gradcheck(lambda *maps: pool(maps, rois), features)
    torch.autograd.gradgradcheck(lambda *maps: pool(maps, rois), features)


def test_derivatives_of_higher_order() -> None:
    """Pooling is homogeneous: the third derivative along d of sum(pool(x)^4) at x = d is 24 sum(pool(d)^4)."""
    direction, rois = pyramid(dtype=torch.float64), rois_of_all_levels(20, dtype=torch.float64)
    features = [feature.clone().requires_grad_() for feature in direction]
    value = pool(features, rois).pow(4).sum()
    for _ in range(3):
        gradients = torch.autograd.grad(value, features, create_graph=True)
        value = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
    torch.testing.assert_close(value.detach(), 24 * pool(direction, rois).pow(4).sum())


def test_the_derivative_of_one_gradient_alone() -> None:
    """The gradient of the second map is linear in the weights, by the rows pooled from that map."""
    features, rois = [feature.requires_grad_() for feature in pyramid()], rois_of_all_levels(20)
    weights = torch.randn(20, 3, 2, 2, requires_grad=True)
    gradient = torch.autograd.grad(pool(features, rois), features, weights, create_graph=True)[1]
    direction = torch.randn_like(gradient)
    (second,) = torch.autograd.grad(gradient, weights, direction)
    zeros = [torch.zeros_like(feature) for feature in features]
    assert torch.equal(second, pool([zeros[0], direction, zeros[2]], rois))


@every_layout
def test_compiles_to_one_graph(layout: str) -> None:
    torch.compiler.reset()
    features, rois = [feature.requires_grad_() for feature in pyramid(layout=layout)], rois_of_all_levels(20)

    def call(maps: list[Tensor], regions: Tensor) -> Tensor:
        return pool([feature.sin() for feature in maps], regions)

    eager, compiled = call(features, rois), torch.compile(call, fullgraph=True, backend="aot_eager")(features, rois)
    assert torch.equal(compiled, eager)
    assert compiled.stride() == eager.stride()
    weights = torch.randn_like(eager)
    for gradients in zip(
        *(torch.autograd.grad(pooled, features, weights) for pooled in (eager, compiled)), strict=True
    ):
        torch.testing.assert_close(*gradients)


def test_fake_and_meta_tensors() -> None:
    features, rois = pyramid(), rois_of_all_levels(20)
    assert pool([feature.to("meta") for feature in features], rois.to("meta")).shape == (20, 3, 2, 2)
    with FakeTensorMode():
        fakes = [torch.empty(2, 4, 24, 28), torch.empty(2, 4, 12, 14), torch.empty(2, 4, 6, 7)]
        assert pool(fakes, torch.empty(6, 5)).shape == (6, 4, 2, 2)


# opcheck itself reads .grad of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(layout: str, dtype: torch.dtype) -> None:
    features = [feature.requires_grad_() for feature in pyramid(dtype=dtype, layout=layout)]
    rois, geometry = rois_of_all_levels(20, dtype=dtype), (SCALES, 1, 16.0, 2, "torchvision", 2, True)
    opcheck(torch.ops.fastmrcnn.multiscale_roi_align.default, (features, rois, *geometry, 2, 2))
    grad = torch.randn(20, 3, 2, 2, dtype=dtype, requires_grad=True)
    shape = (2, [24, 13, 6], [28, 14, 7], layout == "channels_last")
    opcheck(torch.ops.fastmrcnn.multiscale_roi_align_backward.default, (grad, rois, *geometry, *shape))


def test_the_dispatcher_path_equals_the_eager_one() -> None:
    """A mode keeps the public function from its fast path."""

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            return function(*args, **(kwargs or {}))

    features, rois = [feature.requires_grad_() for feature in pyramid()], rois_of_all_levels(20)
    eager = pool(features, rois)
    with Watch():
        dispatched = pool(features, rois)
    assert torch.equal(dispatched, eager)
    weights = torch.randn_like(eager)
    for pair in zip(*(torch.autograd.grad(pooled, features, weights) for pooled in (eager, dispatched)), strict=True):
        assert torch.equal(*pair)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_mode_is_refused() -> None:
    features, rois = pyramid(), rois_of_all_levels(20)
    message = "^multiscale_roi_align: has no forward-mode derivative; use reverse mode"
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=message):
        pool([*features[:2], forward_ad.make_dual(features[2], features[2])], rois)
