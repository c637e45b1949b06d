"""Prediction on images larger than the network sees at once: in tiles that overlap, merged on their masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fastmrcnn.inference.seams import join_detections, merge_across_seams, put_in_larger
from fastmrcnn.models.ahead import Readers
from fastmrcnn.models.detector import Detector
from fastmrcnn.ops import pad_masks
from fastmrcnn.structures import Detections, ImageSource
from fastmrcnn.structures.windows import ImageWindows, open_windows

# Tiles whose detections are put together at once: many small tensors that stay, between large ones that go, would leave
# holes all over the memory, ten times their size.
_JOINED = 32


class Tile(NamedTuple):
    """A rectangle of an image, px."""

    top: int
    left: int
    height: int
    width: int


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of a side begin that cover ``length`` pixels, evenly spaced; neighbours share ``overlap`` or more.

    >>> tile_starts(length=2000, tile=1024, overlap=128)
    [0, 488, 976]
    """
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def tiles_of(size: tuple[int, int], tile: int, overlap: int) -> list[Tile]:
    """The tiles of an image of a (height, width), row by row; all of one size.

    >>> tiles_of((1024, 2000), tile=1024, overlap=128)[1]
    Tile(top=0, left=488, height=1024, width=1024)
    """
    height, width = (min(side, tile) for side in size)
    return [
        Tile(top, left, height, width)
        for top in tile_starts(size[0], tile, overlap)
        for left in tile_starts(size[1], tile, overlap)
    ]


def predict_tiled(
    model: Detector,
    image: ImageSource,
    *,
    tile: int = 1024,
    overlap: int | None = None,
    overview: bool = False,
    score_threshold: float | None = None,
    batch_size: int = 1,
    agreement: float = 0.5,
    on_tiles: Callable[[int, int], None] | None = None,
) -> Detections:
    """Detect in an image of any size, tile by tile, and merge what the tiles found.

    Memory follows the tile, the batch and the number of objects, not the image, where that is an uncompressed or tiled
    TIFF or a ``.npy`` file: these are read window by window. An object that a seam cuts comes out once, and whole, also
    when it reaches over several tiles (:mod:`fastmrcnn.inference.seams`); but the network recognises it by what it sees
    in a tile, so that the tile should be larger than most objects, or ``overview`` be asked for.

    Args:
        model: a :class:`~fastmrcnn.models.MaskRCNN`, or an :class:`~fastmrcnn.inference.AugmentedDetector`.
        image: whatever ``model.predict`` takes.
        tile: side of the tiles, px of the image. The network resizes a tile as it does an image: with the side at
            ``config.input.min_size`` objects keep their size, with a smaller one they are enlarged.
        overlap: px that neighbouring tiles share at least; None: an eighth of the tile. Objects smaller than it are
            seen whole by some tile.
        overview: look at the whole image too, reduced to no more than a tile, and take the objects from there that are
            longer than a tile, in place of their pieces. The image is read twice.
        score_threshold: as for ``model.predict``.
        batch_size: tiles that go through the network together.
        agreement: see :func:`~fastmrcnn.inference.seams.merge_across_seams`.
        on_tiles: called with the number of tiles that are done, and of all, after each batch.

    Returns:
        The objects of the whole image by descending score, any number of them, with masks as run lengths. An image no
        larger than a tile gives what ``model.predict`` gives.

    Raises:
        UserError: an image that cannot be read.
        ValueError: sizes that are not positive, or an overlap that is not below the tile.

    >>> from fastmrcnn import load_model
    >>> found = predict_tiled(load_model("tiny"), torch.zeros(3, 300, 400), tile=256, score_threshold=0.5)
    >>> found, found.run_lengths.areas(), found.to_coco(image_id=1)
    (<Detections: 0 in 400 x 300 pixels>, tensor([]), [])
    """
    with open_windows(image, model.config.input.pixel_format) as windows:
        found = predict_windows(
            model,
            windows,
            tile=tile,
            overlap=overlap,
            overview=overview,
            score_threshold=score_threshold,
            batch_size=batch_size,
            agreement=agreement,
            on_tiles=on_tiles,
        )
    return replace(found, source=image)


