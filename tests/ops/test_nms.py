"""nms and batched_nms against a plain numpy reference, torchvision, and the promises of their docstrings."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import batched_nms, nms
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.nms_references import reference_iou, reference_nms, tied_scores

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("make_scores", [torch.rand, tied_scores], ids=["random", "tied"])
@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 80])
def test_equals_the_reference(
    n: int, make_scores: Callable[[int], Tensor], threshold: float, dtype: torch.dtype
) -> None:
    boxes, scores = clustered_boxes(n, max(n // 4, 1), dtype=dtype), make_scores(n).to(dtype)
    groups = torch.randint(-2, 3, (n,))
    kept = nms(boxes, scores, threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == reference_nms(boxes, scores, threshold)
    assert batched_nms(boxes, scores, groups, threshold).tolist() == reference_nms(boxes, scores, threshold, groups)


@given(
    seed=st.integers(0, 2**31),
    n=st.integers(0, 90),
    clusters=st.integers(1, 40),
    threshold=st.one_of(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0]), st.floats(0, 1)),
    whole=st.booleans(),
    tied=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=200, deadline=None)
def test_of_any_boxes_equals_the_reference(
    seed: int, n: int, clusters: int, threshold: float, whole: bool, tied: bool, dtype: torch.dtype
) -> None:
    """Whole coordinates make IoUs that equal a threshold, where one rounding decides."""
    torch.manual_seed(seed)
    boxes, scores = clustered_boxes(n, clusters, dtype=dtype), (tied_scores if tied else torch.rand)(n).to(dtype)
    boxes = boxes.round() if whole else boxes
    assert nms(boxes, scores, threshold).tolist() == reference_nms(boxes, scores, threshold)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 1e-40, 1e-36, 0.3, 0.5, 0.7, 0.9999999, 1.0, 1.5, INF])
@pytest.mark.parametrize("scale", [1e-24, 2e-23, 3e-23, 5e-23, 1e-22, 1e-20, 1e-18, 1e-3, 1e17, 1e18, 1e19, 1e37])
def test_at_any_scale_equals_the_reference(scale: float, threshold: float, dtype: torch.dtype) -> None:
    """Areas that are subnormal, underflow to zero or overflow to infinity, whole at first so that IoUs repeat."""
    exponent = 1 if dtype == torch.float32 else 308 / 38
    boxes = (clustered_boxes(70, 10, dtype=torch.float64).round() * scale**exponent).to(dtype)
    scores = torch.rand(70, dtype=dtype)
    assert nms(boxes, scores, threshold).tolist() == reference_nms(boxes, scores, threshold)


@pytest.mark.parametrize("threshold", [-1.0, -1e-9, -INF, NAN])
def test_thresholds_below_zero_suppress_boxes_that_are_apart(threshold: float) -> None:
    boxes, scores = torch.cat([random_boxes(30), torch.tensor([*DEGENERATE.values()])]), torch.rand(43)
    assert len(DEGENERATE) == 13
    assert nms(boxes, scores, threshold).tolist() == reference_nms(boxes, scores, threshold)


def test_the_threshold_itself_does_not_suppress() -> None:
    halves = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU exactly 0.5
    scores = torch.tensor([0.9, 0.8])
    assert nms(halves, scores, 0.5).tolist() == [0, 1]
    assert nms(halves, scores, 0.4999).tolist() == [0]


def test_the_threshold_is_not_rounded_to_single_precision() -> None:
    """float32(0.1) > 0.1: an IoU of float32(0.1) exceeds the threshold 0.1."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 1, 1]])
    assert reference_iou(*boxes.numpy()) == np.float32(0.1)
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.1).tolist() == [0]
    assert nms(boxes, torch.tensor([0.9, 0.8]), float(np.float32(0.1))).tolist() == [0, 1]


def test_equal_scores_keep_the_lower_index() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(5, 1)
    assert nms(boxes, torch.ones(5), 0.5).tolist() == [0]
    assert nms(boxes, torch.ones(5), 1.0).tolist() == [0, 1, 2, 3, 4]


def test_nan_scores_come_first() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]])
    assert nms(boxes, torch.tensor([0.5, NAN, INF, -INF]), 0.5).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes(name: str, dtype: torch.dtype) -> None:
    odd = torch.tensor([DEGENERATE[name]], dtype=dtype)
    boxes = torch.cat([odd, random_boxes(20, dtype=dtype), odd, odd])
    scores = torch.rand(len(boxes), dtype=dtype)
    assert nms(boxes, scores, 0.5).tolist() == reference_nms(boxes, scores, 0.5)


