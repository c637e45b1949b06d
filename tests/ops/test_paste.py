"""paste_masks and paste_masks_rle against torch's own resampling, plain run lengths, pycocotools and torchvision.

Where the reference's value lies within rounding of the threshold a pixel may go either way: coordinates of a few
hundred in float32 carry about 2e-5 of a mask cell.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import paste_masks, paste_masks_rle
from fastmrcnn.training.watch.memory import resident_bytes
from tests.ops.box_cases import DEGENERATE, INF, NAN, random_boxes
from tests.ops.mask_cases import KINDS, grid_sampled, plain_rle, random_masks, resized_paste

IMAGE = (90, 120)
METHODS = ["exact", "torchvision"]
ROUNDING = {torch.float32: 5e-5, torch.float64: 1e-10}


def mixed_boxes(n: int) -> Tensor:
    """Boxes inside, across the border, larger than the image, thin and tiny."""
    boxes = random_boxes(n, size=120, longest=200)
    centred = boxes - torch.tensor([30.0, 30, 30, 30])
    centred[::7] = centred[::7].round()
    centred[1::7, 2:] = centred[1::7, :2] + 0.3
    centred[2::7, 3] = centred[2::7, 1] + 400
    return centred


def assert_equal_off_the_threshold(pasted: Tensor, values: Tensor, expected: Tensor, threshold: float) -> None:
    certain = (values - threshold).abs() > ROUNDING[values.dtype]
    assert not ((pasted != expected) & certain).any()
    assert certain.float().mean() > 0.9


def occurring_thresholds(values: Tensor) -> list[float]:
    """Some of the values themselves, so that one unit in the last place would show."""
    positive = values[values > 0]
    return positive[torch.randint(len(positive), (6,))].tolist() if len(positive) else []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 5, 28, 112])
def test_exact_equals_grid_sampling(size: int, kind: str, dtype: torch.dtype) -> None:
    masks, boxes = random_masks(kind, 14, size, dtype), mixed_boxes(14).to(dtype)
    values = grid_sampled(masks, boxes, IMAGE)
    same_bits = torch.backends.cpu.get_cpu_capability() != "DEFAULT"  # torch without AVX2 rounds each product
    for threshold in [0.5, 0.2, 0.8, *(occurring_thresholds(values) if same_bits else [])]:
        pasted = paste_masks(masks, boxes, IMAGE, threshold=threshold)
        if same_bits:
            assert torch.equal(pasted, values >= threshold)
        else:
            assert_equal_off_the_threshold(pasted, values, values >= threshold, threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 5, 28, 112])
def test_torchvision_method_equals_resizing(size: int, kind: str, dtype: torch.dtype) -> None:
    masks, boxes = random_masks(kind, 14, size, dtype), mixed_boxes(14).to(dtype)
    values = torch.stack([resized_paste(mask, box, IMAGE) for mask, box in zip(masks, boxes, strict=True)])
    for threshold in (0.5, 0.2, 0.8):
        pasted = paste_masks(masks, boxes, IMAGE, threshold=threshold, method="torchvision")
        assert_equal_off_the_threshold(pasted, values, values > threshold, threshold)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 28])
def test_rle_equals_the_bitmap(size: int, kind: str, method: str) -> None:
    masks, boxes = random_masks(kind, 14, size), mixed_boxes(14)
    boxes[3] = torch.tensor([-40.0, -40, 200, 200])  # covers the image: runs go on from column to column
    for image_size in (IMAGE, (1, 50), (50, 1), (1, 1), (90, 7)):
        bitmaps = paste_masks(masks, boxes, image_size, method=method).numpy()
        encoded = paste_masks_rle(masks, boxes, image_size, method=method)
        assert encoded == [{"size": list(image_size), "counts": plain_rle(bitmap)} for bitmap in bitmaps]


@pytest.mark.parametrize("method", METHODS)
def test_pycocotools_reads_the_rle_as_its_own(method: str) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the peer comparison needs pycocotools")
    masks, boxes = random_masks("smooth", 20, 28), mixed_boxes(20)
    bitmaps = paste_masks(masks, boxes, IMAGE, method=method).numpy()
    for bitmap, encoded in zip(bitmaps, paste_masks_rle(masks, boxes, IMAGE, method=method), strict=True):
        theirs = coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))
        assert {"size": encoded["size"], "counts": encoded["counts"].encode()} == theirs
        assert coco.area(encoded) == bitmap.sum()


def test_noise_takes_more_room_than_an_outline_and_gets_it() -> None:
    masks, boxes = random_masks("noise", 2, 112), torch.tensor([[0.0, 0, 8, 400], [0, 0, 8, 0]])
    bitmaps = paste_masks(masks, boxes, (400, 8)).numpy()
    encoded = paste_masks_rle(masks, boxes, (400, 8))
    assert len(encoded[0]["counts"]) > 64 + 8 * 8
    assert [mask["counts"] for mask in encoded] == [plain_rle(bitmap) for bitmap in bitmaps]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_paste(method: str) -> None:
    assert paste_masks(torch.rand(0, 28, 28), torch.rand(0, 4), IMAGE, method=method).shape == (0, *IMAGE)
    assert paste_masks_rle(torch.rand(0, 28, 28), torch.rand(0, 4), IMAGE, method=method) == []
    for image_size in ((0, 5), (5, 0), (0, 0)):
        mask, box = torch.ones(1, 2, 2), torch.tensor([[0.0, 0, 4, 4]])
        assert paste_masks(mask, box, image_size, method=method).shape == (1, *image_size)
        assert paste_masks_rle(mask, box, image_size, method=method) == [{"size": list(image_size), "counts": "0"}]


def test_empty_and_full_masks() -> None:
    [full] = paste_masks_rle(torch.ones(1, 1, 1), torch.tensor([[-100.0, -100, 100, 100]]), (3, 5))
    assert full["counts"] == plain_rle(np.ones((3, 5), bool))
    [empty] = paste_masks_rle(torch.zeros(1, 1, 1), torch.tensor([[-100.0, -100, 100, 100]]), (3, 5))
    assert empty["counts"] == plain_rle(np.zeros((3, 5), bool))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes(name: str, method: str) -> None:
    boxes = torch.tensor([[10.0, 10, 30, 30], DEGENERATE[name], [10, 10, 30, 30]])
    masks = torch.ones(3, 28, 28)
    pasted = paste_masks(masks, boxes, IMAGE, method=method)
    assert torch.equal(pasted[0], pasted[2])
    if method == "torchvision" and name in ("zero area", "zero width", "tiny"):
        assert 0 < pasted[1].sum() <= 25  # about a pixel's breadth, as torchvision
    else:
        # Only the exact rule has a meaning for a box beyond 64-bit pixels: its centre fills the image.
        assert pasted[1].any() == (method == "exact" and name == "huge")
    encoded = paste_masks_rle(masks, boxes, IMAGE, method=method)
    assert [mask["counts"] for mask in encoded] == [plain_rle(bitmap) for bitmap in pasted.numpy()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_odd_mask_values_stay_local(value: float, method: str) -> None:
    masks, boxes = random_masks("smooth", 1, 28), torch.tensor([[10.0, 10, 80, 80]])
    odd = masks.clone()
    odd[0, 14, 14] = value
    pasted = paste_masks(odd, boxes, IMAGE, method=method)
    away = torch.ones(IMAGE, dtype=torch.bool)
    away[40:53, 40:53] = False
    assert torch.equal(pasted[0][away], paste_masks(masks, boxes, IMAGE, method=method)[0][away])
    assert paste_masks_rle(odd, boxes, IMAGE, method=method)[0]["counts"] == plain_rle(pasted[0].numpy())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, method: str) -> None:
    masks, boxes = random_masks("smooth", 5, 28, dtype), mixed_boxes(5).to(dtype)
    widened = masks.float(), boxes.float()
    assert torch.equal(paste_masks(masks, boxes, IMAGE, method=method), paste_masks(*widened, IMAGE, method=method))
    assert paste_masks_rle(masks, boxes, IMAGE, method=method) == paste_masks_rle(*widened, IMAGE, method=method)


def test_layouts_and_the_channel_dimension() -> None:
    masks, boxes = random_masks("smooth", 5, 28), mixed_boxes(5)
    expected = paste_masks(masks, boxes, IMAGE)
    strided = torch.stack((masks, masks), dim=-1)[..., 0], boxes.t().contiguous().t()
    assert torch.equal(paste_masks(masks[:, None], boxes, IMAGE), expected)
    assert torch.equal(paste_masks(*strided, IMAGE), expected)
    assert paste_masks_rle(*strided, IMAGE) == paste_masks_rle(masks[:, None], boxes, IMAGE)
    assert torch.equal(paste_masks(masks.clone().requires_grad_(), boxes, IMAGE), expected)


def test_the_number_of_threads_changes_nothing() -> None:
    masks, boxes = random_masks("smooth", 20, 28), mixed_boxes(20)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = paste_masks(masks, boxes, IMAGE), paste_masks_rle(masks, boxes, IMAGE)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(paste_masks(masks, boxes, IMAGE), alone[0])
    assert paste_masks_rle(masks, boxes, IMAGE) == alone[1]


def test_a_large_image_takes_no_memory_for_its_rle() -> None:
    masks, boxes = torch.ones(1, 2, 2), torch.tensor([[60000.0, 100, 60002, 103]])
    [encoded] = paste_masks_rle(masks, boxes, (65000, 66000))
    coco = pytest.importorskip("pycocotools.mask", reason="the peer comparison needs pycocotools")
    assert coco.area(encoded) == 6
    assert coco.toBbox(encoded).tolist() == [60000, 100, 2, 3]
    message = r"paste_masks_rle: the image must have fewer than 2\^32 pixels and 2\^31 - 1 rows; got \[65536, 65536\]"
    with pytest.raises(ValueError, match=message):
        paste_masks_rle(masks, boxes, (65536, 65536))


def test_bitmaps_take_the_memory_that_masks_touch() -> None:
    masks, boxes = torch.ones(1, 2, 2), torch.tensor([[500.0, 900, 516, 908]])
    paste_masks(masks, boxes, IMAGE)  # what it loads stays
    before = resident_bytes()
    bitmap = paste_masks(masks, boxes, (20000, 20000))
    grown = resident_bytes() - before
    assert bitmap[0, 902:906, 504:512].all()
    assert not bitmap[0, 19000:, 19000:].any()
    assert grown < 2**20  # of 400 MB; a huge page has twice as much


def test_under_fake_tensors_compilation_and_opcheck() -> None:
    masks, boxes = random_masks("smooth", 3, 14), mixed_boxes(3)
    torch.library.opcheck(torch.ops.fastmrcnn.paste_masks.default, (masks, boxes, 20, 30, 0.5, "exact"))
    for method in ("exact", "skimage"):
        compiled = torch.compile(
            lambda m, b, method=method: paste_masks(m, b, IMAGE, method=method), fullgraph=True, backend="aot_eager"
        )
        assert torch.equal(compiled(masks, boxes), paste_masks(masks, boxes, IMAGE, method=method))


@pytest.mark.parametrize("paste", [paste_masks, paste_masks_rle])
def test_errors(paste: object) -> None:
    masks, boxes = torch.rand(2, 4, 4), torch.rand(2, 4)
    name = paste.__name__  # type: ignore[attr-defined]
    shape = rf"{name}: masks must be \[N, M, M\] or \[N, 1, M, M\] with M > 0; got "
    cases = [
        ((torch.rand(2, 4, 5), boxes, IMAGE), {}, shape + r"\[2, 4, 5\]"),
        ((torch.rand(2, 2, 4, 4), boxes, IMAGE), {}, shape + r"\[2, 2, 4, 4\]"),
        ((torch.rand(2, 0, 0), boxes, IMAGE), {}, shape + r"\[2, 0, 0\]"),
        ((masks, boxes[:1], IMAGE), {}, rf"{name}: boxes must be \[N, 4\] with N that of masks; got \[1, 4\]"),
        (
            (masks, boxes[:1], IMAGE),
            {"method": "skimage"},
            rf"{name}: boxes must be \[N, 4\] with N that of masks; got ",
        ),
        ((masks, boxes, (-1, 5)), {}, rf"{name}: image_size must be \(height, width\) in pixels; got \(-1, 5\)"),
        ((masks, boxes, IMAGE), {"method": "fast"}, f"{name}: method must be exact, torchvision or skimage; got fast"),
        ((masks, boxes, IMAGE), {"threshold": 0.0}, f"{name}: threshold must be positive; got 0"),
        ((masks, boxes, IMAGE), {"threshold": NAN}, f"{name}: threshold must be positive; got nan"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            paste(*arguments, **options)  # type: ignore[operator]
    with pytest.raises(ValueError, match=f"{name}: threshold must not be negative; got -1"):
        paste(masks, boxes, IMAGE, threshold=-1.0, method="torchvision")  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 14, 28, 56])
def test_equals_torchvision(size: int, kind: str) -> None:
    """To the last bit: thresholds are values that occur, so that one unit in the last place would show."""
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks, boxes = random_masks(kind, 30, size), mixed_boxes(30)
    touching = (boxes[:, 0] < 120) & (boxes[:, 1] < 90) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)  # it raises on others
    masks, boxes = masks[touching], boxes[touching]
    soft = paste_masks_in_image(masks[:, None], boxes, IMAGE)[:, 0]
    for threshold in [0.0, 0.5, *occurring_thresholds(soft)]:
        pasted = paste_masks(masks, boxes, IMAGE, threshold=threshold, method="torchvision")
        assert torch.equal(pasted, soft > threshold)
