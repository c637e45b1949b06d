"""match_boxes against a plain numpy reference, torchvision's Matcher, and the promises of its docstring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastmrcnn import _C
from fastmrcnn.ops import BACKGROUND, IGNORED, box_iou, generate_anchors, match_boxes
from tests.ops.box_cases import DEGENERATE, INF, NAN, clustered_boxes, random_boxes
from tests.ops.match_cases import DTYPES, NO_OBJECTS, THRESHOLDS, Reference

BLOCK = 128  # boxes that the kernel takes together


def check_against_reference(objects: Tensor, boxes: Tensor, regions: Tensor = NO_OBJECTS) -> None:
    reference = Reference(objects, boxes, regions)
    for foreground, background in THRESHOLDS:
        for every_object in (False, True):
            found = match_boxes(
                objects,
                boxes,
                foreground=foreground,
                background=background,
                every_object=every_object,
                ignore_regions=regions,
                ignore_overlap=0.7,
            )
            assert found.dtype == torch.int64
            expected = reference.matches(foreground, background, every_object)
            assert found.tolist() == expected, (foreground, background, every_object)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize("m", [0, 1, 7])
def test_equals_the_reference(m: int, n: int, dtype: torch.dtype) -> None:
    boxes = clustered_boxes(n, 10, dtype=dtype)
    objects = clustered_boxes(m, 10, dtype=dtype)
    if n > 2:
        objects[::2] = boxes[: len(objects[::2])]
    check_against_reference(objects, boxes, random_boxes(2, dtype=dtype))


def test_ties_go_to_the_first_object_and_are_all_claimed() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 60, 60]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [20, 20, 21, 21]])
    matches = match_boxes(objects, boxes, foreground=0.7, background=0.3, every_object=True)
    assert matches.tolist() == [0, 2, 2, BACKGROUND]


def test_ties_in_distant_blocks_are_all_claimed() -> None:
    boxes = torch.tensor([[100.0, 100, 110, 110]]).repeat(9 * BLOCK, 1)
    winners = [0, 1, BLOCK, 5 * BLOCK - 1, 9 * BLOCK - 1]
    boxes[winners] = torch.tensor([0.0, 0, 10, 5])
    matches = match_boxes(torch.tensor([[0.0, 0, 10, 40]]), boxes, foreground=0.7, background=0.3, every_object=True)
    assert torch.where(matches == 0)[0].tolist() == winners
    assert (matches == BACKGROUND).sum() == len(boxes) - len(winners)


@pytest.mark.parametrize("rounded", [True, False])
def test_anchors_equal_the_reference(rounded: bool) -> None:
    """Whole rows of anchors, where whole objects tie with hundreds of them."""
    anchors = torch.cat(
        generate_anchors(
            (96, 160),
            [(24, 40), (12, 20)],
            [(4, 4), (8, 8)],
            [(16,), (32,)],
            [(0.5, 1.0, 2.0)] * 2,
            rounded=rounded,
        )
    )
    objects = random_boxes(6).round()
    check_against_reference(objects, anchors, torch.tensor([[0.0, 0, 80, 50]]))


numbers = st.integers(0, 6).map(float)
odd_numbers = st.one_of(numbers, st.sampled_from([NAN, INF, -INF, 1e30, -1e30, 1e-30]))


def box_lists(number: st.SearchStrategy[float], longest: int) -> st.SearchStrategy[Tensor]:
    boxes = st.lists(st.tuples(number, number, number, number), max_size=longest)
    return boxes.map(lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


@given(objects=box_lists(numbers, 5), boxes=box_lists(numbers, 12), regions=box_lists(numbers, 3))
def test_boxes_on_a_grid_equal_the_reference(objects: Tensor, boxes: Tensor, regions: Tensor) -> None:
    """Few coordinates: ties, zero areas and reversed boxes abound."""
    check_against_reference(objects, boxes, regions)


@given(objects=box_lists(odd_numbers, 4), boxes=box_lists(odd_numbers, 8), regions=box_lists(odd_numbers, 2))
def test_odd_numbers_equal_the_reference(objects: Tensor, boxes: Tensor, regions: Tensor) -> None:
    check_against_reference(objects, boxes, regions)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_boxes_among_proper_ones(name: str, dtype: torch.dtype) -> None:
    odd, proper = torch.tensor([DEGENERATE[name]], dtype=dtype), random_boxes(20, dtype=dtype)
    check_against_reference(torch.cat([odd, proper[:4], odd]), torch.cat([odd, proper, odd]), odd)


def test_a_nan_overlaps_nothing() -> None:
    boxes = torch.tensor([[NAN, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    objects = torch.tensor([[0.0, 0, 10, NAN], [5, 5, 5, 5], [0, 0, 10, 10]])
    matches = match_boxes(objects, boxes, foreground=0.7, background=0.3, every_object=True)
    assert matches.tolist() == [BACKGROUND, 2, BACKGROUND]


def test_an_object_that_nothing_overlaps_claims_no_box() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [500, 500, 510, 510]])
    boxes = torch.tensor([[0.0, 0, 10, 8], [100, 0, 110, 10], [10, 0, 20, 10]])
    matches = match_boxes(objects, boxes, foreground=0.7, background=0.3, every_object=True)
    assert matches.tolist() == [0, BACKGROUND, BACKGROUND]


def test_thresholds_are_inclusive_and_rounded_to_the_dtype() -> None:
    tenth = torch.tensor([[0.0, 0, 10, 1]])  # IoU with the object: float32(0.1), which exceeds 0.1
    for dtype in DTYPES:
        objects, boxes = torch.tensor([[0.0, 0, 10, 10]], dtype=dtype), tenth.to(dtype)
        assert match_boxes(objects, boxes, foreground=0.1, background=0.1).tolist() == [0]
        above = np.nextafter(0.1, 1) if dtype == torch.float64 else np.nextafter(np.float32(0.1), np.float32(1))
        matches = match_boxes(objects, boxes, foreground=float(above), background=float(above))
        assert matches.tolist() == [BACKGROUND]


def test_background_inside_of_a_region_is_ignored() -> None:
    region = torch.tensor([[0.0, 0, 100, 100]])
    objects = torch.tensor([[10.0, 10, 50, 50]])
    boxes = torch.tensor(
        [
            [60.0, 60, 80, 80],  # inside
            [90, 0, 104, 10],  # 10/14 inside
            [90, 0, 105, 10],  # 10/15 inside
            [200, 0, 210, 10],  # outside
            [10, 10, 50, 50],  # an object all the same
            [10, 10, 50, 30],  # half of it: ignored anyway
            [0, 0, 200, 200],  # around the region
        ]
    )

    def matches(**options: object) -> list[int]:
        return match_boxes(objects, boxes, foreground=0.7, background=0.3, ignore_regions=region, **options).tolist()

    assert matches() == [IGNORED, IGNORED, BACKGROUND, BACKGROUND, 0, IGNORED, BACKGROUND]
    assert matches(ignore_overlap=1.0) == [IGNORED, BACKGROUND, BACKGROUND, BACKGROUND, 0, IGNORED, BACKGROUND]
    assert matches(ignore_overlap=0.25)[-1] == IGNORED


def test_a_claimed_box_inside_of_a_region_stays_matched() -> None:
    inside = torch.tensor([[0.0, 0, 10, 10]])
    matches = match_boxes(
        torch.tensor([[0.0, 0, 40, 40]]),
        inside,
        foreground=0.7,
        background=0.3,
        every_object=True,
        ignore_regions=torch.tensor([[0.0, 0, 50, 50]]),
    )
    assert matches.tolist() == [0]


def test_half_precision_is_computed_in_float32_and_mixed_dtypes_in_the_wider() -> None:
    objects, boxes = clustered_boxes(9, 5), clustered_boxes(300, 5)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = match_boxes(objects.to(dtype), boxes.to(dtype), foreground=0.5, background=0.3)
        expected = match_boxes(objects.to(dtype).float(), boxes.to(dtype).float(), foreground=0.5, background=0.3)
        assert torch.equal(rounded, expected)
    mixed = match_boxes(objects, boxes.double(), foreground=0.5, background=0.3, ignore_regions=objects.half())
    expected = match_boxes(
        objects.double(),
        boxes.double(),
        foreground=0.5,
        background=0.3,
        ignore_regions=objects.half().double(),
    )
    assert torch.equal(mixed, expected)


def test_strided_input_and_gradients() -> None:
    objects, boxes = clustered_boxes(9, 5), clustered_boxes(300, 5)
    expected = match_boxes(objects, boxes, foreground=0.5, background=0.3, every_object=True)
    transposed, every_third = boxes.t().contiguous().t(), objects.repeat_interleave(3, dim=0)[::3]
    assert torch.equal(
        match_boxes(every_third, transposed, foreground=0.5, background=0.3, every_object=True), expected
    )
    found = match_boxes(
        objects.clone().requires_grad_(),
        boxes.clone().requires_grad_(),
        foreground=0.5,
        background=0.3,
        every_object=True,
    )
    assert torch.equal(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_nothing(dtype: torch.dtype) -> None:
    """Several stretches of boxes, in which objects tie across the tasks of different threads."""
    boxes = clustered_boxes(60_000, 200, dtype=dtype).round()
    objects, regions = clustered_boxes(200, 50, dtype=dtype).round(), random_boxes(5, dtype=dtype)
    results = []
    for threads in (1, 2, 5):
        highest, matches = torch.empty(200, dtype=dtype), torch.empty(60_000, dtype=torch.int64)
        _C.match_boxes((threads, 0), objects, boxes, regions, 0.7, 0.3, 0.7, True, highest, matches)
        results.append((highest, matches))
    iou = box_iou(objects, boxes).nan_to_num(0)
    assert torch.equal(results[0][0], iou.amax(1))
    claims = ((iou == iou.amax(1, keepdim=True)) & (iou > 0)).any(0)
    assert torch.equal(results[0][1][claims], iou.argmax(0)[claims])
    for highest, matches in results[1:]:
        assert torch.equal(highest, results[0][0])
        assert torch.equal(matches, results[0][1])


MEMORY = """
import resource, torch
from fastmrcnn.ops import match_boxes
torch.set_num_threads(2)
corner = torch.rand(200_000, 2) * 900
boxes = torch.cat([corner, corner + 30], 1)
objects = boxes[::200].contiguous()
match_boxes(objects[:2], boxes, foreground=0.7, background=0.3, every_object=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
match_boxes(objects, boxes, foreground=0.7, background=0.3, every_object=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does, in KiB")
def test_memory_is_that_of_the_boxes() -> None:
    """1000 objects x 200,000 boxes: a matrix of single bits would take 25 MB."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert int(run.stdout) < 10_000


@pytest.mark.parametrize("with_regions", [False, True])
def test_under_fake_tensors_compilation_and_opcheck(with_regions: bool) -> None:
    objects, boxes = clustered_boxes(5, 4), clustered_boxes(60, 4)
    regions = random_boxes(2) if with_regions else None
    torch.library.opcheck(torch.ops.fastmrcnn.match_boxes.default, (objects, boxes, regions, 0.5, 0.3, 0.7, True))

    def match(m: Tensor, n: Tensor) -> Tensor:
        return match_boxes(m, n, foreground=0.5, background=0.3, every_object=True, ignore_regions=regions) + 1

    compiled = torch.compile(match, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(objects, boxes), match(objects, boxes))


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((5, 5), (3, 4), None), {}, r"match_boxes: objects must be \[M, 4\]; got \[5, 5\]"),
        (((5,), (3, 4), None), {}, r"match_boxes: objects must be \[M, 4\]; got \[5\]"),
        (((5, 4), (12,), None), {}, r"match_boxes: boxes must be \[N, 4\]; got \[12\]"),
        (((5, 4), (3, 4), (4,)), {}, r"match_boxes: ignore_regions must be \[R, 4\]; got \[4\]"),
        (((5, 4), (3, 4), None), {"background": 0.8}, r"match_boxes: background must be <= foreground 0\.7; got 0\.8"),
        (((5, 4), (3, 4), None), {"background": NAN}, r"match_boxes: background must be <= foreground 0\.7; got nan"),
        (((5, 4), (3, 4), None), {"ignore_overlap": 0.0}, r"match_boxes: ignore_overlap must lie in \(0, 1\]; got 0"),
        (((5, 4), (3, 4), None), {"ignore_overlap": 1.5}, r"match_boxes: ignore_overlap must lie in \(0, 1\]; got 1.5"),
    ],
)
def test_errors(
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None], options: dict[str, float], message: str
) -> None:
    objects, boxes, regions = (None if shape is None else torch.rand(shape) for shape in shapes)
    options = {"foreground": 0.7, "background": 0.3} | options
    with pytest.raises(ValueError, match=message):
        match_boxes(objects, boxes, ignore_regions=regions, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thresholds", THRESHOLDS)
@pytest.mark.parametrize("every_object", [False, True])
@pytest.mark.parametrize("kind", ["random", "clustered", "tied", "degenerate"])
def test_equals_torchvision(kind: str, every_object: bool, thresholds: tuple[float, float], dtype: torch.dtype) -> None:
    detection = pytest.importorskip("torchvision.models.detection._utils", reason="the peer is torchvision")
    ops = pytest.importorskip("torchvision.ops", reason="the peer is torchvision")
    boxes = random_boxes(3000, dtype=dtype) if kind == "random" else clustered_boxes(3000, 40, dtype=dtype)
    if kind == "tied":
        boxes = (boxes / 4).round() * 4
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 4)
    if kind == "degenerate":  # but for NaN and two zero areas, where it matches what does not overlap
        boxes[:500] = boxes[:500, [2, 3, 0, 1]]
        boxes[500:1000, 3] = 1e30
    objects = boxes[1000::50] + (0 if kind == "tied" else torch.rand(40, 4, dtype=dtype))
    objects = objects[ops.box_iou(objects, boxes).amax(1) > 0]  # others claim every box there
    assert len(objects) > 20
    iou = ops.box_iou(objects, boxes)
    assert not iou.isnan().any()
    foreground, background = thresholds
    theirs = detection.Matcher(foreground, background, allow_low_quality_matches=every_object)(iou)
    ours = match_boxes(objects, boxes, foreground=foreground, background=background, every_object=every_object)
    assert torch.equal(ours, theirs)
