"""select_detections against loops, against the operators that it fuses, torchvision, and its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import decode_boxes, select_detections
from fastmrcnn.ops.detections import PaddedDetections
from tests.ops.box_cases import INF, NAN
from tests.ops.detection_cases import Found, Head, composed, looped, random_head

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ONE_ULP = 2.0**-23
# Between torch's softmax and ours: two ulps of the exponential, the sums in two orders, the quotient.
SCORE_TOLERANCE = 4 * ONE_ULP


def assert_same(found: Found, expected: Found, *, box_tolerance: float = 0) -> None:
    assert len(found) == len(expected)
    for (boxes, scores, labels, rows), (their_boxes, their_scores, their_labels, their_rows) in zip(
        found, expected, strict=True
    ):
        assert torch.equal(labels, their_labels)
        assert torch.equal(rows, their_rows)
        torch.testing.assert_close(boxes, their_boxes, rtol=0, atol=box_tolerance)
        torch.testing.assert_close(scores, their_scores, rtol=SCORE_TOLERANCE, atol=1e-37)


@pytest.mark.parametrize("agnostic", [False, True], ids=["per class", "agnostic"])
@pytest.mark.parametrize("score_threshold", [0.05, 0.0])
@pytest.mark.parametrize(("detections", "nms_iou"), [(100, 0.5), (7, 0.5), (1, 0.0), (0, 0.5), (1000, 1.0)])
def test_equals_the_reference(detections: int, nms_iou: float, score_threshold: float, agnostic: bool) -> None:
    head = random_head(3, 25, 4, dtype=torch.float64, counts=[25, 0, 11], agnostic=agnostic)
    options = {
        "score_threshold": score_threshold,
        "nms_iou": nms_iou,
        "detections": detections,
        "min_size": 12.0,
    }
    expected = looped(head, **options)
    for image, rows in zip(head.select(**options).per_image(), expected, strict=True):
        assert image[2].tolist() == [row[2] for row in rows]
        assert image[3].tolist() == [row[3] for row in rows]
        for box, score, (their_box, their_score, _, _) in zip(image[0], image[1], rows, strict=True):
            torch.testing.assert_close(box, torch.from_numpy(their_box), rtol=1e-12, atol=1e-9)
            assert score.item() == pytest.approx(their_score, rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 15, 16, 33, 90])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score_threshold": 0.0, "detections": 10_000},
        {"score_threshold": 0.001, "nms_iou": 0.3, "detections": 40},
        {"score_threshold": 0.3, "min_size": 20.0},
        {"weights": (1.0, 1.0, 1.0, 1.0), "clip": 0.01, "nms_iou": 0.0},
        {"score_threshold": 1.0},
        {"score_threshold": -1.0, "detections": 50},
        {"score_threshold": NAN},
    ],
    ids=str,
)
def test_equals_its_steps(options: dict[str, Any], classes: int, dtype: torch.dtype) -> None:
    head = random_head(3, 40, classes, dtype=dtype, counts=[40, 17, 0])
    found = head.select(**options)
    assert found.boxes.dtype == found.scores.dtype == torch.promote_types(dtype, torch.float32)
    assert_same(found.per_image(), composed(head, **options))


@pytest.mark.parametrize("score_threshold", [0.05, 0.001, 0.0])
@pytest.mark.parametrize("lead", [0.0, 6.0], ids=["undecided", "mostly background"])
def test_equals_its_steps_on_many_proposals(lead: float, score_threshold: float) -> None:
    """Several parts of an image, all classes of all proposals candidates, most rows passed over by their logits."""
    head = random_head(2, 600, 20, counts=[600, 300])
    head.logits[..., 0] += lead
    options = {"score_threshold": score_threshold, "detections": 300}
    assert_same(head.select(**options).per_image(), composed(head, **options))


def test_all_forms_of_the_arguments() -> None:
    head = random_head(2)
    expected = head.select()
    sizes = torch.tensor(head.sizes)
    flat = head.map(lambda part: part.flatten(0, 1))
    strided = head.map(lambda part: part.repeat(1, 1, 2)[..., : part.shape[2]])
    assert not strided.logits.is_contiguous()
    for other in (
        flat.select(),
        strided.select(),
        replace(head, sizes=sizes).select(),
        replace(head, sizes=sizes.flip(1).repeat(1, 2)[:, 1:3]).select(),
        replace(head, counts=torch.tensor([60, 60])).select(),
        replace(head, counts=torch.tensor([60, 9, 60, 9])[::2]).select(),
        replace(head, proposals=head.proposals.double()).select(),
        replace(head, proposals=head.proposals.transpose(1, 2).contiguous().transpose(1, 2)).select(),
    ):
        assert all(map(torch.equal, other, expected))


def test_nothing_to_select_from() -> None:
    for batch, proposals, classes in ((0, 5, 3), (2, 0, 3), (2, 5, 0)):
        found = random_head(batch, proposals, classes).select(detections=4)
        assert found.boxes.shape == (batch, 4, 4)
        assert found.counts.tolist() == [0] * batch
        assert not any(part.any() for part in found)
        assert len(found.per_image()) == batch


def test_rows_behind_the_count_are_zero() -> None:
    head = random_head(2, counts=[60, 20])
    floats, integers = (2, 700), {"size": (2, 700), "fill_value": -1}
    boxes, scores = torch.full((*floats, 4), NAN), torch.full(floats, NAN)  # new memory may be zero
    labels, rows, counts = torch.full(**integers), torch.full(**integers), torch.full((2,), -1)
    _C.select_detections(
        (1, 0), head.logits, head.deltas, head.proposals, head.counts, torch.tensor(head.sizes),
        0.05, 0.5, 1e-2, (10, 10, 5, 5), 4.0, boxes, scores, labels, rows, counts, None,
    )  # fmt: skip
    for image, count in enumerate(counts):
        assert 0 < count < 700
        assert boxes[image, :count].any(dim=1).all()
        assert (labels[image, :count] > 0).all()
        assert (scores[image, :count].diff() <= 0).all()
        for part in (boxes, scores, labels, rows):
            assert not part[image, count:].any()


def test_equal_scores_come_in_the_order_of_proposal_and_class() -> None:
    head = random_head(1, 6, 3)
    head = replace(head, logits=torch.zeros(1, 6, 4), proposals=torch.tensor([[[10.0, 10, 60, 60]] * 6]))
    found = head.select(nms_iou=1.0, detections=7)
    assert found.scores.tolist() == [[0.25] * 7]
    assert found.rows.tolist() == [[0, 0, 0, 1, 1, 1, 2]]
    assert found.labels.tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    boxes = decode_boxes(head.deltas[0], head.proposals[0], (10.0, 10.0, 5.0, 5.0), image_size=head.sizes[0])
    assert torch.equal(found.boxes[0], boxes[found.rows[0], found.labels[0]])


def test_the_threshold_is_exclusive_and_that_of_the_size_inclusive() -> None:
    head = Head(torch.zeros(1, 1, 2), torch.zeros(1, 1, 8), torch.tensor([[[2.0, 2, 6, 10]]]), None, [(20, 20)])
    assert head.select(score_threshold=0.5).counts.tolist() == [0]
    assert head.select(score_threshold=0.4999999, min_size=4).counts.tolist() == [1]
    assert head.select(min_size=4.000001).counts.tolist() == [0]


@pytest.mark.parametrize("value", [NAN, INF, -INF, 3e38, -3e38])
@pytest.mark.parametrize("column", [0, 1, 5])
@pytest.mark.parametrize("score_threshold", [0.05, 0.0, -1.0])
def test_odd_logits(score_threshold: float, column: int, value: float) -> None:
    head = random_head(2)
    head.logits[:, ::3, column] = value
    found = head.select(score_threshold=score_threshold).per_image()
    assert_same(found, composed(head, score_threshold=score_threshold))
    for _, scores, _, rows in found:
        assert len(scores) > 0
        assert scores.isfinite().all()
        if value != value or value == INF:
            assert (rows % 3 != 0).all()


def test_regions_whose_logits_are_all_infinite() -> None:
    head = random_head(2)
    for value in (INF, -INF):
        assert not replace(head, logits=torch.full_like(head.logits, value)).select(score_threshold=-1.0).counts.any()


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30, -1e30])
@pytest.mark.parametrize("number", range(4))
def test_odd_deltas_give_boxes_in_the_image_or_none(number: int, value: float) -> None:
    head = random_head(2)
    head.deltas[..., number::4][torch.rand(head.logits.shape) < 0.3] = value
    found = head.select().per_image()
    assert_same(found, composed(head))
    for (boxes, *_), (height, width) in zip(found, head.sizes, strict=True):
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("box", [[NAN, 0, 9, 9], [0, 0, INF, 9], [-INF, -INF, INF, INF], [9, 9, 0, 0], [5, 5, 5, 5]])
@pytest.mark.parametrize("min_size", [1e-2, 0.0])
def test_odd_proposals(min_size: float, box: list[float]) -> None:
    head = random_head(2)
    head.proposals[:, ::4] = torch.tensor(box)
    assert_same(head.select(min_size=min_size).per_image(), composed(head, min_size=min_size))


def test_images_without_area() -> None:
    head = replace(random_head(2), sizes=[(0, 0), (96, 136)])
    assert head.select().counts[0] == 0
    degenerate = head.select(min_size=0.0, score_threshold=0.0, detections=1000)
    assert degenerate.counts[0] == 60 * 5  # they overlap nothing
    assert not degenerate.boxes[0].any()


def test_what_lies_behind_the_counts_is_not_looked_at() -> None:
    head = random_head(2, counts=[30, 0])
    expected = head.select()
    for part in (head.logits, head.deltas, head.proposals):
        part[0, 30:] = part[1] = NAN
    assert all(map(torch.equal, head.select(), expected))
    head.logits[0, 30:] = 50
    assert all(map(torch.equal, head.select(), expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scores_are_those_of_the_softmax(dtype: torch.dtype) -> None:
    logits = 10 * torch.randn(1, 400, 91, dtype=dtype)
    proposals = torch.tensor([[[0.0, 0, 9, 9]]]).repeat(1, 400, 1)
    head = Head(logits, torch.zeros(1, 400, 4, dtype=dtype), proposals, None, [(9, 9)])
    found = head.select(score_threshold=0.0, nms_iou=1.0, detections=400 * 90)
    softmax = logits.softmax(-1)[0, found.rows, found.labels]
    count = int(found.counts)
    assert count > 30_000
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.scores[0, :count], softmax[0, :count], rtol=tolerance, atol=0)


@given(
    values=st.lists(st.floats(width=16), min_size=12, max_size=12),
    detections=st.integers(0, 15),
    score_threshold=st.sampled_from([-1.0, 0.0, 0.05, 0.4]),
    dtype=st.sampled_from(DTYPES),
)
def test_any_logits(values: list[float], detections: int, score_threshold: float, dtype: torch.dtype) -> None:
    head = random_head(1, 3, 3, dtype=dtype)
    head = replace(head, logits=torch.tensor(values).reshape(1, 3, 4).to(dtype))
    options = {"detections": detections, "score_threshold": score_threshold}
    [(boxes, scores, labels, rows)] = head.select(**options).per_image()
    assert len(boxes) <= detections
    softmax = head.logits[0].to(scores.dtype).softmax(-1)[rows, labels]
    torch.testing.assert_close(scores, softmax, rtol=SCORE_TOLERANCE, atol=1e-37)
    assert (scores.diff() <= 0).all()
    assert (scores > score_threshold).all()
    decoded = decode_boxes(
        head.deltas[0].to(boxes.dtype), head.proposals[0], (10.0, 10.0, 5.0, 5.0), image_size=head.sizes[0]
    )
    assert torch.equal(boxes, decoded[rows, labels])


def test_the_number_of_threads_changes_nothing() -> None:
    head = random_head(3, 2000, 90, counts=[2000, 1999, 300])  # enough work for several threads
    results = []
    for threads in (1, 2, 5):
        outputs = PaddedDetections(
            torch.empty(3, 100, 4),
            torch.empty(3, 100),
            *(torch.empty(shape, dtype=torch.int64) for shape in ((3, 100), (3, 100), (3,))),
        )
        _C.select_detections(
            (threads, 0), head.logits, head.deltas, head.proposals, head.counts, torch.tensor(head.sizes),
            0.02, 0.5, 1e-2, (10, 10, 5, 5), 4.0, *outputs, None,
        )  # fmt: skip
        results.append(outputs)
    assert results[0].counts.tolist() == [100] * 3
    assert all(map(torch.equal, results[0], results[1]))
    assert all(map(torch.equal, results[0], results[2]))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_are_ignored(compiled: bool) -> None:
    head = random_head(1)
    expected = head.select()
    leaves = head.map(lambda part: part.clone().requires_grad_())

    def select(logits: Tensor, deltas: Tensor) -> tuple[PaddedDetections, Tensor]:
        return replace(head, logits=logits, deltas=deltas).select(), logits.sum()

    call = torch.compile(select, fullgraph=True, backend="aot_eager") if compiled else select
    found, total = call(leaves.logits, leaves.deltas)
    assert not any(part.requires_grad for part in found)
    assert all(map(torch.equal, found, expected))
    total.backward()
    assert torch.equal(leaves.logits.grad, torch.ones_like(head.logits))
    assert leaves.deltas.grad is None


@pytest.mark.parametrize("counts", [None, [60, 9]])
def test_under_fake_tensors_compilation_and_opcheck(counts: list[int] | None) -> None:
    head = random_head(2, counts=counts)
    sizes = torch.tensor(head.sizes)
    arguments = (head.logits, head.deltas, head.proposals, head.counts, sizes, 0.05, 0.5, 30, 1e-2, [1.0] * 4, 4.0)
    torch.library.opcheck(torch.ops.fastmrcnn.select_detections.default, arguments)

    def best_boxes(logits: Tensor, deltas: Tensor) -> Tensor:
        flat = logits.flatten(0, 1), deltas.flatten(0, 1)
        found = select_detections(*flat, head.proposals, head.counts, sizes, detections=30)
        return found.boxes * (found.scores > 0.5)[..., None] + found.counts[:, None, None]

    compiled = torch.compile(best_boxes, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(head.logits, head.deltas), best_boxes(head.logits, head.deltas))


class Exported(torch.nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, ...]:
        return tuple(replace(self.head, logits=logits, deltas=deltas).select(detections=30))


def test_exported() -> None:
    head = random_head(2, counts=[60, 9])
    program = torch.export.export(Exported(head), (head.logits, head.deltas))
    found = program.module()(head.logits, head.deltas)
    assert all(map(torch.equal, found, head.select(detections=30)))


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"logits": torch.ones(59, 6)}, {}, r"logits must be \[B, P, C \+ 1\] or \[B \* P, C \+ 1\].*got \[59, 6\]"),
        ({"logits": torch.ones(6)}, {}, r"logits must be \[B, P, C \+ 1\].*got \[6\]"),
        ({"logits": torch.ones(2, 30, 0)}, {}, r"logits must be \[B, P, C \+ 1\]; got \[2, 30, 0\]"),
        ({"logits": torch.ones(2, 30, 6).int()}, {}, "logits must be floating point; got int32"),
        ({"deltas": torch.ones(2, 30, 20)}, {}, r"deltas must be \[B, P, \(C \+ 1\) \* 4\] or .*got \[2, 30, 20\]"),
        ({"deltas": torch.ones(30, 24)}, {}, r"deltas must be \[B, P, \(C \+ 1\) \* 4\] or .*got \[30, 24\]"),
        ({"deltas": torch.ones(2, 30, 24).half()}, {}, "deltas must be float32; got float16"),
        ({"proposals": torch.ones(60, 4)}, {}, r"proposals must be \[B, P, 4\]; got \[60, 4\]"),
        ({"proposals": torch.ones(2, 29, 4)}, {}, r"proposals must be \[B, P, 4\] with.*got \[2, 29, 4\]"),
        ({"counts": torch.ones(3).long()}, {}, r"counts must be \[B\] with B that of logits; got \[3\]"),
        ({"counts": torch.ones(2).int()}, {}, "counts must be int64; got int32"),
        ({"counts": torch.tensor([30, 31])}, {}, r"counts must lie in 0..30; got 31 for image 1"),
        ({"counts": torch.tensor([-1, 31])}, {}, r"counts must lie in 0..30; got -1 for image 0"),
        ({"sizes": [(9, 9)]}, {}, r"image_sizes must be \[B, 2\].*got \[1, 2\]"),
        ({"sizes": torch.ones(2, 2)}, {}, "image_sizes must be int64; got float32"),
        ({"sizes": [(96.5, 136), (9, 9)]}, {}, "image_sizes must be int64; got float32"),
        ({}, {"detections": -1}, "detections must be >= 0; got -1"),
        ({}, {"nms_iou": -0.1}, "nms_iou must be >= 0; got -0.1"),
        ({}, {"nms_iou": NAN}, "nms_iou must be >= 0; got nan"),
        ({}, {"weights": (1.0, 1.0)}, r"weights must be four numbers; got \(1.0, 1.0\)"),
    ],
    ids=str,
)
def test_errors(changed: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^select_detections: .*{message}"):
        replace(random_head(2, 30), **changed).select(**options)


@pytest.mark.parametrize("score_threshold", [0.3, 0.05, 0.001, 0.0])
@pytest.mark.parametrize("detections", [100, 20])
def test_equals_torchvision(detections: int, score_threshold: float) -> None:
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection.roi_heads import RoIHeads

    weights = (10.0, 10.0, 5.0, 5.0)
    peer = RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, weights, score_threshold, 0.5, detections)
    head = random_head(3, 200, 20)
    flat = head.map(lambda part: part.flatten(0, 1))
    theirs = peer.postprocess_detections(flat.logits, flat.deltas, list(head.proposals), head.sizes)
    found = head.select(detections=detections, score_threshold=score_threshold).per_image()
    for (boxes, scores, labels, _), their_boxes, their_scores, their_labels in zip(found, *theirs, strict=True):
        assert len(boxes) == detections or score_threshold == 0.3
        assert torch.equal(labels, their_labels)
        torch.testing.assert_close(scores, their_scores, rtol=SCORE_TOLERANCE, atol=0)
        torch.testing.assert_close(boxes, their_boxes, rtol=0, atol=1e-4)  # the exponentials differ by two ulps
