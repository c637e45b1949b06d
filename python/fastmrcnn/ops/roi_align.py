"""RoIAlign: bilinear pooling of regions of interest without quantisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fastmrcnn.ops._linear_pooling import linear_pooling
from fastmrcnn.ops._rois import Boxes, as_pair, as_rois

__all__ = ["RoIAlign", "roi_align"]

_roi_align = linear_pooling("roi_align", "int sampling_ratio, bool aligned")


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """The mean of bilinear samples in each bin of each region of interest (He et al. 2017, section 3).

    Args:
        input: `[N, C, H, W]` floating-point features, contiguous or channels-last.
        boxes: regions in image pixels: `[K, 5]` rows of batch index, x1, y1, x2, y2, or one `[L, 4]` tensor of corners
            per image. Their dtype may differ from the input's; coordinates are never rounded to half precision.
        output_size: bins of the pooled grid, (height, width) or one number for both.
        spatial_scale: feature-map pixels per image pixel, 1/16 for stride 16.
        sampling_ratio: samples per bin along each axis, at most 4096; zero or less takes ceil(size of the RoI / bins).
        aligned: whether pixel centres lie at half-integer coordinates, which is right. False is the older
            convention: everything is shifted by half a pixel and a RoI is at least one feature-map pixel wide and high.

    Returns:
        `[K, C, height, width]` in the input's dtype and memory format. Samples more than one pixel outside the map
        count as zero; a RoI with a NaN or an infinity pools to zeros. float16 and bfloat16 are read and written as
        they are, summed in float32 and rounded once, forward and backward.

    Differentiable in `input` in reverse mode, twice and more; the gradient is deterministic. Not differentiable in
    `boxes`.

    Raises:
        ValueError: a shape or sampling_ratio is not as stated, or a batch index is NaN or not in [0, N). On CUDA, where
            looking at the indices would wait for the device, such regions pool to NaN instead.
        NotImplementedError: `input` carries a tangent of forward-mode differentiation.

    Example:
        >>> features = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_align(features, torch.tensor([[0.0, 0, 0, 4, 4]]), 2, aligned=True)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    rois = as_rois("roi_align", boxes)
    height, width = as_pair("roi_align", output_size)
    return _roi_align(input, rois, spatial_scale, height, width, sampling_ratio, aligned)


class RoIAlign(nn.Module):
    """`roi_align` with fixed arguments: `RoIAlign(7, 1 / 16, 2, aligned=True)(features, boxes)`."""

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )
