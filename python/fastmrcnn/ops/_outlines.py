"""The outlines of masks, from the runs of their columns: closed rings along the edges of pixels, in numpy.

Of every run of ones the top and the bottom are horizontal edges; those that continue one another in the next column are
one. Where edges end, vertical ones join them: of the ends at one x, sorted by y, each two neighbours are the ends of a
vertical edge. What is left is to follow the edges around.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.ops._runs import ColumnRuns, Integers

__all__ = ["Outline", "trace_outlines"]


@dataclass(frozen=True)
class Outline:
    """A connected part of a mask: its outer ring and those of its holes, `[V, 2]` x and y each.

    With y pointing down the outer ring goes clockwise, holes the other way. No ring meets a point twice.
    """

    exterior: Integers
    holes: list[Integers]


@dataclass(frozen=True)
class _Edges:
    """Horizontal edges as long as they go, each from `start` to `end`, with the mask on the right hand."""

    row: Integers
    start: Integers
    end: Integers
    bottom: NDArray[np.bool_]  # the mask is above
    of_top: Integers  # the edge that is the top of each run


@dataclass(frozen=True)
class _Ring:
    points: Integers  # [V, 2]
    edges: Integers  # the horizontal ones among its edges


def trace_outlines(runs: ColumnRuns) -> list[Outline]:
    """The connected parts of a mask, from left to right; pixels that meet at a corner alone are not connected."""
    edges = _join_edges(runs)
    rings = [part for ring in _follow(edges) for part in _split(ring)]
    ring_of = np.empty(len(edges.row), dtype=np.int64)
    for number, ring in enumerate(rings):
        ring_of[ring.edges] = number
    areas = np.bincount(ring_of, weights=edges.row * (edges.start - edges.end))  # negative where it is a hole
    found = {number: Outline(rings[number].points, []) for number in np.flatnonzero(areas > 0).tolist()}
    part_of = {number: number for number in found}
    # The run above a hole begins at the outer ring, or at the bottom of another hole, which lies higher.
    holes = np.flatnonzero(areas < 0).tolist()
    for number in sorted(holes, key=lambda number: int(rings[number].points[:, 1].min())):
        above = ring_of[edges.of_top[_run_above(rings[number], edges, runs)]]
        part_of[number] = part_of[int(above)]
        found[part_of[number]].holes.append(rings[number].points)
    return list(found.values())


def _join_edges(runs: ColumnRuns) -> _Edges:
    count = runs.column.size
    row, column = np.concatenate([runs.begin, runs.end]), np.tile(runs.column, 2)
    bottom = np.repeat([False, True], count)
    order = np.lexsort((column, bottom, row))
    row, column, bottom = row[order], column[order], bottom[order]
    continues = (np.diff(row) == 0) & (np.diff(column) == 1) & (bottom[1:] == bottom[:-1])
    first = np.concatenate([np.ones(min(count, 1), dtype=np.bool_), ~continues])
    last = np.concatenate([~continues, np.ones(min(count, 1), dtype=np.bool_)])
    of_unit = np.empty_like(order)
    of_unit[order] = np.cumsum(first) - 1
    row, bottom, left, right = row[first], bottom[first], column[first], column[last] + 1
    return _Edges(row, np.where(bottom, right, left), np.where(bottom, left, right), bottom, of_unit[:count])


def _follow(edges: _Edges) -> Iterator[_Ring]:
    """The rings, by their leftmost point, and the higher one of two."""
    count = edges.row.size
    x, row = np.concatenate([edges.end, edges.start]), np.tile(edges.row, 2)
    # Of two pixels that meet at a corner alone each is walked around for itself: what leads up from there comes first.
    order = np.lexsort((~np.tile(edges.bottom, 2), row, x))
    pairs = order.reshape(-1, 2)  # of ends of edges; one of each two, below `count`, is where an edge ends
    arriving, leaving = pairs.min(axis=1), pairs.max(axis=1) - count
    following = np.empty(count, dtype=np.int64)
    following[arriving] = leaving
    next_of, waiting = following.tolist(), [True] * count
    for begin in np.lexsort((edges.row, np.minimum(edges.start, edges.end))).tolist():
        ring, edge = [], begin
        while waiting[edge]:
            waiting[edge] = False
            ring.append(edge)
            edge = next_of[edge]
        if ring:
            chosen = np.array(ring)
            points = np.stack([edges.start[chosen], edges.row[chosen], edges.end[chosen], edges.row[chosen]], axis=1)
            yield _Ring(points.reshape(-1, 2), chosen)


def _split(ring: _Ring) -> Iterator[_Ring]:
    """A ring that meets a point twice as rings that do not: what lies between is a hole that touches the outline."""
    x, y = ring.points.T
    if len(np.unique(x * (y.max() + 1) + y)) == len(ring.points):
        yield ring
        return
    place_of: dict[tuple[int, int], int] = {}
    path: list[tuple[int, int]] = []
    taken: list[int] = []  # the number in `points` of each point of the path: 2 e where edge e starts
    for number, (x, y) in enumerate(ring.points.tolist()):
        if (place := place_of.get((x, y))) is not None:
            yield _part(path[place:], taken[place:], ring)
            for point in path[place + 1 :]:
                del place_of[point]
            del path[place + 1 :], taken[place + 1 :]
            taken[place] = number  # from here the way goes on
            continue
        place_of[x, y] = len(path)
        path.append((x, y))
        taken.append(number)
    yield _part(path, taken, ring)


def _part(path: list[tuple[int, int]], taken: list[int], ring: _Ring) -> _Ring:
    numbers = np.array(taken)
    return _Ring(np.array(path), ring.edges[numbers[numbers % 2 == 0] // 2])


def _run_above(hole: _Ring, edges: _Edges, runs: ColumnRuns) -> int:
    """The run that ends at the highest edge of a hole."""
    highest = hole.edges[np.argmin(edges.row[hole.edges])]
    column, row = int(edges.end[highest]), int(edges.row[highest])  # of a bottom, the left end
    first, last = np.searchsorted(runs.column, [column, column + 1])
    return int(first + np.searchsorted(runs.end[first:last], row))
