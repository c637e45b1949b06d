"""Matterport's profile at the smallest size, and boxes in its order."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.models import MaskRCNNConfig
from fastmrcnn.models.presets import matterport_resnet_fpn


def swapped(boxes: Any) -> Tensor:
    """y1, x1, y2, x2 as x1, y1, x2, y2 and back, float64."""
    return torch.as_tensor(np.asarray(boxes), dtype=torch.float64)[..., [1, 0, 3, 2]]


def small_config(**input_fields: Any) -> MaskRCNNConfig:
    """The preset at 8 channels and a frame of 128 px."""
    config = matterport_resnet_fpn(["disc", "box"], depth=50)
    assert config.box_head is not None
    assert config.mask_head is not None
    return dataclasses.replace(
        config,
        input=dataclasses.replace(config.input, min_size=96, max_size=128, **input_fields),
        backbone=dataclasses.replace(config.backbone, width=8),
        fpn=dataclasses.replace(config.fpn, channels=8),
        rpn=dataclasses.replace(config.rpn, channels=8, post_nms_train=60, post_nms_test=60),
        box_head=dataclasses.replace(config.box_head, hidden=16, score_threshold=0.0, detections=20),
        mask_head=dataclasses.replace(config.mask_head, channels=8),
    )


def random_boxes(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Normalised y1, x1, y2, x2 within a frame of ``size``, of all extents."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0, 1, (count, 2)) ** 2
    corner = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=1)
