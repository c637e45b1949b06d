"""Pasting the mask head's small masks into the image, to bitmaps or straight to COCO run-length encoding."""

from __future__ import annotations

import functools
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, on_cuda, register_kernel
from fastmrcnn.ops._zeroed import zeroed_bitmaps

__all__ = ["RLE", "paste_masks", "paste_masks_rle"]


class RLE(TypedDict):
    """A mask in COCO's compressed run-length encoding."""

    size: list[int]
    """[height, width] of the image in pixels."""
    counts: str
    """Run lengths down the columns, zeros first, in COCO's text form."""


LIBRARY.define(
    "paste_masks(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, str method) -> Tensor"
)


def _paste_masks(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, method: str) -> Tensor:
    shape = (masks.shape[0], height, width)
    pasted = torch.empty(shape, dtype=torch.bool, device=masks.device) if on_cuda(masks) else zeroed_bitmaps(shape)
    masks, boxes = _native_inputs(masks, boxes)
    native.paste_masks(context(masks), masks, boxes, method, _fuses_position(masks.dtype), threshold, pasted)
    return pasted


register_kernel("paste_masks", _paste_masks)


@torch.library.register_fake("fastmrcnn::paste_masks", lib=LIBRARY)
def _paste_masks_fake(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, method: str) -> Tensor:
    return masks.new_empty((masks.shape[0], height, width), dtype=torch.bool)


