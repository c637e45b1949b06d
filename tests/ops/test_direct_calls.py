"""The direct way from torch's tensors to torch's: taken when nothing watches, the same results, nothing leaked."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fastmrcnn import _C
from fastmrcnn.ops import nms, roi_align
from fastmrcnn.ops.box_coding import _decode_kernel
from tests.ops.box_cases import clustered_boxes
from tests.ops.roi_cases import random_features, random_rois

Call = Callable[..., object]
exchange_api = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="torch before 2.10 has no exchange API"
)


def same_layout(tensor: Tensor, like: Tensor) -> Tensor:
    channels_last = not like.is_contiguous()
    return tensor.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def direct_cases(layout: torch.memory_format = torch.contiguous_format) -> dict[str, tuple[Call, Call]]:
    """For each operator a direct call and the same by torch's dispatcher, or by the kernel that needs none."""
    torch.manual_seed(0)
    boxes, scores, groups = clustered_boxes(200, 20), torch.rand(200), torch.randint(3, (200,))
    deltas = torch.randn(200, 8)
    features = random_features(2, 8, 9, 11).contiguous(memory_format=layout)
    channels_last, shape = not features.is_contiguous(), tuple(features.shape)
    rois = random_rois(5, 2, 9.0)
    registered = torch.ops.fastmrcnn
    decoded = (deltas, boxes, (1.0, 1.0, 1.0, 1.0), 4.0, None)
    cases: dict[str, tuple[Call, Call]] = {
        "nms": (lambda: _C.direct_nms(boxes, scores, None, 0.5), lambda: registered.nms(boxes, scores, None, 0.5)),
        "grouped nms": (
            lambda: _C.direct_nms(boxes, scores, groups, 0.5),
            lambda: registered.nms(boxes, scores, groups, 0.5),
        ),
        "decode_boxes": (lambda: _C.direct_decode_boxes(*decoded), lambda: _decode_kernel(*decoded)),
    }
    argmax = registered.roi_pool(features, rois, 0.5, 2, 2)[1]
    for name, scale, options in (
        ("roi_align", (0.5,), (2, True)),
        ("roi_align half", (0.5,), (2, True)),
        ("ps_roi_align", (0.5,), (2,)),
        ("ps_roi_pool", (0.5,), ()),
        ("roi_pool", (argmax, 0.5), ()),
        ("roi_pool half", (argmax, 0.5), ()),
    ):
        name, _, half = name.partition(" ")
        input = features.half() if half else features
        forward = (input, rois, 0.5, 2, 2, *options)
        pooled = getattr(registered, name)(*forward)
        pooled = pooled[0] if name == "roi_pool" else pooled
        grad = same_layout(torch.randn(pooled.shape, dtype=pooled.dtype), features)
        backward = (grad, rois, *scale, shape, channels_last, *options)
        for suffix, arguments in (("", forward), ("_backward", backward)):
            direct, ordinary = getattr(_C, f"direct_{name}{suffix}"), getattr(registered, f"{name}{suffix}")
            cases[name + suffix + half] = (
                lambda direct=direct, arguments=arguments: direct(*arguments),
                lambda ordinary=ordinary, arguments=arguments: ordinary(*arguments),
            )
    return cases


@exchange_api
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("name", direct_cases())
def test_direct_calls_give_what_the_dispatcher_gives(name: str, layout: torch.memory_format) -> None:
    direct, ordinary = direct_cases(layout)[name]
    found, expected = direct(), ordinary()
    found, expected = (value if isinstance(value, tuple) else (value,) for value in (found, expected))
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Tensor)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
        assert one.stride() == other.stride()
        assert not one.requires_grad


class Subclass(Tensor):
    pass


