"""The smallest models and inputs that still pass through every stage, for fast tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.models import BackboneConfig, FPNConfig, InputConfig, MaskRCNN, MaskRCNNConfig, tiny


def small_config(**changes: Any) -> MaskRCNNConfig:
    """``tiny`` with 8 channels everywhere; ``changes`` maps a part to the fields to replace in it, or to another."""
    config = dataclasses.replace(
        tiny(["disc", "box"], [7, 3]),
        input=InputConfig(min_size=64, max_size=128, enlarge=False),
        backbone=BackboneConfig(depth=18, width=8, norm="bn"),
        fpn=FPNConfig(channels=8),
    )
    changes = {"box_head": {"hidden": 16}, "mask_head": {"channels": 8}} | changes
    parts = {
        name: dataclasses.replace(getattr(config, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return dataclasses.replace(config, **parts)


def small_model(**changes: Any) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(small_config(**changes))


def images_of(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def target_of(image: Tensor, boxes: list[list[int]], labels: list[int]) -> dict[str, Tensor]:
    """Rectangular objects that fill their boxes, given in whole pixels."""
    masks = torch.zeros(len(boxes), *image.shape[-2:], dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": masks,
    }
