"""Data sets of images and objects, whatever the format on disk: the same samples from all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.keypoints import KeypointReader, keypoint_reader, listed_keypoints
from fastmrcnn.data.readers import DataFormat, Source, read_annotations, read_coco
from fastmrcnn.data.sample import Sample
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.data.transforms import Transform
from fastmrcnn.errors import UserError
from fastmrcnn.models import KeypointHeadConfig
from fastmrcnn.ops import InstanceMasks
from fastmrcnn.structures import RGB, PixelFormat, read_image


class InstanceDataset(Dataset[Sample]):
    """Images and their objects, as :class:`~fastmrcnn.data.sample.Sample` by position.

    Masks stay the polygons and run lengths of the annotations, here and in samples. Objects whose mask has no pixel are
    left out of samples; a missing or empty ``bbox`` is measured on the mask.

    Args:
        content: the annotations, from :func:`~fastmrcnn.data.readers.read_annotations`.
        transforms: applied in order to each sample, with a generator that is a function of ``seed``, the epoch (see
            :meth:`set_epoch`) and the position: the same for any number of workers.
        class_names: the categories to read, in the order of their labels; objects of others are left out. Default: all,
            by ascending id.
        seed: of the transforms.

    Keypoints stay in the annotations until :meth:`read_keypoints` asks for them; images are RGB unless
    :meth:`read_pixels_as` asks for other channels.

    Raises:
        ValueError: a negative seed.
        UserError: a missing folder or image file; a class name that is no category or is given twice. When a sample is
            read: an image that does not decode or is not of the size in the annotations.
    """

    def __init__(
        self,
        content: Annotations,
        *,
        transforms: Sequence[Transform] | None = None,
        class_names: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        if seed < 0:
            raise ValueError(f"InstanceDataset: seed must not be negative; got {seed}")
        self.content = content
        self.transforms = list(transforms or ())
        self.seed = seed
        self.epoch = 0
        chosen = content.choose(class_names)
        self.class_names, self.category_ids = tuple(chosen), tuple(chosen.values())
        self._label_of = {category_id: label for label, category_id in enumerate(self.category_ids)}
        self._images = list(content.images.values())
        self._check_files()
        self._keypoints: KeypointReader | None = None
        self.pixel_format = RGB

    def __len__(self) -> int:
        """Number of images, those without objects included."""
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Read, decode and transform one sample."""
        index = range(len(self))[index]  # counts a negative index from the end, as lists do
        record = self._images[index]
        sample = self._read_sample(record)
        if self.transforms:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch, index))
            for transform in self.transforms:
                sample = transform(sample, generator)
        return sample

    @property
    def image_ids(self) -> list[int]:
        """Ids of the images by position."""
        return [record.id for record in self._images]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the images by position, px."""
        return [(record.height, record.width) for record in self._images]

    def digest_of_images(self) -> str:
        """The same for the same names and sizes in the same order, wherever the folder is."""
        images = [(Path(record.file_name).name, record.height, record.width) for record in self._images]
        return hashlib.sha256(json.dumps(images).encode()).hexdigest()

    def image_labels(self) -> list[set[int]]:
        """The labels of the objects of each image, by position; crowds are no objects.

        Where masks are image files, this decodes all of them.
        """
        return [
            {self._label_of[item.category_id] for item in self._objects_of(record) if not item.iscrowd}
            for record in self._images
        ]

    def has_objects(self) -> bool:
        """Whether any image has an object; crowds are none, nor are masks without a pixel."""
        return any(self._has_object(record) for record in self._images)

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """The keypoints of the first class that lists any; none where no class does."""
        return listed_keypoints(self.content, self.category_ids)

    def image_path(self, index: int) -> Path:
        """File of the image at a position."""
        return self.content.folder / self._images[index].file_name

    def read_image(self, index: int) -> Tensor:
        """The image at a position as its file has it, [C, H, W]; no transform, no objects."""
        return self._read_pixels(self.image_path(index), self._images[index])

    def set_epoch(self, epoch: int) -> None:
        """Give the transforms new chances; call it before a loader's iterator is made."""
        self.epoch = epoch

    def read_keypoints(self, head: KeypointHeadConfig) -> None:
        """Let samples hold the keypoints that ``head`` learns, moved by its offset; they are found by their names.

        Raises:
            UserError: see :func:`~fastmrcnn.data.keypoints.keypoint_reader`.
        """
        self._keypoints = keypoint_reader(self.content, self.category_ids, head)

    def read_pixels_as(self, pixel_format: PixelFormat) -> None:
        """Let samples hold images of another kind than RGB: that of a model is ``model.config.input.pixel_format``."""
        self.pixel_format = pixel_format

    def _check_files(self) -> None:
        if not self._images:
            raise UserError(f"{self.content.path}: expected at least one image; got an empty list")
        if not self.content.folder.is_dir():
            found = "it is a file" if self.content.folder.exists() else "there is no such folder"
            raise UserError(f"{self.content.folder}: expected the folder of the images; {found}")
        missing = [r for r in self._images if not os.path.isfile(self.content.folder / r.file_name)]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            if 1 < len(missing) == len(self._images):
                more = f" (and {len(missing) - 1} more, that is all: name the folder of the images)"
            raise UserError(
                f"{self.content.folder / missing[0].file_name}: no such file{more}; "
                f"{self.content.path} lists it as image {missing[0].id}"
            )

    def _read_pixels(self, path: Path, record: ImageRecord) -> Tensor:
        image = read_image(path, self.pixel_format)
        height, width = image.shape[1:]
        if (height, width) != (record.height, record.width):
            swapped = (width, height) == (record.height, record.width)
            hint = " (swapped, perhaps by the EXIF orientation, which is applied here)" if swapped else ""
            raise UserError(
                f"{path}: expected {record.width} x {record.height} pixels (width x height), "
                f"as {self.content.path} says; got {width} x {height}{hint}"
            )
        return image

    def _objects_of(self, record: ImageRecord) -> list[ObjectRecord]:
        """Those of the categories that are read."""
        return [item for item in self.content.objects.get(record.id, []) if item.category_id in self._label_of]

    def _has_object(self, record: ImageRecord) -> bool:
        segmentations = [item.segmentation for item in self._objects_of(record) if not item.iscrowd]
        return bool((InstanceMasks.from_coco(segmentations, record.height, record.width).to_runs().areas() > 0).any())

    def _read_sample(self, record: ImageRecord) -> Sample:
        path = self.content.folder / record.file_name
        image = self._read_pixels(path, record)
        objects = self._objects_of(record)
        masks = InstanceMasks.from_coco([item.segmentation for item in objects], record.height, record.width)
        runs = masks.to_runs()  # once, for both
        boxes, areas = runs.boxes(), runs.areas()
        filled = areas > 0
        for number, item in enumerate(objects):
            if item.bbox is not None:
                x, y, width, height = item.bbox
                boxes[number] = torch.tensor([x, y, x + width, y + height])
            if item.area is not None:
                areas[number] = item.area
        sample = Sample(
            image=image,
            image_id=record.id,
            path=path,
            boxes=boxes,
            labels=torch.tensor([self._label_of[item.category_id] for item in objects], dtype=torch.int64),
            masks=masks,
            iscrowd=torch.tensor([item.iscrowd for item in objects], dtype=torch.bool),
            areas=areas,
        )
        if self._keypoints is not None:
            sample = replace(
                sample,
                keypoints=self._keypoints.read(objects),
                keypoint_names=self._keypoints.head.keypoint_names,
            )
        return sample if bool(filled.all()) else sample.select(filled)


