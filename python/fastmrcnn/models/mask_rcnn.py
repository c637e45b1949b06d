"""Mask R-CNN (He et al. 2017), assembled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.models import padding
from fastmrcnn.models.as_detections import as_detections
from fastmrcnn.models.box_frame import BoxFrame
from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.detector import Detector
from fastmrcnn.models.fpn import FPN
from fastmrcnn.models.instances import ImageBatch, PaddedInstances, Targets
from fastmrcnn.models.random_numbers import random_of_images
from fastmrcnn.models.resnet import ResNet
from fastmrcnn.models.roi_heads import RoIHeads
from fastmrcnn.models.rpn import RegionProposalNetwork, RPNPrediction
from fastmrcnn.models.targets import check_images, check_targets
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.ops import PaddedProposals
from fastmrcnn.structures import Detections


class MaskRCNN(Detector):
    """ResNet, feature pyramid, region proposals, boxes, masks and keypoints, or as many of these parts as the
    configuration has.

    In training mode ``model(images, targets)`` returns the losses of its parts; in evaluation mode ``model(images)``
    returns a :class:`~fastmrcnn.structures.Detections` for each image. Without a box head these are the proposals, as
    objects of the first class.

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
        self.backbone = ResNet(config.backbone, 3 if config.neck == "c4" else 4, config.input.channels)
        self.fpn = FPN(config.backbone.stage_channels, config.fpn) if config.neck == "fpn" else None
        self.frame = BoxFrame.of(config)
        self.rpn = RegionProposalNetwork(config.feature_channels, config.feature_strides, config.rpn, self.frame)
        self.roi_heads = None if config.box_head is None else RoIHeads(config)
        if config.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """The losses (training mode) or the detections (evaluation mode) of a batch.

        Args:
            images: [C, H, W] each, RGB unless ``config.input`` has other channels, float in 0..1 or uint8; sizes may
                differ, and they may be on any device.
            targets: for each image a mapping of ``boxes`` [M, 4] float (x1, y1, x2, y2, px of the image),
                ``labels`` [M] int64 (1..number of classes) and ``masks`` [M, H, W] bool or uint8, or
                ``ops.InstanceMasks``, of which no bitmap is made. M may be 0. Masks may be left out where the model has
                no mask head; one with a keypoint head needs ``keypoints`` [M, K, 3] float: x, y, and the visibility,
                0 where a keypoint is not labelled.
                Optionally ``ignore`` [R, 4] float: regions, such as COCO's crowds, whose insides are not taught as
                background (:func:`fastmrcnn.ops.match_boxes`). Not used in evaluation mode.
            seeds: one for each image, in training mode: what is drawn at random for it (its size, the anchors and RoIs
                of its losses) is then a function of its seed, whatever images it comes with. None: torch's default
                generators, one image after the other.

        Returns:
            In training mode a dict of scalars: ``loss_classifier``, ``loss_box_reg``, ``loss_mask``,
            ``loss_keypoint``, ``loss_objectness``, ``loss_rpn_box_reg``, but for those of parts that the model does
            not have. In evaluation mode a list of ``Detections``.

        Raises:
            ValueError: targets missing in training mode, or shapes, dtypes, boxes or labels that do not fit (of targets
                on a GPU only shapes and dtypes are checked: the host waits for nothing).
        """
        check_images(images, self.config.input.channels)
        if self.training:
            check_targets(targets, images, self.config)
            assert targets is not None
            return self.losses(images, targets, seeds)
        return self.detect(images)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """The maps that proposals and heads read, at the strides ``config.feature_strides``. pixels: [B, C, H, W]."""
        stages: list[Tensor] = self.backbone(pixels)
        return stages[-1:] if self.fpn is None else self.fpn(stages)

    def losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]],
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of a batch."""
        random = random_of_images(seeds, len(images))
        batch = self.transform(images, random)
        objects = self.transform.targets(targets, batch, random)
        features = self.features(batch.pixels)
        prediction, proposals = self.rpn(features, batch.padded_size, batch.image_sizes)
        return self._losses_of(features, prediction, proposals, objects)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """The detections of a batch, in pixels of the original images; waits for a GPU once, at the end."""
        return self.detect_prepared(self.transform(images), images)

    def detect_prepared(self, batch: ImageBatch, images: Sequence[Tensor]) -> list[Detections]:
        """:meth:`detect` in what ``self.transform`` has made of ``images``."""
        packed = padding.reading_is_free(self.transform.mean)
        found = self.detect_batch(batch.pixels, batch.image_sizes, packed=packed)
        return as_detections(self.frame.restore(found, batch), self.config, batch.original_sizes, images)

    def losses_and_detections(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]],
        seeds: Sequence[int] | None = None,
    ) -> tuple[dict[str, Tensor], list[Detections]]:
        """The losses of a batch in evaluation mode beside its detections, from the same features and the same outputs
        of the RPN.

        Detections are those of :meth:`detect`, to the bit. Losses are those of training but for what evaluation mode
        changes: images have their one size, and batch norms use their running statistics, and keep them.

        Args:
            images, targets, seeds: as :meth:`forward` takes them.

        Raises:
            ValueError: the model is in training mode; the errors of :meth:`forward`.

        >>> from fastmrcnn.models import tiny
        >>> model = MaskRCNN(tiny(["coin"])).eval()
        >>> coin = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
        >>> with torch.inference_mode():
        ...     losses, [found] = model.losses_and_detections(
        ...         [torch.rand(3, 64, 96)], [coin | {"masks": torch.ones(1, 64, 96, dtype=torch.bool)}], seeds=[0]
        ...     )
        >>> sorted(losses)[:2], found.image_size
        (['loss_box_reg', 'loss_classifier'], (64, 96))
        """
        if self.training:
            raise ValueError("MaskRCNN.losses_and_detections: the model must be in evaluation mode: call .eval()")
        check_images(images, self.config.input.channels)
        check_targets(targets, images, self.config)
        random = random_of_images(seeds, len(images))
        batch = self.transform(images)
        objects = self.transform.targets(targets, batch, random)
        features = self.features(batch.pixels)
        prediction, proposals = self.rpn(features, batch.padded_size, batch.image_sizes)
        packed = padding.reading_is_free(self.transform.mean)
        found = self.frame.restore(self._detect_among(features, proposals, batch.image_sizes, packed=packed), batch)
        more = self.rpn.propose(prediction, self.frame.proposal_limits(batch.image_sizes), training=True)
        losses = self._losses_of(features, prediction, more, objects)
        return losses, as_detections(found, self.config, batch.original_sizes, images)

    def _losses_of(
        self,
        features: Sequence[Tensor],
        prediction: RPNPrediction,
        proposals: PaddedProposals,
        objects: Sequence[Targets],
    ) -> dict[str, Tensor]:
        first_stage = self.rpn.losses(prediction, objects)
        if self.roi_heads is None:
            return first_stage
        return self.roi_heads.losses(features, proposals, objects) | first_stage

    def detect_padded(self, images: Sequence[Tensor]) -> PaddedInstances:
        """:meth:`detect` without waiting for a GPU: as many slots as there may be detections, and their number.

        Boxes and keypoints are in pixels of the original images; labels count from 1. With ``box_head.nms`` "mask"
        these are the candidates: masks are compared on the host, by :meth:`detect`.
        """
        batch = self.transform(images)
        return self.frame.restore(self.detect_batch(batch.pixels, batch.image_sizes), batch)

    def in_precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Where the parts of the network compute as the whole does, for who calls them one by one."""
        return nullcontext()

    def detect_batch(self, pixels: Tensor, image_sizes: Tensor, *, packed: bool = False) -> PaddedInstances:
        """Detect in images that are normalised, resized and padded already, as ``self.transform`` makes them.

        All shapes follow from those of the arguments, so this is what ``torch.compile``, ``torch.export`` and CUDA
        graphs take (:mod:`fastmrcnn.models.fixed_capacity`). The model must be in evaluation mode.

        Args:
            pixels: [B, C, H, W] float, H and W multiples of ``config.input.size_divisor``.
            image_sizes: [B, 2] int64 on the device of the pixels, (height, width) of each image in its frame.
            packed: leave empty slots out of the heads' work; gives the same, is faster on a CPU and waits for a GPU.

        Returns:
            Boxes in pixels of the frame; labels count from 1.
        """
        features = self.features(pixels)
        _, proposals = self.rpn(features, (pixels.shape[-2], pixels.shape[-1]), image_sizes)
        return self._detect_among(features, proposals, image_sizes, packed=packed)

    def _detect_among(
        self, features: Sequence[Tensor], proposals: PaddedProposals, image_sizes: Tensor, *, packed: bool
    ) -> PaddedInstances:
        """The second stage, or the proposals themselves where there is none."""
        if self.roi_heads is None:
            labels = padding.is_filled(proposals.counts, proposals.boxes.shape[1]).long()
            boxes = self.frame.leave_slots(proposals.boxes, proposals.counts)
            return self.frame.cut_off(PaddedInstances(boxes, proposals.scores, labels, proposals.counts), image_sizes)
        return self.roi_heads.detect(features, proposals, image_sizes, packed=packed)
