"""Masks as polygons with holes: the outlines of their pixels, found from run lengths without a bitmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.ops._outlines import trace_outlines
from fastmrcnn.ops._runs import ColumnRuns, split_columns
from fastmrcnn.ops.instance_masks import InstanceMasks

__all__ = ["MaskPolygon", "join_rings", "mask_polygons"]

Points = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # arrays have no one truth to compare by
class MaskPolygon:
    """A connected part of a mask.

    Attributes:
        exterior: `[V, 2]` int64, x and y in pixels, pixel i covering i to i + 1: the outline, clockwise as seen on a
            screen. The last point is joined to the first.
        holes: likewise, anticlockwise.
    """

    exterior: Points
    holes: tuple[Points, ...] = ()

    @property
    def rings(self) -> list[Points]:
        """The exterior and the holes."""
        return [self.exterior, *self.holes]


def mask_polygons(masks: InstanceMasks, tolerance: float = 0.0) -> list[list[MaskPolygon]]:
    """The polygons of each mask, along the edges of its pixels.

    Pixels that meet at a corner alone belong to different polygons, and no ring meets a point twice: these are valid
    geometries to OGC's rules, and their area is that of the mask. COCO's rasteriser (`InstanceMasks.from_coco`), and
    any other that asks for the centres of pixels, gives the same pixels back.

    Args:
        masks: of G objects; polygons among them become pixels first.
        tolerance: how many pixels the outline may move for the sake of fewer points (Douglas and Peucker, 1973); 0
            keeps every corner, 1 makes straight what was drawn straight. A ring that would vanish stays as it is.
            Simplified rings may touch and cross.

    Returns:
        For each mask its connected parts, from left to right; none for an empty mask.

    Raises:
        ValueError: the tolerance is negative or no number.

    Example:
        >>> masks = InstanceMasks.from_coco([{"size": [2, 4], "counts": [0, 3, 3, 2]}], 2, 4)  # an L and a column
        >>> [polygon.exterior.tolist() for polygon in mask_polygons(masks)[0]]
        [[[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], [[3, 0], [4, 0], [4, 2], [3, 2]]]
    """
    if not tolerance >= 0:
        raise ValueError(f"mask_polygons: tolerance must be at least 0; got {tolerance}")
    runs = masks.to_runs().to("cpu")
    columns = split_columns(runs.transitions.numpy(), runs.object_transitions.numpy(), masks.height, masks.width)
    bounds = np.searchsorted(columns.column, np.arange(len(masks) + 1) * masks.width)
    polygons = []
    for mask, (begin, end) in enumerate(pairwise(bounds.tolist())):
        part = slice(begin, end)
        own = ColumnRuns(columns.column[part] - mask * masks.width, columns.begin[part], columns.end[part])
        polygons.append(
            [
                MaskPolygon(
                    _simplified(outline.exterior, tolerance),
                    tuple(_simplified(hole, tolerance) for hole in outline.holes),
                )
                for outline in trace_outlines(own)
            ]
        )
    return polygons


def join_rings(rings: Sequence[Points]) -> Points:
    """One ring that covers what several do together, by the rule of even and odd, for formats with nothing else.

    From the point of what is joined so far that is nearest to the next ring's leftmost one, a cut of no width leads
    there, and back when the ring is walked around. Rasterisers that ask for the centres of pixels do not see it.

    Args:
        rings: `[V, 2]` each, x and y: the exterior and the holes of a polygon, or all those of several that do not
            overlap.

    Raises:
        ValueError: there is no ring.

    Example:
        >>> frame = InstanceMasks.from_coco([{"size": [3, 3], "counts": [0, 4, 1, 4]}], 3, 3)
        >>> [polygon] = mask_polygons(frame)[0]
        >>> join_rings(polygon.rings).tolist()
        [[0, 0], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [0, 0], [3, 0], [3, 3], [0, 3]]
    """
    if not rings:
        raise ValueError("join_rings: expected at least one ring; got none")
    joined = rings[0]
    for ring in rings[1:]:
        first = int(np.argmin(ring[:, 0]))
        way = (joined - ring[first]).astype(np.float64)
        place = int(np.argmin(np.square(way).sum(axis=1)))
        around = np.roll(ring, -first, axis=0)
        joined = np.concatenate([joined[: place + 1], around, around[:1], joined[place:]])
    return joined


def _simplified(ring: Points, tolerance: float) -> Points:
    """The ring with fewer points; those that are left out lie no farther than the tolerance from it."""
    if tolerance == 0:
        return ring
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    far = int(np.argmax(np.square(closed - closed[0]).sum(axis=1)))
    kept = np.zeros(len(closed), dtype=np.bool_)
    kept[[0, far]] = True
    waiting = [(0, far), (far, len(ring))]  # chains of points between two that are kept
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    simple = ring[kept[:-1]]
    return simple if len(simple) > 2 else ring


def _distances(
    points: NDArray[np.float64], begin: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From the points [V, 2] to a straight line between two."""
    along = end - begin
    length = float(along @ along)
    share = np.clip((points - begin) @ along / length, 0, 1) if length else np.zeros(len(points))
    nearest = begin + share[:, None] * along
    distances: Reals = np.sqrt(np.square(points - nearest).sum(axis=1))
    return distances
