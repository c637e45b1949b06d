"""What several overlapping views of an image found, made one: an object that a seam cuts comes out once, and whole.

A tile is sure of the objects that lie well within it; of one that its border cuts it sees a piece. So

* a piece that lies well within another tile is left to that tile, which sees more of the object;
* of what two tiles both saw whole, the surer one stays;
* other pieces, those of objects that no tile sees whole, are joined where they agree in what both of their tiles see,
  over as many tiles as the object reaches into.

All of it takes place on run lengths, and between neighbours alone. Objects that are larger than a tile may come from a
view of the whole image instead, which takes the place of their pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fastmrcnn.ops import (
    InstanceMasks,
    areas_within,
    concatenate_masks,
    first_of_equals,
    mask_intersections,
    overlapping_pairs,
    replace_masks,
    unite_masks,
)
from fastmrcnn.structures import Detections


def merge_across_seams(
    found: Detections, tile_of: Tensor, tiles: Tensor, *, margin: float, agreement: float = 0.5
) -> Detections:
    """The objects that the tiles of an image found, each once.

    Args:
        found: the detections of all tiles, N of them, in pixels of the image; of a model without masks, boxes take
            their place.
        tile_of: [N] int64, the tile of each.
        tiles: [T, 4] int64, x1, y1, x2, y2 of each tile in pixels, the last two exclusive.
        margin: px; an object whose box comes as near to a border that its tile has within the image is taken for cut.
        agreement: 0..1. The least mask IoU of two views that are one object (half way from there to 1 where they
            differ in class), and the least intersection of two pieces, of one class, over the smaller one: in what both
            of their tiles see.

    Returns:
        The merged objects by descending score, with run lengths. A joined object has the score, the class and the
        keypoints of its surest piece, and the box around all of them.
    """
    order = found.scores.argsort(descending=True, stable=True)
    found, tile_of = found[order], tile_of[order]
    cut = _is_cut(found.boxes, tiles[tile_of], found.image_size, margin)
    own = ~(cut & _is_seen_better(found, tile_of, tiles, margin))
    found, tile_of, cut = found[own], tile_of[own], cut[own]
    masks = found.run_lengths if found.has_masks else _rectangles(found.boxes, found.image_size)
    pairs = overlapping_pairs(masks.boxes())
    # Objects of one tile have been chosen among by the network: only those of different ones may be the same. Of a
    # piece and a whole object, what is to be done is done.
    pairs = pairs[~_same(tile_of, pairs) & _same(cut, pairs)]
    pairs, shared, iou = _overlaps(masks, pairs)
    alike = _same(found.labels, pairs)
    equal = iou >= torch.where(alike, agreement, (1 + agreement) / 2)
    kept = first_of_equals(len(found), pairs[equal & ~cut[pairs[:, 0]]])
    pieces = alike & cut[pairs[:, 0]]
    joined = _agreeing(masks, pairs[pieces], shared[pieces], tiles[tile_of], agreement)
    return _assemble(found, masks, kept, _groups(len(found), joined), agreement)


def put_in_larger(
    merged: Detections, larger: Detections, tiles: Tensor, *, margin: float, agreement: float = 0.5
) -> Detections:
    """What the tiles of an image found, with objects that are larger than they are in place of their pieces.

    Args:
        merged: what :func:`merge_across_seams` gives.
        larger: seen in the whole image at once, in pixels of it.
        tiles, margin: as there. What a tile saw whole is no piece, though it lies within a larger object.
        agreement: 0..1. The least share of a piece that lies within the object, and the mask IoU from which on what a
            tile took for whole is the same.

    Returns:
        All of ``larger``, and of ``merged`` what is neither piece nor view of these. By descending score.
    """
    one, other = larger.boxes[:, None], merged.boxes[None]  # few of the former
    meet = (one[..., :2] < other[..., 2:]).all(dim=2) & (other[..., :2] < one[..., 2:]).all(dim=2)  # [L, N]
    pairs = (meet & (larger.labels[:, None] == merged.labels)).nonzero() + torch.tensor([0, len(larger)], device="cpu")
    every = join_detections([larger, merged])
    masks = every.run_lengths if every.has_masks else _rectangles(every.boxes, every.image_size)
    pairs, shared, iou = _overlaps(masks, pairs)
    pieces = pairs[shared >= agreement * masks.areas()[pairs[:, 1]], 1].unique()
    seen_whole = [
        ~_is_cut(boxes[:, None], tiles[None], every.image_size, margin).all(dim=1)
        for boxes in every.boxes[pieces].split(1024)
    ]
    kept = torch.ones(len(every), dtype=torch.bool, device="cpu")
    kept[pieces] = torch.cat(seen_whole)
    kept[pairs[iou >= agreement, 1]] = False
    every = every[kept]
    return every[every.scores.argsort(descending=True, stable=True)]


def join_detections(parts: Sequence[Detections]) -> Detections:
    """All detections of one image, which have run lengths or no masks."""
    keypoints = [part.keypoints for part in parts if part.keypoints is not None]
    runs = [part.mask_runs for part in parts if part.mask_runs is not None]
    return replace(
        parts[0],
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        keypoints=torch.cat(keypoints) if keypoints else None,
        mask_runs=concatenate_masks(runs) if runs else None,
    )


def _rectangles(boxes: Tensor, size: tuple[int, int]) -> InstanceMasks:
    """Boxes [N, 4], px, as masks of whole pixels. Polygons would take a thousand times as long in a large image."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    encoded = []
    for x1, y1, x2, y2 in boxes.nan_to_num().round().clamp(min=0).minimum(limits).long().tolist():
        counts: list[int] = []
        if x2 > x1 and y2 > y1:
            counts = [x1 * height + y1, *[y2 - y1, height - y2 + y1] * (x2 - x1 - 1), y2 - y1]
        encoded.append({"size": [height, width], "counts": [*counts, height * width - sum(counts)]})
    return InstanceMasks.from_coco(encoded, height, width)


