"""Ids and classes of a split: what is off by one, left out, never seen, or seen as crowds alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from fastmrcnn.data.annotations import Annotations
from fastmrcnn.doctor.images import ExaminedImage
from fastmrcnn.doctor.problem import (
    BACKGROUND_CLASS,
    CLASS_WITHOUT_OBJECTS,
    ID_GAP,
    IMAGE_WITHOUT_OBJECTS,
    KEPT,
    MANY_CROWDS,
    NO_OBJECT,
    RARE_CLASS,
    SIMILAR_CLASS_NAMES,
    Findings,
)

FEW = 10  # objects: too few to learn or to measure a class
_BACKGROUND = frozenset({"background", "_background_", "__background__", "bg"})
_SHOWN = 8  # numbers that a text lists


def find_shift(used: set[int], known: Collection[int]) -> int:
    """What must be added to category ids that are all one too low or too high; 0 where they are not.

    The ids that are used must be unknown in part, all be known once they are shifted, and then be at least half of what
    is known: a stray id is no system.

    >>> find_shift({0, 1, 2}, {1, 2, 3}), find_shift({1, 2, 3}, {0, 1, 2}), find_shift({1, 2, 9}, {1, 2, 3})
    (1, -1, 0)
    """
    if not used or all(number in known for number in used) or 2 * len(used) < len(known):
        return 0
    return next((shift for shift in (1, -1) if all(number + shift in known for number in used)), 0)


def is_background(name: str) -> bool:
    """Whether a class is named after what is no object."""
    return name.strip().lower() in _BACKGROUND


def check_ids(kind: str, ids: Collection[int], findings: Findings) -> None:
    """Note the ids that are missing between the first and the last, where these are consecutive but for a few."""
    if len(ids) < 2:
        return
    low, high = min(ids), max(ids)
    missing = high - low + 1 - len(ids)
    # Ids that are sparse by design, like those of COCO's images, have no gaps: they are names.
    if 0 < missing < len(ids) / 2:
        present = set(ids)
        gaps = [number for number in range(low, high + 1) if number not in present]
        more = ", ..." if len(gaps) > _SHOWN else ""
        text = f"{kind} ids {low}..{high} leave out {missing}: {', '.join(map(str, gaps[:_SHOWN]))}{more}"
        findings.add(ID_GAP, text, repair=KEPT)


def check_classes(content: Annotations, images: Sequence[ExaminedImage], findings: Findings) -> None:
    """What the classes of a split are short of; ``images`` have their sound objects.

    Where no image is sound nothing is said: all of it would follow from that.
    """
    if not any(image.sound for image in images):
        return
    objects: Counter[int] = Counter()
    crowds: Counter[int] = Counter()
    for image in images:
        for item in image.measured.objects:
            (crowds if item.iscrowd else objects)[item.category_id] += 1
    for number, name in content.categories.items():
        _check_class(number, name, objects[number], crowds[number], findings)
    _check_names(content.categories, findings)
    learnt, ignored = objects.total(), crowds.total()
    freed = "iscrowd set to 0 in every annotation"
    if learnt == 0:
        text = f"none of the {len(images)} images has an object" + (" that is no crowd" if ignored else "")
        findings.add(NO_OBJECT, text, repair=freed if ignored else KEPT)
    if ignored > learnt:
        text = f"{ignored} of {ignored + learnt} annotations have iscrowd 1: nothing is learnt from these"
        findings.add(MANY_CROWDS, text, repair=KEPT if learnt else freed)
    for image in images:
        if image.sound and not image.measured.objects:
            findings.add(IMAGE_WITHOUT_OBJECTS, f"image {image.record.id} has no object", image=image.record.file_name)


def _check_class(number: int, name: str, objects: int, crowds: int, findings: Findings) -> None:
    if is_background(name):
        text = f"category {number} is named '{name}': the network has a class of its own for what is no object"
        findings.add(BACKGROUND_CLASS, text, repair=KEPT if objects + crowds else "the category left out")
    elif objects == 0:
        crowds_alone = f" but {crowds} crowds, which are ignored" if crowds else ""
        text = f"category {number} '{name}' has no object{crowds_alone}"
        findings.add(CLASS_WITHOUT_OBJECTS, text, repair=KEPT)
    elif objects < FEW:
        text = f"category {number} '{name}' has {objects} object{'s' if objects > 1 else ''}"
        findings.add(RARE_CLASS, text, repair=KEPT)


def _check_names(categories: dict[int, str], findings: Findings) -> None:
    first_of: dict[str, int] = {}
    for number, name in categories.items():
        plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
        first = first_of.setdefault(plain, number)
        if first != number:
            text = f"categories {first} and {number} are named '{categories[first]}' and '{name}'"
            findings.add(SIMILAR_CLASS_NAMES, text, repair=KEPT)
