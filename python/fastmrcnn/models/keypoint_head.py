"""The keypoint head (He et al. 2017, section 5): a fully convolutional network that draws a heatmap per keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import full_precision, init_conv
from fastmrcnn.models.config import KeypointHeadConfig
from fastmrcnn.models.instances import SampledRoIs, Targets
from fastmrcnn.models.losses import keypoint_loss
from fastmrcnn.ops import decode_keypoints


class KeypointHead(nn.Module):
    """Convolutions, a deconvolution to a map per keypoint, and a bilinear upsampling, each of which doubles the size.

    The keypoints are those of every class alike.

    Args:
        inputs: channels of the regions.
    """

    def __init__(self, inputs: int, config: KeypointHeadConfig) -> None:
        super().__init__()
        self.config = config
        widths = [inputs] + [config.channels] * config.convolutions
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.upsample = nn.ConvTranspose2d(widths[-1], len(config.keypoint_names), 4, stride=2, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in (*self.convs, self.upsample):
            init_conv(module, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))

    def forward(self, regions: Tensor, _filled: Tensor | None = None, _labels: Tensor | None = None) -> Tensor:
        """The pooled features of N RoIs, [N, inputs, S / 4, S / 4] -> logits of the heatmaps [N, K, S, S].

        Called as the mask head is, though empty slots change nothing where no layer normalises, nor do labels.
        """
        x = regions
        for conv in self.convs:
            x = F.relu(conv(x))
        x = self.upsample(x)  # [N, K, S / 2, S / 2]
        return F.interpolate(full_precision(x), scale_factor=2.0, mode="bilinear", align_corners=False)

    def losses(self, logits: Tensor, rois: Sequence[SampledRoIs], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """``loss_keypoint``, a mean over the labelled keypoints within the positive ones among ``rois``, to which
        ``logits`` belong."""
        wanted = [self._targets(roi, target, logits.shape[-1]) for roi, target in zip(rois, targets, strict=True)]
        return {"loss_keypoint": keypoint_loss(logits, torch.cat(wanted))}

    def keypoints(self, logits: Tensor, boxes: Tensor) -> Tensor:
        """x, y and score of each keypoint: [N, K, S, S], [N, 4] -> [N, K, 3], px of the boxes."""
        x, y, logit, probability = decode_keypoints(logits, boxes).unbind(dim=-1)
        return torch.stack((x, y, probability if self.config.score == "probability" else logit), dim=-1)

    def _targets(self, rois: SampledRoIs, target: Targets, size: int) -> Tensor:
        """The cells that the heatmaps in the RoIs of one image should name, [P, K] int64; -1 for none."""
        if target.labels.shape[0] == 0:
            return rois.matched.new_full((rois.matched.shape[0], len(self.config.keypoint_names)), -1)
        assert target.keypoints is not None  # checked by check_targets
        cells = keypoint_cells(target.keypoints[rois.matched], rois.boxes, size)
        return torch.where(rois.labels[:, None] > 0, cells, -1)


def keypoint_cells(keypoints: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The cell of each keypoint in a heatmap of ``size`` x ``size`` cells over its box.

    Args:
        keypoints: [P, K, 3] float: x, y in px, and 0 where the keypoint is not labelled.
        boxes: [P, 4] float, px.

    Returns:
        [P, K] int64, row by row; -1 where a keypoint is not labelled or lies outside of its box. The right and the
        bottom edge belong to the last cell.
    """
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]  # [P, 1, 2]
    points = keypoints[..., :2]
    cells = ((points - corner) * (size / (opposite - corner))).floor()
    cells = torch.where(points == opposite, size - 1, cells)
    # NaN, of a box without a side, fails the comparisons; only what passes them becomes an integer.
    inside = ((cells >= 0) & (cells < size)).all(dim=-1)
    columns, rows = torch.where(inside[..., None], cells, 0).long().unbind(dim=-1)
    return torch.where(inside & (keypoints[..., 2] > 0), rows * size + columns, -1)
