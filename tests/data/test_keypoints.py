"""Keypoints of COCO files: read by name, moved with the image, mirrored with their sides exchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastmrcnn.data import CocoDataset, Sample, to_target
from fastmrcnn.data.keypoints import mirrored
from fastmrcnn.data.transforms import HorizontalFlip, MultiScale, VerticalFlip, resize
from fastmrcnn.errors import UserError
from fastmrcnn.models.config import COCO_KEYPOINTS, KeypointHeadConfig

Document = dict[str, Any]
Write = Callable[[Any], tuple[Path, Path]]

LISTED = ["left_eye", "tail", "right_eye"]  # of the category "box"
HEAD = KeypointHeadConfig(("right_eye", "left_eye"))


@pytest.fixture
def with_keypoints(document: Document) -> Document:
    """The box of one pixel has two labelled keypoints of three, the crowd has none, and rings have no such thing."""
    document["categories"][1]["keypoints"] = LISTED
    document["annotations"][1]["keypoints"] = [10, 5, 2, 0, 0, 0, 12, 7.5, 1]
    return document


def dataset_of(files: tuple[Path, Path], head: KeypointHeadConfig = HEAD) -> CocoDataset:
    dataset = CocoDataset(*files)
    dataset.read_keypoints(head)
    return dataset


def read(files: tuple[Path, Path], head: KeypointHeadConfig = HEAD) -> Sample:
    return dataset_of(files, head)[0]


def keypoints_of(sample: Sample) -> Tensor:
    assert sample.keypoints is not None
    return sample.keypoints


def test_they_are_found_by_name(with_keypoints: Document, write: Write) -> None:
    sample = read(write(with_keypoints))
    assert sample.keypoint_names == HEAD.keypoint_names
    assert keypoints_of(sample)[1].tolist() == [[12.5, 8, 1], [10.5, 5.5, 2]]
    assert (keypoints_of(sample)[[0, 2], :, 2] == 0).all()


def test_the_offset_is_that_of_the_head(with_keypoints: Document, write: Write) -> None:
    head = KeypointHeadConfig(("tail", "left_eye"), annotation_offset=0.0)
    assert keypoints_of(read(write(with_keypoints), head))[1].tolist() == [[0, 0, 0], [10, 5, 2]]


def test_targets_hold_those_of_objects_alone(with_keypoints: Document, write: Write) -> None:
    files = write(with_keypoints)
    target = to_target(read(files))
    assert target["keypoints"].shape == (2, 2, 3)  # the crowd is none
    empty = to_target(dataset_of(files)[1])
    assert empty["keypoints"].shape == (0, 2, 3)
    assert "keypoints" not in to_target(CocoDataset(*files)[0])


def test_objects_that_go_take_their_keypoints_along(with_keypoints: Document, write: Write) -> None:
    with_keypoints["annotations"][0]["segmentation"] = [[40, 40, 50, 40, 50, 50]]
    sample = read(write(with_keypoints))
    assert len(sample) == len(keypoints_of(sample)) == 2
    assert keypoints_of(sample)[0, 1].tolist() == [10.5, 5.5, 2]


@pytest.mark.parametrize(
    ("flip", "places"),
    [
        (HorizontalFlip(1.0), [[9.5, 5.5, 2], [7.5, 8, 1]]),
        (VerticalFlip(1.0), [[10.5, 4.5, 2], [12.5, 2, 1]]),
    ],
)
def test_in_a_mirror_left_is_right(
    flip: Any, places: list[list[float]], with_keypoints: Document, write: Write
) -> None:
    sample = read(write(with_keypoints))
    flipped = flip(sample, torch.Generator())
    assert keypoints_of(flipped)[1].tolist() == places
    assert torch.equal(keypoints_of(flip(flipped, torch.Generator())), keypoints_of(sample))
    assert keypoints_of(sample)[1, 0].tolist() == [12.5, 8, 1]  # the sample that was given is as it was


def test_they_are_scaled_with_the_image(with_keypoints: Document, write: Write) -> None:
    sample = read(write(with_keypoints))
    resized = keypoints_of(resize(sample, 20, 60))
    assert resized[1].tolist() == [[37.5, 16, 1], [31.5, 11, 2]]
    scaled = MultiScale((20,))(sample, torch.Generator())
    assert keypoints_of(scaled)[1, 0].tolist() == [25, 16, 1]
    assert resize(CocoDataset(*write(with_keypoints))[0], 20, 60).keypoints is None


def test_the_pairs_of_coco() -> None:
    order = mirrored(COCO_KEYPOINTS)
    assert order == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert mirrored(["front_left_paw", "front_right_paw", "left"]) == [1, 0, 2]


def test_a_file_without_keypoints_is_refused(document: Document, write: Write) -> None:
    files = write(document)
    with pytest.raises(
        UserError, match=r"annotations\.json: expected a category that lists 'keypoints'; got box, ring$"
    ):
        dataset_of(files)
    assert CocoDataset(*files)[0].keypoints is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["categories"][1].update(keypoints=["left_eye", "tail"]),
            "category 'box': expected the keypoint 'right_eye'; its keypoints are left_eye, tail",
        ),
        (
            lambda d: d["categories"][1].update(keypoints=["tail", "tail"]),
            r"category 'box': keypoints must be a list of distinct names; got \['tail', 'tail'\]",
        ),
        (
            lambda d: d["categories"][1].update(keypoints="tail"),
            "category 'box': keypoints must be a list of distinct names; got 'tail'",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[1, 2, 0]),
            "annotation 2: keypoints must be 9 numbers, x, y and visibility of each; got 3 values",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints={}),
            "annotation 2: keypoints must be 9 numbers, x, y and visibility of each; got {}",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[1, "a", *[0] * 7]),
            "annotation 2: keypoints must be finite numbers; got 'a'",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[1, 2, 3, *[0] * 6]),
            "annotation 2: the visibility of a keypoint must be 0, 1 or 2; got 3",
        ),
    ],
)
def test_mistakes_are_named(
    change: Callable[[Document], None], message: str, with_keypoints: Document, write: Write
) -> None:
    change(with_keypoints)
    files = write(with_keypoints)
    with pytest.raises(UserError, match=rf"annotations\.json: {message}$"):
        dataset_of(files)
    assert len(CocoDataset(*files)) == 2  # who reads no keypoints is not troubled by them
