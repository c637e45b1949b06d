"""Boxes that every operator on boxes is tried with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NAN, INF = float("nan"), float("inf")

# name -> x1, y1, x2, y2
DEGENERATE: dict[str, list[float]] = {
    "zero area": [5, 5, 5, 5],
    "zero width": [5, 5, 5, 25],
    "reversed": [20, 30, 10, 5],
    "reversed in x": [20, 5, 10, 25],
    "NaN": [NAN, 5, 20, 25],
    "all NaN": [NAN, NAN, NAN, NAN],
    "infinite": [5, 5, INF, 25],
    "negative infinite": [-INF, 5, 20, 25],
    "everywhere": [-INF, -INF, INF, INF],
    "huge": [-1e30, -1e30, 1e30, 1e30],
    "left of the image": [-50, 5, -20, 25],
    "below the image": [5, 1000, 20, 1020],
    "tiny": [7.25, 7.25, 7.5, 7.5],
}


def random_boxes(n: int, size: float = 100.0, longest: float = 40.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[n, 4]` proper boxes, sides log-uniform from 1 to `longest`, corners anywhere in a square of `size`."""
    corner = torch.rand(n, 2, dtype=torch.float64) * size
    sides = torch.exp(torch.rand(n, 2, dtype=torch.float64) * math.log(longest))
    return torch.cat([corner, corner + sides], dim=1).to(dtype)


def clustered_boxes(n: int, clusters: int, jitter: float = 3.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """`[n, 4]` boxes scattered around `clusters` of them, as a detector's proposals are."""
    centres = random_boxes(clusters, dtype=torch.float64)
    return (centres[torch.randint(clusters, (n,))] + jitter * torch.randn(n, 4, dtype=torch.float64)).to(dtype)
