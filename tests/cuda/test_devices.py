"""Which device and stream a call takes, what it does to the caller's, and what failures say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import assign_levels, decode_boxes, generate_anchors, ps_roi_align, ps_roi_pool, roi_pool
from tests.cuda.conftest import why_no_gpu
from tests.cuda.run import Interpreted, OnDevice
from tests.ops.box_cases import random_boxes

gpu = pytest.mark.skipif(why_no_gpu() is not None, reason=why_no_gpu() or "")
two_gpus = pytest.mark.skipif(
    why_no_gpu() is not None or torch.cuda.device_count() < 2, reason=why_no_gpu() or "one GPU only"
)
STREAM = 0x1234


def on(index: int, tensor: Tensor, interpreted: Interpreted) -> Any:
    moved = OnDevice(interpreted.device, tensor, fresh=False)
    moved.device = SimpleNamespace(type="cuda", index=index)  # type: ignore[misc]
    return moved


def levels_of(boxes: Any, levels: Any, interpreted: Interpreted) -> None:
    interpreted.module.assign_levels((1, STREAM), boxes, 2, 5, 224.0, 4, "torchvision", levels)


@pytest.mark.parametrize("index", [0, 1])
def test_launches_on_the_device_of_the_tensors_and_the_stream_of_the_caller(
    index: int, interpreted: Interpreted
) -> None:
    boxes = random_boxes(3)
    levels = on(index, torch.empty(3, dtype=torch.int64), interpreted)
    levels_of(on(index, boxes, interpreted), levels, interpreted)
    interpreted.device.check()
    assert interpreted.device.where() == (STREAM, index, 0)
    found = torch.empty(3, dtype=torch.int64)
    levels.copy_to(found)
    assert torch.equal(found, assign_levels(boxes, 2, 5))


def test_a_failure_names_the_operator_and_restores_the_device(interpreted: Interpreted) -> None:
    boxes, levels = (on(1, tensor, interpreted) for tensor in (random_boxes(3), torch.empty(3, dtype=torch.int64)))
    message = (
        r"^assign_levels: launch of 1 x 1 x 1 blocks of 256 threads failed: unspecified launch failure "
        r"\(cudaErrorLaunchFailure\)$"
    )
    refuse = mock.patch.object(interpreted.device, "_execute", side_effect=MemoryError("refused"))
    with refuse, pytest.raises(RuntimeError, match=message):
        levels_of(boxes, levels, interpreted)
    with pytest.raises(MemoryError, match="refused"):
        interpreted.device.check()
    assert interpreted.device.where().current_device == 0
    levels_of(boxes, levels, interpreted)  # no error is left behind
    interpreted.device.check()


def test_a_device_that_is_not_there(interpreted: Interpreted) -> None:
    boxes, levels = (on(7, tensor, interpreted) for tensor in (random_boxes(3), torch.empty(3, dtype=torch.int64)))
    message = r"^fastmrcnn: changing the CUDA device failed: invalid device ordinal \(cudaErrorInvalidDevice\)$"
    with pytest.raises(RuntimeError, match=message):
        levels_of(boxes, levels, interpreted)
    assert interpreted.run(assign_levels, random_boxes(3), 2, 2).tolist() == [2, 2, 2]  # no error is left behind


def test_refuses_tensors_of_several_devices(interpreted: Interpreted) -> None:
    boxes, levels = random_boxes(3), torch.empty(3, dtype=torch.int64)
    launched = len(interpreted.device.launches)
    for first, second, found in (
        (on(0, boxes, interpreted), levels, "cuda:0 and cpu"),
        (boxes, on(1, levels, interpreted), "cpu and cuda:1"),
        (on(0, boxes, interpreted), on(1, levels, interpreted), "cuda:0 and cuda:1"),
    ):
        with pytest.raises(ValueError, match=f"^assign_levels: all tensors must be on one device; got {found}$"):
            levels_of(first, second, interpreted)
    assert len(interpreted.device.launches) == launched


def test_empty_inputs_launch_nothing(interpreted: Interpreted) -> None:
    features, rois = torch.rand(1, 4, 6, 6), torch.zeros(0, 5)
    launched = len(interpreted.device.launches)
    interpreted.run(assign_levels, torch.zeros(0, 4), 2, 5)
    interpreted.run(decode_boxes, torch.zeros(0, 4), torch.zeros(0, 4))
    interpreted.run(generate_anchors, (0, 0), [(0, 5)], [(4, 4)], [(8,)], [(1,)])
    for pool in (roi_pool, ps_roi_align, ps_roi_pool):
        interpreted.run(pool, features, rois, 2)
    images = features[:0].contiguous()
    interpreted.native("roi_pool_backward", torch.zeros(0, 4, 2, 2), rois, torch.zeros(0, 4, 2, 2).int(), 1.0, images)
    interpreted.native("ps_roi_pool_backward", torch.zeros(0, 1, 2, 2), rois, 1.0, images)
    interpreted.native("ps_roi_align_backward", torch.zeros(0, 1, 2, 2), rois, 1.0, 2, images)
    assert len(interpreted.device.launches) == launched


@gpu
def test_refuses_tensors_of_several_devices_on_a_gpu() -> None:
    with pytest.raises(ValueError, match=r"^roi_pool: all tensors must be on one device; got cuda:0 and cpu$"):
        roi_pool(torch.rand(1, 1, 4, 4, device="cuda:0"), torch.zeros(1, 5), 2)


@two_gpus
def test_launches_on_another_gpu_than_the_current_one() -> None:
    boxes = random_boxes(9)
    assert torch.cuda.current_device() == 0
    levels = assign_levels(boxes.to("cuda:1"), 2, 5)
    assert (levels.device.index, torch.cuda.current_device()) == (1, 0)
    assert torch.equal(levels.cpu(), assign_levels(boxes, 2, 5))
