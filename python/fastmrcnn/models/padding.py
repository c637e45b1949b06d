"""Slots of a fixed capacity with a count on the device, and the one place where empty ones are left out.

Shapes that do not depend on what an image shows are what keeps the host from waiting for the device, and what
compilers, exporters and CUDA graphs need. An empty slot costs a GPU next to nothing, and a CPU as much as a filled one:
there the heads compute the filled slots alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def reading_is_free(tensor: Tensor) -> bool:
    """Whether the host may look at values without waiting for anything: on the CPU, where no compiler traces."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; the host does not wait for a copy to a GPU."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def is_filled(counts: Tensor, capacity: int) -> Tensor:
    """Which slots hold something: [B] int64 -> [B, capacity] bool."""
    return torch.arange(capacity, device=counts.device) < counts[:, None]


def filled_rows(counts: Tensor, capacity: int) -> Tensor | None:
    """The filled ones among B x capacity slots, [K] int64; None where all are. Reads the counts.

    In a graph that is traced the number of rows is one that its runs find out, and None is no answer.
    """
    filled = is_filled(counts, capacity)
    if not torch.compiler.is_compiling() and bool(filled.all()):
        return None
    return filled.flatten().nonzero()[:, 0]


def pack(slots: Tensor, rows: Tensor | None) -> Tensor:
    """The chosen ones of [N, ...] slots, or all of them."""
    return slots if rows is None else slots[rows]


def unpack(packed: Tensor, rows: Tensor | None, slots: int) -> Tensor:
    """The inverse of :func:`pack`: ``slots`` slots, with zeros in those that were not chosen."""
    if rows is None:
        return packed
    return packed.new_zeros((slots, *packed.shape[1:])).index_copy(0, rows, packed)


def as_rois(boxes: Tensor) -> Tensor:
    """The slots of all images as RoIs: [B, P, 4] -> [B * P, 5], the index of the image before the corners."""
    images = torch.arange(boxes.shape[0], dtype=boxes.dtype, device=boxes.device)
    return torch.cat((images[:, None, None].expand(-1, boxes.shape[1], 1), boxes), dim=2).flatten(0, 1)


def join_rois(boxes: Tensor | Sequence[Tensor]) -> Tensor:
    """The boxes of each image [K_b, 4] as RoIs [K, 5], the index of the image before the corners; RoIs as they are."""
    if isinstance(boxes, Tensor):
        return boxes
    return torch.cat([F.pad(own, (1, 0), value=float(image)) for image, own in enumerate(boxes)])
