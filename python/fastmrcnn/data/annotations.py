"""What every reader makes of a data set on disk: categories, images and objects, checked; no image is decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastmrcnn.data.masks import Segmentation
from fastmrcnn.errors import UserError


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image."""

    id: int
    file_name: str  # relative to the folder of the images
    height: int  # pixels
    width: int


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object, with the outline or the run lengths that the file gives it."""

    id: int
    category_id: int
    segmentation: Segmentation
    bbox: tuple[float, float, float, float] | None = None  # x, y, width, height in pixels; None: that of the mask
    area: float | None = None  # pixels; None: that of the mask
    iscrowd: bool = False
    keypoints: Any = None  # as in the file, checked by those who read them (fastmrcnn.data.keypoints)


@dataclass(frozen=True)
class Annotations:
    """The checked content of a data set."""

    path: str  # what the user named, for messages
    folder: Path  # of the images
    categories: dict[int, str]  # id -> name, in order of the ids
    images: dict[int, ImageRecord]  # in the order of the data set
    objects: Mapping[int, Sequence[ObjectRecord]]  # image id -> its objects
    keypoint_names: Mapping[int, Any] = field(default_factory=dict)  # of categories that list keypoints; unchecked

    def choose(self, class_names: Sequence[str] | None) -> dict[str, int]:
        """Category ids by name: of ``class_names`` in that order, or of all categories by ascending id.

        Raises:
            UserError: no name at all, a name given twice or one that is no category.
        """
        id_of = {name: identifier for identifier, name in self.categories.items()}
        if class_names is None:
            return id_of
        if not class_names or len(set(class_names)) != len(class_names):
            raise UserError(f"{self.path}: expected distinct class names, at least one; got {list(class_names)}")
        for name in class_names:
            if name not in id_of:
                raise UserError(f"{self.path}: no category is named '{name}'; its categories are {', '.join(id_of)}")
        return {name: id_of[name] for name in class_names}


class ObjectsOnDemand(Mapping[int, Sequence[ObjectRecord]]):
    """The objects of images whose masks are image files themselves, decoded whenever they are asked for.

    Opening a data set does not decode thousands of files so, and a loader's workers share the work.

    Args:
        images: the files of each image by its id, in any form that ``read`` takes.
        read: the objects of one image.
    """

    def __init__(self, images: Mapping[int, object], read: Callable[..., Sequence[ObjectRecord]]) -> None:
        self._images, self._read = images, read

    def __getitem__(self, image_id: int) -> Sequence[ObjectRecord]:
        return self._read(self._images[image_id])

    def __iter__(self) -> Iterator[int]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)
