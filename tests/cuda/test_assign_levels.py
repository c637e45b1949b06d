"""assign_levels on CUDA: the CPU's levels, above all where two of them meet."""

from __future__ import annotations

import pytest
import torch

from fastmrcnn.ops import assign_levels
from tests.cuda.run import TestDevice
from tests.ops import roi_references as reference
from tests.ops.box_cases import DEGENERATE, random_boxes
from tests.ops.test_assign_levels import RULES, around


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("count", [0, 1, 255, 513])
def test_equals_the_cpu(count: int, dtype: torch.dtype, device: TestDevice) -> None:
    boxes = random_boxes(count, 900, longest=900).to(dtype)
    levels = device.run(assign_levels, boxes, 2, 5)
    assert levels.dtype == torch.int64
    assert torch.equal(levels, assign_levels(boxes, 2, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
def test_every_area_near_a_border(rule: str, dtype: torch.dtype, device: TestDevice) -> None:
    for level in (1, 4, 7):
        ratio = 2.0 ** (level - 4 - 1e-6) if rule == "torchvision" else 2.0 ** (level - 4) - 1e-8
        boxes = around((224 * ratio) ** 2, 60, dtype)
        levels = device.run(assign_levels, boxes, -4, 11, level_rule=rule)
        expected = [reference.level_of(box, -4, 11, 224, 4, rule) for box in boxes.numpy()]
        assert levels.tolist() == expected
        assert set(expected) == {level - 1, level}


def test_degenerate_boxes_and_ranges(device: TestDevice) -> None:
    boxes = torch.tensor(list(DEGENERATE.values()))
    for finest, coarsest in ((2, 5), (-16, 15), (7, 7), (969, 1000)):
        levels = device.run(assign_levels, boxes, finest, coarsest)
        assert torch.equal(levels, assign_levels(boxes, finest, coarsest))
    with pytest.raises(ValueError, match=r"^assign_levels: levels must be .*, from fine to coarse; got 5 to 2$"):
        device.run(assign_levels, boxes, 5, 2)
