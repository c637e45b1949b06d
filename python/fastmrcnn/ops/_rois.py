"""What the pooling operators share: their arguments in the form that the kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Boxes", "as_pair", "as_rois", "check_fake", "empty_like_layout", "layout_of"]

Boxes = Tensor | Sequence[Tensor]


def as_pair(op: str, output_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of the pooled grid, given as one number or as two."""
    if isinstance(output_size, Sequence):
        if len(output_size) != 2:
            raise ValueError(f"{op}: output_size must be one number or (height, width); got {output_size!r}")
        return output_size[0], output_size[1]
    return output_size, output_size


def as_rois(op: str, boxes: Boxes) -> Tensor:
    """`[K, 5]` rows of batch index and corners, from that or from one `[L, 4]` tensor of corners per image."""
    if isinstance(boxes, Tensor):
        return boxes
    if not boxes:
        raise ValueError(f"{op}: boxes must be a [K, 5] tensor or a list with one [L, 4] tensor per image; got []")
    for image, of_image in enumerate(boxes):
        if of_image.dim() != 2 or of_image.shape[1] != 4:
            raise ValueError(f"{op}: boxes[{image}] must be [L, 4]; got {list(of_image.shape)}")
    rows = [torch.nn.functional.pad(of_image, (1, 0), value=image) for image, of_image in enumerate(boxes)]
    return torch.cat(rows)


def layout_of(tensor: Tensor) -> torch.memory_format:
    """Channels-last where the channels of `tensor` [N, C, H, W] are its innermost dimension, contiguous elsewhere."""
    if tensor.dim() == 4 and tensor.stride(1) == 1 and not tensor.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def empty_like_layout(tensor: Tensor, shape: Sequence[int], layout: torch.memory_format) -> Tensor:
    """Memory of a shape and layout in the dtype and on the device of `tensor`."""
    return torch.empty(shape, dtype=tensor.dtype, device=tensor.device, memory_format=layout)


def check_fake(op: str, features: Tensor, rois: Tensor) -> None:
    """The checks that the kernels do, for tensors without values."""
    torch._check(features.dim() == 4, lambda: f"{op}: input must be [N, C, H, W]; got {list(features.shape)}")
    torch._check(rois.dim() == 2 and rois.shape[1] == 5, lambda: f"{op}: rois must be [K, 5]; got {list(rois.shape)}")
