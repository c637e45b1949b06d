"""torchvision's Mask R-CNN of the baseline's architecture: its own modules, losses and detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from fastmrcnn.data.masks import encode_rle
from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
from fastmrcnn.weights.torchvision import torchvision_name

LEVELS = ["0", "1", "2", "3"]


class NarrowResNet18(ResNet):
    """torchvision's ResNet-18 with ``width`` channels in the stem, where its class always has 64."""

    def __init__(self, width: int) -> None:
        self._width = width
        super().__init__(BasicBlock, [2, 2, 2, 2], norm_layer=FrozenBatchNorm2d)
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(width)

    def _make_layer(self, block: Any, planes: int, *others: Any, **options: Any) -> nn.Sequential:
        if planes == 64:
            self.inplanes = self._width
        return super()._make_layer(block, planes * self._width // 64, *others, **options)


def torchvision_network(config: MaskRCNNConfig) -> TorchvisionMaskRCNN:
    """torchvision's class with the sizes and limits of ``config``; the mathematics are torchvision's defaults."""
    box, mask, rpn = config.box_head, config.mask_head, config.rpn
    assert box is not None
    assert mask is not None
    channels, scale = config.fpn.channels, box.pooler.canonical_scale

    def pooler(size: int) -> MultiScaleRoIAlign:
        return MultiScaleRoIAlign(LEVELS, size, box.pooler.sampling_ratio, canonical_scale=round(scale))

    return TorchvisionMaskRCNN(
        BackboneWithFPN(
            NarrowResNet18(config.backbone.width),
            {f"layer{index + 1}": name for index, name in enumerate(LEVELS)},
            list(config.backbone.stage_channels),
            channels,
        ),
        min_size=config.input.min_size,
        max_size=config.input.max_size,
        rpn_anchor_generator=AnchorGenerator(rpn.anchors.sizes, (rpn.anchors.aspect_ratios,) * len(rpn.anchors.sizes)),
        rpn_batch_size_per_image=rpn.samples,
        rpn_pre_nms_top_n_train=rpn.pre_nms_train,
        rpn_pre_nms_top_n_test=rpn.pre_nms_test,
        rpn_post_nms_top_n_train=rpn.post_nms_train,
        rpn_post_nms_top_n_test=rpn.post_nms_test,
        box_roi_pool=pooler(box.pooler.output_size),
        box_head=TwoMLPHead(channels * box.pooler.output_size**2, box.hidden),
        box_predictor=FastRCNNPredictor(box.hidden, config.num_classes + 1),
        box_batch_size_per_image=box.samples,
        box_positive_fraction=box.positive_fraction,
        box_detections_per_img=box.detections,
        mask_roi_pool=pooler(mask.pooler.output_size),
        mask_head=MaskRCNNHeads(channels, [mask.channels] * mask.convolutions, dilation=1),
        mask_predictor=MaskRCNNPredictor(mask.channels, mask.channels, config.num_classes + 1),
    )


class TorchvisionModel:
    """torchvision's network with the weights of one of ours, behind what the study asks of a model."""

    def __init__(self, ours: MaskRCNN) -> None:
        self.config = ours.config
        self.network = torchvision_network(ours.config)
        self.network.load_state_dict({torchvision_name(name): value for name, value in ours.state_dict().items()})

    def losses(self, images: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """torchvision's own; it knows no regions to ignore, so crowds are left out as its training scripts do."""
        plain = [
            {"boxes": target["boxes"], "labels": target["labels"], "masks": target["masks"].to_bitmaps().byte()}
            for target in targets
        ]
        return self.network([image / 255 for image in images], plain)

    @torch.no_grad()
    def predict(self, images: list[Tensor], *, batch_size: int) -> list[TorchvisionDetections]:
        """Detections of a batch, masks pasted by torchvision."""
        self.network.eval()
        found = self.network([image / 255 for image in images])
        return [
            TorchvisionDetections(self.config, tuple(image.shape[-2:]), **result)
            for image, result in zip(images, found, strict=True)
        ]


@dataclass(frozen=True)
class TorchvisionDetections:
    """torchvision's result for an image, with what the evaluator reads of our ``Detections``."""

    config: MaskRCNNConfig
    image_size: tuple[int, ...]
    boxes: Tensor
    labels: Tensor  # from 1
    scores: Tensor
    masks: Tensor  # float [N, 1, H, W]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.config.class_names

    @property
    def has_masks(self) -> bool:
        return True

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        return ()

    @property
    def names(self) -> list[str]:
        return [self.class_names[label - 1] for label in self.labels.tolist()]

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        x1, y1, x2, y2 = self.boxes.unbind(dim=1)
        sides = torch.stack([x1, y1, x2 - x1, y2 - y1], dim=1).tolist()
        bitmaps = (self.masks[:, 0] > 0.5).numpy()
        return [
            {
                "image_id": image_id,
                "category_id": self.config.category_ids[label - 1],
                "bbox": box,
                "score": score,
                "segmentation": encode_rle(np.asarray(bitmap)),
            }
            for label, box, score, bitmap in zip(
                self.labels.tolist(), sides, self.scores.tolist(), bitmaps, strict=True
            )
        ]
