"""Keypoints of COCO annotations: read for a model that learns them, and what mirroring does to their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastmrcnn.data.annotations import Annotations, ObjectRecord
from fastmrcnn.errors import UserError
from fastmrcnn.models import KeypointHeadConfig

_LARGEST = 1e12  # pixels: beyond any image, and far from float32's limit


@dataclass(frozen=True)
class KeypointReader:
    """Reads the keypoints that ``head`` learns, by name, in its order."""

    head: KeypointHeadConfig
    columns: Mapping[int, Sequence[int]]  # category id -> where each of the names stands in its annotations

    def read(self, objects: Sequence[ObjectRecord]) -> Tensor:
        """float32 [N, K, 3]: x, y in pixels, and the visibility, 0 where nobody labelled the keypoint."""
        keypoints = torch.zeros(len(objects), len(self.head.keypoint_names), 3)
        for own, item in zip(keypoints, objects, strict=True):
            columns = self.columns.get(item.category_id)
            if item.keypoints is not None and columns is not None:
                own.copy_(torch.tensor(item.keypoints, dtype=torch.float32).reshape(-1, 3)[list(columns)])
                own[:, :2] += self.head.annotation_offset
        return keypoints


def keypoint_reader(content: Annotations, category_ids: Sequence[int], head: KeypointHeadConfig) -> KeypointReader:
    """The reader of the objects of these categories, all of which are checked.

    Objects of a category that lists no keypoints have none that is labelled, as those without annotated ones.

    Raises:
        UserError: no category lists keypoints, one that does lacks a keypoint of ``head``, or an object's keypoints are
            not three numbers for each that its category lists.
    """
    return KeypointReader(head, keypoint_columns(content, category_ids, head.keypoint_names))


def keypoint_columns(
    content: Annotations, category_ids: Sequence[int], keypoint_names: Sequence[str]
) -> dict[int, list[int]]:
    """Where each of ``keypoint_names`` stands in the annotations of each category that lists keypoints; all these are
    checked.

    Raises:
        UserError: see :func:`keypoint_reader`.
    """
    chosen = {number: content.keypoint_names[number] for number in category_ids if number in content.keypoint_names}
    if not chosen:
        names = ", ".join(content.categories[number] for number in category_ids)
        raise UserError(f"{content.path}: expected a category that lists 'keypoints'; got {names}")
    columns = {}
    for number, listed in chosen.items():
        where = f"{content.path}: category '{content.categories[number]}'"
        _check_names(where, listed)
        for name in keypoint_names:
            if name not in listed:
                raise UserError(f"{where}: expected the keypoint '{name}'; its keypoints are {', '.join(listed)}")
        columns[number] = [listed.index(name) for name in keypoint_names]
    for items in content.objects.values():
        for item in items:
            if item.category_id in chosen and item.keypoints is not None:
                where = f"{content.path}: annotation {item.id}"
                _check_keypoints(where, item.keypoints, len(chosen[item.category_id]))
    return columns


def listed_keypoints(content: Annotations, category_ids: Sequence[int]) -> tuple[str, ...]:
    """The keypoints of the first of these categories that lists any; none where no category does.

    Raises:
        UserError: they are not a list of distinct names.
    """
    for number in category_ids:
        if number in content.keypoint_names:
            listed = content.keypoint_names[number]
            _check_names(f"{content.path}: category '{content.categories[number]}'", listed)
            return tuple(listed)
    return ()


def mirrored(names: Sequence[str]) -> list[int]:
    """Which keypoint each becomes in a mirror: the left one of a pair becomes the right one.

    >>> mirrored(["nose", "left_eye", "right_eye", "left_wing"])
    [0, 2, 1, 3]
    """
    swapped = {"left": "right", "right": "left"}
    index = {name: number for number, name in enumerate(names)}
    others = ("_".join(swapped.get(word, word) for word in name.split("_")) for name in names)
    return [index.get(other, number) for number, other in enumerate(others)]


def _check_names(where: str, names: Any) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise UserError(f"{where}: keypoints must be a list of distinct names; got {names!r:.60}")


def _check_keypoints(where: str, values: Any, count: int) -> None:
    if not isinstance(values, list) or len(values) != 3 * count:
        found = f"{len(values)} values" if isinstance(values, list) else f"{values!r:.60}"
        raise UserError(f"{where}: keypoints must be {3 * count} numbers, x, y and visibility of each; got {found}")
    for position, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and abs(value) <= _LARGEST):
            raise UserError(f"{where}: keypoints must be finite numbers; got {value!r:.60}")
        if position % 3 == 2 and value not in (0, 1, 2):
            raise UserError(f"{where}: the visibility of a keypoint must be 0, 1 or 2; got {value!r}")
