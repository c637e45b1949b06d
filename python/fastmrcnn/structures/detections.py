"""The instances found in one image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import RLE, InstanceMasks, paste_masks, paste_masks_rle
from fastmrcnn.structures.images import ImageSource, as_image_tensor
from fastmrcnn.structures.mask_crops import MaskCrop, crops_of_probabilities, crops_of_runs
from fastmrcnn.structures.pixel_format import EVERY_CHANNEL, RGB, PixelFormat
from fastmrcnn.structures.soft_paste import paste_soft_masks
from fastmrcnn.visualisation.overlay import draw_instances

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

    @cached_property
    def rle(self) -> list[RLE]:
        """COCO run-length encodings ``{"size": [height, width], "counts": str}``, made without bitmaps."""
        if self.mask_runs is not None:
            return self.mask_runs.to_rle()
        return paste_masks_rle(self._require_probabilities(), self.boxes, self.image_size, method=self.paste_method)

    @cached_property
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
        # On any picture of the scene that the caller has, but of the own source the bands that the model looked at.
        wanted = self.pixel_format if image is None or self.pixel_format.channels == 3 else EVERY_CHANNEL
        if image is None:
            image = self.source
        if image is None:
            raise ValueError("plot: image must be given, as these detections do not know theirs; got None")
        pixels = as_image_tensor(image, wanted)
        if tuple(pixels.shape[1:]) != tuple(self.image_size):
            raise ValueError(f"plot: image must be of size {self.image_size}; got {tuple(pixels.shape[1:])}")
        here = self.to("cpu")
        return draw_instances(
            pixels.detach().permute(1, 2, 0).cpu().numpy(),
            here.boxes.detach().numpy(),
            masks=here._mask_crops() if here.has_masks else None,
            keypoints=here._drawn_keypoints(keypoint_score),
            keypoint_names=self.keypoint_names,
            labels=here.labels.tolist(),
            names=here.names,
            scores=here.scores.tolist(),
            colour_by=colour_by,
            opacity=opacity,
            zoom=zoom,
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: dicts of image_id, category_id, bbox [x, y, width, height], score, segmentation (an
        RLE) and keypoints [x1, y1, 1, x2, y2, 1, ..], whose scores stand in keypoint_scores.

        Without masks there is no segmentation, and without keypoints there are none.
        """
        corners = self.boxes.detach().double()
        xywh = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
        results = [
            {"image_id": image_id, "category_id": self.category_ids[label], "bbox": bbox, "score": score}
            for label, bbox, score in zip(self.labels.tolist(), xywh, self.scores.tolist(), strict=True)
        ]
        if self.has_masks:
            for result, encoding in zip(results, self.rle, strict=True):
                result["segmentation"] = encoding
        if self.keypoints is not None:
            points = self.keypoints.detach().double()
            flags = torch.cat([points[..., :2] - self.keypoint_offset, torch.ones_like(points[..., 2:])], dim=2)
            for result, flat, certain in zip(results, flags.flatten(1).tolist(), points[..., 2].tolist(), strict=True):
                result.update(keypoints=flat, keypoint_scores=certain)
        return results

    def to_torchvision(self) -> dict[str, Tensor]:
        """The dict that torchvision's Mask R-CNN and Keypoint R-CNN return in eval mode.

        ``boxes`` [N, 4], ``labels`` int64 [N] counted from 1 (0 is the background), ``scores`` [N] and
        ``masks`` float [N, 1, height, width]: probabilities pasted by torchvision's rule, whatever
        ``paste_method`` is; zeros and ones where there are run lengths alone. With keypoints ``keypoints`` [N, K, 3],
        x, y and 1, and ``keypoints_scores`` [N, K].
        """
        result = {"boxes": self.boxes, "labels": self.labels + 1, "scores": self.scores}
        if self.mask_probs is not None:
            result["masks"] = paste_soft_masks(self.mask_probs, self.boxes, self.image_size)[:, None]
        elif self.mask_runs is not None:
            result["masks"] = self.masks.to(self.scores.dtype)[:, None]
        if self.keypoints is not None:
            places, scores = self.keypoints[..., :2], self.keypoints[..., 2]
            result["keypoints"] = torch.cat([places, torch.ones_like(scores)[..., None]], dim=2)
            result["keypoints_scores"] = scores
        return result

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

    def _drawn_keypoints(self, score: float | None) -> np.ndarray | None:
        """[N, K, 2], NaN for those below ``score``."""
        if self.keypoints is None:
            return None
        points = self.keypoints.detach()
        low = points[..., 2:] < (-torch.inf if score is None else score)
        drawn: np.ndarray = torch.where(low, torch.nan, points[..., :2]).numpy()
        return drawn

    def _require_probabilities(self) -> Tensor:
        if self.mask_probs is None:
            raise ValueError("Detections: masks need mask probabilities; this model gave boxes only")
        return self.mask_probs

    def _mask_crops(self) -> list[MaskCrop]:
        if self.mask_runs is not None:
            return crops_of_runs(self.mask_runs)
        return crops_of_probabilities(self._require_probabilities(), self.boxes, self.image_size, self.paste_method)


def _check_shape(name: str, tensor: Tensor | InstanceMasks, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f"Detections: {name} must be {list(expected)}; got {list(tensor.shape)}")
