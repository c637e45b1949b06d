"""generate_proposals against loops, against the operators that it fuses, torchvision, and its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import decode_boxes, generate_proposals
from fastmrcnn.ops.proposals import PaddedProposals
from tests.ops.box_cases import INF, NAN
from tests.ops.proposal_cases import RATIOS, Found, Heads, anchor_rows, composed, looped, random_heads

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ONE_ULP = 2.0**-23


def assert_identical(found: Found, expected: Found) -> None:
    assert len(found) == len(expected)
    for (boxes, scores), (expected_boxes, expected_scores) in zip(found, expected, strict=True):
        assert torch.equal(boxes, expected_boxes)
        torch.testing.assert_close(scores, expected_scores, rtol=ONE_ULP, atol=0)


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["distinct", "tied"])
@pytest.mark.parametrize(("pre_nms", "post_nms"), [(1000, 1000), (40, 1000), (1000, 25), (1, 2), (0, 5), (5, 0)])
def test_equals_the_reference(pre_nms: int, post_nms: int, step: float) -> None:
    heads = random_heads(dtype=torch.float64)
    if step:
        heads = heads.rounded(step)
    options = {"pre_nms": pre_nms, "post_nms": post_nms, "nms_iou": 0.4, "min_size": 2.0}
    expected = looped(heads, **options)
    for (boxes, scores), rows in zip(heads.propose(**options).per_image(), expected, strict=True):
        wanted = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
        torch.testing.assert_close(torch.cat([boxes, scores[:, None]], dim=1), wanted, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pre_nms": 50, "nms_iou": 0.3},
        {"post_nms": 20, "min_size": 12.0},
        {"score_threshold": 0.6, "pre_nms": 300},
        {"weights": (10.0, 10.0, 5.0, 5.0), "clip": 0.01, "nms_iou": 0.0},
        {"score_threshold": 1.1},
    ],
    ids=str,
)
def test_equals_its_steps(options: dict[str, Any], batch: int, dtype: torch.dtype) -> None:
    heads = random_heads(batch, dtype=dtype)
    found = heads.propose(**options)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.boxes.dtype == found.scores.dtype == wide
    assert_identical(found.per_image(), composed(heads, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 700, 2000, 20_000])
def test_selects_from_large_maps(k: int, dtype: torch.dtype) -> None:
    """More logits than are looked at one by one: limits from samples, and their failures."""
    torch.manual_seed(k)
    large = random_heads(1, ((80, 96),), dtype=dtype)
    flat = torch.linspace(-8, 8, large.logits[0].numel())
    cases = {
        "random": large.logits[0],
        "ascending": flat.reshape(large.logits[0].shape),
        "descending": flat.flip(0).reshape(large.logits[0].shape),
        "constant": torch.full_like(large.logits[0], 0.25),
        "two values": large.logits[0].sign(),
        "zeros of both signs": torch.copysign(torch.zeros(()), large.logits[0]),
        # The best stand close together, out of reach of most samples, and the rest is all alike.
        "needles": torch.where(torch.arange(flat.numel()) // 300 == 30, flat, -9.0).reshape(large.logits[0].shape),
        "infinite": torch.where(large.logits[0] > 0, INF, -INF),
    }
    for name, logits in cases.items():
        for memory in (torch.contiguous_format, torch.channels_last):
            heads = replace(large, logits=[logits.to(dtype)]).to(memory_format=memory)
            options = {"pre_nms": k, "post_nms": 20_000, "nms_iou": 1.0, "min_size": 0.0}
            found = heads.propose(**options)
            assert found.counts.item() == min(k, flat.numel()), name
            assert_identical(found.per_image(), composed(heads, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_memory_layout(dtype: torch.dtype) -> None:
    heads = random_heads(3, dtype=dtype)
    expected = heads.propose().per_image()

    def sliced(level: Tensor) -> Tensor:
        room = torch.full((5, level.shape[1] + 2, level.shape[2] + 1, 2 * level.shape[3]), 99.0, dtype=dtype)
        view = room.to(memory_format=torch.channels_last)[1:4, 1:-1, 1:, ::2]
        return view.copy_(level)

    def turned(level: Tensor) -> Tensor:
        return level.transpose(2, 3).contiguous().transpose(2, 3)

    for layout in (sliced, turned, lambda level: level.contiguous(memory_format=torch.channels_last)):
        other = replace(heads, logits=[layout(x) for x in heads.logits], deltas=[layout(x) for x in heads.deltas])
        assert_identical(other.propose().per_image(), expected)
    one = replace(heads, logits=[x[:1].expand(3, -1, -1, -1) for x in heads.logits])
    assert_identical(one.propose().per_image(), composed(one))
    same_row = replace(heads, logits=[x[:, :, :1].expand_as(x) for x in heads.logits])
    assert_identical(same_row.propose().per_image(), composed(same_row))


def test_strided_anchors_and_sizes() -> None:
    heads = random_heads(2)
    anchors = [level.t().contiguous().t() for level in heads.anchors]
    sizes = torch.tensor(heads.sizes).flip(1).repeat(1, 2)[:, 1:3]
    found = generate_proposals(heads.logits, heads.deltas, anchors, sizes)
    assert_identical(found.per_image(), heads.propose().per_image())


def test_levels_without_cells_and_one_anchor_a_cell() -> None:
    heads = random_heads(2, ((12, 17), (0, 9), (3, 0)))
    assert_identical(heads.propose().per_image(), composed(heads))
    heads = random_heads(2, ratios=(1.0,))
    assert_identical(heads.propose().per_image(), composed(heads))
    nothing = random_heads(2, ((0, 9),)).propose(post_nms=3)
    assert nothing.counts.tolist() == [0, 0]
    assert not nothing.boxes.any()


def test_images_without_area_have_no_proposals() -> None:
    heads = replace(random_heads(2), sizes=[(0, 0), (96, 136)])
    (boxes, _), (others, _) = heads.propose().per_image()
    assert len(boxes) == 0
    assert len(others) > 0
    degenerate, _ = heads.propose(min_size=0.0, nms_iou=0.5).per_image()[0]
    assert len(degenerate) == sum(level.shape[1:].numel() for level in heads.logits)  # they overlap nothing
    assert not degenerate.any()


def test_rows_behind_the_count_are_zero() -> None:
    heads = random_heads(3)
    outputs = torch.full((3, 5000, 4), NAN), torch.full((3, 5000), NAN), torch.full((3,), -1)  # new memory may be zero
    _C.generate_proposals(
        (1, 0), heads.logits, heads.deltas, heads.anchors, torch.tensor(heads.sizes),
        1000, 0.7, 1e-3, 0.0, (1, 1, 1, 1), 4.0, *outputs, None,
    )  # fmt: skip
    for boxes, scores, count in zip(*outputs, strict=True):
        assert 0 < count < 5000
        assert boxes[:count].any(dim=1).all()
        assert not boxes[count:].any()
        assert not scores[count:].any()
        assert (scores[:count].diff() <= 0).all()


def two_levels(*logits: list[float]) -> tuple[Heads, Tensor, Tensor]:
    """One anchor on each of four and two cells, with these logits, and the boxes that they decode to."""
    heads = random_heads(1, ((2, 2), (1, 2)), ratios=(1.0,))
    heads = replace(heads, logits=[torch.tensor(level).reshape(1, 1, -1, 2) for level in logits])
    boxes = [
        decode_boxes(anchor_rows(delta, 4)[0], anchor, image_size=heads.sizes[0])
        for delta, anchor in zip(heads.deltas, heads.anchors, strict=True)
    ]
    return heads, boxes[0], boxes[1]


def test_equal_logits_come_in_order_of_level_and_anchor() -> None:
    heads, first, second = two_levels([1.0] * 4, [1.0] * 2)
    assert torch.equal(heads.propose(nms_iou=1.0, min_size=0.0, post_nms=6).boxes[0], torch.cat([first, second]))
    assert torch.equal(heads.propose(pre_nms=1, min_size=0.0, post_nms=2).boxes[0], torch.stack([first[0], second[0]]))


def test_logits_decide_where_their_sigmoids_are_equal() -> None:
    heads, first, second = two_levels([-50.0, 30.0, 50.0, 40.0], [45.0, -80.0])
    found = heads.propose(nms_iou=1.0, min_size=0.0, post_nms=6)
    assert found.scores[0, :4].tolist() == [1.0] * 4
    in_order = torch.stack([first[2], second[0], first[3], first[1], first[0], second[1]])
    assert torch.equal(found.boxes[0], in_order)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_logits_take_places_but_are_not_returned(sign: int, dtype: torch.dtype) -> None:
    heads = random_heads(1, ((12, 17),), dtype=dtype)
    nan = torch.copysign(torch.tensor(NAN), torch.tensor(float(sign))).to(dtype)
    logits = torch.where(torch.rand(heads.logits[0].shape) < 0.1, nan, heads.logits[0])
    nans = int(logits.isnan().sum())
    heads = replace(heads, logits=[logits])
    found = heads.propose(pre_nms=nans + 7, nms_iou=1.0, min_size=0.0)
    assert found.counts.tolist() == [7]
    valid = logits[~logits.isnan()].double()
    assert torch.equal(found.scores[0, :7], valid.topk(7).values.sigmoid().to(found.scores.dtype))
    assert heads.propose(pre_nms=nans).counts.tolist() == [0]


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30, -1e30])
@pytest.mark.parametrize("number", range(4))
def test_odd_deltas_give_boxes_in_the_image_or_none(number: int, value: float) -> None:
    heads = random_heads(2)
    for level in heads.deltas:
        level[:, number::4][torch.rand(level[:, number::4].shape) < 0.3] = value
    found = heads.propose().per_image()
    assert_identical(found, composed(heads))
    for (boxes, _), (height, width) in zip(found, heads.sizes, strict=True):
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("box", [[NAN, 0, 9, 9], [0, 0, INF, 9], [-INF, -INF, INF, INF], [9, 9, 0, 0], [5, 5, 5, 5]])
def test_odd_anchors(box: list[float]) -> None:
    heads = random_heads(1)
    for level in heads.anchors:
        level[::4] = torch.tensor(box)
    assert_identical(heads.propose().per_image(), composed(heads))


def test_the_scores_are_the_nearest_to_the_true_sigmoid() -> None:
    logits = torch.linspace(-100, 100, 3 * 80 * 96).reshape(1, 3, 80, 96)
    heads = replace(random_heads(1, ((80, 96),)), logits=[logits])
    found = heads.propose(pre_nms=10**6, post_nms=10**5, nms_iou=1.0, min_size=0.0)
    scores = found.scores[0, : logits.numel()]
    assert torch.equal(scores, logits.flatten().flip(0).double().sigmoid().float())
    torch.testing.assert_close(scores, logits.flatten().flip(0).sigmoid(), rtol=2 * ONE_ULP, atol=1e-37)


@given(
    values=st.lists(st.floats(width=16), min_size=12, max_size=12),
    pre_nms=st.integers(0, 15),
    post_nms=st.integers(0, 15),
    dtype=st.sampled_from(DTYPES),
)
def test_any_logits(values: list[float], pre_nms: int, post_nms: int, dtype: torch.dtype) -> None:
    heads = random_heads(1, ((2, 2),), dtype=dtype)
    heads = replace(heads, logits=[torch.tensor(values).reshape(1, 3, 2, 2).to(dtype)])
    options = {"pre_nms": pre_nms, "post_nms": post_nms, "nms_iou": 0.5}
    assert_identical(heads.propose(**options).per_image(), composed(heads, **options))


def test_the_number_of_threads_changes_nothing() -> None:
    heads = random_heads(3, ((80, 96), (40, 48))).rounded(0.25)  # enough work for several threads
    results = []
    for threads in (1, 2, 5):
        boxes, scores, counts = torch.empty(3, 1000, 4), torch.empty(3, 1000), torch.empty(3, dtype=torch.int64)
        _C.generate_proposals(
            (threads, 0), heads.logits, heads.deltas, heads.anchors, torch.tensor(heads.sizes),
            2000, 0.7, 1e-3, 0.0, (1, 1, 1, 1), 4.0, boxes, scores, counts, None,
        )  # fmt: skip
        results.append((boxes, scores, counts))
    assert all(map(torch.equal, results[0], results[1]))
    assert all(map(torch.equal, results[0], results[2]))


def test_gradients_are_ignored() -> None:
    heads = random_heads(1)
    expected = heads.propose()
    leaves = replace(
        heads,
        logits=[level.clone().requires_grad_() for level in heads.logits],
        deltas=[level.clone().requires_grad_() for level in heads.deltas],
    )
    found = leaves.propose()
    assert not found.boxes.requires_grad
    assert not found.scores.requires_grad
    assert all(map(torch.equal, found, expected))


def test_gradients_are_ignored_by_compiled_code() -> None:
    heads = random_heads(1)
    leaves = [level.clone().requires_grad_() for level in heads.logits]

    def loss(logits: list[Tensor]) -> tuple[PaddedProposals, Tensor]:
        return generate_proposals(logits, heads.deltas, heads.anchors, heads.sizes), logits[0].sum()

    found, total = torch.compile(loss, fullgraph=True, backend="aot_eager")(leaves)
    assert not any(part.requires_grad for part in found)
    total.backward()
    assert torch.equal(leaves[0].grad, torch.ones_like(leaves[0]))
    assert leaves[1].grad is None


def test_under_fake_tensors_compilation_and_opcheck() -> None:
    heads = random_heads(2)
    sizes = torch.tensor(heads.sizes)
    arguments = (heads.logits, heads.deltas, heads.anchors, sizes, 50, 30, 0.7, 1e-3, 0.0, [1.0, 1.0, 1.0, 1.0], 4.0)
    torch.library.opcheck(torch.ops.fastmrcnn.generate_proposals.default, arguments)

    def best_boxes(logits: list[Tensor], deltas: list[Tensor], sizes: Tensor) -> Tensor:
        found = generate_proposals(logits, deltas, heads.anchors, sizes, pre_nms=50, post_nms=30)
        return found.boxes * (found.scores > 0.5)[..., None]

    compiled = torch.compile(best_boxes, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(heads.logits, heads.deltas, sizes), best_boxes(heads.logits, heads.deltas, sizes))


class Head(torch.nn.Module):
    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.anchors, self.sizes = heads.anchors, heads.sizes

    def forward(self, logits: list[Tensor], deltas: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(generate_proposals(logits, deltas, self.anchors, self.sizes, post_nms=30))


def test_exported() -> None:
    heads = random_heads(2)
    program = torch.export.export(Head(heads), (heads.logits, heads.deltas))
    found = program.module()(heads.logits, heads.deltas)
    assert all(map(torch.equal, found, heads.propose(post_nms=30)))


def changed(part: str, level: int, value: Tensor) -> Heads:
    heads = random_heads(2)
    levels = list(getattr(heads, part))
    levels[level] = value
    return replace(heads, **{part: levels})


@pytest.mark.parametrize(
    ("heads", "options", "message"),
    [
        (replace(random_heads(), logits=[]), {}, "logits must hold at least one level; got none"),
        (changed("logits", 0, torch.ones(2, 3)), {}, r"logits\[0\] must be \[B, A, H, W\]; got \[2, 3\]"),
        (changed("logits", 1, torch.ones(1, 3, 6, 9)), {}, r"logits\[1\] must be \[B, A, H, W\] with one B"),
        (changed("logits", 1, torch.ones(2, 3, 6, 9).int()), {}, r"logits\[1\] must be float32; got int32"),
        (changed("logits", 0, torch.ones(2, 3, 12, 17).int()), {}, r"logits\[0\] must be floating point; got int32"),
        (changed("deltas", 2, torch.ones(2, 12, 3, 5).half()), {}, r"deltas\[2\] must be float32; got float16"),
        (changed("deltas", 2, torch.ones(2, 3, 3, 5)), {}, r"deltas\[2\] must be \[B, A \* 4, H, W\].*got \[2, 3,"),
        (changed("anchors", 2, torch.ones(44, 4)), {}, r"anchors\[2\] must be \[H \* W \* A, 4\].*got \[44, 4\]"),
        (replace(random_heads(), anchors=[]), {}, "must have as many levels; got 3, 3 and 0"),
        (replace(random_heads(2), sizes=[(9, 9)]), {}, r"image_sizes must be \[B, 2\].*got \[1, 2\]"),
        (replace(random_heads(1), sizes=torch.ones(1, 2)), {}, "image_sizes must be int64; got float32"),
        (replace(random_heads(1), sizes=[(96.5, 136)]), {}, "image_sizes must be int64; got float32"),
        (replace(random_heads(3), sizes=[(9, 9, 9)] * 2), {}, r"image_sizes must be \[B, 2\].*got \[2, 3\]"),
        (replace(random_heads(1), sizes=(9, 9)), {}, r"image_sizes must be \[B, 2\].*got \[2\]"),
        (random_heads(), {"pre_nms": -1}, "pre_nms must be >= 0; got -1"),
        (random_heads(), {"post_nms": -1}, "post_nms must be >= 0; got -1"),
        (random_heads(), {"nms_iou": -0.1}, "nms_iou must be >= 0; got -0.1"),
        (random_heads(), {"nms_iou": NAN}, "nms_iou must be >= 0; got nan"),
        (random_heads(), {"weights": (1.0, 1.0)}, r"weights must be four numbers; got \(1.0, 1.0\)"),
    ],
)  # fmt: skip
def test_errors(heads: Heads, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^generate_proposals: .*{message}"):
        heads.propose(**options)


@pytest.mark.parametrize("score_threshold", [0.0, 0.7])
@pytest.mark.parametrize(("pre_nms", "post_nms"), [(1000, 1000), (100, 150)])
def test_equals_torchvision(pre_nms: int, post_nms: int, score_threshold: float) -> None:
    pytest.importorskip("torchvision", reason="the peer comparison needs torchvision")
    from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead

    limits = {"training": pre_nms, "testing": pre_nms}, {"training": post_nms, "testing": post_nms}
    anchors = AnchorGenerator(((16,), (32,), (64,)), (RATIOS,) * 3)
    peer = RegionProposalNetwork(anchors, RPNHead(8, 3), 0.7, 0.3, 256, 0.5, *limits, 0.5, score_threshold).eval()
    heads = random_heads(3)
    deltas = torch.cat([anchor_rows(level, 4) for level in heads.deltas], dim=1)  # [B, N, 4]
    logits = torch.cat([anchor_rows(level, 1) for level in heads.logits], dim=1)  # [B, N, 1]
    decoded = peer.box_coder.decode(deltas.flatten(0, 1), [torch.cat(heads.anchors)] * 3).reshape(3, -1, 4)
    counts = [level.shape[0] for level in heads.anchors]
    expected = zip(*peer.filter_proposals(decoded, logits, heads.sizes, counts), strict=True)
    found = heads.propose(pre_nms=pre_nms, post_nms=post_nms, nms_iou=0.5, score_threshold=score_threshold).per_image()
    for (boxes, scores), (their_boxes, their_scores) in zip(found, expected, strict=True):
        assert len(boxes) > 20
        torch.testing.assert_close(scores, their_scores, rtol=2 * ONE_ULP, atol=0)
        torch.testing.assert_close(boxes, their_boxes, rtol=0, atol=1e-4)  # the exponentials differ by two ulps
