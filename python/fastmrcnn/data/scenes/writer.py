"""Scenes as a COCO data set on disk."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastmrcnn.data.masks import encode_rle, measure_rle, run_lengths, segmentation_to_rle
from fastmrcnn.errors import UserError
from fastmrcnn.files import atomic_path, write_json

from .canvas import SceneObject
from .coin_tray import draw_coin_tray
from .sprites import CLASS_NAMES, NEW_CLASS_NAMES
from .still_life import draw_still_life

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Scene:
    """One rendered image, uint8 [H, W, 3], and its annotated objects."""

    image: NDArray[np.uint8]
    objects: list[SceneObject]


def render_scene(
    index: int,
    *,
    seed: int,
    split: str = "train",
    size: tuple[int, int] = (224, 320),
    classes: tuple[str, ...] = CLASS_NAMES,
) -> Scene:
    """Draw scene ``index`` of a split.

    The result depends on the arguments alone, so that any image of a set can be drawn without the others. Every third
    scene is a tray of coins (where ``classes`` has them), every twelfth has a crowd.

    Example:
        >>> from fastmrcnn.data.scenes import render_scene
        >>> scene = render_scene(0, seed=7)
        >>> scene.image.dtype, scene.image.shape[2], len(scene.objects) >= 1
        (dtype('uint8'), 3, True)
    """
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    height, width = (int(side) for side in rng.integers(size[0], size[1], 2, endpoint=True))
    if "coin" in classes and index % 3 == 2:
        return Scene(*draw_coin_tray(rng, (height, min(int(width * 1.2), height * 2))))
    return Scene(*draw_still_life(rng, (height, width), classes, crowd=index % 12 == 4))


def write_dataset(
    directory: str | os.PathLike[str],
    *,
    images: int,
    seed: int,
    split: str = "train",
    size: tuple[int, int] = (224, 320),
    classes: tuple[str, ...] = CLASS_NAMES,
) -> Path:
    """Write a data set of procedural scenes: ``images/*.jpg`` and ``annotations.json`` (COCO) under ``directory``.

    Unoccluded objects without holes are polygons; rings, partly hidden and cut-off objects are compressed RLE; crowd
    regions are uncompressed RLE, as in COCO itself. ``annotations.json`` is written last.

    Args:
        directory: created where it does not exist.
        images: number of images, at least 1.
        seed: with ``split``, determines every pixel; image ``i`` does not depend on ``images``.
        split: name of the split, which begins the file names; different splits of one seed share no image.
        size: smallest and largest side of an image in pixels (coin trays are up to 1.2 times as wide).
        classes: names of :data:`CLASS_NAMES` or :data:`NEW_CLASS_NAMES` to show; categories are numbered from 1 in
            this order.

    Returns:
        The path of ``annotations.json``.

    Raises:
        UserError: an unknown class or a value out of range; a folder that cannot be written.

    Example:
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> write_dataset("scenes", images=2, seed=0).as_posix()
        'scenes/annotations.json'
    """
    _check(images, seed, size, classes)
    directory = Path(directory)
    image_records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(images):
        scene = render_scene(index, seed=seed, split=split, size=size, classes=classes)
        name = f"{split}_{index:06d}.jpg"
        # 4:4:4: chroma subsampling would blur the borders of small coloured objects.
        with atomic_path(directory / "images" / name) as temporary:
            Image.fromarray(scene.image).save(temporary, quality=_JPEG_QUALITY, subsampling=0)
        height, width = scene.image.shape[:2]
        image_records.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for item in scene.objects:
            record = {"id": len(annotations) + 1, "image_id": index + 1}
            annotations.append(record | _annotation(item, classes.index(item.class_name) + 1))
    document = {
        "info": {"description": "fastmrcnn procedural scenes", "seed": seed, "split": split},
        "licenses": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "images": image_records,
        "annotations": annotations,
    }
    path = directory / "annotations.json"
    write_json(path, document)
    return path


def _annotation(item: SceneObject, category_id: int) -> dict[str, Any]:
    """Segmentation, area and box of one object; both are measured on the mask that a reader will decode."""
    segmentation: Any
    if item.outline is not None and not item.outline.holes:
        segmentation = [np.round(item.outline.exterior, 2).ravel().tolist()]
        encoded = segmentation_to_rle(segmentation, *item.mask.shape)
    else:
        encoded = encode_rle(item.mask)
        segmentation = encoded if not item.is_crowd else {"size": encoded["size"], "counts": run_lengths(item.mask)}
    bbox, area = measure_rle(encoded)
    return {
        "category_id": category_id,
        "iscrowd": int(item.is_crowd),
        "area": area,
        "bbox": bbox,
        "segmentation": segmentation,
    }


def _check(images: int, seed: int, size: tuple[int, int], classes: tuple[str, ...]) -> None:
    if images < 1:
        raise UserError(f"write_dataset: images must be at least 1; got {images}")
    if seed < 0:
        raise UserError(f"write_dataset: seed must not be negative; got {seed}")
    if not 64 <= size[0] <= size[1]:
        raise UserError(f"write_dataset: size must be (smallest, largest) with 64 <= smallest <= largest; got {size}")
    known = (*CLASS_NAMES, *NEW_CLASS_NAMES)
    unknown = [name for name in classes if name not in known]
    if unknown or not classes or len(set(classes)) != len(classes):
        raise UserError(f"write_dataset: classes must be distinct names of {', '.join(known)}; got {classes}")
