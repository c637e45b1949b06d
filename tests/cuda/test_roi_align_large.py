"""RoIAlign on CUDA over tensors of more than 2^31 elements, in memory of which only the touched pages exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from fastmrcnn.ops import roi_align
from tests.cuda.interpreter.arrays import DeviceArray, dense_strides
from tests.cuda.run import Interpreted
from tests.cuda.test_roi_align import every_layout

Shape = tuple[int, int, int, int]
MakeSparse = Callable[[Shape, str], tuple[DeviceArray, np.ndarray]]


def strides_of(shape: Shape, layout: str) -> tuple[int, ...]:
    if layout == "contiguous":
        return dense_strides(shape)
    images, channels, height, width = shape
    by_image, by_row, by_pixel, _ = dense_strides((images, height, width, channels))
    return by_image, 1, by_row, by_pixel


@pytest.fixture
def sparse_halves(interpreted: Interpreted) -> Iterator[MakeSparse]:
    """Makes float16 tensors of zeros, and their memory as numpy has it."""
    made = []

    def make(shape: Shape, layout: str) -> tuple[DeviceArray, np.ndarray]:
        elements = int(np.prod(shape))
        assert elements > 2**31
        memory = interpreted.device.sparse(2 * elements)
        made.append(memory)
        tensor = DeviceArray(memory._memory, memory._region, "torch.float16", shape, strides_of(shape, layout))
        return tensor, memory.bytes.view(np.float16)

    yield make
    for memory in made:
        memory.free()


@every_layout
def test_features(layout: str, interpreted: Interpreted, sparse_halves: MakeSparse) -> None:
    shape = 300, 8, 1000, 1000
    features, values = sparse_halves(shape, layout)
    strides = strides_of(shape, layout)
    pixel = 299 * strides[0] + 990 * strides[2] + 985 * strides[3]
    values[pixel + np.arange(8) * strides[1]] = np.arange(8)
    rois = interpreted.device.array(np.array([[299, 984.5, 989.5, 986.5, 991.5], [0, 0, 0, 9, 9]], np.float32))
    pooled = interpreted.device.empty((2, 8, 1, 1), "torch.float16", strides_of((2, 8, 1, 1), layout))
    interpreted.module.roi_align((1, 0), features, rois, 1.0, 2, False, pooled)
    interpreted.device.check()
    assert pooled.numpy().reshape(2, 8).tolist() == [[channel / 4 for channel in range(8)], [0] * 8]


@every_layout
def test_pooled_gradients(layout: str, interpreted: Interpreted, sparse_halves: MakeSparse) -> None:
    """Of 4097 RoIs, of which the last alone reaches the map, with a few of its bins."""
    shape, map_shape = (4097, 32, 128, 128), (1, 32, 8, 8)
    pooled, values = sparse_halves(shape, layout)
    values[-32 * 128 * 128 :] = 1
    rois = torch.tensor([[0.0, -90, -90, -80, -80]]).repeat(4097, 1)
    rois[-1] = torch.tensor([0.0, -1018, -500, 6, 524])
    gradient = interpreted.device.empty(map_shape, "torch.float16", strides_of(map_shape, layout))
    workspace = interpreted.device.empty((interpreted.module.roi_align_backward_workspace(4097),), "torch.uint8")
    interpreted.module.roi_align_backward(
        (1, 0), pooled, interpreted.device.array(rois.numpy()), 1.0, 2, True, gradient, workspace
    )
    interpreted.device.check()
    features = torch.zeros(map_shape, requires_grad=True)
    (expected,) = torch.autograd.grad(roi_align(features, rois[-1:], 128, 1.0, 2, True).sum(), features)
    assert expected.any()
    np.testing.assert_allclose(gradient.numpy(), expected.numpy(), rtol=2e-3)
