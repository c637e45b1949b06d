"""assign_levels against the formulas of its docstring, above all where two levels meet, and torchvision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from fastmrcnn.ops import assign_levels
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE

RULES = ["torchvision", "detectron2"]


def square(side: float) -> Tensor:
    return torch.tensor([[10.0, 20.0, 10 + side, 20 + side]], dtype=torch.float64)


def around(area: float, steps: int, dtype: torch.dtype) -> Tensor:
    """`[2 steps + 1, 4]` boxes whose areas are neighbours of this one."""
    real, bits = (np.float32, np.int32) if dtype == torch.float32 else (np.float64, np.int64)
    centre = np.asarray(area, dtype=real).view(bits)
    areas = (centre + np.arange(-steps, steps + 1, dtype=bits)).view(real)
    assert areas[steps - 1] == np.nextafter(areas[steps], real(0))
    boxes = torch.zeros(len(areas), 4, dtype=dtype)
    boxes[:, 2], boxes[:, 3] = 1, torch.from_numpy(areas)
    return boxes


@given(st.floats(1, 5000), st.integers(0, 4), st.integers(4, 7))
def test_levels_follow_the_paper(side: float, finest: int, coarsest: int) -> None:
    level = 4 + math.log2(side / 224)
    for rule in RULES:
        got = assign_levels(square(side), finest, coarsest, level_rule=rule).item()
        assert got in {min(max(math.floor(level + nudge), finest), coarsest) for nudge in (-1e-5, 1e-5)}


def test_levels_at_the_border_depend_on_the_rule() -> None:
    """A hair below 224 pixels: torchvision's epsilon of a millionth of a level reaches it, detectron2's does not."""
    hair = square(224 * 2 ** (-5e-7))
    assert assign_levels(hair, 2, 5).item() == 4
    assert assign_levels(hair, 2, 5, level_rule="detectron2").item() == 3
    for rule in RULES:
        boxes = torch.tensor([[0.0, 0, 112, 112], [0, 0, 448, 448]])
        assert assign_levels(boxes, 2, 5, level_rule=rule).tolist() == [3, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("scale", "canonical"), [(224, 4), (100, 3), (112.5, 0), (56, 7)])
def test_every_area_near_a_border(scale: float, canonical: int, rule: str, dtype: torch.dtype) -> None:
    """The rule computed in the boxes' precision, for all numbers within 60 ulps of each border."""
    for level in range(canonical - 3, canonical + 4):
        ratio = 2.0 ** (level - canonical - 1e-6) if rule == "torchvision" else 2.0 ** (level - canonical) - 1e-8
        boxes = around((scale * ratio) ** 2, 60, dtype)
        levels = assign_levels(boxes, -4, 11, canonical_scale=scale, canonical_level=canonical, level_rule=rule)
        expected = [reference.level_of(box, -4, 11, scale, canonical, rule) for box in boxes.numpy()]
        assert levels.tolist() == expected
        assert set(expected) == {level - 1, level}


@pytest.mark.parametrize("scale", [224, 112, 100])
def test_every_area_near_a_border_of_torchvision(scale: int) -> None:
    """In single precision, which is what boxes have there. Its double precision hangs on the library's logarithm."""
    torchvision = pytest.importorskip("torchvision", reason="the peer is not installed")
    mapper = torchvision.ops.poolers.LevelMapper(0, 9, scale, 4)
    for level in range(1, 9):
        boxes = around((scale * 2.0 ** (level - 4)) ** 2, 2000, torch.float32)
        levels = assign_levels(boxes, 0, 9, canonical_scale=scale)
        assert len(levels.unique()) == 2
        assert torch.equal(levels, mapper([boxes]))


def test_levels_of_degenerate_boxes_are_in_range() -> None:
    for dtype in (torch.float32, torch.float64, torch.float16):
        levels = assign_levels(torch.tensor(list(DEGENERATE.values())).to(dtype), 2, 5)
        assert levels.dtype == torch.int64
        assert ((levels >= 2) & (levels <= 5)).all()
    degenerate = torch.tensor([[0.0, 0, 5, -5], [0, 0, float("nan"), 9], [3, 3, 3, 3]])
    assert assign_levels(degenerate, 2, 5).tolist() == [2, 2, 2]
    assert assign_levels(torch.tensor([[-1e30, -1e30, 1e30, 1e30]]), 2, 5).tolist() == [5]
    assert assign_levels(torch.zeros(0, 4), 2, 5).shape == (0,)
    # The rule's epsilon alone makes a level of nothing: log2(1e-8) is -26.6.
    nothing = torch.zeros(1, 4)
    assert assign_levels(nothing, 2, 5, canonical_level=30, level_rule="detectron2").item() == 3
    assert assign_levels(nothing, 2, 5, canonical_level=30).item() == 2


def test_half_precision_areas_do_not_overflow() -> None:
    assert assign_levels(torch.tensor([[0.0, 0, 300, 300]]).half(), 2, 5).item() == 4


def test_integers_and_strides() -> None:
    boxes = torch.tensor([[0, 0, 50, 50, 1], [0, 0, 224, 224, 1], [0, 0, 900, 900, 1]])
    assert assign_levels(boxes[:, :4], 2, 5).tolist() == [2, 4, 5]
    assert assign_levels(boxes[:, :4].float().requires_grad_(), 2, 5).tolist() == [2, 4, 5]
    assert assign_levels(torch.rand(40_000, 4), 7, 7).unique().tolist() == [7]


def test_traces() -> None:
    boxes = 500 * torch.rand(9, 4)
    opcheck(torch.ops.fastmrcnn.assign_levels.default, (boxes, 2, 5, 224.0, 4, "torchvision"))
    compiled = torch.compile(lambda b: assign_levels(b * 2, 2, 5), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(boxes), assign_levels(boxes * 2, 2, 5))
    with FakeTensorMode():
        assert assign_levels(torch.empty(6, 4), 2, 5).shape == (6,)
    assert assign_levels(boxes.to("meta"), 2, 5).dtype == torch.int64


def test_errors() -> None:
    box = square(5)
    with pytest.raises(ValueError, match=r"^assign_levels: boxes must be \[K, 4\]; got \[1, 3\]$"):
        assign_levels(box[:, :3], 2, 5)
    with pytest.raises(ValueError, match=r"^assign_levels: boxes must be \[K, 4\]; got \[4\]$"):
        assign_levels(box[0], 2, 5)
    message = "^assign_levels: level_rule must be 'torchvision' or 'detectron2'; got 'round'$"
    with pytest.raises(ValueError, match=message):
        assign_levels(box, 2, 5, level_rule="round")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"^assign_levels: levels must be at least 1 .*, from fine to coarse; got 5 to 2$"
    ):
        assign_levels(box, 5, 2)
    with pytest.raises(ValueError, match=r"^assign_levels: levels must be .* at most 32, .*; got 0 to 32$"):
        assign_levels(box, 0, 32)
    for finest, coarsest in ((-(2**63), 2**63 - 1), (2**63 - 1, 2**63 - 1), (-(2**63), 5), (-1001, -1000)):
        with pytest.raises(ValueError, match=r"^assign_levels: levels must lie in -1000\.\.1000; got "):
            assign_levels(box, finest, coarsest)
    assert assign_levels(box, -1000, -969).item() == -969
    assert assign_levels(box, 969, 1000).item() == 969
    for scale in (0, -224, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^assign_levels: canonical_scale must be positive and below 1e15; got "):
            assign_levels(box, 2, 5, canonical_scale=scale)