@pytest.mark.parametrize("name", ["zero area", "zero width", "NaN", "all NaN", "everywhere"])
def test_boxes_without_an_iou_are_always_kept(name: str) -> None:
    boxes = torch.tensor([DEGENERATE[name]]).repeat(3, 1)
    assert nms(boxes, torch.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    boxes, scores = clustered_boxes(200, 20).to(dtype), torch.rand(200).to(dtype)
    assert torch.equal(nms(boxes, scores, 0.5), nms(boxes.float(), scores.float(), 0.5))


@pytest.mark.parametrize("groups_dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
def test_groups_of_any_dtype_and_size(groups_dtype: torch.dtype) -> None:
    boxes, scores = clustered_boxes(300, 20), torch.rand(300)
    groups = torch.randint(80, (300,))
    assert torch.equal(
        batched_nms(boxes, scores, groups.to(groups_dtype), 0.5), batched_nms(boxes, scores, groups, 0.5)
    )
    far_apart = groups * 2**40 - 2**45
    assert torch.equal(batched_nms(boxes, scores, far_apart, 0.5), batched_nms(boxes, scores, groups, 0.5))


def test_many_classes_lose_no_precision() -> None:
    """Offsets of the coordinates by class, which others add, would round these boxes together."""
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.6, 0, 1.6, 1]]).repeat(2, 1)
    kept = batched_nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 10**9, 10**9]), 0.5)
    assert kept.tolist() == [0, 1, 2, 3]


def test_strided_input_and_gradients() -> None:
    boxes, scores = clustered_boxes(100, 10), torch.rand(100)
    expected = nms(boxes, scores, 0.5)
    assert torch.equal(nms(boxes.t().contiguous().t(), scores.repeat_interleave(3)[::3], 0.5), expected)
    kept = nms(boxes.clone().requires_grad_(), scores.clone().requires_grad_(), 0.5)
    assert torch.equal(kept, expected)
    assert not kept.requires_grad


def test_the_number_of_threads_changes_nothing() -> None:
    boxes, scores, groups = clustered_boxes(3000, 100), tied_scores(3000), torch.randint(7, (3000,))
    results = []
    for threads in (1, 2, 5):
        keep, count = torch.empty(3000, dtype=torch.int64), torch.empty(1, dtype=torch.int64)
        _C.nms((threads, 0), boxes, scores, groups, 0.5, keep, count, None)
        results.append(keep[: int(count)].tolist())
    assert results[0] == results[1] == results[2]


def test_under_fake_tensors_compilation_and_opcheck() -> None:
    boxes, scores, groups = clustered_boxes(60, 6), torch.rand(60), torch.randint(3, (60,))
    torch.library.opcheck(torch.ops.fastmrcnn.nms.default, (boxes, scores, None, 0.5))
    torch.library.opcheck(torch.ops.fastmrcnn.nms.default, (boxes, scores, groups, 0.5))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda b, s, g: b[batched_nms(b, s, g, 0.5)], fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(boxes, scores, groups), boxes[batched_nms(boxes, scores, groups, 0.5)])


@pytest.mark.parametrize(
    ("boxes", "scores", "groups", "message"),
    [
        ((5, 5), (5,), None, r"nms: boxes must be \[N, 4\]; got \[5, 5\]"),
        ((20,), (5,), None, r"nms: boxes must be \[N, 4\]; got \[20\]"),
        ((5, 4), (4,), None, r"nms: scores must be \[N\] with N that of boxes; got \[4\]"),
        ((5, 4), (5, 1), None, r"nms: scores must be \[N\] with N that of boxes; got \[5, 1\]"),
        ((5, 4), (5,), (6,), r"batched_nms: idxs must be \[5\] like scores; got \[6\]"),
    ],
)
def test_errors(boxes: tuple[int, ...], scores: tuple[int, ...], groups: tuple[int] | None, message: str) -> None:
    call = nms if groups is None else functools.partial(batched_nms, idxs=torch.zeros(groups))
    with pytest.raises(ValueError, match=message):
        call(torch.rand(boxes), torch.rand(scores), iou_threshold=0.5)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torchvision_whatever_the_seed(dtype: torch.dtype, threshold: float) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    for seed in range(60):
        torch.manual_seed(seed)
        boxes = clustered_boxes(500, 1 + 9 * seed, dtype=dtype)
        boxes = boxes.round() if seed % 3 == 0 else boxes
        scores = (tied_scores if seed % 2 else torch.rand)(500).to(dtype)
        assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold)), seed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("make_scores", [torch.rand, tied_scores], ids=["random", "tied"])
@pytest.mark.parametrize("clusters", [10, 2000], ids=["clustered", "random"])
def test_equals_torchvision(
    clusters: int, make_scores: Callable[[int], Tensor], threshold: float, dtype: torch.dtype
) -> None:
    torchvision = pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    boxes, scores = clustered_boxes(1000, clusters, dtype=dtype), make_scores(1000).to(dtype)
    assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))
    # Its classes are kept apart by offsets, which are exact for whole numbers.
    whole, groups = boxes.round(), torch.randint(6, (1000,))
    expected = torchvision.ops.batched_nms(whole, scores, groups, threshold)
    assert torch.equal(batched_nms(whole, scores, groups, threshold), expected)
