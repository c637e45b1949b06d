"""Anchors against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fastmrcnn.models import AnchorConfig
from fastmrcnn.models.anchors import make_anchors


def anchors_plainly(rows: int, columns: int, stride: tuple[int, int], sizes, ratios, rounded: bool) -> np.ndarray:
    anchors = []
    for row in range(rows):
        for column in range(columns):
            for ratio in ratios:
                for size in sizes:
                    half = np.array([size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2])
                    half = np.round(half) if rounded else half
                    centre = np.array([column * stride[1], row * stride[0]])
                    anchors.append(np.concatenate((centre - half, centre + half)))
    return np.array(anchors)


def test_anchors_of_one_map_by_size_or_by_ratio() -> None:
    """15 in a cell, as C4 models have them: torchvision counts sizes first, detectron2 ratios."""
    sizes, ratios = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
    feature = [torch.zeros(1, 8, 3, 4)]
    expected = anchors_plainly(3, 4, (16, 16), sizes, ratios, False)
    [by_ratio] = make_anchors(feature, (16,), (48, 64), AnchorConfig(sizes=(sizes,)))
    np.testing.assert_allclose(by_ratio.numpy(), expected, rtol=1e-6)
    [by_size] = make_anchors(feature, (16,), (48, 64), AnchorConfig(sizes=(sizes,), sizes_first=True))
    reordered = expected.reshape(12, 3, 5, 4).transpose(0, 2, 1, 3).reshape(-1, 4)
    np.testing.assert_allclose(by_size.numpy(), reordered, rtol=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("rule", ["nominal", "measured"])
def test_anchors_of_a_pyramid(rounded: bool, rule: str) -> None:
    config = AnchorConfig(
        sizes=((20, 25), (40, 50), (80, 90), (160, 170), (320, 330)),
        rounded=rounded,
        strides=rule,  # type: ignore[arg-type]
    )
    height, width = 160, 96  # P5 has an odd number of rows, so P6's cells are not 64 pixels apart when measured
    sizes = [(40, 24), (20, 12), (10, 6), (5, 3), (3, 2)]
    strides = [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64) if rule == "nominal" else (53, 48)]
    levels = make_anchors([torch.zeros(2, 8, *size) for size in sizes], (4, 8, 16, 32, 64), (height, width), config)
    for anchors, (rows, columns), stride, side in zip(levels, sizes, strides, config.sizes, strict=True):
        expected = anchors_plainly(rows, columns, stride, side, config.aspect_ratios, rounded)
        assert anchors.dtype == torch.float32
        assert anchors.shape == (rows * columns * config.per_location, 4)
        np.testing.assert_allclose(anchors.numpy(), expected, atol=1e-4)