def _is_cut(boxes: Tensor, own: Tensor, size: tuple[int, int], margin: float) -> Tensor:
    """[...] bool: which boxes come near to a border of their own tile [..., 4] that is not one of the image."""
    before = (boxes[..., :2] < own[..., :2] + margin) & (own[..., :2] > 0)
    behind = (boxes[..., 2:] > own[..., 2:] - margin) & (own[..., 2:] < own.new_tensor([size[1], size[0]]))
    return (before | behind).any(dim=-1)


def _is_seen_better(found: Detections, tile_of: Tensor, tiles: Tensor, margin: float) -> Tensor:
    """[N] bool: which of the detections lie well within another tile than their own."""
    pairs = overlapping_pairs(tiles)
    pairs = torch.cat([pairs, pairs.flip(1)])
    neighbours = pairs[pairs[:, 0].argsort(), 1]  # those of one tile after those of the other
    counts = torch.bincount(pairs[:, 0], minlength=len(tiles))
    views = counts[tile_of]
    index = torch.repeat_interleave(torch.arange(len(found), device="cpu"), views)
    first = (counts.cumsum(0) - counts)[tile_of] - (views.cumsum(0) - views)
    other = neighbours[torch.arange(len(index), device="cpu") + first[index]]
    within = ~_is_cut(found.boxes[index], tiles[other], found.image_size, margin)
    better = torch.zeros(len(found), dtype=torch.bool, device="cpu")
    better[index[within]] = True
    return better


def _overlaps(masks: InstanceMasks, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Those of the pairs that share pixels [P, 2], how many they share [P] int64, and their IoU [P]."""
    shared = mask_intersections(masks, pairs)
    pairs, shared = pairs[shared > 0], shared[shared > 0]
    return pairs, shared, shared / (masks.areas().long()[pairs].sum(dim=1) - shared)


def _same(values: Tensor, pairs: Tensor) -> Tensor:
    return values[pairs[:, 0]] == values[pairs[:, 1]]


def _agreeing(masks: InstanceMasks, pairs: Tensor, shared: Tensor, own: Tensor, agreement: float) -> Tensor:
    """Those of the pairs of pieces [P, 2] that are one object. own: [N, 4], the tile of each detection."""
    first, second = pairs.unbind(dim=1)
    # What the tile of the one sees of the other: a piece may reach far beyond.
    seen = areas_within(masks, torch.cat([first, second]), torch.cat([own[second], own[first]])).view(2, -1)
    agree = shared >= agreement * seen.amin(dim=0)
    # Neighbours that touch share a few pixels, which may be all that the tiles see of them. Pieces of one object are
    # much the same, or go through what both tiles see from one side to the other.
    same = shared >= agreement * masks.areas()[pairs].amin(dim=1)
    return pairs[agree & (same | _goes_through(masks.boxes(), pairs, own))]


def _goes_through(boxes: Tensor, pairs: Tensor, own: Tensor) -> Tensor:
    """[P] bool: whether both boxes reach over half of what both tiles see, along the way from one tile to the other."""
    tiles, pieces = own[pairs], boxes[pairs]  # [P, 2, 4]
    common = torch.cat([tiles[..., :2].amax(dim=1), tiles[..., 2:].amin(dim=1)], dim=1)  # [P, 4]
    inner = torch.cat([pieces[..., :2], common[:, None, :2]], dim=1).amax(dim=1)  # [P, 2]
    outer = torch.cat([pieces[..., 2:], common[:, None, 2:]], dim=1).amin(dim=1)
    reach = outer - inner >= 0.5 * (common[:, 2:] - common[:, :2])
    apart = tiles[:, 0, :2] != tiles[:, 1, :2]
    return (reach | ~apart).all(dim=1)


def _groups(count: int, pairs: Tensor) -> Tensor:
    """[N] int64: the first one that each is connected to."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs.tolist():
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return torch.tensor([root(index) for index in range(count)], dtype=torch.int64, device="cpu")


def _assemble(found: Detections, masks: InstanceMasks, kept: Tensor, groups: Tensor, agreement: float) -> Detections:
    """The groups of those that are kept, each as its first member with all masks and the box around all boxes."""
    members = kept.nonzero()[:, 0]
    first, group, sizes = groups[members].unique(return_inverse=True, return_counts=True)
    boxes = found.boxes[first].clone()
    rows = group[:, None].expand(-1, 2)
    boxes[:, :2] = boxes[:, :2].scatter_reduce(0, rows, found.boxes[members, :2], "amin")
    boxes[:, 2:] = boxes[:, 2:].scatter_reduce(0, rows, found.boxes[members, 2:], "amax")
    united = masks[first]
    several = sizes > 1
    if bool(several.any()):  # most objects come from one tile
        joined, place = several[group], several.cumsum(0) - 1
        whole = unite_masks(masks[members[joined]], place[group[joined]], int(several.sum()))
        united = replace_masks(united, several, whole)
    # What is joined may now equal what another tile took for whole.
    pairs = overlapping_pairs(united.boxes())
    pairs = pairs[_same(found.labels[first], pairs) & (sizes[pairs] > 1).any(dim=1)]
    pairs, _, iou = _overlaps(united, pairs)
    once = first_of_equals(len(first), pairs[iou >= agreement])
    runs = united if found.has_masks else None
    merged = replace(found[first], boxes=boxes, mask_probs=None, mask_runs=runs)
    return merged[once]
