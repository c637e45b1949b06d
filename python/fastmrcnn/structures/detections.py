"""The instances found in one image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.locks import kept_property
from fastmrcnn.ops import RLE, InstanceMasks, MaskPolygon, mask_polygons, paste_masks, paste_masks_rle
from fastmrcnn.structures import conversions
from fastmrcnn.structures.images import ImageSource
from fastmrcnn.structures.pixel_format import RGB, PixelFormat
from fastmrcnn.structures.plot import plot

if TYPE_CHECKING:
    from PIL import Image

_NAMED_IN_REPR = 5


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The instances found in one image, by descending score as the model returns them.

    Masks are kept as the small probability maps that the network gives; ``masks``, ``rle`` and ``run_lengths`` paste
    them into the image when they are asked for. What is merged from several views of an image, such as tiles, has
    run lengths in their place, and everything here works alike. Index with an integer, a slice, or a tensor of
    booleans or indices to get the ``Detections`` of those instances; iterate to get them one by one.

    >>> found = Detections(  # what model.predict("street.jpg") returns
    ...     boxes=torch.tensor([[2.0, 1.0, 6.0, 5.0], [0.0, 0.0, 3.0, 3.0]]),
    ...     scores=torch.tensor([0.9, 0.4]),
    ...     labels=torch.tensor([1, 0]),
    ...     mask_probs=torch.ones(2, 28, 28),
    ...     image_size=(8, 10),
    ...     class_names=("person", "dog"),
    ...     category_ids=(1, 18),
    ... )
    >>> found
    <Detections: 2 in 10 x 8 pixels: dog 0.90, person 0.40>
    >>> confident = found.filter(score=0.7)
    >>> confident.names, confident.masks.shape, confident.rle
    (['dog'], torch.Size([1, 8, 10]), [{'size': [8, 10], 'counts': 'a04400000o0'}])
    >>> confident.plot(np.zeros((8, 10, 3), np.uint8)).save("street-found.png")
    """

    boxes: Tensor  # float32 [N, 4]: x1, y1, x2, y2 in pixels of the original image
    scores: Tensor  # float32 [N], 0..1
    labels: Tensor  # int64 [N], indices into class_names
    mask_probs: Tensor | None  # float32 [N, M, M], probabilities within the boxes; None without them
    image_size: tuple[int, int]  # (height, width) of the original image
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the data set's id of each class, in the order of class_names
    paste_method: str = "exact"  # or "torchvision": how masks are pasted, see fastmrcnn.ops.paste_masks
    source: ImageSource | None = None  # the image that was looked at: what plot() draws on
    pixel_format: PixelFormat = RGB  # as which the source is read
    # float32 [N, K, 3]: x, y in pixels of the original image, and the score; None of a model without keypoints
    keypoints: Tensor | None = None
    keypoint_names: tuple[str, ...] = ()
    keypoint_offset: float = 0.0  # px: COCO's keypoints are these less the offset, see KeypointHeadConfig
    mask_runs: InstanceMasks | None = None  # of N masks of the image, in place of mask_probs; on the host

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _check_shape("boxes", self.boxes, (count, 4))
        _check_shape("scores", self.scores, (count,))
        _check_shape("labels", self.labels, (count,))
        if self.mask_probs is not None:
            if self.mask_probs.ndim == 4:  # [N, 1, M, M], as a mask head gives them
                object.__setattr__(self, "mask_probs", self.mask_probs.squeeze(1))
            side = self.mask_probs.shape[-1]
            _check_shape("mask_probs", self.mask_probs, (count, side, side))
        if self.mask_runs is not None:
            _check_shape("mask_runs", self.mask_runs, (count, *self.image_size))
            if self.mask_probs is not None:
                raise ValueError("Detections: expected mask_probs or mask_runs; got both")
        if self.keypoints is not None:
            _check_shape("keypoints", self.keypoints, (count, len(self.keypoint_names), 3))
        if len(self.category_ids) != len(self.class_names):
            raise ValueError(
                f"Detections: category_ids must have one id per class name; "
                f"got {len(self.category_ids)} for {len(self.class_names)}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Tensor | np.ndarray | list[int] | list[bool]) -> Detections:
        """The chosen instances: an integer chooses one and keeps the instance dimension."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"Detections: index must be within {len(self)} detections; got {index}")
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.boxes.device)
            index = index.reshape(1) if index.ndim == 0 else index
            if index.numel() == 0 and index.dtype != torch.bool:
                index = index.long()  # an empty list is read as float
        chosen = index
        runs = self.mask_runs
        if runs is not None:
            runs = runs[chosen.to(runs.points.device) if isinstance(chosen, Tensor) else chosen]
        return self._map(lambda tensor: tensor[chosen], runs)

    def __iter__(self) -> Iterator[Detections]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.image_size
        first = self[:_NAMED_IN_REPR]
        named = [f"{name} {score:.2f}" for name, score in zip(first.names, first.scores.tolist(), strict=True)]
        if len(self) > _NAMED_IN_REPR:
            named.append(f"and {len(self) - _NAMED_IN_REPR} more")
        what = ": " + ", ".join(named) if named else ""
        return f"<Detections: {len(self)} in {width} x {height} pixels{what}>"

    @property
    def names(self) -> list[str]:
        """The class name of each instance."""
        return [self.class_names[label] for label in self.labels.tolist()]

    @property
    def has_masks(self) -> bool:
        """Whether there are masks, of none of the instances too; False of a model that finds boxes alone."""
        return self.mask_probs is not None or self.mask_runs is not None

    @property
    def masks(self) -> Tensor:
        """Bitmaps, bool [N, height, width], on the device of the boxes.

        They are drawn anew at each access (a hundred bitmaps of a photograph take 100 MB, too much to keep
        by default): hold on to the result. ``rle`` and ``run_lengths`` are compact.
        """
        if self.mask_runs is not None:
            return self.mask_runs.to_bitmaps().to(self.boxes.device)
        return paste_masks(self._require_probabilities(), self.boxes, self.image_size, method=self.paste_method)

    @kept_property
    def rle(self) -> list[RLE]:
        """COCO run-length encodings ``{"size": [height, width], "counts": str}``, made without bitmaps."""
        if self.mask_runs is not None:
            return self.mask_runs.to_rle()
        return paste_masks_rle(self._require_probabilities(), self.boxes, self.image_size, method=self.paste_method)

    @kept_property
    def run_lengths(self) -> InstanceMasks:
        """The masks to compute with: areas, tight boxes, unions, overlaps, made without bitmaps. On the host.

        ``dataclasses.replace(found, mask_probs=None, mask_runs=found.run_lengths)`` keeps them in this form.
        """
        return InstanceMasks.from_coco(self.rle, *self.image_size) if self.mask_runs is None else self.mask_runs

    def filter(self, *, score: float | None = None, classes: Collection[str] | None = None) -> Detections:
        """The instances whose score is at least ``score`` and whose class name is among ``classes``.

        Raises ``ValueError`` for a class name that the model does not know.
        """
        keep = torch.ones(len(self), dtype=torch.bool, device=self.boxes.device)
        if score is not None:
            keep &= self.scores >= score
        if classes is not None:
            wanted = [classes] if isinstance(classes, str) else list(classes)
            unknown = sorted(set(wanted) - set(self.class_names))
            if unknown:
                raise ValueError(f"filter: classes must be among {list(self.class_names)}; got {unknown}")
            indices = [index for index, name in enumerate(self.class_names) if name in wanted]
            keep &= torch.isin(self.labels, self.labels.new_tensor(indices))
        return self[keep]

    def to(self, device: torch.device | str) -> Detections:
        """The same detections with their tensors on ``device``; run lengths stay on the host."""
        return self._map(lambda tensor: tensor.to(device), self.mask_runs)

    def plot(
        self,
        image: ImageSource | None = None,
        *,
        colour_by: str = "class",
        opacity: float = 0.45,
        zoom: int = 1,
        keypoint_score: float | None = None,
    ) -> Image.Image:
        """Draw masks, boxes, keypoints and labels with scores over ``image`` (``source`` when left out): a Pillow
        RGB image.

        ``colour_by`` is "class" or "instance"; ``zoom`` enlarges a small image before it is drawn on; keypoints with
        a score below ``keypoint_score`` are left out.

        Raises ``ValueError`` when there is no image or its size is not that of the detections.
        """
        return plot(self, image, colour_by=colour_by, opacity=opacity, zoom=zoom, keypoint_score=keypoint_score)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: dicts of image_id, category_id, bbox [x, y, width, height], score, segmentation (an
        RLE) and keypoints [x1, y1, 1, x2, y2, 1, ..], whose scores stand in keypoint_scores.

        Without masks there is no segmentation, and without keypoints there are none.
        """
        return conversions.to_coco(self, image_id)

    def polygons(self, tolerance: float = 0.0) -> list[list[MaskPolygon]]:
        """The outlines of each mask, a polygon with holes for each connected part, see ``ops.mask_polygons``.

        ``tolerance`` is how many pixels an outline may move for the sake of fewer points; with 0 polygons are exact.
        """
        return mask_polygons(self.run_lengths, tolerance)

    def to_torchvision(self) -> dict[str, Tensor]:
        """The dict that torchvision's Mask R-CNN and Keypoint R-CNN return in eval mode.

        ``boxes`` [N, 4], ``labels`` int64 [N] counted from 1 (0 is the background), ``scores`` [N] and
        ``masks`` float [N, 1, height, width]: probabilities pasted by torchvision's rule, whatever
        ``paste_method`` is; zeros and ones where there are run lengths alone. With keypoints ``keypoints`` [N, K, 3],
        x, y and 1, and ``keypoints_scores`` [N, K].
        """
        return conversions.to_torchvision(self)

    @classmethod
    def from_torchvision(
        cls,
        result: Mapping[str, Tensor],
        class_names: Sequence[str],
        *,
        category_ids: Sequence[int] | None = None,
        image_size: tuple[int, int] | None = None,
        keypoint_names: Sequence[str] | None = None,
    ) -> Detections:
        """What a model of torchvision found in an image: see :meth:`to_torchvision`. Masks are kept as run lengths.

        Args:
            result: one of the dicts that torchvision's detectors return; probabilities from 0.5 on are mask.
            class_names: of the labels from 1 on; torchvision's ``meta["categories"]``, which begin with the background,
                serve as they are.
            category_ids: the data set's id of each class; the default is 1, 2, ..., which are torchvision's of COCO.
            image_size: (height, width) in pixels; the default is that of the masks.
            keypoint_names: by default numbers.

        Raises ``ValueError`` for a label without a name, a missing entry, and without both masks and ``image_size``.

        >>> result = {
        ...     "boxes": torch.tensor([[2.0, 1.0, 6.0, 5.0]]),
        ...     "labels": torch.tensor([2]),
        ...     "scores": torch.tensor([0.9]),
        ...     "masks": torch.zeros(1, 1, 8, 10),
        ... }
        >>> Detections.from_torchvision(result, ("person", "dog"))
        <Detections: 1 in 10 x 8 pixels: dog 0.90>
        """
        return cls(**conversions.of_torchvision(result, class_names, category_ids, image_size, keypoint_names))

    def to_supervision(self, *, compact: bool = False) -> Any:
        """``supervision.Detections``: xyxy, confidence, class_id (from 0), mask (bitmaps) and data["class_name"].

        ``compact`` makes the masks supervision's ``CompactMask``, without bitmaps. Keypoints stay behind.

        Raises ``UserError`` where the package (extra ``supervision``) is missing, or too old for compact masks.
        """
        return conversions.to_supervision(self, compact)

    @classmethod
    def from_supervision(
        cls,
        detections: Any,
        class_names: Sequence[str] | None = None,
        *,
        category_ids: Sequence[int] | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> Detections:
        """From ``supervision.Detections``; masks, bitmaps or compact ones, are kept as run lengths.

        Args:
            detections: without ``confidence`` scores are 1, without ``class_id`` all are of class 0.
            class_names: of the class ids from 0 on; by default those in ``data["class_name"]``, or else numbers.
            category_ids: the data set's id of each class; the default is 1, 2, ...
            image_size: (height, width) in pixels; the default is that of the masks.

        Raises ``ValueError`` for a class id without a name, and without both masks and ``image_size``.
        """
        return cls(**conversions.of_supervision(detections, class_names, category_ids, image_size))

    def _map(self, change: Callable[[Tensor], Tensor], mask_runs: InstanceMasks | None) -> Detections:
        return replace(
            self,
            mask_runs=mask_runs,
            boxes=change(self.boxes),
            scores=change(self.scores),
            labels=change(self.labels),
            mask_probs=None if self.mask_probs is None else change(self.mask_probs),
            keypoints=None if self.keypoints is None else change(self.keypoints),
        )

    def _require_probabilities(self) -> Tensor:
        if self.mask_probs is None:
            raise ValueError("Detections: masks need mask probabilities; this model gave boxes only")
        return self.mask_probs


def _check_shape(name: str, tensor: Tensor | InstanceMasks, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f"Detections: {name} must be {list(expected)}; got {list(tensor.shape)}")
