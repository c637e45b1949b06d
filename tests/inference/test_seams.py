"""Merging across seams: from what every tile sees of objects that are known, the objects again, each once and whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from fastmrcnn.inference.seams import _rectangles, merge_across_seams, put_in_larger
from fastmrcnn.inference.tiles import Tile, tiles_of
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.structures import Detections
from tests.inference.overlaps import mask_iou

NAMES = ("disk", "ring")


def detections(masks: InstanceMasks, scores: Tensor, labels: Tensor) -> Detections:
    return Detections(
        boxes=masks.boxes(),
        scores=scores,
        labels=labels,
        mask_probs=None,
        mask_runs=masks,
        image_size=(masks.height, masks.width),
        class_names=NAMES,
        category_ids=(1, 2),
    )


def views(truth: Detections, tiles: list[Tile], least: float = 0.0) -> tuple[Detections, Tensor, Tensor]:
    """What each tile sees of the objects; of one of which it sees less than the share ``least`` nothing."""
    bitmaps = truth.masks
    whole = bitmaps.flatten(1).sum(dim=1)
    parts, owners, places = [], [], []
    for number, tile in enumerate(tiles):
        seen = torch.zeros_like(bitmaps)
        rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
        seen[:, rows, columns] = bitmaps[:, rows, columns]
        areas = seen.flatten(1).sum(dim=1)
        visible = ((areas > 0) & (areas >= least * whole)).nonzero()[:, 0]
        parts.append(seen[visible])
        owners.append(visible)
        places.append(torch.full((len(visible),), number))
    owner = torch.cat(owners)
    scores = truth.scores[owner] * torch.linspace(0.5, 1, len(owner))
    found = detections(as_runs(torch.cat(parts)), scores, truth.labels[owner])
    rectangles = torch.tensor([[t.left, t.top, t.left + t.width, t.top + t.height] for t in tiles])
    return found, torch.cat(places), rectangles


def as_runs(bitmaps: Tensor) -> InstanceMasks:
    """[N, H, W] bool as run lengths."""
    encoded = []
    for bitmap in bitmaps.numpy():
        flat = np.concatenate([[False], bitmap.T.ravel(), [False]])
        edges = np.flatnonzero(np.diff(flat))
        counts = np.diff(np.concatenate([[0], edges, [bitmap.size]])).tolist()
        encoded.append({"size": list(bitmap.shape), "counts": counts})
    return InstanceMasks.from_coco(encoded, *bitmaps.shape[1:])


def scene(seed: int, size: tuple[int, int], count: int, longest: int) -> Detections:
    """Boxes, ellipses and right angles that do not overlap one another in their own class, and may in the other."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    taken = [np.zeros(size, bool), np.zeros(size, bool)]
    bitmaps, labels = [], []
    for _ in range(count):
        h, w = (int(rng.integers(2, min(longest, side) + 1)) for side in size)
        top, left = int(rng.integers(0, size[0] - h + 1)), int(rng.integers(0, size[1] - w + 1))
        bitmap = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
        shape = rng.integers(0, 3)
        if shape == 1:
            bitmap &= ((y - top + 0.5) / h - 0.5) ** 2 + ((x - left + 0.5) / w - 0.5) ** 2 <= 0.25
        elif shape == 2:
            bitmap &= (y < top + h // 3 + 1) | (x < left + w // 3 + 1)
        label = int(rng.integers(0, 2))
        if bitmap.any() and not (bitmap & taken[label]).any():
            taken[label] |= bitmap
            bitmaps.append(bitmap)
            labels.append(label)
    scores = torch.from_numpy(rng.uniform(0.5, 1, len(bitmaps))).float()
    return detections(as_runs(torch.from_numpy(np.array(bitmaps))), scores, torch.tensor(labels))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    tile=st.integers(24, 60),
    share=st.floats(0.15, 0.5),
    longest=st.sampled_from([12, 40, 150]),
)
def test_every_object_comes_out_once_and_whole(seed: int, tile: int, share: float, longest: int) -> None:
    """Also those that are larger than a tile, and reach over many."""
    truth = scene(seed, (110, 150), 14, longest)
    tiles = tiles_of(truth.image_size, tile, max(int(share * tile), 6))
    found, owner, rectangles = views(truth, tiles)
    merged = merge_across_seams(found, owner, rectangles, margin=2.0)
    assert merged.scores.tolist() == sorted(merged.scores.tolist(), reverse=True)
    iou = mask_iou(merged, truth)
    assert len(merged) == len(truth)
    assert torch.equal(iou.amax(dim=0), torch.ones(len(truth)))
    best = iou.argmax(dim=1)
    assert torch.equal(merged.boxes, truth.boxes[best])


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_slivers_that_no_network_sees_are_not_missed(seed: int) -> None:
    """An object shows in the tiles that see enough of it: it still comes out once, as they see it."""
    truth = scene(seed, (110, 150), 14, 30)
    found, owner, rectangles = views(truth, tiles_of(truth.image_size, 56, 16), least=0.3)
    merged = merge_across_seams(found, owner, rectangles, margin=4.0)
    iou = mask_iou(merged, truth)
    assert len(merged) == len(truth)
    assert (iou.amax(dim=0) >= 0.7).all()


