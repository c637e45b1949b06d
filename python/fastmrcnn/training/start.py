"""What a run starts from: the data sets, the model and the output folder."""

from __future__ import annotations

import dataclasses
import logging
from itertools import count
from pathlib import Path
from typing import Any

import torch

from fastmrcnn.data import InstanceDataset, measure_channels, open_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.models import BackboneConfig, InputConfig, MaskRCNN, MaskRCNNConfig
from fastmrcnn.models.config import AnchorConfig
from fastmrcnn.structures import PixelFormat
from fastmrcnn.training.architectures import architecture
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.weights import load_backbone, load_model, with_new_classes
from fastmrcnn.weights.anchors import changed_anchors, config_with_anchors, with_anchors
from fastmrcnn.weights.channels import input_for_channels, with_input

_log = logging.getLogger(__name__)

DEFAULT_WEIGHTS = "tiny"  # shipped with the package


def open_datasets(config: TrainConfig) -> tuple[InstanceDataset, InstanceDataset | None]:
    """Training data, and evaluation data whose categories must (by name) be among those of the training data."""
    train_data = open_dataset(config.train_annotations, config.train_images, format=config.data_format, split="train")
    _require_objects(train_data, config.train_annotations)
    if config.eval_annotations is None:
        return train_data, None
    images = config.eval_images or config.train_images
    eval_data = open_dataset(config.eval_annotations, images, format=config.data_format, split="val")
    unknown = [name for name in eval_data.class_names if name not in train_data.class_names]
    if unknown:
        raise UserError(
            f"{config.eval_annotations}: expected categories of {config.train_annotations} "
            f"({', '.join(train_data.class_names)}); got {', '.join(unknown)}"
        )
    _require_objects(eval_data, config.eval_annotations)
    return train_data, eval_data


def _require_objects(data: InstanceDataset, path: Path) -> None:
    if not data.has_objects():
        aside = "crowds and masks without a pixel aside"
        raise UserError(f"{path}: expected images with objects; {aside}, none of its {len(data)} has one")


def starting_model(config: TrainConfig, data: InstanceDataset, device: torch.device) -> MaskRCNN:
    """The model before the first step, for the classes of ``data``, on ``device``."""
    torch.manual_seed(config.seed)
    if config.model is not None:
        named = _architecture_for(data, config.model)
        named = config_with_anchors(named, _anchors_of(named, config))
        images, backbone = _input_of(named.input, config, data), _backbone_of(named.backbone, config)
        model = MaskRCNN(dataclasses.replace(named, input=images, backbone=backbone))
        if config.backbone is not None:
            load_backbone(model, config.backbone)
        return model.to(device)
    weights = config.weights or DEFAULT_WEIGHTS
    loaded = load_model(weights)
    fitted = with_input(loaded, _input_of(loaded.config.input, config, data), source=str(weights))
    started = with_new_classes(
        with_anchors(fitted, _anchors_of(loaded.config, config), source=str(weights)),
        data.class_names,
        data.category_ids,
        keypoint_names=_new_keypoints(loaded.config, data),
        source=str(weights),
    )
    model = MaskRCNN(dataclasses.replace(started.config, backbone=_backbone_of(started.config.backbone, config)))
    model.load_state_dict(started.state_dict())
    return model.to(device)


def _architecture_for(data: InstanceDataset, name: str) -> MaskRCNNConfig:
    """The architecture of this name for the classes, and where it finds keypoints for the keypoints, of ``data``."""
    config = architecture(name, data.class_names, data.category_ids)
    if config.keypoint_head is None or not data.keypoint_names:
        return config
    head = dataclasses.replace(config.keypoint_head, keypoint_names=data.keypoint_names)
    return dataclasses.replace(config, keypoint_head=head)


def _new_keypoints(config: MaskRCNNConfig, data: InstanceDataset) -> tuple[str, ...] | None:
    """The keypoints of ``data`` for a model that has others; None for one whose own are all among them."""
    if config.keypoint_head is None or set(config.keypoint_head.keypoint_names) <= set(data.keypoint_names):
        return None
    return data.keypoint_names or None


def _input_of(known: InputConfig, config: TrainConfig, data: InstanceDataset) -> InputConfig:
    """``known`` with what ``config`` says of images; other channels than its own are measured on those of ``data``."""
    more: dict[str, Any] = {"train_min_sizes": config.train_min_sizes} if config.train_min_sizes else {}
    if config.white_level is not None:
        more["white_level"] = config.white_level
    changed = with_sizes(known, config.min_size, config.max_size, **more)
    if config.channels in (None, known.channels):
        return changed
    data.read_pixels_as(PixelFormat(config.channels, changed.white_level))
    measured = measure_channels(data)
    _log.info("measured mean and deviation of %d channels on %d images", len(measured.mean), measured.images)
    return input_for_channels(changed, measured.mean, measured.std)


def _anchors_of(known: MaskRCNNConfig, config: TrainConfig) -> AnchorConfig:
    return changed_anchors(known.rpn.anchors, config.anchor_scale, config.anchor_ratios)


def with_sizes(known: InputConfig, min_size: int | None, max_size: int | None, **more: Any) -> InputConfig:
    """``known`` with other sides of the resized images, where they are not None, and with ``more`` of its fields.

    Where ``more`` has no ``train_min_sizes``, those of ``known`` give way to a new ``min_size``: a model
    that was trained at drawn sizes would go on at its own. Smaller images have it too, then.
    """
    sizes = {"min_size": min_size, "max_size": max_size}
    changes: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    if min_size is not None:
        changes |= {"train_min_sizes": (), "enlarge": True}
        changes.setdefault("max_size", max(known.max_size, min_size))  # a lower one would overrule the new shorter side
    elif max_size is not None:  # it bounds the shorter side of every image too
        changes["min_size"] = min(known.min_size, max_size)
        changes["train_min_sizes"] = tuple(sorted({min(size, max_size) for size in known.train_min_sizes}))
    try:
        return dataclasses.replace(known, **changes | more)
    except ValueError as error:
        raise UserError(str(error)) from None


def _backbone_of(known: BackboneConfig, config: TrainConfig) -> BackboneConfig:
    """``known`` with the normalisation and the frozen parts that ``config`` names."""
    changes: dict[str, Any] = {"norm": config.norm, "frozen_stages": config.frozen_stages}
    changes = {name: value for name, value in changes.items() if value is not None}
    if config.frozen_statistics:
        changes["frozen_statistics"] = True
    return dataclasses.replace(known, **changes)


def next_free_output(parent: Path = Path("runs")) -> Path:
    """``runs/train-1``, or the first after it that is not taken, as a new folder: of two runs that are started at the
    same time, each gets its own."""
    for number in count(1):
        folder = parent / f"train-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
        return folder
    raise AssertionError  # there is always another number
