"""generate_proposals on CUDA: the CPU's proposals, to the bit in float32, and those of plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.ops import generate_proposals
from fastmrcnn.ops.proposals import PaddedProposals
from tests.cuda.run import TestDevice
from tests.ops.box_cases import INF, NAN
from tests.ops.proposal_cases import Heads, looped, random_heads

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LARGE = (52, 64)  # 9,984 logits: more than a block sorts at once, and more than it samples
TWO_LEVELS = ((6, 9), (3, 5))
ONE_ULP = 2.0**-23


def propose(device: TestDevice, heads: Heads, **options: Any) -> PaddedProposals:
    sizes = torch.tensor(heads.sizes, dtype=torch.int64).reshape(-1, 2)
    found = device.run(generate_proposals, heads.logits, heads.deltas, heads.anchors, sizes, **options)
    return PaddedProposals(*found)


def assert_equals_the_cpu(device: TestDevice, heads: Heads, **options: Any) -> PaddedProposals:
    """Equal in every bit; scores, and all of float64, up to the exponentials of two libraries."""
    found, expected = propose(device, heads, **options), heads.propose(**options)
    wide = expected.boxes.dtype == torch.float64
    assert torch.equal(found.counts, expected.counts)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-12 if wide else 0, atol=1e-12 if wide else 0)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-12 if wide else ONE_ULP, atol=0)
    return found


@pytest.mark.parametrize("step", [0.0, 0.5], ids=["distinct", "tied"])
@pytest.mark.parametrize(("pre_nms", "post_nms"), [(1000, 1000), (20, 1000), (1000, 25), (1, 2)])
def test_equals_the_reference(pre_nms: int, post_nms: int, step: float, device: TestDevice) -> None:
    heads = random_heads(2, TWO_LEVELS, dtype=torch.float64)
    heads = heads.rounded(step) if step else heads
    options = {"pre_nms": pre_nms, "post_nms": post_nms, "nms_iou": 0.4, "min_size": 2.0}
    expected = looped(heads, **options)
    for (boxes, scores), rows in zip(propose(device, heads, **options).per_image(), expected, strict=True):
        wanted = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
        torch.testing.assert_close(torch.cat([boxes, scores[:, None]], dim=1), wanted, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pre_nms": 50, "nms_iou": 0.3},
        {"post_nms": 20, "min_size": 12.0},
        {"score_threshold": 0.6, "pre_nms": 300},
        {"weights": (10.0, 10.0, 5.0, 5.0), "clip": 0.01, "nms_iou": 0.0},
        {"score_threshold": 1.1},
        {"pre_nms": 0},
        {"post_nms": 0},
        {"pre_nms": 1, "post_nms": 1},
        {"post_nms": 3000},
    ],
    ids=str,
)
def test_equals_the_cpu(options: dict[str, Any], dtype: torch.dtype, device: TestDevice) -> None:
    assert_equals_the_cpu(device, random_heads(3, dtype=dtype), **options)
    assert_equals_the_cpu(device, random_heads(1, TWO_LEVELS, dtype=dtype).rounded(0.5), **options)


def sampled_positions(size: int, dtype: torch.dtype) -> Tensor:
    """Those of the logits that the kernel looks at before it chooses a limit for all."""
    step = size // (2048 if dtype == torch.float64 else 4096)
    n = torch.arange(size // step)
    return n * step + ((n * 2654435769 & 0xFFFFFFFF) >> 8) % step


def check_selection(device: TestDevice, heads: Heads, logits: Tensor, k: int) -> None:
    """That these logits lead to the k candidates that they should."""
    logits = logits.to(heads.logits[0].dtype, copy=True)
    # NaN takes its place among the first k and goes before NMS, which would take most of the time.
    logits.view(-1)[torch.randperm(logits.numel())[: max(k - 400, 0)]] = NAN
    heads = replace(heads, logits=[logits.reshape(heads.logits[0].shape).to(memory_format=layout_of(heads.logits[0]))])
    found = assert_equals_the_cpu(device, heads, pre_nms=k, post_nms=1000, nms_iou=1.0, min_size=0.0)
    assert found.counts.item() == min(k, 400)


def layout_of(tensor: Tensor) -> torch.memory_format:
    return torch.contiguous_format if tensor.is_contiguous() else torch.channels_last


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("k", "dtype"), [*((k, dtype) for k in (1, 2500) for dtype in DTYPES), (6000, DTYPES[0])])
def test_selects_from_large_maps(k: int, dtype: torch.dtype, layout: torch.memory_format, device: TestDevice) -> None:
    """More logits than are collected, and more candidates than are sorted, at once."""
    large = random_heads(1, (LARGE,), dtype=dtype).to(memory_format=layout)
    random = large.logits[0].contiguous()
    check_selection(device, large, random, k)
    check_selection(device, large, torch.full_like(random, 0.25), k)
    check_selection(device, large, torch.copysign(torch.zeros(()), random), k)
    check_selection(device, large, torch.where(random > 0, INF, -INF), k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [400, 2500])
@pytest.mark.parametrize("offset", [-20, 20])
def test_samples_that_mislead(offset: int, k: int, dtype: torch.dtype, device: TestDevice) -> None:
    """What is sampled is all worse than the rest, so that the limit lets through too many; or all better."""
    large = random_heads(1, (LARGE,), dtype=dtype)
    logits = torch.linspace(-8, 8, large.logits[0].numel())
    logits[sampled_positions(len(logits), dtype)] += offset
    check_selection(device, large, logits, k)


def test_suppresses_more_than_fit_into_a_band(device: TestDevice) -> None:
    heads = random_heads(1, (LARGE,))
    assert_equals_the_cpu(device, heads, pre_nms=4200, post_nms=100, min_size=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_memory_layout(dtype: torch.dtype, device: TestDevice) -> None:
    heads = random_heads(3, TWO_LEVELS, dtype=dtype)

    def sliced(level: Tensor) -> Tensor:
        room = torch.full((5, level.shape[1] + 2, level.shape[2] + 1, 2 * level.shape[3]), 99.0, dtype=dtype)
        return room.to(memory_format=torch.channels_last)[1:4, 1:-1, 1:, ::2].copy_(level)

    def turned(level: Tensor) -> Tensor:
        return level.transpose(2, 3).contiguous().transpose(2, 3)

    for layout in (sliced, turned, lambda level: level.contiguous(memory_format=torch.channels_last)):
        other = replace(heads, logits=[layout(x) for x in heads.logits], deltas=[layout(x) for x in heads.deltas])
        assert_equals_the_cpu(device, other)
    assert_equals_the_cpu(device, replace(heads, logits=[x[:1].expand(3, -1, -1, -1) for x in heads.logits]))
    assert_equals_the_cpu(device, replace(heads, logits=[x[:, :, :1].expand_as(x) for x in heads.logits]))


def test_a_large_map_with_gaps(device: TestDevice) -> None:
    heads = random_heads(1, (LARGE,))
    gaps = [torch.stack([x, x], dim=-1)[..., 0] for x in heads.logits]
    assert_equals_the_cpu(device, replace(heads, logits=gaps), pre_nms=500)


def test_levels_without_cells_and_images_without_area(device: TestDevice) -> None:
    assert_equals_the_cpu(device, random_heads(2, ((12, 17), (0, 9), (3, 0)), ratios=(1.0,)))
    assert_equals_the_cpu(device, random_heads(2, ((0, 9),)), post_nms=3)
    assert_equals_the_cpu(device, random_heads(0), post_nms=3)
    heads = replace(random_heads(2, TWO_LEVELS), sizes=[(0, 0), (96, 136)])
    assert assert_equals_the_cpu(device, heads).counts[0] == 0
    degenerate = assert_equals_the_cpu(device, heads, min_size=0.0, nms_iou=0.5)
    assert degenerate.counts[0] == sum(level.shape[1:].numel() for level in heads.logits)  # they overlap nothing


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_logits_lead_but_are_never_returned(dtype: torch.dtype, device: TestDevice) -> None:
    heads = random_heads(2, dtype=dtype)
    for level in heads.logits:
        level.view(-1)[::7] = NAN
        level.view(-1)[3::14] = -NAN
    assert_equals_the_cpu(device, heads, pre_nms=120)
    assert assert_equals_the_cpu(device, heads, pre_nms=5).counts.tolist() == [0, 0]


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
def test_odd_deltas_and_anchors(value: float, device: TestDevice) -> None:
    heads = random_heads(2, TWO_LEVELS)
    for number, level in enumerate(heads.deltas):
        level[torch.rand(level.shape) < 0.1] = value
        heads.anchors[number][number::4, number] = value
    found = assert_equals_the_cpu(device, heads)
    assert (found.counts > 0).all()
    assert not found.boxes.isnan().any()


def test_equal_logits_come_in_order_of_level_and_anchor(device: TestDevice) -> None:
    heads = random_heads(1, TWO_LEVELS)
    heads = replace(heads, logits=[torch.ones_like(level) for level in heads.logits])
    options = {"nms_iou": 1.0, "min_size": 0.0, "post_nms": 300}
    everything = assert_equals_the_cpu(device, heads, **options)
    assert_equals_the_cpu(device, heads, pre_nms=40, nms_iou=1.0, post_nms=60)
    first = len(heads.anchors[0])
    halves = [replace(heads, **{part: [getattr(heads, part)[level]] for part in ("logits", "deltas", "anchors")})
              for level in (0, 1)]  # fmt: skip
    for level, rows in zip(halves, (slice(first), slice(first, int(everything.counts))), strict=True):
        alone = propose(device, level, **options)
        assert torch.equal(everything.boxes[0, rows], alone.boxes[0, : int(alone.counts)])


def test_logits_decide_where_their_sigmoids_are_equal(device: TestDevice) -> None:
    heads = random_heads(2, TWO_LEVELS)
    heads = replace(heads, logits=[30 + 20 * level.abs() for level in heads.logits])
    found = assert_equals_the_cpu(device, heads, post_nms=40)
    assert (found.scores == 1).all()


def test_launches_four_kernels(device: TestDevice) -> None:
    if device.name != "interpreted":
        pytest.skip("only the interpreter counts launches")
    before = len(device.device.launches)
    propose(device, random_heads(2))
    assert len(device.device.launches) - before == 4


def test_more_levels_than_the_kernel_takes(device: TestDevice) -> None:
    heads = random_heads(1, ((2, 2),))
    many = Heads(*(list(part) * 17 for part in (heads.logits, heads.deltas, heads.anchors)), heads.sizes)
    with pytest.raises(ValueError, match="generate_proposals: on CUDA logits must be of at most 16 levels; got 17"):
        propose(device, many)


def test_a_workspace_that_is_too_small(device: TestDevice) -> None:
    heads = random_heads(1, ((2, 2),))
    outputs = torch.empty(1, 5, 4), torch.empty(1, 5), torch.empty(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"generate_proposals: workspace must have \d+ bytes; got 100"):
        device.native(
            "generate_proposals", heads.logits, heads.deltas, heads.anchors, torch.tensor(heads.sizes),
            1000, 0.7, 1e-3, 0.0, (1, 1, 1, 1), 4.0, *outputs, torch.empty(100, dtype=torch.uint8),
        )  # fmt: skip
