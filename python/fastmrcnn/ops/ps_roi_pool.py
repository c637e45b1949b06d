"""Position-sensitive RoI pooling: each bin averages whole pixels of channels of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fastmrcnn.ops._linear_pooling import linear_pooling
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois

__all__ = ["PSRoIPool", "ps_roi_pool"]

_ps_roi_pool = linear_pooling("ps_roi_pool", position_sensitive=True)


def ps_roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """Position-sensitive RoI pooling (Dai et al. 2016, R-FCN).

    Bin (i, j) of output channel c is the mean of the pixels of input channel (c * height + i) * width + j that lie in
    the bin, after the RoI's corners are rounded to whole pixels. As in torchvision, a bin never reaches the last row
    or column of the map.

    Args:
        input: `[N, C, H, W]` floating-point features; C is a multiple of height * width.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scale: feature-map pixels per image pixel.

    Returns:
        `[K, C / (height * width), height, width]` in the input's dtype and memory format; zeros in bins without pixels
        and for RoIs with a NaN or an infinity. float16 and bfloat16 are computed in float32 copies.

    Differentiable in `input` in reverse mode, twice and more; the gradient is deterministic. Not differentiable in
    `boxes`.

    Raises:
        ValueError: a shape is not as stated, or a batch index is NaN or not in [0, N).
            On CUDA nobody waits to look at it: such a region pools to NaN and passes no gradient.
        NotImplementedError: `input` carries a tangent of forward-mode differentiation.

    Example:
        >>> ps_roi_pool(torch.ones(1, 4, 6, 6), torch.tensor([[0.0, 1, 1, 5, 5]]), 2).flatten()
        tensor([1., 1., 1., 1.])
    """
    rois = as_rois("ps_roi_pool", boxes)
    height, width = as_pair("ps_roi_pool", output_size)
    return _ps_roi_pool(input, rois, spatial_scale, height, width)


class PSRoIPool(nn.Module):
    """`ps_roi_pool` with fixed arguments."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
