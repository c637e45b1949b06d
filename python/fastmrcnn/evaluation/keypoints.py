"""What COCO's keypoint metric needs to know of keypoints: how precisely each can be placed, and which are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastmrcnn.data.annotations import ObjectRecord
from fastmrcnn.errors import UserError
from fastmrcnn.models.config import COCO_KEYPOINTS

# Deviation of redundant annotations of a joint, as a share of the object's scale: COCO's numbers, in the order of
# COCO_KEYPOINTS (cocodataset.org, keypoints evaluation).
_COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072),
    *(0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089),
    0.089,
)
DEFAULT_SIGMA = 0.07  # about the mean of COCO's, where nobody has measured better


def sigmas_of(names: Sequence[str], given: Sequence[float] = ()) -> list[float]:
    """The sigma of each keypoint, which says how far off it may lie: at a distance of 2 sigma times the square root of
    the object's area, the similarity of one keypoint has fallen from 1 to exp(-1/2), 0.61.

    Args:
        names: of the keypoints.
        given: theirs, where somebody has measured them. Left out: COCO's for the joints of a body by these names, 0.07
            for others.

    Raises:
        UserError: not one positive number for each keypoint is given, or any without keypoints.

    >>> sigmas_of(["nose", "tail"])
    [0.026, 0.07]
    """
    if given and not names:
        raise UserError(f"keypoint_sigmas: expected a model that finds keypoints; got {list(given)} and one without")
    if given and not (len(given) == len(names) and all(0 < sigma < math.inf for sigma in given)):
        raise UserError(
            f"keypoint_sigmas must be {len(names)} numbers above 0, for {', '.join(names)}; got {list(given)}"
        )
    known = dict(zip(COCO_KEYPOINTS, _COCO_SIGMAS, strict=True))
    return list(given) or [known.get(name, DEFAULT_SIGMA) for name in names]


def labelled_keypoints(item: ObjectRecord, columns: Sequence[int] | None, count: int) -> dict[str, Any]:
    """The ``keypoints`` of an annotation in the order of ``columns``, and how many are labelled; an object without any
    does not count."""
    if item.keypoints is None or columns is None:
        return {"keypoints": [0.0] * (3 * count), "num_keypoints": 0}
    chosen = [value for column in columns for value in item.keypoints[3 * column : 3 * column + 3]]
    return {"keypoints": chosen, "num_keypoints": sum(visibility > 0 for visibility in chosen[2::3])}
