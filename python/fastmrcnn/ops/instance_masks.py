"""The masks of an image's objects as polygons or run lengths, which take kilobytes where bitmaps take megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.ops._mask_forms import draw, format_rle, offsets_of, rasterise
from fastmrcnn.ops._measures import measure_areas, measure_boxes, measure_centroids, measure_columns
from fastmrcnn.ops._runs import ColumnRuns, gather_pixels
from fastmrcnn.ops._segmentations import read_bitmap, read_polygon, read_runs
from fastmrcnn.ops.paste import RLE

__all__ = ["InstanceMasks"]


@dataclass(frozen=True, eq=False)  # tensors have no one truth to compare by
class InstanceMasks:
    """The masks of the G objects of one image, each the union of polygons or a run-length encoding.

    Make one with `from_coco` or `from_bitmaps`. Indexing selects objects; `flip`, `crop` and `resize` change all of
    them without drawing any; `fastmrcnn.ops.crop_masks` makes the mask head's training targets straight from it. A
    polygon becomes pixels by COCO's rule, that of pycocotools: vertices rounded to a fifth of a pixel, pixel i covering
    i to i + 1.

    This is data of the host: changes and conversions run there, wherever the arrays lie. `crop_masks` brings them to
    the device of its boxes, without waiting.

    Attributes:
        height, width: of the image in pixels.
        points: `[V, 2]` float64, x and y in pixels: the vertices of all polygons.
        polygons: `[Q + 1]` int64: polygon q has the points `polygons[q]` up to `polygons[q + 1]`.
        object_polygons: `[G + 1]` int64: object g has the polygons `object_polygons[g]` up to `object_polygons[g + 1]`.
        transitions: `[R]` int64: the positions, counted down the columns, at which a mask changes between 0 and 1,
            from 0: the cumulative sums of COCO's run lengths, without the last one.
        object_transitions: `[G + 1]` int64: likewise.

    Example:
        >>> masks = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 3, 0, 3]], {"size": [4, 4], "counts": "03108"}], 4, 4)
        >>> masks.shape, masks.areas()
        (torch.Size([2, 4, 4]), tensor([6., 6.]))
        >>> masks[1:].flip(horizontal=True).to_rle()
        [{'size': [4, 4], 'counts': '83100'}]
    """

    height: int
    width: int
    points: Tensor
    polygons: Tensor
    object_polygons: Tensor
    transitions: Tensor
    object_transitions: Tensor

    @staticmethod
    def from_coco(segmentations: Sequence[Any], height: int, width: int) -> InstanceMasks:
        """From COCO's segmentations, as read from JSON.

        Args:
            segmentations: for each object a list of polygons `[x0, y0, x1, y1, ...]` of at least three points, or a
                run-length encoding `{"size": [height, width], "counts": str | bytes | list[int]}`.
            height, width: of the image in pixels.

        Raises:
            ValueError: a segmentation is malformed or of another size.
        """
        polygons: list[NDArray[np.float64]] = []
        polygon_counts, transitions, transition_counts = [], [], []
        for number, segmentation in enumerate(segmentations):
            try:
                found = [] if isinstance(segmentation, dict) else [read_polygon(polygon) for polygon in segmentation]
                runs = read_runs(segmentation, height, width) if isinstance(segmentation, dict) else _NOTHING
            except (TypeError, ValueError) as error:
                raise ValueError(f"InstanceMasks: segmentation {number}: {error}") from None
            polygons += found
            polygon_counts.append(len(found))
            transitions.append(runs)
            transition_counts.append(len(runs))
        return InstanceMasks(
            height,
            width,
            torch.from_numpy(np.concatenate([np.empty((0, 2)), *polygons])),
            offsets_of([len(polygon) for polygon in polygons]),
            offsets_of(polygon_counts),
            torch.from_numpy(np.concatenate([_NOTHING, *transitions])),
            offsets_of(transition_counts),
        )

    @staticmethod
    def from_bitmaps(bitmaps: Iterable[Tensor | NDArray[Any]], height: int, width: int) -> InstanceMasks:
        """From a bitmap `[height, width]` for each object, taken one at a time; what is not 0 is mask.

        Raises:
            ValueError: a bitmap is of another size.

        Example:
            >>> InstanceMasks.from_bitmaps(torch.eye(3)[None], 3, 3).to_rle()
            [{'size': [3, 3], 'counts': '013000'}]
        """
        found = [read_bitmap(bitmap, height, width) for bitmap in bitmaps]
        runs, none = (
            torch.from_numpy(np.concatenate([_NOTHING, *found])),
            torch.empty((0, 2), dtype=torch.float64, device="cpu"),
        )
        return InstanceMasks(
            height,
            width,
            none,
            offsets_of([]),
            offsets_of([0] * len(found)),
            runs,
            offsets_of([len(own) for own in found]),
        )

    def __len__(self) -> int:
        """Number of objects."""
        return self.object_polygons.shape[0] - 1

    @property
    def shape(self) -> torch.Size:
        """That of the bitmaps: `[G, height, width]`."""
        return torch.Size((len(self), self.height, self.width))

    def __getitem__(self, chosen: Tensor | slice) -> InstanceMasks:
        """Some of the objects: by a bool or an integer tensor, or a slice."""
        objects = torch.arange(len(self), device=self.points.device)[chosen]
        object_polygons, kept = _take(self.object_polygons, objects)
        polygons, points = _take(self.polygons, kept)
        object_transitions, positions = _take(self.object_transitions, objects)
        return replace(
            self,
            points=self.points[points],
            polygons=polygons,
            object_polygons=object_polygons,
            transitions=self.transitions[positions],
            object_transitions=object_transitions,
        )

    def to(self, device: torch.device | str) -> InstanceMasks:
        """The same on another device. All arrays go to a GPU in one copy, which is not waited for."""
        if torch.device(device).type == "cuda" and self.points.device.type == "cpu":
            packed = torch.empty(self._packed_size(), dtype=torch.int64, pin_memory=True, device="cpu")
            return self._unpack(self._pack(packed).to(device, non_blocking=True))
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by value: torch would send each of the tensors between processes as an open file, five an image."""
        arrays = (getattr(self, name).cpu().numpy() for name in _TENSORS)
        return _from_arrays, (self.height, self.width, self.points.device, *arrays)

    def _packed_size(self) -> int:
        return sum(getattr(self, name).numel() for name in _TENSORS)

    def _pack(self, packed: Tensor) -> Tensor:
        """All arrays one after the other in `packed`, int64; those of float64 as their bits."""
        arrays = [getattr(self, name).contiguous().view(torch.int64).flatten() for name in _TENSORS]
        return torch.cat(arrays, out=packed)

    def _unpack(self, packed: Tensor) -> InstanceMasks:
        """These masks with the arrays that `_pack` put there."""
        points, *others = packed.split([getattr(self, name).numel() for name in _TENSORS])
        moved = [points.view(torch.float64).view(self.points.shape), *others]
        return replace(self, **dict(zip(_TENSORS, moved, strict=True)))

    def flip(self, *, horizontal: bool = False, vertical: bool = False) -> InstanceMasks:
        """Mirrored left and right, or top and bottom, or both."""
        rows, columns = np.arange(self.height), np.arange(self.width)
        moved = self._gather(rows[::-1] if vertical else rows, columns[::-1] if horizontal else columns)
        size = self.points.new_tensor([self.width, self.height])
        mirrored = torch.tensor([horizontal, vertical], device=self.points.device)
        return replace(moved, points=torch.where(mirrored, size - self.points, self.points))

    def crop(self, top: int, left: int, height: int, width: int) -> InstanceMasks:
        """The part of the image with a given corner and size; it must lie within the image.

        Raises:
            ValueError: it does not.
        """
        if not (0 <= top <= top + height <= self.height and 0 <= left <= left + width <= self.width):
            raise ValueError(
                f"InstanceMasks: the crop must lie within [{self.height}, {self.width}]; "
                f"got rows {top}..{top + height} and columns {left}..{left + width}"
            )
        moved = self._gather(np.arange(top, top + height), np.arange(left, left + width))
        return replace(moved, points=self.points - self.points.new_tensor([left, top]))

    def resize(self, height: int, width: int, *, mode: str = "nearest-exact") -> InstanceMasks:
        """At another size: polygons are scaled, run lengths resampled to the nearest pixel.

        Args:
            height, width: the new size in pixels.
            mode: which pixel is nearest, "nearest-exact" or "nearest" as in `torch.nn.functional.interpolate`; run
                lengths give its pixels.

        Raises:
            ValueError: the mode is neither, or a size, old or new, is not positive.
        """
        if height <= 0 or width <= 0:
            raise ValueError(f"InstanceMasks: the new size must be positive; got [{height}, {width}]")
        if self.height == 0 or self.width == 0:
            raise ValueError(f"InstanceMasks: an image without pixels has no other size; got {list(self.shape)}")
        moved = self._gather(_nearest(self.height, height, mode), _nearest(self.width, width, mode))
        return replace(moved, points=self.points * self.points.new_tensor([width / self.width, height / self.height]))

    def to_runs(self) -> InstanceMasks:
        """The same masks as run lengths alone."""
        if self.polygons.shape[0] == 1:
            return self
        masks = self.to("cpu")
        transitions, offsets = rasterise(masks)
        return replace(
            masks,
            points=masks.points[:0],
            polygons=masks.polygons[:1],
            object_polygons=torch.zeros_like(masks.object_polygons),
            transitions=transitions,
            object_transitions=offsets,
        ).to(self.points.device)

    def to_rle(self) -> list[RLE]:
        """COCO's compressed run-length encodings, string for string those of pycocotools."""
        return format_rle(self.to_runs().to("cpu"))

    def to_bitmaps(self) -> Tensor:
        """`[G, height, width]` bool, on the CPU."""
        return draw(self.to_runs().to("cpu"))

    def areas(self) -> Tensor:
        """Pixels of each mask: `[G]` float32, on the CPU."""
        runs = self.to_runs().to("cpu")
        areas = measure_areas(runs.transitions.numpy(), runs.object_transitions.numpy(), self.height * self.width)
        return torch.from_numpy(areas.astype(np.float32))

    def boxes(self) -> Tensor:
        """Tight boxes, `[G, 4]` float32: x1, y1, x2, y2 in pixels, the last two exclusive; zeros for an empty mask."""
        return self._measured(measure_boxes)

    def centroids(self) -> Tensor:
        """Centres of gravity, `[G, 2]` float32: x, y in pixels, pixel i covering i to i + 1; NaN for an empty mask."""
        return self._measured(measure_centroids)

    def _measured(self, measure: Callable[[ColumnRuns, int, int], NDArray[Any]]) -> Tensor:
        runs, size = self.to_runs().to("cpu"), (self.height, self.width)
        found = measure_columns(measure, runs.transitions.numpy(), runs.object_transitions.numpy(), size)
        return torch.from_numpy(found.astype(np.float32))

    def _gather(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> InstanceMasks:
        """Pixel (rows[r], columns[c]) of the run lengths at (r, c), and the new size. The polygons stay."""
        runs, offsets = self.transitions, self.object_transitions
        if runs.shape[0]:
            arrays = runs.cpu().numpy(), offsets.cpu().numpy()
            moved, bounds = gather_pixels(*arrays, (self.height, self.width), rows, columns)
            runs, offsets = (torch.from_numpy(array).to(runs.device) for array in (moved, bounds))
        return replace(self, height=len(rows), width=len(columns), transitions=runs, object_transitions=offsets)


_TENSORS = ("points", "polygons", "object_polygons", "transitions", "object_transitions")
_NOTHING = np.empty(0, dtype=np.int64)


def _from_arrays(height: int, width: int, device: torch.device, *arrays: NDArray[Any]) -> InstanceMasks:
    return InstanceMasks(height, width, *(torch.from_numpy(array) for array in arrays)).to(device)


def _take(offsets: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The offsets of the chosen parts, one after the other, and the indices of what they hold."""
    lengths = offsets.diff()[chosen]
    taken = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    shifts = offsets[:-1][chosen] - taken[:-1]
    return taken, torch.repeat_interleave(shifts, lengths) + torch.arange(int(taken[-1]), device=offsets.device)


def _nearest(old: int, new: int, mode: str) -> NDArray[np.int64]:
    """For each of `new` pixels the nearest of `old`, in torch's arithmetic."""
    if mode not in ("nearest", "nearest-exact"):
        raise ValueError(f"InstanceMasks: mode must be nearest or nearest-exact; got {mode}")
    centre = np.float32(0.5 if mode == "nearest-exact" else 0)
    positions = (np.arange(new, dtype=np.float32) + centre) * (np.float32(old) / np.float32(new))
    nearest: NDArray[np.int64] = np.minimum(positions.astype(np.int64), old - 1)
    return nearest
