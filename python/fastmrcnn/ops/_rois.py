"""The arguments of the pooling operators in the form that the kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Boxes", "as_pair", "as_rois", "check_fake", "dense", "empty", "is_channels_last", "prepare"]

Boxes = Tensor | Sequence[Tensor]

_HALF = (torch.float16, torch.bfloat16)


def as_pair(op: str, output_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of the pooled grid, given as one number or as two."""
    if type(output_size) is int and output_size > 0:  # the rest takes as long as pooling a small RoI
        return output_size, output_size
    pair = tuple(output_size) if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(pair) != 2:
        raise ValueError(f"{op}: output_size must be one number or (height, width); got {output_size!r}")
    height, width = pair
    if not (height > 0 and width > 0):
        raise ValueError(f"{op}: output_size must be positive; got [{height}, {width}]")
    return height, width


def as_rois(op: str, boxes: Boxes) -> Tensor:
    """`[K, 5]` rows of batch index and corners, from that or from one `[L, 4]` tensor of corners per image."""
    if isinstance(boxes, Tensor):
        return boxes
    if not boxes:
        raise ValueError(f"{op}: boxes must be a [K, 5] tensor or a list with one [L, 4] tensor per image; got []")
    for image, corners in enumerate(boxes):
        if corners.dim() != 2 or corners.shape[1] != 4:
            raise ValueError(f"{op}: boxes[{image}] must be [L, 4]; got {list(corners.shape)}")
    # In the narrow types not every index is a number: bfloat16 has none between 256 and 258.
    wide = [corners if corners.dtype.itemsize >= 4 else corners.float() for corners in boxes]
    return torch.cat([torch.nn.functional.pad(corners, (1, 0), value=image) for image, corners in enumerate(wide)])


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of `tensor` [N, C, H, W] are its innermost dimension, dense or not.

    Of strides that are numbers while a tracer leaves sizes open: to ask for more would tie the graph to maps of more
    than one cell.
    """
    if tensor.dim() != 4 or not isinstance(tensor.stride(1), int):
        return False
    return tensor.stride(1) == 1 and tensor.stride(3) != 1


def empty(like: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """Memory of a shape and layout in the dtype and on the device of `like`."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def prepare(
    op: str, features: Tensor, rois: Tensor, channels_last: bool, *, name: str = "input", half: bool = True
) -> tuple[Tensor, Tensor]:
    """Both as the kernel takes them: dense features, and RoIs in the dtype that it computes in, which is never half.

    `name` is what errors call the features; `half` says whether the kernel reads float16 and bfloat16.
    """
    if not features.is_floating_point():
        raise ValueError(f"{op}: {name} must be floating point; got {str(features.dtype).removeprefix('torch.')}")
    if rois.dim() != 2:
        raise ValueError(f"{op}: rois must be [K, 5]; got {list(rois.shape)}")
    computed = torch.float64 if features.dtype == torch.float64 else torch.float32
    return dense(features, channels_last, half=half), _bare(rois, computed).contiguous()


def dense(features: Tensor, channels_last: bool, *, half: bool = True) -> Tensor:
    """Floating-point features in a dtype that the kernel reads: their own, or else float32."""
    native = features.dtype in (torch.float32, torch.float64) or (half and features.dtype in _HALF)
    features = _bare(features, features.dtype if native else torch.float32)
    if features.dim() != 4:
        return features  # for the kernel to refuse
    return features.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _bare(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The values of `tensor` without its graph. Asks before it calls: this is on the path of every small RoI."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def check_fake(op: str, features: Tensor, rois: Tensor, *, name: str = "input") -> None:
    """Those of the kernel's checks that a traced call needs before it can state the shape of its result."""
    torch._check(features.dim() == 4, lambda: f"{op}: {name} must be [N, C, H, W]; got {list(features.shape)}")
    torch._check(rois.dim() == 2, lambda: f"{op}: rois must be [K, 5]; got {list(rois.shape)}")
