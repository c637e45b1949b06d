"""Position-sensitive RoIAlign: each bin reads channels of its own, by bilinear samples."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fastmrcnn.ops._linear_pooling import linear_pooling
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois

__all__ = ["PSRoIAlign", "ps_roi_align"]

_ps_roi_align = linear_pooling("ps_roi_align", "int sampling_ratio", position_sensitive=True)


def ps_roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """Position-sensitive RoIAlign (Dai et al. 2016, R-FCN, with the sampling of He et al. 2017).

    Bin (i, j) of output channel c is the mean of bilinear samples of input channel (c * height + i) * width + j, placed
    as `roi_align(..., aligned=True)` places them.

    Args:
        input: `[N, C, H, W]` floating-point features; C is a multiple of height * width.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scale: feature-map pixels per image pixel.
        sampling_ratio: samples per bin along each axis, at most 4096; zero or less takes ceil(size of the RoI / bins).

    Returns:
        `[K, C / (height * width), height, width]` in the input's dtype and memory format. Samples more than one pixel
        outside the map count as zero; RoIs without samples, or with a NaN or an infinity, pool to zeros. float16 and
        bfloat16 are computed in float32 copies.

    Differentiable in `input` in reverse mode, twice and more; the gradient is deterministic. Not differentiable in
    `boxes`.

    Raises:
        ValueError: a shape or sampling_ratio is not as stated, or a batch index is NaN or not in [0, N).
            On CUDA nobody waits to look at it: such a region pools to NaN and passes no gradient.
        NotImplementedError: `input` carries a tangent of forward-mode differentiation.

    Example:
        >>> ps_roi_align(torch.ones(1, 8, 6, 6), torch.tensor([[0.0, 1, 1, 5, 5]]), 2).shape
        torch.Size([1, 2, 2, 2])
    """
    rois = as_rois("ps_roi_align", boxes)
    height, width = as_pair("ps_roi_align", output_size)
    return _ps_roi_align(input, rois, spatial_scale, height, width, sampling_ratio)


class PSRoIAlign(nn.Module):
    """`ps_roi_align` with fixed arguments."""

    def __init__(self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio})"
        )