def predict_windows(
    model: Detector,
    windows: ImageWindows,
    *,
    tile: int,
    overlap: int | None = None,
    overview: bool = False,
    score_threshold: float | None = None,
    batch_size: int = 1,
    agreement: float = 0.5,
    on_tiles: Callable[[int, int], None] | None = None,
) -> Detections:
    """:func:`predict_tiled` in an image that is open already; the detections do not know it."""
    overlap = tile // 8 if overlap is None else overlap
    if tile < 1 or batch_size < 1:
        raise ValueError(f"predict_tiled: tile and batch_size must be at least 1; got {tile} and {batch_size}")
    if not 0 <= overlap < tile:
        raise ValueError(f"predict_tiled: overlap must lie in 0..{tile - 1}, below the tile; got {overlap}")
    parts: list[Detections] = []
    recent: list[Detections] = []
    counts: list[int] = []
    tiles = tiles_of(windows.size, tile, overlap)
    larger = _longer_than(tile, model, windows, score_threshold) if overview and len(tiles) > 1 else None
    for pixels in _read_ahead(windows, tiles, batch_size):
        for detections in model.predict(pixels, score_threshold=score_threshold, batch_size=batch_size, readers=0):
            recent.append(_in_image(detections, tiles[len(counts)], windows.size))
            counts.append(len(detections))
        if len(recent) >= _JOINED or len(counts) == len(tiles):
            parts.append(join_detections(recent))
            recent = []
        if on_tiles is not None:
            on_tiles(len(counts), len(tiles))
    tile_of = torch.repeat_interleave(torch.tensor(counts, device="cpu"))
    corners = [[t.left, t.top, t.left + t.width, t.top + t.height] for t in tiles]
    rectangles = torch.tensor(corners, device="cpu")
    # Half of the overlap would take objects for cut that both tiles see whole.
    margin = max(overlap / 4, 2.0)
    merged = merge_across_seams(join_detections(parts), tile_of, rectangles, margin=margin, agreement=agreement)
    return merged if larger is None else put_in_larger(merged, larger, rectangles, margin=margin, agreement=agreement)


def _read_ahead(windows: ImageWindows, tiles: Sequence[Tile], batch_size: int) -> Iterator[list[Tensor]]:
    """The pixels of the tiles in batches; the next batch is read while the network is at one."""
    batches = (tiles[first : first + batch_size] for first in range(0, len(tiles), batch_size))
    with Readers(1) as reader:  # files have one position
        for _, reading in reader.ahead(lambda batch: [windows.read(*tile) for tile in batch], batches, depth=2):
            yield reading.result()


def _in_image(found: Detections, tile: Tile, size: tuple[int, int]) -> Detections:
    """The detections of a tile in pixels of the image of a (height, width), with run lengths."""
    shift = found.boxes.new_tensor([tile.left, tile.top])
    keypoints, runs = found.keypoints, None
    if keypoints is not None:
        keypoints = torch.cat([keypoints[..., :2] + shift, keypoints[..., 2:]], dim=2)
    if found.has_masks:
        bottom, right = size[0] - tile.top - tile.height, size[1] - tile.left - tile.width
        runs = pad_masks(found.run_lengths, tile.top, tile.left, bottom, right)
    return replace(
        found,
        boxes=found.boxes + shift.repeat(2),
        mask_probs=None,
        mask_runs=runs,
        keypoints=keypoints,
        image_size=size,
        source=None,
    )


def _longer_than(side: int, model: Detector, windows: ImageWindows, score_threshold: float | None) -> Detections:
    """What is longer than so many pixels, found in all of the image, which is reduced to no more than these."""
    reduced, factor = windows.reduced(side)
    found = model.predict(reduced, score_threshold=score_threshold)
    found = found[((found.boxes[:, 2:] - found.boxes[:, :2]).amax(dim=1) * factor) > side]
    height, width = windows.size
    boxes = (found.boxes * factor).minimum(found.boxes.new_tensor([width, height, width, height]))
    found = replace(found, boxes=boxes, image_size=windows.size, source=None)
    if found.keypoints is not None:
        found = replace(found, keypoints=found.keypoints * found.keypoints.new_tensor([factor, factor, 1]))
    return replace(found, mask_probs=None, mask_runs=found.run_lengths if found.has_masks else None)
