"""Mask R-CNN (He et al. 2017), assembled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.fpn import FPN
from fastmrcnn.models.predict import detect_sources, is_single_image
from fastmrcnn.models.resnet import ResNet
from fastmrcnn.models.roi_heads import RoIHeads
from fastmrcnn.models.rpn import RegionProposalNetwork
from fastmrcnn.models.targets import check_images, check_targets
from fastmrcnn.models.transform import InputTransform, scale_boxes
from fastmrcnn.structures import Detections, ImageSource


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
        if config.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Any]] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """The losses (training mode) or the detections (evaluation mode) of a batch.

        Args:
            images: [3, H, W] each, float in 0..1 or uint8, sizes may differ; they may be on any device.
            targets: for each image a mapping of ``boxes`` [M, 4] float (x1, y1, x2, y2, px of the image),
                ``labels`` [M] int64 (1..number of classes) and ``masks`` [M, H, W] bool or uint8, or
                ``ops.InstanceMasks``, of which no bitmap is made. M may be 0.
                Optionally ``ignore`` [R, 4] float: regions, such as COCO's crowds, whose insides are not taught as
                background (:func:`fastmrcnn.ops.match_boxes`). Not used in evaluation mode.

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

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
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

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is also an iterable of strings
        self, images: ImageSource, *, score_threshold: float | None = None, batch_size: int = 1
    ) -> Detections: ...

    @overload
    def predict(
        self, images: Iterable[ImageSource], *, score_threshold: float | None = None, batch_size: int = 1
    ) -> list[Detections]: ...

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
    ) -> Detections | list[Detections]:
        """Detect in one image or in many, whatever form they have and whatever mode the model is in.

        Args:
            images: a path, a Pillow image, a numpy array [H, W, 3] uint8 or a tensor [3, H, W] (uint8, or float in
                0..1), see :func:`~fastmrcnn.structures.as_image_tensor`; or an iterable of such, read batch by batch.
            score_threshold: drop detections below it; None keeps those above the configuration's threshold.
            batch_size: images that go through the network together. With 1, an image gives the same detections in any
                company; more is faster on a GPU, but the padding to a common size then shifts scores a little.

        Returns:
            ``Detections`` on the CPU for one image, a list of them for an iterable.

        Raises:
            UserError: an image that is missing, does not decode or is no image.

        >>> model.predict("street.jpg", score_threshold=0.7).names  # doctest: +SKIP
        ['person', 'dog']
        """
        if batch_size < 1:
            raise ValueError(f"predict: batch_size must be at least 1; got {batch_size}")
        if is_single_image(images):
            return next(detect_sources(self, [cast(ImageSource, images)], score_threshold, 1))
        return list(detect_sources(self, cast(Iterable[ImageSource], images), score_threshold, batch_size))
