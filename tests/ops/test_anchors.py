"""generate_anchors: order, rounding, strides, compilation, torchvision and detectron2's rule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from fastmrcnn import _C
from fastmrcnn.ops import generate_anchors

PYRAMID: dict[str, Any] = {
    "image_size": (96, 128),
    "feature_sizes": [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)],
    "strides": None,
    "sizes": [(32,), (64,), (128,), (256,), (512,)],
    "aspect_ratios": [(0.5, 1.0, 2.0)] * 5,
}
UNEVEN: dict[str, Any] = {
    "image_size": (50, 70),
    "feature_sizes": [(5, 7), (1, 3)],
    "strides": [(8, 16), (3, 5)],
    "sizes": [(10, 33.5, 100), (7,)],
    "aspect_ratios": [(0.3, 1), (0.25, 1.7, 3)],
}


def test_order_and_rounding() -> None:
    [anchors] = generate_anchors((0, 0), [(2, 2)], [(10, 20)], [(8, 16)], [(1.0, 4.0)])
    assert anchors.shape == (16, 4)
    # Within a cell the sizes run inside the ratios; ratio is height / width.
    cell = [[-4, -4, 4, 4], [-8, -8, 8, 8], [-2, -8, 2, 8], [-4, -16, 4, 16]]
    assert anchors[:4].tolist() == cell
    assert anchors[4].tolist() == [16, -4, 24, 4]  # the next column
    assert anchors[8].tolist() == [-4, 6, 4, 14]  # the next row
    [swapped] = generate_anchors((0, 0), [(2, 2)], [(10, 20)], [(8, 16)], [(1.0, 4.0)], sizes_first=True)
    assert swapped[:4].tolist() == [cell[0], cell[2], cell[1], cell[3]]


def test_halves_round_to_even() -> None:
    [anchors] = generate_anchors((0, 0), [(1, 1)], [(1, 1)], [(5, 7)], [(1.0,)])
    assert anchors.tolist() == [[-2, -2, 2, 2], [-4, -4, 4, 4]]


def test_unrounded_is_detectron2s_rule() -> None:
    anchors = generate_anchors(**UNEVEN, rounded=False, sizes_first=True)
    for level, (feature, stride) in enumerate(zip(UNEVEN["feature_sizes"], UNEVEN["strides"], strict=True)):
        expected = []
        for row in range(feature[0]):
            for column in range(feature[1]):
                for size in UNEVEN["sizes"][level]:
                    for ratio in UNEVEN["aspect_ratios"][level]:
                        width = math.sqrt(size**2 / ratio)
                        cell = torch.tensor([-width / 2, -ratio * width / 2, width / 2, ratio * width / 2])
                        shift = torch.tensor([column * stride[1], row * stride[0]] * 2, dtype=torch.float32)
                        expected.append(cell + shift)
        assert torch.equal(anchors[level], torch.stack(expected))


def test_strides_default_to_the_ratio_of_the_sizes() -> None:
    strides = [(96 // rows, 128 // columns) for rows, columns in PYRAMID["feature_sizes"]]
    for given, derived in zip(
        generate_anchors(**{**PYRAMID, "strides": strides}), generate_anchors(**PYRAMID), strict=True
    ):
        assert torch.equal(given, derived)


@pytest.mark.parametrize("pyramid", [PYRAMID, UNEVEN], ids=["pyramid", "uneven"])
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("sizes_first", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiles(pyramid: dict[str, Any], rounded: bool, sizes_first: bool, dtype: torch.dtype) -> None:
    def generate() -> list[torch.Tensor]:
        return generate_anchors(**pyramid, rounded=rounded, sizes_first=sizes_first, dtype=dtype)

    torch._dynamo.reset()
    compiled = torch.compile(generate, fullgraph=True, backend="aot_eager")
    for traced, eager in zip(compiled(), generate(), strict=True):
        assert eager.dtype == dtype
        assert torch.equal(traced, eager)


def test_traces() -> None:
    def of_map(features: torch.Tensor) -> torch.Tensor:
        [anchors] = generate_anchors((64, 64), [features.shape[2:]], None, [(32,)], [(1.0, 2.0)])
        return anchors

    compiled = torch.compile(of_map, fullgraph=True, backend="aot_eager", dynamic=True)
    for features in (torch.empty(1, 1, 5, 7), torch.empty(1, 1, 6, 4)):
        assert torch.equal(compiled(features), of_map(features))
    level = ((3, 5), (8, 16), [32.0], [0.5, 1.0], True, False, torch.float32, torch.device("cpu"))
    opcheck(torch.ops.fastmrcnn.generate_anchors.default, level)
    with FakeTensorMode():
        fake = generate_anchors(**UNEVEN, device="cuda")[0]
        assert (fake.shape, fake.device.type) == ((5 * 7 * 6, 4), "cuda")
    assert generate_anchors(**UNEVEN, device="meta")[1].shape == (1 * 3 * 3, 4)


def test_empty_maps_and_threads() -> None:
    assert generate_anchors((0, 0), [(0, 5), (5, 0)], [(4, 4)] * 2, [(8,)] * 2, [(1,)] * 2)[1].shape == (0, 4)
    one, many = (torch.empty(50, 60, 3, 4) for _ in range(2))
    _C.generate_anchors((1, 0), (4, 4), (32,), (0.5, 1, 2), True, False, one)
    _C.generate_anchors((4, 0), (4, 4), (32,), (0.5, 1, 2), True, False, many)
    assert torch.equal(one, many)


def test_errors() -> None:
    with pytest.raises(ValueError, match="generate_anchors: sizes must have 5 levels; got 1"):
        generate_anchors(**{**PYRAMID, "sizes": [(32,)]})
    with pytest.raises(ValueError, match=r"generate_anchors: dtype must be float32 or float64; got torch.float16"):
        generate_anchors(**PYRAMID, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"generate_anchors: anchors must be \[H, W, A, 4\]; got \[2, 2, 3, 4\]"):
        _C.generate_anchors((1, 0), (4, 4), (32,), (0.5, 1), True, False, torch.empty(2, 2, 3, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchvision(dtype: torch.dtype) -> None:
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios = (
        [(32, 45), (64,), (100,), (256,), (500, 333)],
        [(0.5, 1.0, 2.0), (0.3, 3.0), (1.0,), (0.7,), (1.9, 0.1)],
    )
    maps = [torch.empty(1, 1, *size, dtype=dtype) for size in PYRAMID["feature_sizes"]]
    images = ImageList(torch.empty(1, 3, *PYRAMID["image_size"]), [PYRAMID["image_size"]])
    [expected] = AnchorGenerator(tuple(sizes), tuple(ratios))(images, maps)
    ours = generate_anchors(**{**PYRAMID, "sizes": sizes, "aspect_ratios": ratios}, dtype=dtype)
    assert torch.equal(torch.cat(ours), expected)
