"""The mask head (He et al. 2017, figure 4): it draws the masks of the classes in each RoI."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.models.blocks import ConvNorm, LinearNorm, full_precision, init_conv
from fastmrcnn.models.config import MaskHeadConfig
from fastmrcnn.models.instances import SampledRoIs, Targets
from fastmrcnn.models.losses import mask_loss, of_class, softmax_mask_loss
from fastmrcnn.models.padding import reading_is_free
from fastmrcnn.ops import crop_masks
from fastmrcnn.ops.convolution import deconv2x2

ROIS_IN_CACHE = 8  # whose masks are drawn at a time in inference on a CPU: 6 MB in place of 80


class MaskHead(nn.Module):
    """Convolutions, a deconvolution that doubles the size, and a 1x1 convolution to a mask per class or to one for all.

    The predictor "mlp" has fully connected layers in place of the deconvolution and of what follows.

    Args:
        inputs: channels of the regions. cells: their side.
    """

    def __init__(self, inputs: int, cells: int, num_classes: int, config: MaskHeadConfig) -> None:
        super().__init__()
        self.config = config
        widths = [inputs] + [config.channels] * config.convolutions
        self.convs = nn.ModuleList(
            ConvNorm(before, after, 3, norm=config.norm, eps=config.norm_eps, bias=config.conv_bias)
            for before, after in pairwise(widths)
        )
        self.side = 2 * cells  # of the masks
        self.masks = 1 if config.class_agnostic else num_classes + 1  # index 0 is the background, of use to a softmax
        if config.predictor == "fcn":
            self.upsample = nn.ConvTranspose2d(widths[-1], config.channels, 2, stride=2)
            self.logits: nn.Conv2d | nn.Linear = nn.Conv2d(config.channels, self.masks, 1)
        else:
            hidden = [widths[-1] * cells**2] + [config.hidden] * config.fully_connected
            self.layers = nn.ModuleList(LinearNorm(before, after) for before, after in pairwise(hidden))
            self.logits = nn.Linear(hidden[-1], self.masks * self.side**2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                init_conv(module, partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"))
            elif isinstance(module, nn.Linear):
                init_conv(module, partial(nn.init.kaiming_uniform_, a=1))
        self.reset_predictors()

    def reset_predictors(self) -> None:
        """The layer that depends on the classes: small weights, so that every pixel starts undecided."""
        init_conv(self.logits, partial(nn.init.normal_, std=0.001))

    def forward(self, regions: Tensor, filled: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """The pooled features of K RoIs, [K, inputs, M / 2, M / 2] -> mask logits [K, C + 1 or 1, M, M].

        filled: [K] bool, which of them are no empty slots; None: all.
        labels: [K] int64, the only classes that will be asked for, -1 for none: [K, 1, M, M] where this saves work.
        """
        x = regions
        for conv in self.convs:
            x = conv(x, filled, relu=True)
        if self.config.predictor == "fcn":
            if labels is not None and self.masks > 1 and self.config.activation == "sigmoid":
                return full_precision(self._logits_of(x, labels))
            x = F.relu_(deconv2x2(x, self.upsample.weight, self.upsample.bias))  # [K, channels, M, M]
            return full_precision(self.logits(x))
        x = x.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        masks: Tensor = full_precision(self.logits(x)).unflatten(1, (self.masks, self.side, self.side))
        return masks

    def _logits_of(self, x: Tensor, labels: Tensor) -> Tensor:
        """The mask of one class of each RoI, of any where its label is -1.

        The windows of the deconvolution do not overlap: it is a matrix product that makes four pixels of a cell, and
        these take their places in the mask when each is down to one number.

        x: [K, channels, M / 2, M / 2], what the deconvolution reads. labels: [K] int64. -> [K, 1, M, M]
        """
        assert self.upsample.bias is not None
        assert self.logits.bias is not None
        weight = self.upsample.weight.permute(2, 3, 1, 0).flatten(0, 2)  # [2 * 2 * channels, channels]
        bias, classes = self.upsample.bias.repeat(4), labels.clamp(min=0)
        class_weight = self.logits.weight.flatten(1)[classes, :, None]  # [K, channels, 1]
        class_bias = self.logits.bias[classes, None, None]

        def drawn(x: Tensor, class_weight: Tensor, class_bias: Tensor) -> Tensor:
            count, _, height, width = x.shape
            pixels = F.relu_(F.linear(x.permute(0, 2, 3, 1).flatten(1, 2), weight, bias))
            pixels = pixels.unflatten(2, (4, -1)).flatten(1, 2)  # [K, M / 2 * M / 2 * 2 * 2, channels]
            logits: Tensor = pixels @ class_weight + class_bias
            return logits.view(count, height, width, 2, 2).transpose(2, 3).reshape(count, 1, 2 * height, 2 * width)

        if torch.is_grad_enabled() or not reading_is_free(x):
            return drawn(x, class_weight, class_bias)
        parts = (part.split(ROIS_IN_CACHE) for part in (x, class_weight, class_bias))
        return torch.cat([drawn(*part) for part in zip(*parts, strict=True)])

    def losses(self, logits: Tensor, rois: Sequence[SampledRoIs], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """``loss_mask``, a mean over the positive ones among ``rois``, to which ``logits`` belong."""
        size = logits.shape[-1]
        wanted = [self._targets(roi, target, size) for roi, target in zip(rois, targets, strict=True)]
        loss = mask_loss if self.config.activation == "sigmoid" else softmax_mask_loss
        return {"loss_mask": loss(logits, torch.cat([roi.labels for roi in rois]), torch.cat(wanted))}

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """That each pixel shows the instance's own class: logits of N instances, [N] int64 -> [N, M, M].

        Under the softmax, a half or more means that no other class has more.
        """
        if self.config.activation == "sigmoid":
            return of_class(logits, labels).sigmoid()
        return of_class(logits.softmax(dim=1), labels)

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