def test_views_that_differ_by_a_pixel_all_around() -> None:
    """Each tile draws an object a pixel larger, smaller or as it is: hardly one is lost or comes out twice."""
    count = lost = strangers = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = scene(seed, (150, 200), 16, 60)
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        truth = truth[(sides >= 12).all(dim=1)]
        tiles = tiles_of(truth.image_size, 64, 20)
        found, owner, rectangles = views(truth, tiles, least=0.1)
        seen = [wobbled(bitmap, tiles[int(tile)], rng) for bitmap, tile in zip(found.masks, owner, strict=True)]
        runs = as_runs(torch.stack(seen))
        found = replace(found, mask_runs=runs, boxes=runs.boxes())
        iou = mask_iou(merge_across_seams(found, owner, rectangles, margin=5.0), truth)
        count, lost = count + len(truth), lost + int((iou.amax(dim=0) < 0.5).sum())
        strangers += int((iou.amax(dim=1) < 0.5).sum())
    assert count > 40
    assert lost + strangers <= 0.03 * count


def wobbled(bitmap: Tensor, tile: Tile, rng: np.random.Generator) -> Tensor:
    """The mask that a tile sees, grown or shrunk by a pixel within the tile, or neither."""
    rows, columns = slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width)
    part, change = bitmap[None, None, rows, columns].float(), rng.integers(0, 3)
    if change == 1:
        part = max_pool2d(part, 3, stride=1, padding=1)
    elif change == 2:
        part = -max_pool2d(-pad(part, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    result = torch.zeros_like(bitmap)
    result[rows, columns] = part[0, 0] > 0
    return result


def test_neighbours_that_touch_in_the_strip_are_not_joined() -> None:
    """Of two objects above each other that overlap in a row, the tiles have 20 rows in common."""
    upper, lower = torch.zeros(2, 100, 60, dtype=torch.bool)
    upper[5:42, 1:55] = True  # to the left border of its tile, as both are: no tile sees one of them whole
    lower[41:95, 1:55] = True
    found = detections(as_runs(torch.stack([upper, lower])), torch.tensor([0.9, 0.8]), torch.zeros(2).long())
    rectangles = torch.tensor([[0, 0, 60, 60], [0, 40, 60, 100]])
    rectangles[:, [0, 2]] += 1
    merged = merge_across_seams(found, torch.tensor([0, 1]), rectangles, margin=5.0)
    assert merged.boxes.tolist() == found.boxes.tolist()


def test_what_tiles_see_otherwise_is_matched_too() -> None:
    """Views that differ by their outlines: the surest of whole ones stays, a cut one is left to who sees more."""
    tiles = tiles_of((60, 100), 60, 20)  # columns 0..60 and 40..100
    first = torch.zeros(3, 60, 100, dtype=torch.bool)
    first[0, 10:30, 44:56] = True  # whole in both
    first[1, 11:31, 45:56] = True
    first[2, 40:50, 50:60] = True  # a piece at the border of the first tile, of what the second sees whole
    second = torch.zeros(1, 60, 100, dtype=torch.bool)
    second[0, 39:52, 49:70] = True
    masks = as_runs(torch.cat([first, second]))
    found = detections(masks, torch.tensor([0.7, 0.9, 0.95, 0.5]), torch.zeros(4, dtype=torch.long))
    rectangles = torch.tensor([[t.left, t.top, t.left + t.width, t.top + t.height] for t in tiles])
    merged = merge_across_seams(found, torch.tensor([0, 1, 0, 1]), rectangles, margin=3.0)
    assert merged.boxes.tolist() == [[45, 11, 56, 31], [49, 39, 70, 52]]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5])
    confused = replace(found, labels=torch.tensor([0, 1, 0, 1]))
    merged = merge_across_seams(confused, torch.tensor([0, 1, 0, 1]), rectangles, margin=3.0)
    assert merged.names == ["ring", "ring"]
    strict = merge_across_seams(confused, torch.tensor([0, 1, 0, 1]), rectangles, margin=3.0, agreement=0.9)
    assert strict.names == ["ring", "disk", "ring"]


