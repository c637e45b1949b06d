"""Two splits of one data set: the same images in both, and classes that one of them lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.data.annotations import Annotations
from fastmrcnn.doctor.images import ExaminedImage
from fastmrcnn.doctor.problem import (
    CLASS_ABSENT_FROM_SPLIT,
    DIFFERENT_CATEGORY_IDS,
    DUPLICATE_IMAGE,
    KEPT,
    LEAKAGE,
    LEFT_OUT,
    NEAR_LEAKAGE,
    UNKNOWN_CLASS_IN_SPLIT,
    Findings,
)

_BANDS = 4  # of 16 bits each: two hashes that differ in fewer bits than there are bands share one
_NEAR = 4.0  # grey levels between two thumbnails, on average, below which images look alike
_FLAT = 6.0  # standard deviation of a thumbnail in grey levels below which images look alike whatever they show


def find_duplicates(images: Sequence[ExaminedImage], folder: Path, findings: Findings) -> None:
    """Note the images of one split whose pixels are those of an earlier one."""
    first_of: dict[bytes, ExaminedImage] = {}
    for image in images:
        if image.pixels:
            first = first_of.setdefault(image.pixels, image)
            if first is not image:
                text = f"image {image.record.id} {_likeness(first, image)} image {first.record.id}"
                text += f" ({first.record.file_name})"
                twin = str(folder / first.record.file_name)
                findings.add(DUPLICATE_IMAGE, text, image=image.record.file_name, repair=KEPT, twin=twin)


def find_leakage(
    train: Sequence[ExaminedImage], val: Sequence[ExaminedImage], val_folder: Path, findings: Findings
) -> set[int]:
    """Note, with the training split, the images that are in both, and those that look alike.

    Returns:
        The ids of the training images that the other split has too, pixel for pixel.
    """
    by_pixels = {image.pixels: image for image in val if image.pixels}
    leaked = set()
    for image in train:
        twin = by_pixels.get(image.pixels)
        if twin is not None:
            text = f"image {image.record.id} {_likeness(twin, image)} image {twin.record.id} of the validation"
            text += f" ({twin.record.file_name})"
            where = {"image": image.record.file_name, "twin": str(val_folder / twin.record.file_name)}
            findings.add(LEAKAGE, text, **where, repair=f"{LEFT_OUT} of the training split")
            leaked.add(image.record.id)
    rest = [image for image in train if image.record.id not in leaked]
    for image, twin in _near_pairs(rest, val):
        text = f"image {image.record.id} looks like image {twin.record.id} of the validation ({twin.record.file_name})"
        where = {"image": image.record.file_name, "twin": str(val_folder / twin.record.file_name)}
        findings.add(NEAR_LEAKAGE, text, **where, repair=KEPT)
    return leaked


def compare_classes(
    train: Annotations,
    val: Annotations,
    train_images: Sequence[ExaminedImage],
    val_images: Sequence[ExaminedImage],
    findings: Findings,
) -> None:
    """Note, with the validation split, the classes that only one of the splits has."""
    ids = {name: number for number, name in train.categories.items()}
    seen, seen_in_val = _classes_seen(train, train_images), _classes_seen(val, val_images)
    for number, name in val.categories.items():
        if name not in ids:
            near = next((known for known in ids if known.strip().lower() == name.strip().lower()), None)
            hint = f"; did you mean '{near}'?" if near else ""
            text = f"category {number} '{name}' is no category of the training split ({', '.join(ids)!s:.60}){hint}"
            findings.add(UNKNOWN_CLASS_IN_SPLIT, text, repair=KEPT)
        elif ids[name] != number:
            text = f"category '{name}' has the id {number}, in the training split {ids[name]}"
            findings.add(DIFFERENT_CATEGORY_IDS, text, repair="the ids of the training split")
        if name in seen_in_val and name not in seen:
            text = f"category {number} '{name}' has objects here and none in the training split"
            findings.add(CLASS_ABSENT_FROM_SPLIT, text, repair=KEPT)
    for name in ids:
        if name in seen and name not in seen_in_val:
            text = f"category {ids[name]} '{name}' has objects in the training split and none here: its AP is undefined"
            findings.add(CLASS_ABSENT_FROM_SPLIT, text, repair=KEPT)


def _classes_seen(content: Annotations, images: Iterable[ExaminedImage]) -> set[str]:
    return {
        content.categories[item.category_id] for image in images for item in image.measured.objects if not item.iscrowd
    }


def _likeness(first: ExaminedImage, second: ExaminedImage) -> str:
    return "is the same file as" if first.content == second.content else "has the same pixels as"


def _near_pairs(
    train: Sequence[ExaminedImage], val: Sequence[ExaminedImage]
) -> list[tuple[ExaminedImage, ExaminedImage]]:
    """For each training image the first validation image that looks like it.

    Gradient hashes (dHash, 64 bits) propose pairs: those that have one of their bands in common, so that no image
    meets all others. Thumbnails decide.
    """
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    theirs = _with_contrast(val)
    for number, hash_bands in enumerate(map(_bands, theirs)):
        for band in enumerate(hash_bands):
            buckets[band].append(number)
    stack = np.stack([_grey(image) for image in theirs]) if theirs else np.zeros((0, 0))
    pairs = []
    for image in _with_contrast(train):
        candidates = sorted({number for band in enumerate(_bands(image)) for number in buckets.get(band, ())})
        if not candidates:
            continue
        distances = np.abs(stack[candidates] - _grey(image)).mean(axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] <= _NEAR:
            pairs.append((image, theirs[candidates[nearest]]))
    return pairs


def _with_contrast(images: Sequence[ExaminedImage]) -> list[ExaminedImage]:
    return [image for image in images if image.thumbnail is not None and image.thumbnail.std() > _FLAT]


def _grey(image: ExaminedImage) -> NDArray[np.float32]:
    assert image.thumbnail is not None
    return image.thumbnail.astype(np.float32).ravel()


def _bands(image: ExaminedImage) -> list[int]:
    """The four 16-bit parts of the hash: which of the neighbours in the rows of an 8 x 9 picture is brighter."""
    assert image.thumbnail is not None
    rows = image.thumbnail.astype(np.int64).reshape(8, 2, -1).sum(axis=1)  # [8, 16]
    columns = rows[:, np.linspace(0, rows.shape[1] - 1, 9).round().astype(int)]  # [8, 9]
    bits = (columns[:, 1:] > columns[:, :-1]).ravel()
    return [int(part) for part in np.packbits(bits).view(np.uint16)[:_BANDS]]
