"""Keypoints from the heatmaps that a keypoint head draws."""

from __future__ import annotations

import torch
from torch import Tensor

from fastmrcnn.ops._library import LIBRARY, as_native_float, context, is_plain_eager, native, register_kernel

__all__ = ["decode_keypoints"]

LIBRARY.define("decode_keypoints(Tensor heatmaps, Tensor boxes) -> Tensor")


def _decode_keypoints(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    heatmaps = as_native_float(heatmaps).detach().contiguous()
    boxes = boxes.detach().to(heatmaps.dtype).contiguous()
    keypoints = heatmaps.new_empty((*heatmaps.shape[:2], 4))
    native.decode_keypoints(context(heatmaps), heatmaps, boxes, keypoints)
    return keypoints


register_kernel("decode_keypoints", _decode_keypoints)


@torch.library.register_fake("fastmrcnn::decode_keypoints", lib=LIBRARY)
def _decode_keypoints_fake(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    torch._check(
        heatmaps.dim() == 4, lambda: f"decode_keypoints: heatmaps must be [N, K, H, W]; got {list(heatmaps.shape)}"
    )
    torch._check(
        boxes.dim() == 2 and boxes.shape[1] == 4,
        lambda: f"decode_keypoints: boxes must be [N, 4]; got {list(boxes.shape)}",
    )
    return as_native_float(heatmaps).new_empty((*heatmaps.shape[:2], 4))


def decode_keypoints(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    """Where each heatmap is highest, read at the resolution of its box (He et al. 2017, section 5).

    A heatmap is resized to ceil(height) x ceil(width) of its box, bicubically as `torch.nn.functional.interpolate`
    does it, and its highest point taken, at the centre of that point's part of the box. Torchvision
    (`models.detection.roi_heads.heatmaps_to_keypoints`) and detectron2 (`structures.heatmaps_to_keypoints`) decode so.
    No heatmap is resized in memory, and the host waits for nothing.

    Args:
        heatmaps: `[N, K, H, W]` logits of K keypoints, H and W at most 4096. float64 is computed in float64, everything
            else in float32.
        boxes: `[N, 4]` x1, y1, x2, y2 in pixels of the image that the network reads, which sets how finely the
            heatmaps are read: at most 4096 points a side; sides below one pixel are taken for one.

    Returns:
        `[N, K, 4]` float32 or float64: x, y in pixels of the boxes, the logit there (torchvision's score), and the
        probability (detectron2's score): the softmax over the H x W cells, with the logit of the resized heatmap on
        top, so that it does not depend on the size of the box; it exceeds 1, without limit, where the bicubic curve
        rises above the cells, as between two high ones. Of equal logits the first counts, row by row. NaN is never the
        highest; a heatmap of nothing but NaN gives NaN, and a NaN in a box a position that is NaN. Not differentiable.

    Raises:
        ValueError: a shape is not as stated.

    Example:
        >>> heatmaps = torch.zeros(1, 1, 56, 56)
        >>> heatmaps[0, 0, 28, 14] = 9
        >>> x, y, logit, probability = decode_keypoints(heatmaps, torch.tensor([[100.0, 50, 156, 106]]))[0, 0].tolist()
        >>> x, y, logit
        (114.5, 78.5, 9.0)
    """
    kernel = _decode_keypoints if is_plain_eager(heatmaps, boxes) else torch.ops.fastmrcnn.decode_keypoints.default
    keypoints: Tensor = kernel(heatmaps, boxes)
    return keypoints
