"""Soft masks pasted by torchvision's rule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmrcnn.structures import paste_soft_masks

TOLERANCE = 1e-6  # probabilities; the two interpolations round differently in the last bit or two of float32


def test_full_mask_fills_its_box_and_fades_in_its_frame() -> None:
    pasted = paste_soft_masks(torch.ones(1, 28, 28), torch.tensor([[4.0, 2.0, 18.0, 16.0]]), (20, 30))
    assert pasted.shape == (1, 20, 30)
    assert torch.equal(pasted[0, 3:15, 5:17], torch.ones(12, 12))
    assert pasted[0, :, 20:].abs().sum() == 0
    assert pasted[0, 18:].abs().sum() == 0


def test_one_pixel_box_takes_the_middle_of_the_mask() -> None:
    mask = torch.tensor([[[0.2, 0.4], [0.6, 0.8]]])
    pasted = paste_soft_masks(mask, torch.tensor([[3.0, 1.0, 3.0, 1.0]]), (4, 5))
    expected = torch.zeros(4, 5)
    expected[1, 3] = 0.5
    torch.testing.assert_close(pasted[0], expected)


@pytest.mark.parametrize(
    "box",
    [
        [float("nan"), 0.0, 4.0, 4.0],
        [0.0, 0.0, float("inf"), 4.0],
        [1e30, 1e30, 2e30, 2e30],
        [100.0, 100.0, 120.0, 120.0],
        [-50.0, -50.0, -20.0, -20.0],
        [6.0, 6.0, 2.0, 2.0],
    ],
)
def test_box_without_a_place_in_the_image_pastes_nothing(box: list[float]) -> None:
    pasted = paste_soft_masks(torch.ones(1, 7, 7), torch.tensor([box]), (10, 10))
    assert torch.equal(pasted, torch.zeros(1, 10, 10))


def test_huge_box_costs_no_more_than_the_image() -> None:
    pasted = paste_soft_masks(torch.ones(1, 7, 7), torch.tensor([[-1e8, -1e8, 1e8, 1e8]]), (10, 12))
    assert torch.equal(pasted, torch.ones(1, 10, 12))


def test_no_masks() -> None:
    assert paste_soft_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), side=st.sampled_from([1, 2, 14, 28]), scale=st.sampled_from([1.0, 20.0, 150.0]))
def test_equal_to_torchvision(seed: int, side: int, scale: float) -> None:
    roi_heads = pytest.importorskip(
        "torchvision.models.detection.roi_heads", reason="torchvision, the reference, is not installed"
    )
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(6, side, side, generator=generator)
    height, width = 61, 83
    # The first corner lies in the image: the reference fails on a box that misses it altogether.
    first = torch.rand(6, 2, generator=generator) * torch.tensor([width - 1.0, height - 1.0])
    boxes = torch.cat([first, first + torch.rand(6, 2, generator=generator) * scale], dim=1)
    boxes[0] -= 0.4 * scale * torch.rand((), generator=generator)  # and one that may begin outside
    boxes[0, 2:] = boxes[0, 2:].clamp(min=1.0)
    expected = roi_heads.paste_masks_in_image(masks[:, None], boxes, (height, width))[:, 0]
    pasted = paste_soft_masks(masks, boxes, (height, width))
    torch.testing.assert_close(pasted, expected, rtol=0, atol=TOLERANCE)
