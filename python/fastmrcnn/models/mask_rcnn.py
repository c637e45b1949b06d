"""Mask R-CNN (He et al. 2017), assembled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from fastmrcnn.structures import Detections

from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.fpn import FPN
from fastmrcnn.models.resnet import ResNet
from fastmrcnn.models.roi_heads import RoIHeads
from fastmrcnn.models.rpn import RegionProposalNetwork
from fastmrcnn.models.targets import check_images, check_targets
from fastmrcnn.models.transform import InputTransform, scale_boxes


class MaskRCNN(nn.Module):
    """ResNet, feature pyramid, region proposals, boxes and masks.

    In training mode ``model(images, targets)`` returns the five losses; in evaluation mode ``model(images)`` returns a
    :class:`~fastmrcnn.structures.Detections` for each image.

    >>> from fastmrcnn.models import tiny
    >>> model = MaskRCNN(tiny(["coin"])).eval()
    >>> [found] = model([torch.rand(3, 64, 96)])
    >>> found.image_size
    (64, 96)
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.transform = InputTransform(config.input)
        self.backbone = ResNet(config.backbone)
        self.fpn = FPN(config.backbone.stage_channels, config.fpn)
        self.rpn = RegionProposalNetwork(config.fpn.channels, config.rpn)
        self.roi_heads = RoIHeads(config)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """The losses (training mode) or the detections (evaluation mode) of a batch.

        Args:
            images: [3, H, W] each, float in 0..1 or uint8, sizes may differ; they may be on any device.
            targets: for each image a mapping of ``boxes`` [M, 4] float (x1, y1, x2, y2, px of the image), ``labels`` [M]
                int64 (1..number of classes) and ``masks`` [M, H, W] bool or uint8. M may be 0. Ignored in evaluation mode.

        Returns:
            In training mode a dict of scalars: ``loss_classifier``, ``loss_box_reg``, ``loss_mask``,
            ``loss_objectness``, ``loss_rpn_box_reg``. In evaluation mode a list of ``Detections``.

        Raises:
            ValueError: targets missing in training mode, or shapes, dtypes or labels that do not fit.
        """
        check_images(images)
        if self.training:
            check_targets(targets, images, self.config.num_classes)
            assert targets is not None
            return self.losses(images, targets)
        return self.detect(images)

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The five losses of a batch."""
        batch = self.transform(images)
        objects = self.transform.targets(targets, batch)
        features = self.fpn(self.backbone(batch.pixels))
        prediction, proposals = self.rpn(batch, features)
        first_stage = self.rpn.losses(prediction, objects)
        return self.roi_heads.losses(features, proposals, objects) | first_stage

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """The detections of a batch, in pixels of the original images."""
        batch = self.transform(images)
        features = self.fpn(self.backbone(batch.pixels))
        _, proposals = self.rpn(batch, features)
        instances, masks = self.roi_heads.detect(features, proposals, batch.sizes)
        return [
            Detections(
                boxes=scale_boxes(found.boxes, size, original),
                scores=found.scores,
                labels=found.labels - 1,
                mask_probs=mask,
                image_size=original,
                class_names=self.config.class_names,
                category_ids=self.config.category_ids,
                paste_method=self.config.mask_head.paste,
                source=image,
            )
            for found, mask, size, original, image in zip(
                instances, masks, batch.sizes, batch.original_sizes, images, strict=True
            )
        ]
