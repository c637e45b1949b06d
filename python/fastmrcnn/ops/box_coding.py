"""Boxes as regression targets and back: the offsets that the RPN and the box head learn.

Both directions are pointwise, so the torch formulas below serve autograd and compilers, which fuse them; the native
kernel serves plain eager inference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastmrcnn.ops._library import as_native_float, context, is_plain_eager, native
from fastmrcnn.ops.boxes import clip_boxes_to_image

__all__ = ["decode_boxes", "encode_boxes"]

Weights = tuple[float, float, float, float]

LARGEST_LOG_SIZE = math.log(1000.0 / 16)


def encode_boxes(reference: Tensor, proposals: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Offsets that turn `proposals` into `reference`, the inverse of `decode_boxes`.

    Girshick et al., "Rich feature hierarchies", appendix C, with a weight on each of the four.

    Args:
        reference: `[N, 4]` float32 or float64, the wanted boxes (the ground truth), x1, y1, x2, y2 in pixels.
        proposals: `[N, 4]`, the boxes to start from (anchors or proposals).
        weights: factors of dx, dy, dw, dh.

    Returns:
        `[N, 4]` deltas dx, dy, dw, dh: centre shifts in units of the proposal's sides and logarithms of the ratios of
        the sides, times the weights. Not finite for a proposal of zero area or a reversed box. Differentiable. Half
        precision is computed and returned in float32.

    Raises:
        ValueError: a shape or the number of weights is not as stated.

    Example:
        >>> encode_boxes(torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 0, 10, 10]]), (10, 10, 5, 5))
        tensor([[5., 0., 0., 0.]])
    """
    _check_weights("encode_boxes", weights)
    for argument, boxes in (("reference", reference), ("proposals", proposals)):
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"encode_boxes: {argument} must be [N, 4]; got {list(boxes.shape)}")
    centres, sides = _centres_and_sides(as_native_float(reference))
    own_centres, own_sides = _centres_and_sides(as_native_float(proposals))
    shifts = _weighted(centres - own_centres, *weights[:2]) / own_sides  # [N, 2]
    return torch.cat((shifts, _weighted(torch.log(sides / own_sides), *weights[2:])), dim=1)


def decode_boxes(
    deltas: Tensor,
    boxes: Tensor,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    clip: float = LARGEST_LOG_SIZE,
    *,
    image_size: tuple[int, int] | None = None,
) -> Tensor:
    """Boxes from the offsets that a network predicts, the inverse of `encode_boxes`.

    Args:
        deltas: `[N, C * 4]` floating point, dx, dy, dw, dh for each of C classes.
        boxes: `[N, 4]`, the boxes that the deltas refer to (anchors or proposals), x1, y1, x2, y2 in pixels.
        weights: the factors of dx, dy, dw, dh that `encode_boxes` was given.
        clip: upper bound of dw and dh after division by their weights, so that the exponential stays finite; the
            default is log(1000 / 16), torchvision's and detectron2's.
        image_size: (height, width) in pixels to clip the result to.

    Returns:
        `[N, C, 4]` boxes in pixels, `[N, 4]` for C = 1. Of the dtype of `deltas`; half precision is computed and
        returned in float32. A NaN gives NaN. Differentiable. Without gradients the exponential is within two units in
        the last place of torch's.

    Raises:
        ValueError: a shape or the number of weights is not as stated.

    Example:
        >>> decode_boxes(torch.tensor([[5.0, 0, 0, 0]]), torch.tensor([[0.0, 0, 10, 10]]), (10, 10, 5, 5))
        tensor([[ 5.,  0., 15., 10.]])
    """
    if not torch.compiler.is_compiling():
        decoded: Tensor | None = native.direct_decode_boxes(deltas, boxes, weights, clip, image_size)
        if decoded is not None:
            return decoded.flatten(0, 1) if decoded.shape[1] == 1 else decoded
    _check_weights("decode_boxes", weights)
    if image_size is not None and len(image_size) != 2:
        raise ValueError(f"decode_boxes: image_size must be (height, width); got {image_size!r}")
    if deltas.dim() != 2 or deltas.shape[1] % 4 != 0:
        raise ValueError(f"decode_boxes: deltas must be [N, C * 4]; got {list(deltas.shape)}")
    if boxes.shape != (deltas.shape[0], 4):
        raise ValueError(f"decode_boxes: boxes must be [{deltas.shape[0]}, 4]; got {list(boxes.shape)}")
    deltas = as_native_float(deltas)
    boxes = boxes.to(deltas.dtype)
    with_gradient = torch.is_grad_enabled() and (deltas.requires_grad or boxes.requires_grad)
    if with_gradient or not is_plain_eager(deltas, boxes):
        decoded = _decode_formula(deltas, boxes, weights, clip, image_size)
    else:
        decoded = _decode_kernel(deltas.detach(), boxes.detach(), weights, clip, image_size)
    return decoded.flatten(0, 1) if decoded.shape[1] == 1 else decoded


def _decode_kernel(
    deltas: Tensor, boxes: Tensor, weights: Weights, clip: float, image_size: tuple[int, int] | None
) -> Tensor:
    decoded = deltas.new_empty((deltas.shape[0], deltas.shape[1] // 4, 4))
    native.decode_boxes(context(deltas), deltas.contiguous(), boxes.contiguous(), weights, clip, image_size, decoded)
    return decoded


def _decode_formula(
    deltas: Tensor, boxes: Tensor, weights: Weights, clip: float, image_size: tuple[int, int] | None
) -> Tensor:
    # Filled where they are: a tensor of numbers would be copied from the host, which waits for the device.
    weight = torch.stack([deltas.new_full((), weight) for weight in weights])  # [4]
    deltas = deltas.unflatten(1, (-1, 4)) / weight  # [N, C, 4]
    centres, sides = _centres_and_sides(boxes[:, None])  # [N, 1, 2]
    centres = deltas[..., :2] * sides + centres  # [N, C, 2]
    half_sides = 0.5 * (deltas[..., 2:].clamp(max=clip).exp() * sides)
    decoded = torch.cat((centres - half_sides, centres + half_sides), dim=-1)  # [N, C, 4]
    return decoded if image_size is None else clip_boxes_to_image(decoded, image_size)


def _check_weights(op: str, weights: Weights) -> None:
    if len(weights) != 4:
        raise ValueError(f"{op}: weights must be four numbers; got {weights!r}")


def _weighted(pairs: Tensor, first: float, second: float) -> Tensor:
    """[N, 2] times a weight a column: plain numbers, for a tensor of them would be copied to the device."""
    return torch.stack((first * pairs[:, 0], second * pairs[:, 1]), dim=1)


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
