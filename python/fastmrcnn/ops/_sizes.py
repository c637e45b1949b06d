"""Sizes of images in the form that the kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["sizes_tensor"]


def sizes_tensor(image_sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """In the shape that they have, and fractions as such, so that the kernel's checks see what is wrong with them.

    Without waiting for the device, which the copy of ordinary memory to a GPU may do.
    """
    if len(image_sizes) == 0:
        return torch.empty((0, 2), dtype=torch.int64, device=device)
    sizes = torch.tensor(image_sizes, device="cpu")
    sizes = sizes if sizes.is_floating_point() else sizes.to(torch.int64)
    if device.type == "cuda" and type(sizes) is Tensor and not torch.compiler.is_compiling():  # fakes have no memory
        sizes = sizes.pin_memory()
    return sizes.to(device, non_blocking=True)
