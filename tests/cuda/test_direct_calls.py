"""Direct calls on CUDA tensors: what the ordinary way gives, on the tensors' device and torch's current stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import roi_pool
from tests.cuda.conftest import why_no_gpu
from tests.cuda.pretended_torch import PretendedTensor, PretendedTorch
from tests.cuda.run import Interpreted
from tests.ops.box_cases import random_boxes
from tests.ops.roi_cases import random_features, random_rois

every_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
exchange_api = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="torch has no exchange API before 2.10"
)
gpu = pytest.mark.skipif(why_no_gpu() is not None, reason=why_no_gpu() or "")


@pytest.fixture(scope="module")
def pretended(interpreted: Interpreted) -> PretendedTorch:
    return PretendedTorch(interpreted.module, interpreted.device)


def calls(layout: str) -> dict[str, tuple[Any, ...]]:
    """Name of a direct function that serves CUDA -> its arguments."""
    features, rois = random_features(2, 8, 9, 11, layout=layout), random_rois(5, 2, 18.0)
    shape, channels_last = tuple(features.shape), layout == "channels_last"
    order = torch.channels_last if channels_last else torch.contiguous_format
    pooled, argmax = torch.ops.fastmrcnn.roi_pool(features, rois, 0.5, 2, 2)
    narrow = torch.randn(5, 2, 2, 2).contiguous(memory_format=order)
    return {
        "decode_boxes": (torch.randn(7, 8), random_boxes(7), (1.0, 1.0, 1.0, 1.0), 4.0, (60.0, 50.0)),
        "ps_roi_align": (features, rois, 0.5, 2, 2, 2),
        "ps_roi_align_backward": (narrow, rois, 0.5, shape, channels_last, 2),
        "ps_roi_pool": (features, rois, 0.5, 2, 2),
        "ps_roi_pool_backward": (narrow, rois, 0.5, shape, channels_last),
        "roi_align": (features, rois, 0.5, 2, 2, 2, True),
        "roi_pool": (features, rois, 0.5, 2, 2),
        "roi_pool_backward": (torch.randn_like(pooled), rois, argmax, 0.5, shape, channels_last),
    }


def assert_same(ours: Any, expected: Any, on_cpu: Callable[[Any], Tensor]) -> None:
    for one, other in zip(*(v if isinstance(v, tuple) else (v,) for v in (ours, expected)), strict=True):
        one = on_cpu(one)
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def moved(arguments: Sequence[Any], move: Callable[[Tensor], Any]) -> list[Any]:
    return [move(argument) if isinstance(argument, Tensor) else argument for argument in arguments]


@exchange_api
@every_layout
@pytest.mark.parametrize("name", calls("contiguous"))
@pytest.mark.parametrize("index", [0, 1])
def test_pretended_tensors(
    index: int, name: str, layout: str, pretended: PretendedTorch, interpreted: Interpreted
) -> None:
    arguments = calls(layout)[name]
    direct = getattr(interpreted.module, f"direct_{name}")
    found = direct(*moved(arguments, lambda tensor: pretended.tensor(tensor, index)))
    interpreted.device.check()
    assert_same(found, getattr(_C, f"direct_{name}")(*arguments), PretendedTensor.cpu)
    assert {one.index for one in (found if isinstance(found, tuple) else (found,))} == {index}
    assert interpreted.device.where() == (pretended.streams[index], index, 0)


def test_what_goes_the_ordinary_way(pretended: PretendedTorch, interpreted: Interpreted) -> None:
    boxes, scores = pretended.tensor(random_boxes(3)), pretended.tensor(torch.rand(3))
    assert interpreted.module.direct_nms(boxes, scores, None, 0.5) is None
    features, rois = torch.rand(1, 1, 4, 4), torch.zeros(1, 5)
    elsewhere = pretended.tensor(features, 0), pretended.tensor(rois, 1)
    assert interpreted.module.direct_roi_pool(*elsewhere, 1.0, 2, 2) is None
    here = pretended.tensor(features), pretended.tensor(rois)
    assert interpreted.module.direct_roi_pool(*here, 1.0, 2, 2) is not None


@gpu
@exchange_api
@every_layout
@pytest.mark.parametrize("name", calls("contiguous"))
def test_on_a_gpu(name: str, layout: str) -> None:
    arguments = calls(layout)[name]
    direct = getattr(_C, f"direct_{name}")
    with torch.cuda.stream(torch.cuda.Stream()):
        found = direct(*moved(arguments, Tensor.cuda))
        torch.cuda.current_stream().synchronize()
    assert_same(found, direct(*arguments), Tensor.cpu)


@gpu
def test_waits_for_the_stream_of_its_inputs() -> None:
    """Inputs that a long kernel on a stream of their own makes first."""
    with torch.cuda.stream(torch.cuda.Stream()):
        rois = torch.tensor([[0.0, 0, 0, 9, 9]], device="cuda")
        features = torch.zeros(1, 4, 10, 10, device="cuda")
        torch.cuda._sleep(50_000_000)  # cycles
        features += 1
        assert roi_pool(features, rois, 2).cpu().unique().tolist() == [1.0]
