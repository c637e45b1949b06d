"""What the components check of their fields; every error names the component, the field and the value found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

MOST_LAYERS = 1000  # far beyond any network: a damaged file that asks for more would take all memory


def require(condition: bool, component: object, expectation: str, got: object) -> None:
    """ValueError where a field is not as expected."""
    if not condition:
        raise ValueError(f"{type(component).__name__}: {expectation}; got {got!r}")


def require_positive(component: object, **values: float) -> None:
    """Each of the named values must be above zero, and finite."""
    for name, value in values.items():
        require(value > 0, component, f"{name} must be positive", value)
        require(value < math.inf, component, f"{name} must be finite", value)


def require_not_negative(component: object, **values: float) -> None:
    """None of the named values may be below zero, or infinite."""
    for name, value in values.items():
        require(value >= 0, component, f"{name} must be >= 0", value)
        require(value < math.inf, component, f"{name} must be finite", value)


def require_layers(component: object, least: int = 0, **values: int) -> None:
    """Each of the named numbers of layers must be one that a network can have."""
    for name, value in values.items():
        expectation = f"{name} must be positive" if least else f"{name} must be >= 0"
        require(value >= least, component, expectation, value)
        require(value <= MOST_LAYERS, component, f"{name} must be <= {MOST_LAYERS}", value)


def require_fraction(component: object, **values: float) -> None:
    """Each of the named values must lie in 0..1."""
    for name, value in values.items():
        require(0.0 <= value <= 1.0, component, f"{name} must lie in 0..1", value)


def require_choice(component: object, literal: Any, **values: object) -> None:
    """Each of the named values must be one of those of a ``Literal``."""
    choices = get_args(literal)
    listed = ", ".join(str(choice) for choice in choices[:-1]) + f" or {choices[-1]}"
    for name, value in values.items():
        require(value in choices, component, f"{name} must be {listed}", value)


def require_norm_groups(component: object, norm: str, **channels: int) -> None:
    """With "gn32", each of the named numbers of channels must fall into 32 groups."""
    for name, value in channels.items():
        fits = norm != "gn32" or value % 32 == 0
        require(fits, component, f"{name} must leave a multiple of 32 channels for the norm gn32", value)


def require_matching(component: Any) -> None:
    """The thresholds and the sample of a stage that matches boxes to objects (RPN, box head)."""
    require_fraction(
        component,
        foreground_iou=component.foreground_iou,
        background_iou=component.background_iou,
        positive_fraction=component.positive_fraction,
        nms_iou=component.nms_iou,
        score_threshold=component.score_threshold,
    )
    expectation = f"background_iou must be <= foreground_iou {component.foreground_iou}"
    require(component.background_iou <= component.foreground_iou, component, expectation, component.background_iou)
    share = component.ignore_overlap
    require(share is None or 0 < share <= 1, component, "ignore_overlap must lie in (0, 1] or be None", share)
    require_positive(component, samples=component.samples)
    for weight in component.box_weights:
        require_positive(component, box_weights=weight)
    require(
        component.delta_clip is None or component.delta_clip > 0,
        component,
        "delta_clip must be positive or None",
        component.delta_clip,
    )
    require_not_negative(component, smooth_l1_beta=component.smooth_l1_beta, min_box_size=component.min_box_size)


def as_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """A tuple of class names; ValueError for a single string, which would pass for a list of its letters."""
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ValueError(f"class_names must be a sequence of strings; got {class_names!r}")
    return tuple(class_names)
