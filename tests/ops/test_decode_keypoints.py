"""decode_keypoints against numpy and torchvision: positions, logits and probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from fastmrcnn import _C
from fastmrcnn.ops import decode_keypoints
from tests.ops import keypoint_references as reference
from tests.ops.box_cases import DEGENERATE, random_boxes
from tests.ops.keypoint_cases import noise_maps, peaked_maps

# Of logits of some 10: three blends in a row of sums of four products.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
DTYPES = list(TOLERANCE)
MAPS = {"noise": noise_maps, "peaked": peaked_maps}
BOX = torch.tensor([[0.0, 0, 40, 30]])


def assert_decoded(found: Tensor, heatmaps: Tensor, boxes: Tensor) -> None:
    """`found` is the reference's answer; another point only where rounding may decide between the two."""
    tolerance = TOLERANCE[found.dtype]
    decided = 0
    for n, box in enumerate(boxes.double().numpy()):
        for k, heatmap in enumerate(heatmaps[n].numpy()):
            resized, expected, lead = reference.decode(heatmap, box)
            x, y, logit, probability = found[n, k].tolist()
            assert logit == pytest.approx(resized.max(), abs=tolerance)
            assert probability == pytest.approx(expected[3], rel=10 * tolerance)
            if lead > 2 * tolerance:
                decided += 1
                assert (x, y) == pytest.approx(expected[:2], abs=1e-4)
    assert decided > 0.9 * heatmaps.shape[0] * heatmaps.shape[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("size", [(56, 56), (7, 9), (2, 3), (1, 1)])
def test_equals_numpy(maps: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    boxes = random_boxes(6, 300.0, 120.0, dtype)
    heatmaps = MAPS[maps](6, 3, *size, dtype)
    found = decode_keypoints(heatmaps, boxes)
    assert found.shape == (6, 3, 4)
    assert found.dtype == dtype
    if size == (1, 1):  # every point of the resized heatmap is as high: rounding decides which is the first
        assert ((found[..., :2] >= boxes[:, None, :2]) & (found[..., :2] <= boxes[:, None, 2:])).all()
        torch.testing.assert_close(found[..., 2:], torch.stack([heatmaps[..., 0, 0], torch.ones(6, 3, dtype=dtype)], 2))
    else:
        assert_decoded(found, heatmaps, boxes)


@pytest.mark.parametrize("maps", MAPS)
def test_equals_torchvision(maps: str) -> None:
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

    boxes = torch.cat(
        [random_boxes(12, 500.0, 400.0), torch.tensor([[9.0, 9, 9, 9], [7, 5, 7.5, 60], [20, 20, 10, 9]])]
    )
    heatmaps = MAPS[maps](15, 17, 56, 56)
    expected, logits = heatmaps_to_keypoints(heatmaps, boxes)
    found = decode_keypoints(heatmaps, boxes)
    torch.testing.assert_close(found[..., 2], logits, rtol=0, atol=1e-5)
    same = ((found[..., :2] - expected[..., :2]).abs() < 1e-3).all(dim=-1)
    # Where another point was taken, it is as high up to rounding: the logits above are those of the places.
    assert same.float().mean() > 0.98


def test_known_values() -> None:
    heatmap = torch.zeros(1, 1, 4, 4)
    heatmap[0, 0, 2, 1] = 3
    # As many points as cells: the cells themselves. Twice as many: none at the centre of a cell.
    assert decode_keypoints(heatmap, torch.tensor([[10.0, 20, 14, 24]]))[0, 0, :3].tolist() == [11.5, 22.5, 3]
    x, y, logit, probability = decode_keypoints(heatmap, torch.tensor([[10.0, 20, 18, 28]]))[0, 0].tolist()
    assert (x, y) == (12.5, 24.5)  # of four points around the cell's centre the first
    assert logit == pytest.approx(3 * reference.cubic(0.25) ** 2, abs=1e-6)
    assert probability == pytest.approx(math.exp(logit) / (15 + math.exp(3)), rel=1e-5)
    # Points are ceil(side) apart by side / ceil(side).
    x, y = decode_keypoints(heatmap, torch.tensor([[10.0, 20, 13.5, 23.5]]))[0, 0, :2].tolist()
    assert (x, y) == pytest.approx((10 + 1.5 * 3.5 / 4, 20 + 2.5 * 3.5 / 4))


def test_of_equal_heights_the_first_counts() -> None:
    heatmap = torch.zeros(1, 1, 6, 6)
    heatmap[0, 0, 1, 4] = heatmap[0, 0, 1, 2] = heatmap[0, 0, 3, 0] = 5
    assert decode_keypoints(heatmap, torch.tensor([[0.0, 0, 6, 6]]))[0, 0, :2].tolist() == [2.5, 1.5]
    flat = decode_keypoints(torch.full((1, 1, 5, 5), 0.3), torch.tensor([[0.0, 0, 3, 3]]))
    assert flat[0, 0, 2].item() == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes(name: str, dtype: torch.dtype) -> None:
    x1, y1, x2, y2 = DEGENERATE[name]
    found = decode_keypoints(peaked_maps(1, 1, 8, 8, dtype), torch.tensor([[x1, y1, x2, y2]], dtype=dtype))
    for value, low, high in ((found[0, 0, 0].item(), x1, x2), (found[0, 0, 1].item(), y1, y2)):
        if math.isfinite(low) and math.isfinite(high):
            assert low <= value <= max(high, low + 1)
        elif math.isnan(low) or math.isnan(high) or not math.isfinite(high - low):
            assert not math.isfinite(value)
    assert found[0, 0, 2:].isfinite().all()


def test_a_box_is_read_at_4096_points_a_side_at_most() -> None:
    heatmap = torch.zeros(1, 1, 2, 64)
    heatmap[0, 0, :, 48:] = 1
    x = decode_keypoints(heatmap, torch.tensor([[0.0, 0, 64000, 2]]))[0, 0, 0].item()
    assert x == pytest.approx(49.0 * 1000, rel=0.01)
    assert ((x / (64000 / 4096)) - 0.5) == pytest.approx(round(x / (64000 / 4096) - 0.5), abs=1e-2)


def test_nan_and_infinity() -> None:
    nan, inf = math.nan, math.inf
    heatmap = peaked_maps(1, 1, 9, 9)
    heatmap[0, 0, 0, 0] = nan
    box = torch.tensor([[0.0, 0, 9, 9]])
    clean = heatmap.nan_to_num(-9.0)
    assert torch.equal(decode_keypoints(heatmap, box)[..., :3], decode_keypoints(clean, box)[..., :3])
    assert decode_keypoints(torch.full((1, 2, 4, 4), nan), box).isnan().all()
    low = torch.full((1, 1, 9, 9), -9.0)
    low[0, 0, 4, 4], low[0, 0, 4, 5], low[0, 0, 0, 8] = -1, nan, -2  # the highest cell has a neighbour that is none
    assert decode_keypoints(low, box)[0, 0, :3].tolist() == [8.5, 0.5, -2]
    heatmap[0, 0, 0, 0] = -inf  # nothing near it is a number, and nothing near it is the highest
    assert torch.equal(decode_keypoints(heatmap, box), decode_keypoints(clean.where(clean > -9, -1e9), box))


def test_nothing_in_nothing_out() -> None:
    assert decode_keypoints(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4)).shape == (0, 17, 4)
    assert decode_keypoints(torch.zeros(3, 0, 56, 56), torch.zeros(3, 4)).shape == (3, 0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    heatmaps, boxes = peaked_maps(3, 2, 9, 9).to(dtype), random_boxes(3)
    found = decode_keypoints(heatmaps, boxes)
    assert found.dtype == torch.float32
    assert torch.equal(found, decode_keypoints(heatmaps.float(), boxes))


@pytest.mark.parametrize(
    "place",
    [
        lambda heatmaps: heatmaps.to(memory_format=torch.channels_last),
        lambda heatmaps: heatmaps.repeat_interleave(2, dim=3)[..., ::2],
    ],
    ids=["channels_last", "strided"],
)
def test_layouts(place: Callable[[Tensor], Tensor]) -> None:
    heatmaps, boxes = noise_maps(4, 3, 9, 12), random_boxes(4)
    assert torch.equal(decode_keypoints(place(heatmaps), boxes.repeat(1, 2)[:, :4]), decode_keypoints(heatmaps, boxes))


def test_the_number_of_threads_changes_nothing() -> None:
    heatmaps, boxes = noise_maps(20, 5, 56, 56), random_boxes(20, 300.0, 200.0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = decode_keypoints(heatmaps, boxes)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(decode_keypoints(heatmaps, boxes), alone)


def test_it_takes_part_in_no_derivative() -> None:
    heatmaps = noise_maps(2, 3, 7, 7).requires_grad_()
    assert not decode_keypoints(heatmaps, random_boxes(2)).requires_grad


@pytest.mark.filterwarnings("ignore")  # dynamo's own
def test_compiled_and_checked() -> None:
    heatmaps, boxes = noise_maps(3, 2, 7, 7), random_boxes(3)
    compiled = torch.compile(decode_keypoints, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(heatmaps, boxes), decode_keypoints(heatmaps, boxes))
    opcheck(torch.ops.fastmrcnn.decode_keypoints.default, (heatmaps, boxes))


@pytest.mark.parametrize(
    ("heatmaps", "boxes", "message"),
    [
        ((3, 7, 7), (3, 4), r"heatmaps must be \[N, K, H, W\]; got \[3, 7, 7\]"),
        ((3, 2, 0, 7), (3, 4), r"heatmaps must have 1 to 4096 rows and columns; got \[3, 2, 0, 7\]"),
        ((1, 1, 1, 4097), (1, 4), r"heatmaps must have 1 to 4096 rows and columns; got \[1, 1, 1, 4097\]"),
        ((3, 2, 7, 7), (2, 4), r"boxes must be \[N, 4\] with N that of heatmaps; got \[2, 4\]"),
        ((3, 2, 7, 7), (3, 5), r"boxes must be \[N, 4\] with N that of heatmaps; got \[3, 5\]"),
    ],
)
def test_errors(heatmaps: tuple[int, ...], boxes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^decode_keypoints: {message}$"):
        decode_keypoints(torch.zeros(heatmaps), torch.zeros(boxes))


def test_errors_of_the_native_function() -> None:
    heatmaps, boxes, keypoints = torch.zeros(1, 2, 3, 3), torch.zeros(1, 4), torch.zeros(1, 2, 4)
    for arguments, message in (
        ((heatmaps, boxes.double(), keypoints), "boxes must be float32; got float64"),
        ((heatmaps, boxes, keypoints[:, :1]), r"keypoints must be \[N, K, 4\] with N and K those of heatmaps; got"),
        ((heatmaps.half(), boxes.half(), keypoints.half()), "heatmaps must be float32 or float64; got float16"),
    ):
        with pytest.raises(ValueError, match=f"^decode_keypoints: {message}"):
            _C.decode_keypoints((1, 0), *arguments)