def test_one_tile_changes_nothing_but_the_order() -> None:
    """Objects of one tile never suppress each other: the network has chosen among them."""
    truth = scene(3, (40, 60), 20, 30)
    twice = truth[torch.arange(len(truth)).repeat(2)]
    none = torch.zeros(len(twice), dtype=torch.long)
    merged = merge_across_seams(twice, none, torch.tensor([[0, 0, 60, 40]]), margin=8.0)
    order = twice.scores.argsort(descending=True, stable=True)
    assert torch.equal(merged.scores, twice.scores[order])
    assert merged.rle == twice[order].rle


def test_a_model_without_masks_is_merged_by_boxes() -> None:
    truth = scene(5, (90, 120), 10, 60)
    truth = replace(truth, mask_runs=as_runs(filled_boxes(truth)))
    found, owner, rectangles = views(truth, tiles_of(truth.image_size, 48, 16))
    boxes_alone = replace(found, mask_runs=None)
    merged = merge_across_seams(boxes_alone, owner, rectangles, margin=2.0)
    expected = merge_across_seams(found, owner, rectangles, margin=2.0)
    assert not merged.has_masks
    assert torch.equal(merged.boxes, expected.boxes)


def test_boxes_as_masks() -> None:
    boxes = torch.tensor([[1, 2, 4, 5], [0.4, -3, 3.6, 90], [6, 0, 6, 5], [9, 0, 9, 5], [2, 4, 9, 7.0]])
    found = _rectangles(boxes, (7, 9)).to_bitmaps()
    expected = torch.zeros(5, 7, 9, dtype=torch.bool)
    expected[0, 2:5, 1:4] = expected[1, :, :4] = expected[4, 4:, 2:] = True
    assert torch.equal(found, expected)


def filled_boxes(found: Detections) -> Tensor:
    bitmaps = torch.zeros(len(found), *found.image_size, dtype=torch.bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, found.boxes.int().tolist(), strict=True):
        bitmap[y1:y2, x1:x2] = True
    return bitmaps


def test_pieces_of_what_is_larger_than_tiles_give_way_to_it() -> None:
    large, hole = torch.zeros(2, 100, 160, dtype=torch.bool)
    large[5:95, 5:155] = True
    hole[20:80, 40:100] = True  # which no tile has seen
    small, on_top, beside = torch.zeros(3, 100, 160, dtype=torch.bool)
    small[45:55, 70:80] = True  # whole in a tile, of the same class
    on_top[30:40, 20:150] = True  # cut by tiles, of the other class
    beside[90:100, :] = True  # cut, of the same class, half of it not in the large one
    tiles = tiles_of((100, 160), 60, 20)
    rectangles = torch.tensor([[t.left, t.top, t.left + t.width, t.top + t.height] for t in tiles])
    masks = as_runs(torch.stack([large & ~hole, small, on_top, beside]))
    merged = detections(masks, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 1, 0]))
    larger = detections(as_runs(large[None]), torch.tensor([0.75]), torch.tensor([0]))
    found = put_in_larger(merged, larger, rectangles, margin=4.0)
    assert found.scores.tolist() == pytest.approx([0.8, 0.75, 0.7, 0.6])
    assert torch.equal(found.masks, torch.stack([small, large, on_top, beside]))
    boxes_alone = (replace(one, mask_runs=None) for one in (merged, larger))
    assert len(put_in_larger(*boxes_alone, rectangles, margin=4.0)) == 4
    assert len(put_in_larger(merged, larger[:0], rectangles, margin=4.0)) == 4


def test_nothing_merges_to_nothing() -> None:
    nothing = scene(0, (40, 60), 5, 10)[:0]
    rectangles = torch.tensor([[0, 0, 40, 40], [20, 0, 60, 40]])
    merged = merge_across_seams(nothing, torch.zeros(0, dtype=torch.long), rectangles, margin=2.0)
    assert len(merged) == 0
    assert merged.masks.shape == (0, 40, 60)
