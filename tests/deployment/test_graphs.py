"""CUDA graphs of an optimised model: recorded when a size comes again, and not where that fails."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.deployment import OptimizedMaskRCNN, compare, graphs, optimize
from fastmrcnn.models import MaskRCNN, PaddedInstances
from tests.models.small import images_of


class CountedGraphs(graphs.GraphCache):
    """Records nothing, for there is no GPU; says what it would have recorded."""

    def __init__(self, detect: graphs.Detect, capacity: int) -> None:
        super().__init__(detect, capacity)
        self.recorded: list[tuple[int, ...]] = []

    def record(self, pixels: Tensor, image_sizes: Tensor) -> graphs.Detect:
        if pixels.shape[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory\nof much")
        self.recorded.append(tuple(pixels.shape))
        return self.detect


def padded(pixels: Tensor, image_sizes: Tensor) -> PaddedInstances:
    return PaddedInstances(*(torch.zeros(1) for _ in range(4)))


def test_a_size_is_recorded_when_it_comes_again_and_forgotten_last() -> None:
    cache: Any = CountedGraphs(padded, capacity=2)
    small, wide, tall = (torch.zeros(1, 3, *size) for size in ((32, 32), (32, 64), (64, 32)))
    for pixels in (small, wide, small, small, tall, wide, small):
        cache(pixels, torch.zeros(1, 2))
    assert cache.recorded == [(1, 3, 32, 32)]
    cache(small, torch.zeros(1, 2))
    assert cache.recorded == [(1, 3, 32, 32), (1, 3, 32, 32)]
    assert copy.deepcopy(cache).recorded == []


def test_graphs_follow_settings_and_weights(fast: OptimizedMaskRCNN) -> None:
    cache: Any = CountedGraphs(padded, capacity=4)
    pixels, sizes = torch.zeros(1, 3, 32, 32), torch.zeros(1, 2)
    config = fast.config
    for settings in (config, config, dataclasses.replace(config), dataclasses.replace(config, channels_last=False)):
        cache(pixels, sizes, settings=settings)
    assert len(cache.recorded) == 1
    model = copy.deepcopy(fast)
    model.graphs = cache
    for _ in range(3):
        cache(pixels, sizes, settings=config)
    assert len(cache.recorded) == 1
    model.double()
    for _ in range(3):
        cache(pixels, sizes, settings=config)
    assert len(cache.recorded) == 2
    assert pickle.loads(pickle.dumps(model)).graphs.capacity == 4


def test_a_graph_that_cannot_be_recorded_is_a_warning() -> None:
    cache, pixels = CountedGraphs(padded, capacity=2), torch.zeros(3, 3, 32, 32)
    cache(pixels, torch.zeros(1, 2))
    with pytest.warns(UserWarning, match="^detection runs without CUDA graphs: CUDA out of memory$"):
        assert cache(pixels, torch.zeros(1, 2)).mask_probs is None
    cache(torch.zeros(1, 3, 32, 32), torch.zeros(1, 2))
    cache(torch.zeros(1, 3, 32, 32), torch.zeros(1, 2))
    assert cache.recorded == []


def test_graphs_are_at_least_none(shipped: MaskRCNN) -> None:
    with pytest.raises(ValueError, match="optimize: graphs must be at least 0; got -1"):
        optimize(shipped, graphs=-1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
def test_on_a_gpu(shipped: MaskRCNN, wanted: Any) -> None:
    model = copy.deepcopy(shipped).cuda()
    fast = optimize(model, precision=wanted, compile=False, graphs=2)
    assert fast.report.step("CUDA graphs").done, str(fast.report)
    assert fast.report.deviation is not None
    assert (fast.report.deviation.alone, fast.report.deviation.box < 1) == (0, True)
    images = images_of((64, 96), (90, 60), (200, 200))
    with torch.no_grad():  # recorded in inference mode, replayed out of it
        fast.detect([image.cuda() for image in images[:1]])
    for image in (*images, *images, *images):
        agreement = compare([model.predict(image)], [fast.predict(image)])
        assert agreement.alone <= 0.1 * max(agreement.detections, 10)
