"""Keypoints over an image, checked at the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastmrcnn.visualisation import draw_instances
from fastmrcnn.visualisation.colours import colour_of
from fastmrcnn.visualisation.keypoints import LIMBS, limbs_of

BLACK = np.zeros((60, 80, 3), np.uint8)
NOWHERE = np.zeros((1, 4)) + math.nan  # a box that is not drawn


def drawn(keypoints: object, names: tuple[str, ...] = (), zoom: int = 1) -> np.ndarray:
    picture = draw_instances(BLACK, NOWHERE, keypoints=keypoints, keypoint_names=names, zoom=zoom)
    return np.asarray(picture)


def test_a_keypoint_is_a_dot_of_the_instances_colour() -> None:
    picture = drawn([[[20.0, 30.0]]])
    assert tuple(picture[30, 20]) == colour_of(0)
    rows, columns = np.nonzero(picture.any(axis=2))
    assert 26 < rows.min() < rows.max() < 34
    assert 16 < columns.min() < columns.max() < 24


def test_limbs_are_joined_and_other_keypoints_are_not() -> None:
    points = [[[20.0, 10.0], [20.0, 50.0], [60.0, 50.0]]]
    picture = drawn(points, ("left_hip", "left_knee", "tail"))
    assert tuple(picture[30, 20]) == colour_of(0)
    assert not picture[50, 40].any()
    assert not drawn(points)[30, 20].any()  # keypoints without names


def test_what_is_not_finite_is_not_drawn() -> None:
    names = ("left_hip", "left_knee")
    for missing in ([math.nan, 50.0], [math.inf, 50.0], [1e30, 50.0]):
        picture = drawn([[[20.0, 10.0], missing]], names)
        assert np.array_equal(picture, drawn([[[20.0, 10.0]]]))


def test_zoom_moves_them_along() -> None:
    assert tuple(drawn([[[20.0, 30.0]]], zoom=3)[90, 60]) == colour_of(0)


def test_keypoints_and_boxes_must_be_as_many() -> None:
    with pytest.raises(ValueError, match=r"^draw_instances: keypoints must have 1 entries, as boxes; got 2$"):
        drawn(np.zeros((2, 1, 2)))


def test_limbs_by_name() -> None:
    assert limbs_of(["nose", "right_eye", "left_eye"]) == [(2, 1), (0, 2), (0, 1)]
    assert limbs_of(["wing"]) == []
    mirrored = {"left": "right", "right": "left"}
    both = {tuple(sorted(limb)) for limb in LIMBS}
    for limb in LIMBS:  # a body is symmetric
        other = [
            mirrored.get(name.split("_")[0], name.split("_")[0]) + name[len(name.split("_")[0]) :] for name in limb
        ]
        assert tuple(sorted(other)) in both
