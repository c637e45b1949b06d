"""Derivatives, tracing, threads and determinism of all pooling operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from fastmrcnn.ops import ps_roi_align, ps_roi_pool, roi_align, roi_pool
from tests.ops.roi_cases import random_features, random_rois

Pool = Callable[[Tensor, Tensor], Tensor]

POOLS: dict[str, Pool] = {
    "roi_align": lambda x, rois: roi_align(x, rois, 2, 0.5, 2),
    "roi_align adaptive aligned": lambda x, rois: roi_align(x, rois, 2, 0.5, 0, True),
    "roi_pool": lambda x, rois: roi_pool(x, rois, 2, 0.5),
    "ps_roi_align": lambda x, rois: ps_roi_align(x, rois, 2, 0.5),
    "ps_roi_pool": lambda x, rois: ps_roi_pool(x, rois, 2, 0.5),
}
every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@every_pool
@every_layout
def test_derivatives(pool: Pool, layout: str) -> None:
    features = random_features(2, 4, 3, 4, dtype=torch.float64, layout=layout).requires_grad_()
    rois = random_rois(3, 2, 8.0, torch.float64)
    torch.autograd.gradcheck(lambda x: pool(x, rois), features)
    torch.autograd.gradgradcheck(lambda x: pool(x, rois), features)


@every_pool
def test_derivatives_of_higher_order(pool: Pool) -> None:
    """Pooling is homogeneous: the third derivative along d of sum(pool(x)^4) at x = d is 24 sum(pool(d)^4)."""
    direction = random_features(1, 4, 5, 6, dtype=torch.float64)
    rois = random_rois(3, 1, 12.0, torch.float64)
    features = direction.clone().requires_grad_()
    value = pool(features, rois).pow(4).sum()
    for _ in range(3):
        (gradient,) = torch.autograd.grad(value, features, create_graph=True)
        value = (gradient * direction).sum()
    torch.testing.assert_close(value.detach(), 24 * pool(direction, rois).pow(4).sum())


@every_pool
@every_layout
def test_the_gradient_keeps_the_layout(pool: Pool, layout: str) -> None:
    features = random_features(2, 4, 9, 9, layout=layout).requires_grad_()
    (gradient,) = torch.autograd.grad(pool(features, random_rois(4, 2, 18.0)).sum(), features)
    assert gradient.stride() == features.stride()


@every_pool
def test_rois_get_no_gradient(pool: Pool) -> None:
    features, rois = random_features(1, 4, 9, 9), random_rois(4, 1, 18.0).requires_grad_()
    assert not pool(features, rois).requires_grad
    pool(features.requires_grad_(), rois).sum().backward()
    assert rois.grad is None


@every_pool
@every_layout
def test_compiles_to_one_graph(pool: Pool, layout: str) -> None:
    torch.compiler.reset()  # the cases share a code object, and its number of versions is limited
    features = random_features(2, 4, 9, 9, layout=layout).requires_grad_()
    rois = random_rois(6, 2, 18.0)
    eager = pool(features.sin(), rois)
    compiled = torch.compile(lambda x, r: pool(x.sin(), r), fullgraph=True, backend="aot_eager")(features, rois)
    assert torch.equal(compiled, eager)
    assert compiled.stride() == eager.stride()
    weights = torch.randn_like(eager)
    gradients = [torch.autograd.grad(pooled, features, weights)[0] for pooled in (eager, compiled)]
    torch.testing.assert_close(*gradients)


@every_pool
def test_fake_tensors(pool: Pool) -> None:
    with FakeTensorMode():
        assert pool(torch.empty(2, 8, 9, 9), torch.empty(6, 5)).shape[0] == 6


# opcheck itself reads .grad of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(layout: str, dtype: torch.dtype) -> None:
    """Schema, fake kernel, autograd registration and ahead-of-time dispatch with dynamic shapes."""
    operators = torch.ops.fastmrcnn
    features = random_features(2, 8, 9, 9, dtype=dtype, layout=layout).requires_grad_()
    rois, shape, channels_last = random_rois(3, 2, 9.0), (2, 8, 9, 9), layout == "channels_last"
    grad, ps_grad = (torch.randn(3, c, 2, 2, dtype=dtype, requires_grad=True) for c in (8, 2))
    argmax = operators.roi_pool(features.detach(), rois, 1.0, 2, 2)[1]
    for operator, arguments in (
        (operators.roi_align, (features, rois, 1.0, 2, 2, 2, True)),
        (operators.roi_align_backward, (grad, rois, 1.0, shape, channels_last, 2, True)),
        (operators.ps_roi_align, (features, rois, 1.0, 2, 2, 2)),
        (operators.ps_roi_align_backward, (ps_grad, rois, 1.0, shape, channels_last, 2)),
        (operators.ps_roi_pool, (features, rois, 1.0, 2, 2)),
        (operators.ps_roi_pool_backward, (ps_grad, rois, 1.0, shape, channels_last)),
        (operators.roi_pool, (features, rois, 1.0, 2, 2)),
        (operators.roi_pool_backward, (grad, rois, argmax, 1.0, shape, channels_last)),
    ):
        opcheck(operator.default, arguments)


@every_pool
def test_the_dispatcher_path_equals_the_eager_one(pool: Pool) -> None:
    """A mode keeps the public function from its fast path."""

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            return function(*args, **(kwargs or {}))

    features, rois = random_features(2, 4, 9, 9).requires_grad_(), random_rois(6, 2, 18.0)
    eager = pool(features, rois)
    with Watch():
        dispatched = pool(features, rois)
    assert torch.equal(dispatched, eager)
    weights = torch.randn_like(eager)
    gradients = [torch.autograd.grad(pooled, features, weights)[0] for pooled in (eager, dispatched)]
    assert torch.equal(*gradients)


@every_pool
@every_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_results_do_not_depend_on_threads(
    pool: Pool, layout: str, dtype: torch.dtype, threads: Callable[[int], None]
) -> None:
    features = random_features(3, 4 * 35, 20, 25, dtype=dtype, layout=layout).requires_grad_()
    rois = random_rois(100, 3, 50.0)
    results = []
    for count in (1, 2, 3, 1):
        threads(count)
        pooled = pool(features, rois)
        results.append((pooled.detach(), torch.autograd.grad(pooled.square().sum(), features)[0]))
    for pooled, gradient in results[1:]:
        assert torch.equal(pooled, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_autocast_keeps_the_features_dtype() -> None:
    features, rois = random_features(1, 4, 9, 9).bfloat16().requires_grad_(), random_rois(4, 1, 18.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = roi_align(features, rois, 2, 0.5, 2)
    assert pooled.dtype == torch.bfloat16
    pooled.sum().backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16
