"""Keypoints over an image: a dot each, and lines between those that a body joins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from fastmrcnn.visualisation.colours import Colour, readable_on

# By name, so that they serve every data set that uses these names, with whatever other keypoints.
LIMBS = (
    *(("left_eye", "right_eye"), ("nose", "left_eye"), ("nose", "right_eye")),
    *(("left_eye", "left_ear"), ("right_eye", "right_ear")),
    *(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *(("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "left_hip"), ("right_shoulder", "right_hip")),
    *(("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("right_hip", "right_knee"), ("right_knee", "right_ankle")),
)


def limbs_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of keypoints to join by a line, as indices into ``names``.

    >>> limbs_of(["left_knee", "tail", "left_ankle"])
    [(0, 2)]
    """
    index = {name: number for number, name in enumerate(names)}
    return [(index[one], index[other]) for one, other in LIMBS if one in index and other in index]


def draw_keypoints(
    draw: ImageDraw.ImageDraw, points: np.ndarray, limbs: Sequence[tuple[int, int]], colour: Colour, width: int
) -> None:
    """The keypoints of one instance, [K, 2] x, y in pixels of the picture, and lines of this ``width`` along ``limbs``.

    What is not finite is not drawn.
    """
    # Far beyond the picture nothing is seen, and Pillow's integers overflow.
    shown = np.isfinite(points).all(axis=1) & (np.abs(points) < 1e6).all(axis=1)  # [K]
    places = [(float(x), float(y)) for x, y in np.where(shown[:, None], points, 0)]
    for one, other in limbs:
        if shown[one] and shown[other]:
            draw.line((places[one], places[other]), fill=colour, width=width)
    radius = 1.5 * width + 0.5
    for index, (x, y) in enumerate(places):
        if shown[index]:
            disc = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(disc, fill=colour, outline=readable_on(colour), width=max(1, width // 2))
