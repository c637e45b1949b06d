"""soft_nms against a plain numpy reference and the promises of its docstring."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import box_iou, nms, soft_nms
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.nms_references import reference_soft_nms, tied_scores

DTYPES = [torch.float32, torch.float64]
METHODS = ["gaussian", "linear"]
# A score is a product of as many factors as boxes overlap it, each rounded a few times.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13}


def assert_same(boxes: Tensor, scores: Tensor, **options: Any) -> None:
    """Where two scores are closer than rounding tells apart, either may come first."""
    expected_keep, expected_scores = reference_soft_nms(boxes, scores, **options)
    keep, decayed = soft_nms(boxes, scores, **options)
    tolerance = TOLERANCE[boxes.dtype]
    assert sorted(keep.tolist()) == sorted(expected_keep)
    np.testing.assert_allclose(decayed.numpy(), expected_scores, rtol=tolerance)
    assert bool((decayed[1:] <= decayed[:-1]).all())
    by_index = dict(zip(expected_keep, expected_scores, strict=True))
    np.testing.assert_allclose(decayed.numpy(), [by_index[i] for i in keep.tolist()], rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 80, 200])
def test_equals_the_reference(n: int, method: str, dtype: torch.dtype) -> None:
    boxes, scores = clustered_boxes(n, max(n // 4, 1), dtype=dtype), torch.rand(n, dtype=dtype)
    groups = torch.randint(-2, 3, (n,))
    assert_same(boxes, scores, method=method)
    assert_same(boxes, scores, method=method, idxs=groups, sigma=0.3, iou_threshold=0.5, score_threshold=0.05)
    assert_same(boxes, scores, method=method, idxs=groups * 2**40, score_threshold=0)


@pytest.mark.parametrize("method", METHODS)
def test_of_equal_scores_the_lower_index_comes_first(method: str) -> None:
    apart = torch.arange(40.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    keep, decayed = soft_nms(apart, torch.full((40,), 0.5), method=method, idxs=torch.arange(40).flip(0) % 3)
    assert keep.tolist() == list(range(40))
    assert decayed.tolist() == [0.5] * 40
    alike = torch.tensor([[0.0, 0, 10, 10]]).repeat(20, 1)
    keep, decayed = soft_nms(alike, torch.ones(20), sigma=10, iou_threshold=1, score_threshold=0, method=method)
    assert keep.tolist() == list(range(20))
    assert_same(clustered_boxes(100, 20), tied_scores(100), method=method)


def test_the_linear_threshold_itself_does_not_decay() -> None:
    halves = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU exactly 0.5
    scores = torch.tensor([0.9, 0.8])
    assert torch.equal(soft_nms(halves, scores, method="linear", iou_threshold=0.5)[1], scores)
    assert soft_nms(halves, scores, method="linear", iou_threshold=0.4999)[1].tolist() == pytest.approx([0.9, 0.4])


def test_the_gaussian_factor_is_the_papers() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]], dtype=torch.float64)
    _, decayed = soft_nms(boxes, torch.tensor([0.9, 0.8], dtype=torch.float64), sigma=0.5)
    assert decayed.tolist() == pytest.approx([0.9, 0.8 * np.exp(-(0.5**2) / 0.5)], rel=1e-15)


def test_a_score_at_the_threshold_is_kept() -> None:
    boxes, scores = random_boxes(3) + torch.arange(3)[:, None] * 1000, torch.tensor([0.25, 0.5, 0.125])
    assert soft_nms(boxes, scores, score_threshold=0.25)[0].tolist() == [1, 0]
    assert soft_nms(boxes, torch.zeros(3), score_threshold=0)[0].tolist() == [0, 1, 2]


def test_a_decay_to_nothing_is_hard_suppression() -> None:
    """With a sigma near zero every overlap drops a box, as NMS at the threshold zero does."""
    boxes, scores = clustered_boxes(300, 40), torch.rand(300) + 0.01
    keep, decayed = soft_nms(boxes, scores, sigma=1e-30)
    assert torch.equal(keep, nms(boxes, scores, 0.0))
    assert torch.equal(decayed, scores[keep])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes(name: str, method: str, dtype: torch.dtype) -> None:
    odd = torch.tensor([DEGENERATE[name]], dtype=dtype)
    boxes = torch.cat([odd, random_boxes(20, dtype=dtype), odd, odd])
    assert_same(boxes, torch.rand(len(boxes), dtype=dtype), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_odd_scores(method: str) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(5, 1)
    keep, decayed = soft_nms(boxes, torch.tensor([0.5, NAN, INF, -INF, -0.5]), method=method, iou_threshold=1)
    assert keep.tolist()[:1] == [2]
    assert decayed[0] == INF
    assert not set(keep.tolist()) & {1, 3, 4}


@given(
    seed=st.integers(0, 2**31), n=st.integers(0, 70), clusters=st.integers(1, 20), whole=st.booleans(),
    method=st.sampled_from(METHODS), sigma=st.floats(0.05, 5), iou_threshold=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_of_any_boxes_scores_only_fall_and_the_best_stays(
    seed: int, n: int, clusters: int, whole: bool, method: str, sigma: float, iou_threshold: float
) -> None:
    torch.manual_seed(seed)
    boxes, scores = clustered_boxes(n, clusters, dtype=torch.float64), torch.rand(n, dtype=torch.float64)
    boxes = boxes.round() if whole else boxes
    options = {"method": method, "sigma": sigma, "iou_threshold": iou_threshold}
    assert_same(boxes, scores, **options)
    keep, decayed = soft_nms(boxes, scores, score_threshold=0, **options)
    assert sorted(keep.tolist()) == list(range(n))
    assert bool((decayed <= scores[keep]).all())
    if n:
        assert decayed[0] == scores.max()
        apart = box_iou(boxes, boxes).fill_diagonal_(0).nan_to_num(0).amax(1) == 0
        assert torch.equal(decayed[apart[keep]], scores[keep][apart[keep]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    boxes, scores = clustered_boxes(200, 20).to(dtype), torch.rand(200).to(dtype)
    keep, decayed = soft_nms(boxes, scores)
    expected_keep, expected = soft_nms(boxes.float(), scores.float())
    assert torch.equal(keep, expected_keep)
    assert torch.equal(decayed, expected.to(dtype))


def test_strided_input_and_gradients() -> None:
    boxes, scores = clustered_boxes(100, 10), torch.rand(100)
    keep, decayed = soft_nms(boxes, scores)
    for found in (
        soft_nms(boxes.t().contiguous().t(), scores.repeat_interleave(3)[::3]),
        soft_nms(boxes.clone().requires_grad_(), scores.clone().requires_grad_()),
    ):
        assert torch.equal(found[0], keep)
        assert torch.equal(found[1], decayed)
        assert not found[1].requires_grad


def test_the_number_of_threads_changes_nothing() -> None:
    boxes, scores, groups = clustered_boxes(3000, 100), tied_scores(3000), torch.randint(7, (3000,))
    results = []
    for threads in (1, 2, 5):
        keep, decayed, count = np.empty(3000, np.int64), np.empty(3000, np.float32), np.empty(1, np.int64)
        _C.soft_nms((threads, 0), boxes, scores, groups, "gaussian", 0.5, 0.3, 0.001, keep, decayed, count, None)
        results.append((keep[: count[0]].tolist(), decayed[: count[0]].tolist()))
    assert results[0] == results[1] == results[2]


def test_under_fake_tensors_compilation_and_opcheck() -> None:
    boxes, scores, groups = clustered_boxes(60, 6), torch.rand(60), torch.randint(3, (60,))
    for arguments in ((None, "gaussian"), (groups, "linear")):
        torch.library.opcheck(torch.ops.fastmrcnn.soft_nms.default, (boxes, scores, *arguments, 0.5, 0.3, 0.001))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda b, s, g: soft_nms(b, s, idxs=g), fullgraph=True, backend="aot_eager")
        for found, expected in zip(compiled(boxes, scores, groups), soft_nms(boxes, scores, idxs=groups), strict=True):
            assert torch.equal(found, expected)


def test_gradients_are_ignored_by_compiled_code() -> None:
    boxes, scores = clustered_boxes(30, 6), torch.rand(30, requires_grad=True)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(lambda s: (*soft_nms(boxes, s), s.sum()), fullgraph=True, backend="aot_eager")
        _, decayed, total = compiled(scores)
    assert not decayed.requires_grad
    total.backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.ones(30))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": torch.rand(5, 5)}, r"soft_nms: boxes must be \[N, 4\]; got \[5, 5\]"),
        ({"scores": torch.rand(4)}, r"soft_nms: scores must be \[N\] with N that of boxes; got \[4\]"),
        ({"idxs": torch.zeros(6)}, r"soft_nms: idxs must be \[5\] like scores; got \[6\]"),
        ({"method": "hard"}, r"soft_nms: method must be gaussian or linear; got hard"),
        ({"sigma": 0.0}, r"soft_nms: sigma must be positive; got 0"),
        ({"sigma": NAN}, r"soft_nms: sigma must be positive; got nan"),
        ({"iou_threshold": -0.5}, r"soft_nms: iou_threshold must not be negative; got -0.5"),
        ({"score_threshold": -1}, r"soft_nms: score_threshold must not be negative; got -1"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    call = functools.partial(soft_nms, **{"boxes": torch.rand(5, 4), "scores": torch.rand(5), **arguments})
    with pytest.raises(ValueError, match=message):
        call()
