"""Published schedules on COCO, as options of a run.

What detectron2 counts in steps is kept in passes over train2017, so that a recipe suits other data sets too: over its
118,287 images, each has exactly the published number of steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastmrcnn.errors import UserError

__all__ = ["RECIPES", "Recipe", "recipe_options"]

TRAIN2017 = 118_287  # images

_SIZES = (640, 672, 704, 736, 768, 800)
_D2 = "https://github.com/facebookresearch/detectron2/blob/main"


@dataclass(frozen=True)
class Recipe:
    """A schedule that somebody has published, and what it gave."""

    # Fields of TrainConfig.
    options: Mapping[str, Any]
    # Where its figures are from.
    source: str
    # Percent on val2017, as published for the model in ``options``; None where no source was at hand.
    box_ap: float | None = None
    mask_ap: float | None = None

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        return int(self.options["batch_size"])


def _schedule(length: int, milestones: tuple[int, ...]) -> dict[str, Any]:
    """SGD whose rate is divided by ten at each of ``milestones``, counted as ``length`` is."""
    return {
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "steps",
        "lr_milestones": tuple(milestone / length for milestone in milestones),
        "lr_decay": 0.1,
        "gradient_clip": 0.0,
        "horizontal_flip": 0.5,
    }


def _multi_scale(steps: int, milestones: tuple[int, ...]) -> dict[str, Any]:
    """Wu et al.'s schedules "1x", "3x": 16 images a step, several sizes, a backbone trained on ImageNet by MSRA."""
    return _schedule(steps, milestones) | {
        "epochs": steps * 16 / TRAIN2017,
        "batch_size": 16,
        "model": "detectron2/mask_rcnn_R_50_FPN",
        "backbone": "detectron2/R-50",
        "min_size": 800,
        "max_size": 1333,
        "train_min_sizes": _SIZES,
        "aspect_grouping": True,
        "learning_rate": 0.02,
        "weight_decay": 1e-4,
        "warmup_steps": 1000,
    }


def _large_scale_jitter(length: int, milestones: tuple[int, ...]) -> dict[str, Any]:
    """Ghiasi et al. 2021: 64 images a step, scaled by 0.1 to 2 and cut or padded to 1024 pixels; random weights."""
    return _schedule(length, milestones) | {
        "batch_size": 64,
        "large_scale_jitter": (0.1, 2.0),
        "jitter_size": 1024,
        "learning_rate": 0.1,
        "weight_decay": 4e-5,
    }


RECIPES = {
    "coco-1x": Recipe(
        _multi_scale(90_000, (60_000, 80_000)),
        source=f"{_D2}/configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        box_ap=38.6,
        mask_ap=35.2,
    ),
    "coco-3x": Recipe(
        _multi_scale(270_000, (210_000, 250_000)),
        source=f"{_D2}/configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
        box_ap=41.0,
        mask_ap=37.2,
    ),
    "coco-lsj-100ep": Recipe(
        _large_scale_jitter(184_375, (163_889, 177_546))
        | {
            "epochs": 184_375 * 64 / TRAIN2017,
            "model": "detectron2/mask_rcnn_R_50_FPN_LSJ",
            "warmup_steps": 500,
            "precision": "fp16",
        },
        source=f"{_D2}/configs/new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py",
    ),
    "coco-lsj-400ep": Recipe(
        _large_scale_jitter(400, (352, 384))  # epochs
        | {"epochs": 400.0, "model": "torchvision/maskrcnn_resnet50_fpn_v2", "warmup_steps": 1000},
        source="https://github.com/pytorch/vision/pull/5773",
        box_ap=47.4,
        mask_ap=41.8,
    ),
}


def recipe_options(name: str, batch_size: int | None = None, chosen: Collection[str] = ()) -> dict[str, Any]:
    """The fields of ``TrainConfig`` that a recipe sets.

    Args:
        name: one of :data:`RECIPES`.
        batch_size: images per step where it is not to be the published one: the learning rate then goes in proportion
            (the linear scaling rule of Goyal et al. 2017), and the warm-up shows as many images.
        chosen: fields that the user has set. Their own values are the user's business; with other ``weights`` or
            another ``model``, the recipe's model and backbone are left out; with another ``min_size``, its drawn sizes.

    Raises:
        UserError: no recipe has this name; a batch size below 1.

    >>> recipe_options("coco-1x", batch_size=4)["learning_rate"]
    0.005
    """
    if name not in RECIPES:
        raise UserError(f"recipe must be one of {', '.join(RECIPES)}; got {name!r}")
    recipe = RECIPES[name]
    options = dict(recipe.options)
    if batch_size is not None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1; got {batch_size}")
        scale = batch_size / recipe.batch_size
        options["batch_size"] = batch_size
        options["learning_rate"] *= scale
        options["warmup_steps"] = round(options["warmup_steps"] / scale)
    if {"weights", "model"} & set(chosen):
        for field in ("model", "backbone"):
            options.pop(field, None)
    if "min_size" in chosen:
        options.pop("train_min_sizes", None)
    return options