def _native_inputs(masks: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    masks, boxes = (as_native_float(tensor.detach().resolve_neg()).contiguous() for tensor in (masks, boxes))
    return masks, boxes


def _fuses_position(dtype: torch.dtype) -> bool:
    """Whether torch, resizing to a large output, rounds a pixel's source position once (fused) or twice."""
    return dtype == torch.float64 or _torch_fuses_position()


@functools.cache
def _torch_fuses_position() -> bool:
    """The answer for float32, where torch's builds differ (2.13 fuses, 2.15 does not), so the torch at hand is asked.

    torchvision's paste depends on it where a value lies at the threshold. Between two cells of values 0 and 1 a pixel's
    value is its position.
    """
    with torch.inference_mode(False), torch.device("cpu"):
        cells = torch.tensor([[[[0.0, 1.0]]]])
        resized = torch.nn.functional.interpolate(cells, size=(1, 200), mode="bilinear")[0, 0, 0]
        scale, centres = torch.tensor(2.0) / 200, torch.arange(200) + 0.5
        position = (scale.double() * centres.double() - 0.5).float()  # the product is exact in float64
        return torch.equal(resized, position.clamp(0, 1))


def _with_full_boxes(masks: Tensor, boxes: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Masks and boxes of which the exact method makes what "skimage" asks for.

    A value far beyond any threshold sets all pixels that it has a share in, which are those up to half a cell beyond
    the box; that of a mask which shall fill its box is made so much smaller.
    """
    if boxes.shape != (masks.shape[0], 4):
        return masks, boxes  # the kernel says what is wrong
    masks, boxes = as_native_float(masks), as_native_float(boxes)
    full = masks.amin(dim=(1, 2)) >= threshold  # [N]
    corner, opposite = boxes[:, :2], boxes[:, 2:]
    half_cell = (opposite - corner) / (2 * (masks.shape[1] + 1))
    smaller = torch.cat((corner + half_cell, opposite - half_cell), dim=1)
    return torch.where(full[:, None, None], 1e30, masks), torch.where(full[:, None], smaller, boxes)


def _squares(op: str, masks: Tensor) -> Tensor:
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2] or masks.shape[1] == 0:
        raise ValueError(f"{op}: masks must be [N, M, M] or [N, 1, M, M] with M > 0; got {list(masks.shape)}")
    return masks


def _check_image(op: str, image_size: tuple[int, int]) -> tuple[int, int]:
    height, width = (int(side) for side in image_size)
    if height < 0 or width < 0:
        raise ValueError(f"{op}: image_size must be (height, width) in pixels; got {tuple(image_size)}")
    return height, width


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    *,
    threshold: float = 0.5,
    method: str = "exact",
) -> Tensor:
    """Pastes each mask into the image at its box and thresholds it.

    The methods differ by up to a pixel at the outline:

    - "exact" is detectron2's: the mask is stretched over its box without rounding, interpolated bilinearly with zeros
      beyond it, and a pixel is set when the value at its centre is at least the threshold. Equal, pixel for pixel, to
      `grid_sample` with `align_corners=False` on a CPU with AVX2. Worth about half a point of COCO mask AP.
    - "torchvision" is that of torchvision's models: the mask is padded by a cell, its box grown as much and truncated
      to whole pixels, the mask resized to it, and a pixel is set when its value is greater than the threshold. Equal,
      pixel for pixel, to torchvision's soft paste compared with `>`, on x86-64 with float32 masks and boxes.
    - "skimage" is that of Matterport's models, for boxes of whole pixels: the exact method, but no value falls below
      the mask's own least one, as `skimage.transform.resize` has it. So a mask that is at least the threshold
      everywhere fills its box, corners included.

    Args:
        masks: `[N, M, M]` or `[N, 1, M, M]` floating point, probabilities. Half precision is computed in float32.
        boxes: `[N, 4]` floating point, x1, y1, x2, y2 in image pixels.
        image_size: (height, width) of the image in pixels.
        threshold: probability from which on a pixel belongs to the mask, in (0, 1].
        method: "exact", "torchvision" or "skimage".

    Returns:
        `[N, height, width]` bool. A box without area, reversed, or with a coordinate that is not finite gives an empty
        mask (in torchvision's method a box without area gives what torchvision gives, about a pixel). Not
        differentiable; deterministic.

    Raises:
        ValueError: a shape, the threshold or the method is not as stated.

    Example:
        >>> mask = torch.ones(1, 2, 2)
        >>> paste_masks(mask, torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (2, 4)).int()
        tensor([[[0, 1, 1, 0],
                 [0, 1, 1, 0]]], dtype=torch.int32)
    """
    masks = _squares("paste_masks", masks)
    height, width = _check_image("paste_masks", image_size)
    if method == "skimage":
        masks, boxes = _with_full_boxes(masks, boxes, threshold)
        method = "exact"
    kernel = _paste_masks if is_plain_eager(masks, boxes) else torch.ops.fastmrcnn.paste_masks.default
    return kernel(masks, boxes, height, width, threshold, method)


def paste_masks_rle(
    masks: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    *,
    threshold: float = 0.5,
    method: str = "exact",
) -> list[RLE]:
    """`paste_masks` straight to COCO run-length encoding, without the bitmaps: the same pixels, many times faster.

    Args:
        masks, boxes, image_size, threshold, method: as for `paste_masks`; fewer than 2^32 pixels and 2^31 - 1 rows
            an image.

    Returns:
        For each mask `{"size": [height, width], "counts": str}`, string for string what pycocotools' `encode` makes of
        its bitmap (there as bytes); JSON-able, and read by pycocotools and faster-coco-eval.

    Masks on a GPU are encoded there; the strings come to the host in one copy, which the call waits for (and once more
    where they turn out longer than usual).

    Raises:
        ValueError: a shape, the threshold or the method is not as stated, or the image is too large.

    Example:
        >>> paste_masks_rle(torch.ones(1, 2, 2), torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (2, 4))
        [{'size': [2, 4], 'counts': '242'}]
    """
    masks = _squares("paste_masks_rle", masks)
    height, width = _check_image("paste_masks_rle", image_size)
    if method == "skimage":
        masks, boxes = _with_full_boxes(masks, boxes, threshold)
        method = "exact"
    masks, boxes = _native_inputs(masks, boxes)
    capacity = 64 + 8 * width  # an outline crosses most columns twice
    while True:
        lengths, strings = _encode(masks, boxes, height, width, threshold, method, capacity)
        longest = int(lengths.max(initial=0))
        if longest <= capacity:
            break
        capacity = longest
    return [
        {"size": [height, width], "counts": string[:length].tobytes().decode("ascii")}
        for string, length in zip(strings, lengths, strict=True)
    ]


def _encode(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, method: str, capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Lengths [N] and strings [N, capacity] on the host. Both lie in one tensor: one copy brings them there."""
    count = masks.shape[0]
    both = torch.empty(8 * count + capacity * count, dtype=torch.uint8, device=masks.device)
    lengths, strings = both[: 8 * count].view(torch.int64), both[8 * count :].view(count, capacity)
    fused = _fuses_position(masks.dtype)
    native.paste_masks_rle(context(masks), masks, boxes, height, width, method, fused, threshold, strings, lengths)
    host = both.cpu().numpy()
    return host[: 8 * count].view(np.int64), host[8 * count :].reshape(count, capacity)