class Quiet(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


class Silent(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "watch", [Quiet, Silent, forward_ad.dual_level], ids=["dispatch mode", "function mode", "dual"]
)
def test_watched_calls_are_not_plain(watch: Callable[[], AbstractContextManager]) -> None:
    boxes, scores = clustered_boxes(20, 4), torch.rand(20)
    assert _C.is_plain(boxes, scores, None, 0.5)
    with watch():
        assert not _C.is_plain(boxes)
        assert _C.direct_nms(boxes, scores, None, 0.5) is None
    assert _C.is_plain(boxes)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated")
@pytest.mark.parametrize("way", ["vmap", "grad", "functionalize", "trace"])
def test_transformed_calls_are_not_plain(way: str) -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        outside = torch.zeros(1, 4)
        seen.append((_C.is_plain(x), _C.is_plain(outside), _C.direct_nms(outside, torch.zeros(1), None, 0.5)))
        return x.sum()

    x = torch.zeros(3, 4)
    if way == "trace":
        torch.jit.trace(look, x, check_trace=False)
    else:
        getattr(torch.func, way)(look)(x)
    assert seen == [(False, False, None)]


def unusual_tensors() -> dict[str, Tensor]:
    plain = torch.rand(1, 8, 9, 9)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(plain)
    return {
        "subclass": plain.as_subclass(Subclass),
        "fake": fake,
        "meta": plain.to("meta"),
        "empty meta": plain[:0].to("meta"),
        "negated view": torch._neg_view(plain),
        "wants a gradient": plain.clone().requires_grad_(),
        "sparse": plain.to_sparse(),
        "strided": torch.rand(1, 8, 9, 18)[..., ::2],
        "integers": plain.int(),
        "complex": plain.to(torch.complex64),
        "zero tensor": torch._efficientzerotensor((1, 8, 9, 9)),
        "another rank": plain[0],
    }


@pytest.mark.parametrize("name", unusual_tensors())
def test_unusual_tensors_go_the_ordinary_way(name: str) -> None:
    features = unusual_tensors()[name]
    assert _C.direct_roi_align(features, torch.tensor([[0.0, 0, 0, 4, 4]]), 1.0, 2, 2, 2, True) is None


@pytest.mark.parametrize("name", ["subclass", "fake", "meta", "empty meta", "negated view"])
def test_unusual_tensors_are_not_plain(name: str) -> None:
    assert not _C.is_plain(torch.zeros(1), unusual_tensors()[name])


@exchange_api
def test_parameters_are_plain_and_gradients_matter_only_where_they_are_recorded() -> None:
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    weight = torch.nn.Parameter(torch.rand(1, 8, 9, 9))
    expected = roi_align(weight.detach(), rois, 2)
    with torch.no_grad():
        torch.testing.assert_close(_C.direct_roi_align(weight, rois, 1.0, 2, 2, -1, False), expected, rtol=0, atol=0)
    assert _C.direct_roi_align(weight.detach(), rois.requires_grad_(), 1.0, 2, 2, -1, False) is not None
    assert roi_align(weight, rois, 2).requires_grad


@exchange_api
@pytest.mark.parametrize("argument", ["0.5", None, torch.tensor(0.5), 10**400], ids=str)
def test_other_arguments_than_numbers_go_the_ordinary_way(argument: object) -> None:
    assert _C.direct_nms(torch.zeros(1, 4), torch.zeros(1), None, argument) is None


def test_the_number_of_arguments_is_checked() -> None:
    if hasattr(Tensor, "__dlpack_c_exchange_api__"):
        with pytest.raises(TypeError, match="wrong number of arguments"):
            _C.direct_nms(torch.zeros(1, 4))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, nullcontext])
def test_outputs_belong_to_the_mode_they_were_made_in(mode: Callable[[], AbstractContextManager]) -> None:
    with mode():
        found = nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        assert found.is_inference() == torch.zeros(1).is_inference()


@exchange_api
def test_outputs_are_ordinary_tensors() -> None:
    """Their memory comes through DLPack, but may be written, shared, saved and differentiated like any."""
    pooled = roi_align(torch.ones(1, 8, 9, 9), torch.tensor([[0.0, 1, 1, 5, 5]] * 3), 2)
    kept = pooled[1:]
    pooled.share_memory_().mul_(2).requires_grad_()
    del pooled
    assert torch.equal(kept, torch.full((2, 8, 2, 2), 2.0))
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(not hasattr(resource, "getpagesize"), reason="needs /proc")
@pytest.mark.parametrize("name", ["plain", "channels-last", "gradient", "bad batch index", "not direct"])
def test_a_hundred_thousand_calls_keep_no_memory(name: str) -> None:
    """Each output has some 12 kB, so that losing one in a hundred would show."""
    features, rois = torch.rand(1, 64, 9, 9), torch.tensor([[0.0, 1, 1, 5, 5]])
    if name == "channels-last":
        features = features.contiguous(memory_format=torch.channels_last)
    gradient = torch.ones(1, 64, 7, 7)
    calls = 10_000 if name == "gradient" else 100_000

    def call() -> None:
        if name == "gradient":
            roi_align(features.requires_grad_(), rois, 7, sampling_ratio=1).backward(gradient)
            features.grad = None
        elif name == "bad batch index":
            with pytest.raises(ValueError, match="has batch index 1"):
                _C.direct_roi_align(features, rois + 1, 1.0, 7, 7, 1, False) or roi_align(features, rois + 1, 7)
        elif name == "not direct":
            assert _C.direct_roi_align(features[:, :, ::2], rois, 1.0, 7, 7, 1, False) is None
        else:
            roi_align(features, rois, 7, sampling_ratio=1)

    for _ in range(1000):
        call()
    before = resident_megabytes()
    for _ in range(calls):
        call()
    assert resident_megabytes() - before < 8
