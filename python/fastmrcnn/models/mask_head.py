"""The mask head (He et al. 2017, figure 4): a small FCN that draws one mask per class in each RoI."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, full_precision, init_conv
from fastmrcnn.models.config import MaskHeadConfig
from fastmrcnn.models.instances import SampledRoIs, Targets
from fastmrcnn.models.losses import mask_loss
from fastmrcnn.ops import crop_masks


class MaskHead(nn.Module):
    """Convolutions, a deconvolution that doubles the size, and a 1x1 convolution to a mask per class.

    Args:
        inputs: channels of the regions.
    """

    def __init__(self, inputs: int, num_classes: int, config: MaskHeadConfig) -> None:
        super().__init__()
        self.config = config
        widths = [inputs] + [config.channels] * config.convolutions
        self.convs = nn.ModuleList(
            ConvNorm(before, after, 3, norm=config.norm, eps=config.norm_eps, bias=config.conv_bias)
            for before, after in pairwise(widths)
        )
        self.upsample = nn.ConvTranspose2d(widths[-1], config.channels, 2, stride=2)
        self.logits = nn.Conv2d(config.channels, num_classes + 1, 1)  # index 0, the background, is never used
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                init_conv(module, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))
        self.reset_predictors()

    def reset_predictors(self) -> None:
        """The layer that depends on the classes: small weights, so that every pixel starts undecided."""
        init_conv(self.logits, partial(nn.init.normal_, std=0.001))

    def forward(self, regions: Tensor) -> Tensor:
        """The pooled features of K RoIs, [K, inputs, M / 2, M / 2] -> mask logits [K, C + 1, M, M]."""
        x = regions
        for conv in self.convs:
            x = F.relu(conv(x))
        x = F.relu(self.upsample(x))  # [K, channels, M, M]
        return full_precision(self.logits(x))

    def losses(self, logits: Tensor, rois: Sequence[SampledRoIs], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """``loss_mask``, a mean over the positive ones among ``rois``, to which ``logits`` belong."""
        size = logits.shape[-1]
        wanted = [self._targets(roi, target, size) for roi, target in zip(rois, targets, strict=True)]
        return {"loss_mask": mask_loss(logits, torch.cat([roi.labels for roi in rois]), torch.cat(wanted))}

    def _targets(self, rois: SampledRoIs, target: Targets, size: int) -> Tensor:
        """What the head should draw in the RoIs of one image, [P, size, size]; of no meaning without an object."""
        if target.labels.shape[0] == 0:
            return rois.boxes.new_zeros((rois.boxes.shape[0], size, size))
        assert target.masks is not None  # checked by check_targets
        return crop_masks(
            target.masks,
            rois.boxes,
            rois.matched,
            size,
            aligned=self.config.target_aligned,
            binary=self.config.binary_targets,
        )


def select_masks(logits: Tensor, labels: Tensor) -> Tensor:
    """The probabilities of each instance's own class: [N, C + 1, M, M], [N] int64 -> [N, M, M]."""
    return logits[torch.arange(labels.shape[0], device=labels.device), labels].sigmoid()