class CocoDataset(InstanceDataset):
    """The data set of a COCO annotation file, which is checked when it is opened.

    Args:
        annotations: path of the COCO JSON file.
        images: the folder to which the file names in it are relative.
        transforms, class_names, seed: see :class:`InstanceDataset`.

    Raises:
        UserError: see :func:`~fastmrcnn.data.readers.read_coco` and :class:`InstanceDataset`.

    Example:
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> dataset = CocoDataset(write_dataset("scenes", images=2, seed=0), "scenes/images")
        >>> dataset.class_names
        ('ball', 'box', 'star', 'ring', 'leaf', 'coin')
        >>> sample = dataset[0]
        >>> sample.image.shape[1:] == sample.masks.shape[1:], len(sample.boxes) == len(sample.masks)
        (True, True)
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str],
        *,
        transforms: Sequence[Transform] | None = None,
        class_names: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        content = read_coco(Source(Path(annotations), Path(images)))
        super().__init__(content, transforms=transforms, class_names=class_names, seed=seed)


def open_dataset(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: DataFormat | None = None,
    split: str | None = None,
    transforms: Sequence[Transform] | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> InstanceDataset:
    """The data set at a path, in any format that is known.

    Args:
        annotations, images, format, split: see :func:`~fastmrcnn.data.readers.read_annotations`.
        transforms, class_names, seed: see :class:`InstanceDataset`.

    Raises:
        UserError: see both.

    Example:
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> len(open_dataset(write_dataset("scenes", images=2, seed=0), "scenes/images"))
        2
    """
    content = read_annotations(annotations, images, format=format, split=split)
    return InstanceDataset(content, transforms=transforms, class_names=class_names, seed=seed)
