"""The numbers of a split: images, objects, sizes and classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.data.annotations import Annotations
from fastmrcnn.doctor.images import ExaminedImage

SMALL, LARGE = 32**2, 96**2  # pixels: COCO's borders between small, medium and large objects
PERCENTILES = (0, 10, 50, 90, 100)


@dataclass(frozen=True)
class ClassCount:
    """One class of a split."""

    name: str
    images: int  # with at least one object
    objects: int  # without the crowds
    crowds: int
    share: float  # of all objects
    median_area: float | None  # pixels


@dataclass(frozen=True)
class Statistics:
    """What a split holds, its unsound parts left out.

    Percentiles are the 0th, 10th, 50th, 90th and 100th; crowds count as crowds alone.
    """

    images: int
    images_without_objects: int
    objects: int
    crowds: int
    polygons: int  # objects whose mask is given by polygons; the others' by run lengths
    one_pixel_masks: int
    small: int  # below 32^2 pixels
    medium: int
    large: int  # from 96^2 pixels
    image_sizes: dict[str, int]  # "640 x 480" -> images, the most frequent first
    image_width: list[float]  # percentiles, pixels
    image_height: list[float]
    objects_per_image: list[float]  # percentiles
    object_side: list[float]  # percentiles of the square root of a box's area, pixels
    aspect_ratio: list[float]  # percentiles of height / width of boxes
    classes: list[ClassCount]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(content: Annotations, images: Sequence[ExaminedImage]) -> Statistics:
    """The statistics of a split."""
    sound = [image for image in images if image.sound]
    items = [item for image in sound for item in image.measured.objects]
    crowd = np.array([item.iscrowd for item in items], dtype=bool)
    areas = _concatenate([image.measured.areas for image in sound], 0)[~crowd]
    boxes = object_boxes(sound)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    sizes = [(image.record.width, image.record.height) for image in sound]
    per_image = [sum(not item.iscrowd for item in image.measured.objects) for image in sound]
    return Statistics(
        images=len(sound),
        images_without_objects=sum(not image.measured.objects for image in sound),
        objects=len(areas),
        crowds=int(crowd.sum()),
        polygons=sum(isinstance(item.segmentation, list) and not item.iscrowd for item in items),
        one_pixel_masks=int((areas == 1).sum()),
        small=int((areas < SMALL).sum()),
        medium=int(((areas >= SMALL) & (areas < LARGE)).sum()),
        large=int((areas >= LARGE).sum()),
        image_sizes={f"{w} x {h}": count for (w, h), count in Counter(sizes).most_common()},
        image_width=_percentiles([size[0] for size in sizes]),
        image_height=_percentiles([size[1] for size in sizes]),
        objects_per_image=_percentiles(per_image),
        object_side=_percentiles(np.sqrt(width * height)),
        aspect_ratio=_percentiles(height / width),
        classes=_count_classes(content, sound),
    )


def object_boxes(images: Sequence[ExaminedImage]) -> NDArray[np.float32]:
    """[N, 4] boxes of the masks of all objects that are no crowds, x1, y1, x2, y2 in pixels."""
    boxes = [
        image.measured.boxes[[not item.iscrowd for item in image.measured.objects]]
        for image in images
        if image.measured.objects
    ]
    return _concatenate(boxes, 4)


def _count_classes(content: Annotations, images: Sequence[ExaminedImage]) -> list[ClassCount]:
    objects: Counter[int] = Counter()
    crowds: Counter[int] = Counter()
    with_object: Counter[int] = Counter()
    areas: dict[int, list[float]] = {number: [] for number in content.categories}
    for image in images:
        with_object.update({item.category_id for item in image.measured.objects if not item.iscrowd})
        for item, area in zip(image.measured.objects, image.measured.areas.tolist(), strict=True):
            (crowds if item.iscrowd else objects)[item.category_id] += 1
            if not item.iscrowd:
                areas[item.category_id].append(area)
    total = max(sum(objects.values()), 1)
    return [
        ClassCount(
            name,
            with_object[number],
            objects[number],
            crowds[number],
            objects[number] / total,
            float(np.median(areas[number])) if areas[number] else None,
        )
        for number, name in content.categories.items()
    ]


def _percentiles(values: Sequence[float] | NDArray[np.floating]) -> list[float]:
    if len(values) == 0:
        return []
    found: list[float] = np.percentile(np.asarray(values, dtype=np.float64), PERCENTILES).round(4).tolist()
    return found


def _concatenate(parts: Sequence[NDArray[np.float32]], columns: int) -> NDArray[np.float32]:
    shape = (0, columns) if columns else (0,)
    return np.concatenate([np.zeros(shape, dtype=np.float32), *parts])
