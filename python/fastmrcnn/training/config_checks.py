"""What options of a training run can be, each by itself and together; everything else is a ``UserError``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from fastmrcnn.errors import UserError
from fastmrcnn.training.architectures import check_architecture

if TYPE_CHECKING:
    from fastmrcnn.training.config import TrainConfig

_SHARES = (
    "momentum",
    "lr_decay",
    "ema",
    "horizontal_flip",
    "vertical_flip",
    "color_jitter",
    "random_crop",
    "copy_paste",
    "repeat_threshold",
)

_AT_LEAST = {
    "batch_size": 1,
    "accumulate": 1,
    "steps": 1,
    "channels": 1,
    "white_level": 1,
    "min_size": 16,
    "max_size": 16,
    "jitter_size": 16,
    "weight_decay": 0,
    "warmup_steps": 0,
    "gradient_clip": 0,
    "seed": 0,
    "workers": 0,
    "threads": 0,
    "evaluate_every": 0,
    "patience": 0,
    "checkpoint_every": 0,
    "keep_checkpoints": 1,
    "shown_images": 0,
}


def check_config(config: TrainConfig) -> None:
    """``UserError`` naming the option that cannot work."""
    _check_choices(config)
    _check_start(config)
    _check_numbers(config)
    _check_augmentation(config)


def _check_choices(config: TrainConfig) -> None:
    for name, hint in get_type_hints(type(config)).items():
        for kind in (hint, *get_args(hint)):  # itself, or a part of a union
            value, choices = getattr(config, name), get_args(kind)
            if get_origin(kind) is Literal and value is not None and value not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _check_start(config: TrainConfig) -> None:
    if config.weights is not None and config.model is not None:
        raise UserError(
            f"weights and model exclude each other: a weights file knows its own architecture; "
            f"got weights={config.weights!r} and model={config.model!r}"
        )
    if config.model is not None:
        check_architecture(config.model)
    if config.backbone is not None and config.model is None:
        raise UserError(f"backbone needs a model to put it into; got backbone={config.backbone!r} and no model")
    if config.norm is not None and config.model is None:
        raise UserError(f"norm needs a model to build: weights have their own; got norm={config.norm!r} and no model")
    if config.patience and not (config.evaluate_every and config.eval_annotations):
        raise UserError(
            f"patience needs evaluations on the way: expected eval_annotations and evaluate_every; "
            f"got {config.eval_annotations} and {config.evaluate_every}"
        )


def _check_numbers(config: TrainConfig) -> None:
    if config.frozen_stages is not None and not 0 <= config.frozen_stages <= 5:
        raise UserError(f"frozen_stages must be in 0..5; got {config.frozen_stages}")
    for name, smallest in _AT_LEAST.items():
        value = getattr(config, name)
        if value is not None and not (value >= smallest and math.isfinite(value)):
            raise UserError(f"{name} must be at least {smallest}; got {value}")
    if config.white_level is not None and config.white_level >= 2**16:
        raise UserError(f"white_level must be a number of 16 bits, below 65536; got {config.white_level}")
    if config.seed >= 2**63:  # what torch.manual_seed takes
        raise UserError(f"seed must be below 2^63; got {config.seed}")
    for name in ("epochs", "learning_rate", "anchor_scale"):
        if not (getattr(config, name) > 0 and math.isfinite(getattr(config, name))):
            raise UserError(f"{name} must be above 0; got {getattr(config, name)}")
    for name in _SHARES:
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"{name} must be in 0..1; got {getattr(config, name)}")
    if config.optimizer == "adamw" and config.momentum == 1:
        raise UserError(f"momentum must be below 1 with optimizer adamw, whose beta1 it is; got {config.momentum}")
    if config.batch_size % config.accumulate:
        raise UserError(f"accumulate must divide batch_size {config.batch_size}; got {config.accumulate}")
    if not all(0 < ratio < math.inf for ratio in config.anchor_ratios):
        raise UserError(f"anchor_ratios must be above 0; got {config.anchor_ratios}")
    if not all(0 < sigma < math.inf for sigma in config.keypoint_sigmas):
        raise UserError(f"keypoint_sigmas must be above 0; got {config.keypoint_sigmas}")
    if not all(0 < fraction < 1 for fraction in config.lr_milestones):
        raise UserError(f"lr_milestones must be fractions of the run in 0..1; got {config.lr_milestones}")


def _check_augmentation(config: TrainConfig) -> None:
    if not 0 <= config.hue_jitter <= 0.5:
        raise UserError(f"hue_jitter must be in 0..0.5; got {config.hue_jitter}")
    if not all(size >= _AT_LEAST["min_size"] for size in config.train_min_sizes):
        raise UserError(f"train_min_sizes must be at least {_AT_LEAST['min_size']} each; got {config.train_min_sizes}")
    sides, scales = config.crop_sides, config.large_scale_jitter
    if not (len(sides) == 2 and 0 < sides[0] <= sides[1] <= 1):
        raise UserError(f"crop_sides must be two shares in 0..1, the smaller one first; got {sides}")
    if scales and not (len(scales) == 2 and 0 < scales[0] <= scales[1] < math.inf):
        raise UserError(f"large_scale_jitter must be two scales above 0, the smaller one first; got {scales}")
    if scales and config.train_min_sizes:
        raise UserError(
            f"large_scale_jitter and train_min_sizes exclude each other: both draw the size of an image; "
            f"got {scales} and {config.train_min_sizes}"
        )
