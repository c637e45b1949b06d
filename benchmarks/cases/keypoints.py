"""Keypoints from the heatmaps of the detected boxes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from benchmarks.case import Case, Contest, Work
from benchmarks.compare import close
from benchmarks.workloads import Workload, generator
from fastmrcnn import ops

KEYPOINTS, CELLS = 17, 56
OTHER_PLACES = 0.02  # share of the keypoints for which rounding may choose another point of the same height


def cases(workload: Workload) -> Iterator[Case]:
    for kind in ("peaked", "rough"):
        yield Case(
            f"decode {workload.instances} x {KEYPOINTS} keypoints, {kind} heatmaps", partial(_decode, workload, kind)
        )


def _decode(workload: Workload, kind: str) -> Contest:
    heatmaps = (_peaked if kind == "peaked" else _rough)(workload.instances).to(workload.device)
    boxes = workload.log_uniform_boxes(workload.instances)

    def check(ours: Tensor, theirs: tuple[Tensor, Tensor]) -> str:
        places, heights = theirs
        agreement = close(ours[..., 2], heights)
        moved = ((ours[..., :2] - places[..., :2]).abs() > 1e-2).any(dim=-1).float().mean().item()
        assert moved < OTHER_PLACES, f"{moved:.1%} of the keypoints lie in another place"
        return f"heights {agreement}, {1 - moved:.1%} of the places"

    # A row of points that cannot hold the highest needs no look, so that little but the reading is left for certain.
    return Contest(
        "torchvision",
        partial(heatmaps_to_keypoints, heatmaps, boxes),
        partial(ops.decode_keypoints, heatmaps, boxes),
        check,
        Work(reads=heatmaps.nbytes, writes=workload.instances * KEYPOINTS * 16),
    )


def _rough(instances: int) -> Tensor:
    """Noise: every row is a candidate, as of a network that has learnt nothing."""
    return torch.randn(instances, KEYPOINTS, CELLS, CELLS, generator=generator())


def _peaked(instances: int) -> Tensor:
    """A hill of a few cells and a little noise, as a trained network draws them."""
    g = generator()
    centres = torch.rand(2, instances, KEYPOINTS, 1, generator=g) * CELLS
    y, x = (torch.arange(CELLS) - centre for centre in centres)
    hills = 12 * torch.exp(-(y[..., :, None] ** 2 + x[..., None, :] ** 2) / 8) - 6
    return hills + 0.1 * torch.randn(hills.shape, generator=g)
